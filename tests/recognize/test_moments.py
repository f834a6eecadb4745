"""Moments: what is averaged, what counts as one, which come first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facelex.recognize.moments import APART, DROP, WINDOW, Moment, clock, find_moments, window_means


def moments(times, scores, tracks=None, **options) -> list[Moment]:
    tracks = np.ones(len(times), np.int64) if tracks is None else np.array(tracks)
    options = {"gap": 1.25} | options
    return find_moments(np.array(times, float), tracks, np.array(scores, np.float32), **options)


def test_neighbouring_looks_at_one_face_are_one_moment_with_its_peak_and_its_span():
    times = np.arange(20) / 2
    scores = np.full(20, 0.2)
    scores[6:11] = [0.85, 0.88, 0.9, 0.83, 0.7]
    assert moments(times, scores, most=1) == [Moment(8, 3.0, 4.5)]


def test_further_moments_of_a_face_keep_their_distance_from_better_ones():
    times = np.arange(60) / 2
    scores = np.full(60, 0.1)
    scores[[10, 14, 40]] = 0.9, 0.6, 0.8
    found = moments(times, scores)
    assert [moment.row for moment in found[:2]] == [10, 40]  # not 14, two seconds beside the best
    rest = [times[moment.row] for moment in found]
    assert min(abs(a - b) for i, a in enumerate(rest) for b in rest[:i]) > APART


def test_an_even_expression_is_one_moment_however_long():
    assert moments(np.arange(2000) / 2, np.full(2000, 0.7)) == [Moment(0, 0.0, 999.5)]


def test_each_face_has_moments_of_its_own():
    found = moments([0, 0, 0.5, 0.5], [0.5, 0.9, 0.6, 0.8], tracks=[1, 2, 1, 2])
    assert found == [Moment(2, 0.0, 0.5), Moment(1, 0.0, 0.5)]


def test_a_moment_ends_where_the_face_was_not_seen():
    assert moments([0, 0.5, 3, 3.5, 9], [0.8, 0.9, 0.88, 0.9, 0.9], gap=1.25, most=1) == [Moment(1, 0.0, 0.5)]


def test_a_look_is_averaged_with_those_of_the_same_face_around_it():
    times = np.array([0, 0, 0.5, 0.5, 1.0, 9.0])
    tracks = np.array([1, 2, 1, 2, 1, 1])
    values = np.array([[0.0], [8.0], [3.0], [4.0], [9.0], [1.0]], np.float32)
    expected = [
        values[(tracks == track) & (np.abs(times - time) <= WINDOW)].mean()
        for time, track in zip(times, tracks)
    ]
    assert window_means(times, tracks, values)[:, 0] == pytest.approx(expected)


LOOKS = st.tuples(st.floats(0, 60), st.integers(1, 3), st.floats(0, 1, width=32))


@given(st.lists(LOOKS, min_size=1, max_size=40, unique_by=lambda look: look[:2]))
def test_moments_of_any_looks_hold_their_peak_and_do_not_overlap(looks):
    times, tracks, scores = (np.array(column) for column in zip(*looks))
    found = moments(times, scores, tracks)
    assert {tracks[moment.row] for moment in found} == set(tracks)
    for moment in found:
        assert moment.start <= times[moment.row] <= moment.end
        inside = (tracks == tracks[moment.row]) & (times >= moment.start) & (times <= moment.end)
        assert scores[moment.row] - scores[inside].min() <= DROP + 1e-6
    for i, one in enumerate(found):
        for other in found[:i]:
            if tracks[one.row] == tracks[other.row]:
                assert one.start > other.end or one.end < other.start


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00:00.0"), (59.96, "0:01:00.0"), (83.54, "0:01:23.5"), (36_000.25, "10:00:00.2")],
)
def test_times_are_shown_as_players_show_them(seconds, shown):
    assert clock(seconds) == shown
