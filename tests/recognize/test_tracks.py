"""Tracks: which boxes are one face over time, and smoothing in seconds."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facelex.recognize.detection import Box
from facelex.recognize.results import Face
from facelex.recognize.tracks import Smoother, Tracker


def at(x: float, y: float = 0.0, side: float = 40.0) -> tuple[float, float, float, float]:
    return (x, y, side, side)


def face(happy: float, word: float = 0.5) -> Face:
    return Face(at(0), 0.9, "happy", {"happy": happy, "sad": 1 - happy}, words={"proud": word})


def below(threshold: float) -> Callable[[float, Box], bool]:
    return lambda probability, box: probability < threshold


def test_faces_keep_their_numbers_while_they_move():
    tracker = Tracker()
    for i in range(30):
        left, right = at(10 + 6 * i), at(400 - 3 * i, 200)
        assert tracker.update(0.2 * i, [left, right]) == [1, 2]


def test_the_order_of_detections_does_not_matter():
    tracker = Tracker()
    assert tracker.update(0.0, [at(0), at(200)]) == [1, 2]
    assert tracker.update(0.2, [at(203), at(2)]) == [2, 1]


def test_two_faces_that_pass_each_other_are_not_exchanged():
    tracker = Tracker()
    numbers = [tracker.update(0.1 * i, [at(10 * i), at(200 - 10 * i, 30)]) for i in range(21)]
    assert numbers == [[1, 2]] * 21


def test_a_face_lost_for_a_moment_keeps_its_number_but_not_for_long():
    tracker = Tracker(memory=1.0)
    assert tracker.update(0.0, [at(0)]) == [1]
    assert tracker.update(0.4, []) == []
    assert tracker.update(0.9, [at(5)]) == [1]
    assert tracker.update(2.0, [at(5)]) == [2]


def test_a_face_far_away_or_of_another_size_is_a_new_one():
    tracker = Tracker()
    assert tracker.update(0.0, [at(0)]) == [1]
    assert tracker.update(0.1, [at(300)]) == [2]
    assert tracker.update(0.2, [at(300, side=130)]) == [3]


def test_a_quick_face_is_followed_without_overlap():
    tracker = Tracker()
    for i in range(8):
        assert tracker.update(0.2 * i, [at(45 * i)]) == [1]  # each box lies beside the one before


@given(
    st.lists(
        st.lists(st.tuples(*[st.floats(-1e4, 1e4)] * 2, *[st.floats(0, 1e4)] * 2), max_size=5), max_size=6
    )
)
def test_each_box_of_a_frame_has_its_own_number_and_a_rerun_gives_the_same(frames):
    one, other = Tracker(), Tracker()
    for i, boxes in enumerate(frames):
        numbers = one.update(i / 5, boxes)
        assert len(set(numbers)) == len(numbers) == len(boxes)
        assert numbers == other.update(i / 5, boxes)


def test_a_change_is_taken_over_to_63_percent_after_the_time_constant():
    smoother = Smoother(0.5, below(0.4))
    smoother.update(0.0, [1], [face(0.0, word=1.0)])
    (after,) = smoother.update(0.5, [1], [face(1.0, word=0.0)])
    assert after.probabilities["happy"] == pytest.approx(1 - math.exp(-1))
    assert after.words["proud"] == pytest.approx(math.exp(-1))
    assert sum(after.probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize("steps", [[1.0], [0.1, 0.9], [0.25] * 4, [0.5, 0.01, 0.49]])
def test_smoothing_counts_in_seconds_not_in_frames(steps):
    smoother = Smoother(0.7, below(0.4), memory=2.0)
    smoother.update(0.0, [1], [face(0.0)])
    time = 0.0
    for step in steps:
        time += step
        (after,) = smoother.update(time, [1], [face(1.0)])
    assert after.probabilities["happy"] == pytest.approx(1 - math.exp(-1 / 0.7))


def test_emotion_and_doubt_follow_the_smoothed_numbers():
    smoother = Smoother(10.0, below(0.9))
    smoother.update(0.0, [1], [face(1.0)])
    (after,) = smoother.update(0.2, [1], [face(0.0)])  # one frame of doubt does not turn the answer
    assert after.emotion == "happy"
    assert not after.unsure
    (after,) = smoother.update(3.0, [1], [face(0.5)])
    assert after.emotion == "happy"
    small = Smoother(10.0, lambda _, box: max(box[2:]) < 41)
    assert small.update(0.0, [1], [face(1.0)])[0].unsure  # a face of 40 pixels


def test_each_face_is_smoothed_on_its_own_and_zero_seconds_leave_it_alone():
    smoother = Smoother(5.0, below(0.4))
    smoother.update(0.0, [1, 2], [face(0.0), face(1.0)])
    second, first = smoother.update(0.2, [2, 1], [face(1.0), face(0.0)])
    assert (first.probabilities["happy"], second.probabilities["happy"]) == (0.0, 1.0)
    plain = Smoother(0.0, below(0.4))
    plain.update(0.0, [1], [face(0.0)])
    assert plain.update(0.1, [1], [face(1.0)]) == [face(1.0)]
