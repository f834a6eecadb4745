"""One's own frames: followed as those of a video are, and refused where they make no sense."""

from __future__ import annotations

import math
from datetime import timedelta

import av
import numpy as np
import pytest
from drawn_video import draw, still, write_video
from PIL import Image

from facelex.errors import FacelexError
from facelex.recognize.face_tracker import FaceTracker
from facelex.recognize.video import read_video, to_frame


def frames_of(path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


@pytest.mark.parametrize("bgr", [False, True])
def test_frames_given_one_by_one_are_followed_as_in_a_video(tmp_path, finder, bgr):
    path = write_video(tmp_path / "a.mp4", still((50, 30)), seconds=2, scenes=lambda time: int(time))
    expected = list(read_video(path, finder, every=0, words="bored"))
    tracker = FaceTracker(finder, every=0.1, words="bored", source=str(path))
    buffer = np.zeros((96, 128, 3), np.uint8)
    found = []
    for time, pixels in frames_of(path):
        buffer[:] = pixels[:, :, ::-1] if bgr else pixels
        found.append(tracker.update(buffer, time, bgr=bgr))
        buffer[:] = 0
    assert [result.ids for result in found] == [(1,)] * 10 + [(2,)] * 10  # there is a cut
    assert [result.to_dict() for result in found] == [result.to_dict() for result in expected]


def test_each_result_is_smoothed_along_its_face(finder):
    frames = [draw([(30, 30)], scene=1), draw([(31, 30), (90, 50)], scene=1)]
    tracker = FaceTracker(finder, smooth=0.5)
    first, second = tracker.update(frames[0], 7.0), tracker.update(frames[1], 7.25)
    before, now = (finder.predict(frame)[0].probabilities for frame in frames)
    share = 1 - math.exp(-0.25 / 0.5)
    mixed = {name: before[name] + share * (now[name] - before[name]) for name in now}
    assert (first.ids, second.ids, first.frame, second.frame, second.time) == ((1,), (1, 2), 0, 1, 7.25)
    assert second.faces[0].probabilities == pytest.approx(mixed, abs=1e-6)
    assert second.faces[1].probabilities == finder.predict(frames[1])[1].probabilities


def test_faces_keep_their_numbers_for_as_long_as_frames_are_apart(finder):
    for every, ids in ((0.2, (2,)), (2.0, (1,))):
        tracker = FaceTracker(finder, every=every)
        tracker.update(draw([(30, 30)]), 0.0)
        assert tracker.update(draw([]), 2.0).ids == ()
        assert tracker.update(draw([(30, 30)]), 4.0).ids == ids


def test_a_time_that_goes_back_is_refused_and_costs_nothing(finder, squares):
    tracker, pixels = FaceTracker(finder), draw([(30, 30)])
    tracker.update(pixels, 1.5)
    with pytest.raises(FacelexError, match=r"times that do not go back, but got 1\.25 s after 1\.5 s"):
        tracker.update(pixels, 1.25)
    for time in (math.nan, math.inf, None, "2", timedelta(seconds=2)):
        with pytest.raises(FacelexError, match="Expected the frame's time in seconds"):
            tracker.update(pixels, time)
    with pytest.raises(FacelexError, match="Expected an image of shape"):
        tracker.update(pixels[None], 5.0)
    assert squares.frames == 1
    for time, frame in ((1.5, 1), (np.float32(2.0), 2)):
        result = tracker.update(pixels, time)
        assert (result.ids, result.frame, result.time) == ((1,), frame, time)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": -1}, "every in seconds"),
        ({"smooth": "1"}, "smooth in seconds"),
        ({"words": "x1"}, "No vector"),
    ],
)
def test_wrong_options_are_refused_before_the_first_frame(finder, options, message):
    with pytest.raises(FacelexError, match=message):
        FaceTracker(finder, **options)


def test_pictures_of_any_kind_are_frames_and_results_make_a_table(finder):
    pytest.importorskip("pandas")
    tracker = FaceTracker(finder, source="screen", words="bored")
    results = [tracker.update(Image.fromarray(draw([(30, 30)])), i / 5) for i in range(3)]
    table = to_frame([*results, tracker.update(draw([]), 1.0)])
    assert table["time_s"].tolist() == [0.0, 0.2, 0.4]
    assert set(table["source"]) == {"screen"}
    assert table["word:bored"].notna().all()


def test_one_array_in_place_of_a_video_is_told_where_to_go(finder):
    with pytest.raises(FacelexError, match=r"frames of your own are followed by .*FaceTracker"):
        read_video(draw([]), finder)
