"""Videos end to end: table, annotated video, redaction, timeline, faults, Ctrl-C."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import re
import sys
import types
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from drawn_video import (
    FACE,
    HEIGHT,
    SIDE,
    WIDTH,
    BrightSquares,
    draw,
    overwrite_the_middle,
    still,
    write_video,
)
from PIL import Image
from tiny_recognition import EMBED

from facelex.cli.main import main
from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError
from facelex.recognize import annotated_video
from facelex.recognize import faces as faces_module
from facelex.recognize import timeline as timeline_module
from facelex.recognize.annotated_video import AnnotatedVideo
from facelex.recognize.frames import FrameReader
from facelex.recognize.layouts import TableLayout
from facelex.recognize.recognizer import Recognizer
from facelex.recognize.results import Face
from facelex.recognize.timeline import MOST_BINS, Timeline, _clock
from facelex.recognize.video import FrameResult, predict_video, read_video, to_frame


def two_faces(time: float) -> list[tuple[int, int]]:
    """One face moves to the right; another joins after a second."""
    return [(int(10 * time), 20), *([(90, 40)] if time >= 1.0 else [])]


@pytest.fixture
def film(tmp_path):
    return write_video(tmp_path / "film.mp4", two_faces, seconds=3, sound=True)


def frames_of(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_each_analysed_frame_has_its_faces_with_stable_numbers(film, finder):
    results = list(read_video(film, finder, every=0.5, words="proud, bored"))
    assert [result.time for result in results] == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5])
    assert [result.ids for result in results] == [(1,), (1,), (1, 2), (1, 2), (1, 2), (1, 2)]
    first = results[0].to_dict()
    assert (first["width"], first["height"], first["frame"]) == (WIDTH, HEIGHT, 0)
    assert set(first["faces"][0]) >= {"id", "box", "emotion", "probabilities", "words"}
    assert list(first["faces"][0]["words"]) == ["proud", "bored"]
    xs = [result.faces[0].box[0] for result in results]
    assert xs == pytest.approx([10 * result.time for result in results], abs=2)


def test_words_may_come_from_any_iterable(film, finder, tmp_path):
    predict_video(film, finder, every=1.0, words=iter(["proud", "bored"]), table=tmp_path / "t.csv")
    header = (tmp_path / "t.csv").read_text().splitlines()[0]
    assert header.endswith("word:proud,word:bored,error")


def test_without_smoothing_a_frame_says_what_the_picture_alone_says(film, finder):
    results = list(read_video(film, finder, every=1.0, smooth=0))
    picture = frames_of(film)[10]
    for one, other in zip(results[1].faces, finder.predict(picture), strict=True):
        assert one.box == other.box
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_smoothing_keeps_numbers_steadier_than_frames_alone(tmp_path, finder):
    rng = np.random.default_rng(0)
    path = write_video(tmp_path / "a.mp4", lambda time: [tuple(rng.integers(30, 40, 2))], seconds=3)

    def unrest(smooth):
        rows = [
            list(r.faces[0].probabilities.values()) for r in read_video(path, finder, every=0, smooth=smooth)
        ]
        return np.abs(np.diff(rows, axis=0)).mean()

    assert unrest(1.0) < 0.5 * unrest(0.0)


def test_across_a_cut_faces_get_new_numbers_and_smoothing_begins_anew(tmp_path, finder):
    path = write_video(tmp_path / "a.mp4", still((50, 30)), seconds=2, scenes=lambda time: int(time))
    results = list(read_video(path, finder, smooth=5.0))
    assert [result.ids for result in results] == [(1,)] * 5 + [(2,)] * 5
    alone = list(read_video(path, finder, smooth=0))
    for first in (0, 5):
        assert results[first].faces[0].probabilities == alone[first].faces[0].probabilities


def test_redaction_has_the_numbers_of_each_shot_too(tmp_path, finder):
    path = write_video(tmp_path / "a.mp4", still((50, 30)), seconds=2, scenes=lambda time: int(time))
    result = predict_video(path, finder, every=0.5, annotate=tmp_path / "b.mp4", redact=True)
    assert [(track.id, track.first, track.last) for track in result.tracks] == [(1, 0.0, 0.5), (2, 1.0, 1.5)]


def test_the_iterator_reads_no_further_than_it_is_asked(tmp_path, finder, squares):
    path = write_video(tmp_path / "long.mp4", still((5, 5)), seconds=30)
    taken = list(itertools.islice(read_video(path, finder, every=0.1), 3))
    assert len(taken) == squares.frames == 3


def test_limits_stop_by_frames_and_by_seconds_without_calling_it_a_fault(film, finder):
    result = predict_video(film, finder, every=0.5, max_frames=2)
    assert (result.frames, result.error) == (2, None)
    result = predict_video(film, finder, every=0.5, max_seconds=1.2)
    assert (result.frames, result.seconds, result.error) == (3, 1.0, None)


def test_the_csv_has_a_row_a_face_and_frame(film, finder, tmp_path):
    table = tmp_path / "faces.csv"
    result = predict_video(film, finder, every=0.5, words="proud", table=table)
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 10
    assert list(rows[0])[:4] == ["source", "time_s", "frame", "face"]
    assert set(rows[0]) >= {*EMOTIONS, "word:proud", "x", "emotion", "error"}
    assert [(row["time_s"], row["face"]) for row in rows[:4]] == [
        ("0.0", "1"), ("0.5", "1"), ("1.0", "1"), ("1.0", "2"),
    ]  # fmt: skip
    assert sum(float(rows[0][name]) for name in EMOTIONS) == pytest.approx(1, abs=1e-4)
    assert [track.frames for track in result.tracks] == [6, 4]
    assert [(track.first, track.last) for track in result.tracks] == [(0.0, 2.5), (1.0, 2.5)]
    mean = np.mean([float(row["happy"]) for row in rows if row["face"] == "1"])
    assert result.tracks[0].probabilities["happy"] == pytest.approx(mean, abs=1e-5)


def test_the_data_frame_of_a_film_without_faces_has_all_columns(tmp_path, finder):
    pytest.importorskip("pandas")
    path = write_video(tmp_path / "empty.mp4", lambda time: [], seconds=1)
    frame = to_frame(read_video(path, finder, words="proud"))
    assert len(frame) == 0
    assert list(frame.columns) == list(TableLayout(EMOTIONS, ("proud",), video=True).columns)


def test_the_data_frame_has_the_words_of_all_results(film, finder):
    pytest.importorskip("pandas")
    calls = [read_video(film, finder, max_frames=1, words=words) for words in (None, "proud", "bored")]
    frame = to_frame(itertools.chain(*calls))
    assert list(frame.columns) == list(TableLayout(EMOTIONS, ("proud", "bored"), video=True).columns)
    assert frame["word:bored"].notna().tolist() == [False, False, True]


def test_results_have_a_form_for_json(film, finder):
    (first,) = read_video(film, finder, max_frames=1)
    assert "embedding" not in first.to_dict()["faces"][0]
    features = first.to_dict(embedding=True)["faces"][0]["embedding"]
    assert features == pytest.approx(first.faces[0].embedding.tolist())
    result = predict_video(film, finder, every=1.0)
    summary = json.loads(json.dumps(result.to_dict()))
    assert list(summary) == [field.name for field in dataclasses.fields(result) if field.name != "columns"]
    assert [track["frames"] for track in summary["tracks"]] == [3, 2]
    track = result.tracks[0]
    assert track.probability == max(track.probabilities.values())


def test_the_data_frame_takes_file_names_that_are_not_unicode():
    pytest.importorskip("pandas")
    face = Face((0, 0, 9, 9), 1.0, "happy", {"happy": 1.0})
    frame = to_frame([FrameResult("bad\udcff.mp4", 0.0, 0, 9, 9, (1,), (face,))])
    assert frame["source"].tolist() == ["bad\\udcff.mp4"]


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_every_format_holds_the_same_rows(film, finder, tmp_path, suffix):
    pytest.importorskip("pandas")
    expected = to_frame(read_video(film, finder, every=0.5))
    predict_video(film, finder, every=0.5, table=tmp_path / f"t{suffix}")
    if suffix == ".parquet":
        import pandas

        found = pandas.read_parquet(tmp_path / "t.parquet")
        assert found["face"].tolist() == expected["face"].tolist()
        assert found["happy"].tolist() == pytest.approx(expected["happy"].tolist())
        return
    text = (tmp_path / f"t{suffix}").read_text()
    frames = json.loads(text) if suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    assert len(frames) == 6
    faces = [face for frame in frames for face in frame["faces"]]
    assert [face["id"] for face in faces] == expected["face"].tolist()
    assert [face["probabilities"]["happy"] for face in faces] == expected["happy"].tolist()


def test_rows_go_to_a_stream_or_to_a_file_of_any_name(film, finder, tmp_path):
    stream = io.StringIO()
    for table in (stream, tmp_path / "faces.dat"):
        predict_video(film, finder, every=1.0, table=table, table_format="jsonl")
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [row["time_s"] for row in rows] == [0.0, 1.0, 2.0]
    assert (tmp_path / "faces.dat").read_text() == stream.getvalue()


def test_the_annotated_video_has_every_frame_its_size_and_the_sound(film, finder, tmp_path):
    predict_video(film, finder, every=0.5, annotate=tmp_path / "out")
    path = tmp_path / "out" / "film-faces.mp4"
    with av.open(str(path)) as container:
        assert {stream.type for stream in container.streams} == {"video", "audio"}
        assert container.streams.audio[0].codec_context.name == "aac"
        assert container.streams.video[0].duration * container.streams.video[0].time_base == pytest.approx(
            3, abs=0.2
        )
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([i / 10 for i in range(30)], abs=1e-3)
    assert not list((tmp_path / "out").glob(".*"))
    plain, marked = frames_of(film), frames_of(path)
    assert marked[0].shape == plain[0].shape
    assert np.abs(marked[0].astype(int) - plain[0]).max() > 100  # something is drawn


SOUNDS = {
    "aac": "aac", "libmp3lame": "mp3", "ac3": "ac3", "eac3": "eac3", "alac": "alac", "libopus": "opus",
    "flac": "flac",
}  # fmt: skip
"""Encoders and the kind of sound they write."""


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("encoder", SOUNDS)
def test_sound_is_copied_into_every_file_that_can_hold_it(finder, tmp_path, encoder, suffix, caplog):
    if encoder not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {encoder}")
    path = write_video(tmp_path / "a.mkv", two_faces, seconds=1, sound=True, sound_codec=encoder)
    predict_video(path, finder, annotate=tmp_path / f"b{suffix}")
    held = suffix != ".mov" or encoder not in ("libopus", "flac")
    with av.open(str(tmp_path / f"b{suffix}")) as container:
        kinds = [stream.codec_context.codec.canonical_name for stream in container.streams.audio]
        assert kinds == ([SOUNDS[encoder]] if held else [])
        seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)) if held else 1
        assert seconds == pytest.approx(1, abs=0.1)
    assert len(frames_of(tmp_path / f"b{suffix}")) == 10
    assert caplog.messages == (
        [] if held else [f"{path}: the sound ({SOUNDS[encoder]}) is left out of b.mov."]
    )


def test_sound_that_is_never_copied_is_said_to_be_left_out(finder, tmp_path, caplog):
    path = write_video(tmp_path / "a.mkv", two_faces, seconds=1, sound=True, sound_codec="pcm_s16le")
    predict_video(path, finder, annotate=tmp_path / "b.mp4")
    assert len(frames_of(tmp_path / "b.mp4")) == 10
    assert caplog.messages == [f"{path}: the sound (pcm_s16le) is left out of b.mp4."]


def test_boxes_follow_the_face_between_analysed_frames(tmp_path, finder):
    path = write_video(tmp_path / "a.mp4", lambda time: [(int(30 * time), 60)], seconds=2.1)
    predict_video(path, finder, every=1.0, annotate=tmp_path / "b.mp4")
    for i in (2, 5, 8, 15):  # none of them analysed
        plain, marked = frames_of(path)[i].astype(int), frames_of(tmp_path / "b.mp4")[i].astype(int)
        below = np.abs(marked - plain).sum(axis=2)[60 + SIDE : 60 + SIDE + 3] > 60  # the box's lower line
        columns = np.flatnonzero(below.any(axis=0))
        assert columns.mean() == pytest.approx(3 * i + SIDE / 2, abs=4)


@pytest.mark.parametrize("style", ["blur", "pixelate"])
def test_redaction_covers_every_face_in_every_frame_and_drops_the_sound(film, finder, tmp_path, style):
    predict_video(film, finder, every=1.0, annotate=tmp_path / "b.mp4", redact=style)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert {stream.type for stream in container.streams} == {"video"}
    frames = frames_of(tmp_path / "b.mp4")
    assert len(frames) == 30
    middle = slice(4, SIDE - 4)
    for i, frame in enumerate(frames):
        for x, y in two_faces(i / 10):
            seen = frame[y : y + SIDE, x : x + SIDE][middle, middle].astype(float)
            assert _likeness(seen, FACE[middle, middle]) < 0.5, (i, x)
    plain = frames_of(film)[0][20 : 20 + SIDE, 0:SIDE][middle, middle].astype(float)
    assert _likeness(plain, FACE[middle, middle]) > 0.9  # so the measure tells them apart


def _likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two grey patches."""
    return abs(float(np.corrcoef(one.mean(axis=2).ravel(), other.mean(axis=2).ravel())[0, 1]))


@pytest.mark.parametrize("budget", [annotated_video.HELD_BYTES, 1])
def test_redaction_covers_a_face_before_the_detector_finds_it(tmp_path, tiny_model, monkeypatch, budget):
    monkeypatch.setattr(annotated_video, "HELD_BYTES", budget)  # as if the frames were large

    class Late(BrightSquares):
        """Misses the first three frames and three in the middle."""

        def detect(self, image):
            found = super().detect(image)
            return [] if self.frames in (1, 2, 3, 10, 11, 12) else found

    recognizer = Recognizer(tiny_model, detector=Late(), threads=1)
    path = write_video(tmp_path / "a.mp4", still((50, 30)), seconds=2)
    predict_video(path, recognizer, annotate=tmp_path / "b.mp4", redact=True)
    for frame in frames_of(tmp_path / "b.mp4"):
        seen = frame[34 : 30 + SIDE - 4, 54 : 50 + SIDE - 4].astype(float)
        assert _likeness(seen, FACE[4:-4, 4:-4]) < 0.5


def being_written(path, redact: str | None) -> AnnotatedVideo:
    """An annotated video of ten frames a second."""
    reader = types.SimpleNamespace(rate=10.0, live=True, audio=None)
    return AnnotatedVideo(path, reader, every=0.0, redact=redact)  # type: ignore[arg-type]


def test_frames_held_for_redaction_are_compressed_where_they_are_large(tmp_path, monkeypatch):
    monkeypatch.setattr(annotated_video, "HELD_BYTES", 100_000)
    video = being_written(tmp_path / "a.mp4", "blur")
    frame = draw([(50, 30)])
    for i in range(5):
        video.add(i / 10, frame, {}, {})
    sizes = [held.nbytes if isinstance(held, np.ndarray) else len(held) for _, held in video._held]
    assert len(sizes) == 5  # none of them is half a second old
    assert sum(sizes) < 100_000 < 5 * frame.nbytes
    video.close()
    assert all(np.abs(shown.astype(int) - frame).mean() < 4 for shown in frames_of(tmp_path / "a.mp4"))


@pytest.mark.parametrize("redact", [None, "blur"])
def test_time_stamps_that_stand_still_hold_no_endless_number_of_frames(tmp_path, monkeypatch, redact):
    monkeypatch.setattr(annotated_video, "HELD_BYTES", 50_000)
    monkeypatch.setattr(annotated_video, "HELD_FRAMES", 8)
    video = being_written(tmp_path / "a.mp4", redact)
    for _ in range(30):
        video.add(0.0, draw([]), None, {})
    assert 1 <= len(video._held) <= 8
    video.close()
    assert len(frames_of(tmp_path / "a.mp4")) == 30


def test_two_videos_of_one_name_may_be_written_at_once_and_one_given_up(tmp_path):
    (tmp_path / ".a.part.mp4").write_bytes(b"someone else's")
    video = being_written(tmp_path / "new" / "a.mp4", None)
    video.add(0.0, draw([]), {}, {})
    video.abandon()
    assert [path.name for path in tmp_path.iterdir()] == [".a.part.mp4"]
    video = being_written(tmp_path / "a.mp4", None)
    video.add(0.0, draw([]), {}, {})
    video.close()
    video.abandon()  # too late to take it back
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.part.mp4", "a.mp4"]
    assert (tmp_path / ".a.part.mp4").read_bytes() == b"someone else's"


@pytest.mark.skipif(not hasattr(VideoStream, "set_display_rotation"), reason="PyAV writes it from 18 on")
def test_a_turned_video_is_written_upright(tmp_path, finder):
    path = write_video(tmp_path / "a.mp4", still((5, 5)), seconds=0.5, rotation=90)
    predict_video(path, finder, annotate=tmp_path / "b.mp4")
    assert frames_of(tmp_path / "b.mp4")[0].shape == (WIDTH, HEIGHT, 3)


def test_odd_sizes_can_be_written(tmp_path, finder):
    path = write_video(tmp_path / "odd.mkv", still((5, 5)), seconds=0.5, size=(101, 77), codec="ffv1")
    predict_video(path, finder, annotate=tmp_path / "c.mp4")
    assert frames_of(tmp_path / "c.mp4")[0].shape == (76, 100, 3)


def test_ctrl_c_keeps_the_table_the_video_and_the_timeline(film, finder, tmp_path):
    pytest.importorskip("matplotlib")

    def progress(result, total):
        assert total == pytest.approx(3.0, abs=0.1)
        if result.time >= 1.5:
            raise KeyboardInterrupt

    result = predict_video(
        film, finder, every=0.5, table=tmp_path / "t.csv", annotate=tmp_path / "b.mp4",
        timeline=tmp_path / "t.png", progress=progress,
    )  # fmt: skip
    assert (result.interrupted, result.frames) == (True, 4)
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + 6
    assert 10 <= len(frames_of(tmp_path / "b.mp4")) <= 16
    assert Image.open(tmp_path / "t.png").size[0] > 500


def test_a_fault_of_ours_leaves_no_half_written_file(film, finder, tmp_path):
    def progress(result, total):
        if result.time > 1:
            raise RuntimeError("ours")

    place = tmp_path / "out"
    place.mkdir()
    with pytest.raises(RuntimeError):
        predict_video(film, finder, table=place / "t.csv", annotate=place / "b.mp4", progress=progress)
    assert list(place.iterdir()) == []


def test_a_cut_video_keeps_what_was_read_and_says_so(film, finder, tmp_path):
    whole = write_video(tmp_path / "a.mkv", two_faces, seconds=6)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = predict_video(cut, finder, table=tmp_path / "t.json")
    assert 5 < result.frames < 30
    assert "incomplete" in result.error
    *frames, last = json.loads((tmp_path / "t.json").read_text())
    assert len(frames) == result.frames
    assert last == {"source": str(cut), "error": result.error}


def test_the_iterator_warns_where_the_file_ends_early_but_not_where_the_caller_does(finder, tmp_path, caplog):
    path = write_video(tmp_path / "a.mkv", two_faces, seconds=10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    taken = list(read_video(path, finder, max_seconds=2.0))
    assert (len(taken), caplog.messages) == (10, [])
    results = list(read_video(path, finder))
    assert 10 < len(results) < 50
    (message,) = caplog.messages
    assert message.startswith(f"{path}: The video is incomplete: it announces 10.0 s but ends at")
    assert message == f"{path}: {predict_video(path, finder).error}"


def test_the_iterator_of_a_whole_file_has_nothing_to_warn_of(film, finder, caplog):
    assert len(list(read_video(film, finder))) == 15
    assert caplog.messages == []


def test_a_file_of_which_no_frame_can_be_decoded_is_an_error(finder, tmp_path):
    path = write_video(tmp_path / "a.mp4", two_faces, seconds=2)
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    for read in (lambda: list(read_video(path, finder)), lambda: predict_video(path, finder)):
        with pytest.raises(FacelexError, match="no frame of it could be decoded"):
            read()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": -1.0}, "every in seconds"),
        ({"smooth": float("nan")}, "smooth in seconds"),
        ({"every": "1"}, "every in seconds, 0 or more, but got '1'"),
        ({"max_frames": 0}, "max_frames"),
        ({"max_frames": "2"}, "max_frames to be a whole number, 1 or more, but got '2'"),
        ({"max_seconds": 0.0}, "max_seconds"),
        ({"max_seconds": "2"}, "max_seconds to be a number above 0, but got '2'"),
        ({"table": 3}, "table to be the path of a file"),
        ({"table": io.StringIO()}, "or an open text stream with table_format"),
        ({"table": io.StringIO(), "table_format": "table"}, "Unknown table_format 'table'"),
        ({"table": "t.csv", "table_format": "cvs"}, "Did you mean 'csv'"),
        ({"redact": "blurr"}, "Did you mean 'blur'"),
        ({"words": "x1"}, "No vector"),
    ],
)
def test_wrong_options_are_refused_before_the_video_is_read(film, finder, squares, options, message):
    with pytest.raises(FacelexError, match=message):
        predict_video(film, finder, **options)
    assert squares.frames == 0


@pytest.mark.parametrize("source", [0, None, b"film.mp4", ["film.mp4"], io.BytesIO()])
def test_what_is_no_path_is_refused_with_a_sentence(finder, source):
    for read in (read_video, predict_video):
        with pytest.raises(FacelexError, match=r"Expected the path of a video, but got .* 'webcam:0'"):
            read(source, finder)


def test_numbers_of_any_kind_are_options(film, finder):
    options = {"every": np.float32(0.5), "smooth": Fraction(1, 2), "max_seconds": np.int64(2)}
    result = predict_video(film, finder, max_frames=np.int32(3), **options)
    assert (result.frames, result.seconds) == (3, 1.0)
    assert len(list(read_video(film, finder, **options))) == 4


def test_files_to_write_may_be_named_by_strings(film, finder, tmp_path):
    pytest.importorskip("matplotlib")
    names = {"table": "t.csv", "annotate": "out", "timeline": "t.png"}
    predict_video(str(film), finder, every=1.0, **{key: str(tmp_path / name) for key, name in names.items()})
    assert all((tmp_path / name).exists() for name in ("t.csv", "out/film-faces.mp4", "t.png"))


def test_an_annotated_video_of_another_kind_is_refused_but_a_folder_may_be_named_so(film, finder, tmp_path):
    with pytest.raises(FacelexError, match=r"named .mp4, .mov, .mkv, or a folder, .* Name it o.mp4"):
        predict_video(film, finder, annotate=tmp_path / "o.avi")
    assert not (tmp_path / "o.avi").exists()
    (tmp_path / "o.avi").mkdir()
    predict_video(film, finder, max_frames=1, annotate=tmp_path / "o.avi")
    assert (tmp_path / "o.avi" / "film-faces.mp4").exists()


def test_files_that_cannot_be_written_are_refused(film, finder, tmp_path):
    with pytest.raises(FacelexError, match=r"named .json, .jsonl, .csv or .parquet, but got .*t.xlsx"):
        predict_video(film, finder, table=tmp_path / "t.xlsx")
    with pytest.raises(FacelexError, match="is the video that is read"):
        predict_video(film, finder, annotate=film)
    before = film.read_bytes()
    with pytest.raises(FacelexError, match="Could not write"):
        predict_video(film, finder, annotate=film / "under-a-file")
    assert film.read_bytes() == before


def timeline_of(hours: float, faces: int = 2) -> Timeline:
    timeline = Timeline(0.2, ["happy", "sad"])
    for i in range(int(hours * 3600 / 0.2)):
        share = (i % 100) / 100
        found = [Face((0, 0, 9, 9), 1.0, "happy", {"happy": share, "sad": 1 - share})] * faces
        timeline.add(0.2 * i, range(1, faces + 1), found)
    return timeline


def test_the_timeline_of_hours_takes_no_more_than_its_steps():
    timeline = timeline_of(1.0)
    assert all(len(sums.bins) <= MOST_BINS for sums in timeline._tracks.values())
    summary = timeline.tracks()[0]
    assert summary.frames == 18_000
    assert summary.probabilities["happy"] == pytest.approx(0.495, abs=1e-6)  # joining loses nothing
    assert sum(count for count, _ in timeline._tracks[1].bins.values()) == 18_000


def test_many_short_tracks_are_forgotten_before_the_long_ones_and_counted(monkeypatch):
    monkeypatch.setattr(timeline_module, "MOST_TRACKS", 200)
    timeline = Timeline(0.2, ["happy"])
    one = Face((0, 0, 9, 9), 1.0, "happy", {"happy": 1.0})
    for i in range(600):
        timeline.add(0.2 * i, [1, 2 + i], [one, one])
    assert 100 < len(timeline.tracks()) <= 201
    assert timeline.tracks()[0].frames == 600
    assert len(timeline.tracks()) + timeline.forgotten == 601


def test_a_timeline_that_could_not_be_written_is_refused_before_the_film_is_read(film, finder, tmp_path):
    with pytest.raises(FacelexError, match=r"timeline named .png, .* Name it t.png instead"):
        predict_video(film, finder, table=tmp_path / "t.csv", timeline=tmp_path / "t.xyz")
    assert not list(tmp_path.glob("*t.*"))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("film.mp4/t.png", "Could not write"),
        (f"{'t' * 300}.png", "Could not write"),
        ("t.png", "is a folder"),
    ],
)
def test_a_timeline_without_a_place_is_refused_before_the_film_is_read(
    film, finder, squares, tmp_path, place, message
):
    pytest.importorskip("matplotlib")
    if message == "is a folder":
        (tmp_path / place).mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FacelexError, match=message):
        predict_video(film, finder, table=tmp_path / "t.csv", timeline=tmp_path / place)
    assert (sorted(tmp_path.iterdir()), squares.frames) == (before, 0)


def test_table_and_video_are_there_though_the_timeline_fails(film, finder, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")

    def full(*_):
        raise FacelexError("The disk is full")

    monkeypatch.setattr(Timeline, "save", full)
    with pytest.raises(FacelexError, match="disk is full"):
        predict_video(
            film, finder, every=1.0, table=tmp_path / "t.csv", annotate=tmp_path / "b.mp4",
            timeline=tmp_path / "new" / "t.png",
        )  # fmt: skip
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + 5
    assert len(frames_of(tmp_path / "b.mp4")) == 30
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["A$AP_live_$5.mp4", "bad\udcff.mp4"])
def test_the_timeline_takes_any_name_and_any_word(tmp_path, name):
    pytest.importorskip("matplotlib")
    timeline = Timeline(0.2, ["$happy_$"], ["$_$"])
    timeline.add(0.0, [1], [Face((0, 0, 9, 9), 1.0, "$happy_$", {"$happy_$": 1.0}, words={"$_$": 0.5})])
    timeline.save(tmp_path / "t.png", name)
    assert Image.open(tmp_path / "t.png").width > 500


def test_a_face_out_of_sight_leaves_a_gap_in_the_timeline():
    timeline = Timeline(0.2, ["happy"])
    one = Face((0, 0, 9, 9), 1.0, "happy", {"happy": 1.0})
    for time in (0.0, 0.2, 0.4, 5.0, 5.2):
        timeline.add(time, [1], [one])
    pieces = timeline._pieces(timeline._tracks[1])
    assert [(times[0], times[-1]) for times, _ in pieces] == [
        pytest.approx((0.0, 0.6)), pytest.approx((5.0, 5.4)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (59.5, "59.5 s"), (60, "1:00"), (119.4, "1:59"), (119.7, "2:00"), (3599.6, "1:00:00"),
        (3725, "1:02:05"),
    ],
)  # fmt: skip
def test_times_below_the_timeline_never_show_sixty_seconds(seconds, text):
    assert _clock(seconds) == text


@pytest.fixture
def run(tiny_model, wordless_model, squares, monkeypatch, capsys):
    """Run ``predict`` with the drawn faces' detector; returns exit code, stdout and stderr."""
    monkeypatch.setattr(faces_module, "create_detector", lambda name, model=None, **_: squares)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main(["predict", *map(str, arguments), "--model", str(wordless_model)])
        return code, *capsys.readouterr()

    return call


def test_the_command_prints_a_summary_a_face(run, film):
    code, out, err = run(film, "--every", "0.5")
    assert (code, err) == (0, "")
    assert "6 frames analysed over 2.5 s, 2 faces" in out


def test_the_command_writes_rows_video_and_timeline(run, film, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    code, text, _ = run(film, "-o", tmp_path / "t.jsonl", "--annotate", out, "--timeline", tmp_path / "t.png")
    assert (code, text) == (0, "")
    assert len((tmp_path / "t.jsonl").read_text().splitlines()) == 15
    assert (out / "film-faces.mp4").exists()
    assert (tmp_path / "t.png").exists()


def test_the_command_writes_features_of_one_video_and_of_several(
    film, tiny_model, squares, tmp_path, monkeypatch
):
    monkeypatch.setattr(faces_module, "create_detector", lambda name, model=None, **_: squares)
    other = tmp_path / "other.mp4"
    other.write_bytes(film.read_bytes())
    for films in ([film], [film, other]):
        target = tmp_path / "t.csv"
        code = main(
            ["predict", *map(str, films), "--embedding", "-o", str(target), "--model", str(tiny_model)]
        )
        assert code == 0
        rows = list(csv.DictReader(target.read_text().splitlines()))
        lengths = [sum(float(row[f"embedding:{i}"]) ** 2 for i in range(EMBED)) for row in rows]
        assert len(rows) > 20
        np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_a_summary_goes_to_a_file(run, film, tmp_path):
    target = tmp_path / "faces.txt"
    assert run(film, "--every", "0.5", "-o", target)[:2] == (0, "")
    assert "6 frames analysed over 2.5 s, 2 faces" in target.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.txt", "film.mp4"]


@pytest.mark.parametrize("name", ["faces.txt", "faces.csv"])
def test_an_output_without_its_folder_is_refused_before_the_film_is_read(run, film, squares, tmp_path, name):
    code, out, err = run(film, "-o", tmp_path / "none" / name)
    assert (code, out, squares.frames) == (2, "", 0)
    assert "Could not write" in err
    assert not (tmp_path / "none").exists()


def test_a_screen_that_lacks_a_letter_shows_the_rows_of_a_video_all_the_same(
    film, wordless_model, squares, monkeypatch
):
    monkeypatch.setattr(faces_module, "create_detector", lambda name, model=None, **_: squares)
    named = film.rename(film.with_name("Fähre.mp4"))
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["predict", str(named), "--format", "csv", "--model", str(wordless_model)]) == 0
    screen.flush()
    assert b"F\\xe4hre.mp4" in screen.buffer.getvalue()  # type: ignore[attr-defined]


def test_the_command_reports_a_cut_video_with_exit_code_1(run, tmp_path):
    whole = write_video(tmp_path / "a.mkv", two_faces, seconds=6)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    code, out, err = run(whole, "--format", "csv")
    assert code == 1
    assert "incomplete" in err
    rows = list(csv.DictReader(out.splitlines()))
    assert len(rows) > 5
    assert "incomplete" in rows[-1]["error"]


def test_of_a_file_that_is_no_video_the_command_writes_no_rows(run, tmp_path):
    (tmp_path / "a.mp4").write_text("not a film")
    for format in ("csv", "json"):
        code, out, err = run(tmp_path / "a.mp4", "--format", format)
        assert (code, out) == (2, "")
        assert "as a video" in err


def test_the_command_reports_a_damaged_video_with_exit_code_1(run, tmp_path):
    path = write_video(tmp_path / "a.mkv", two_faces, seconds=6)
    overwrite_the_middle(path, 60)
    code, out, err = run(path, "--format", "csv")
    assert code == 1
    assert "damaged in 1 place" in err
    rows = list(csv.DictReader(out.splitlines()))
    assert "damaged in 1 place" in rows[-1]["error"]
    assert len({row["frame"] for row in rows[:-1]}) == 30  # all that were asked for


def test_an_intact_video_is_complete_whatever_the_spacing(run, tmp_path):
    path = write_video(tmp_path / "long.mp4", still((50, 30)), seconds=10)
    assert run(path, "--every", "5")[::2] == (0, "")


def test_a_glob_may_name_one_video(run, film, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("*.mp4", "--every", "0.5", "--format", "csv")
    assert (code, err) == (0, "")
    assert {row["source"] for row in csv.DictReader(out.splitlines())} == {"film.mp4"}
    write_video(tmp_path / "other.mp4", two_faces, seconds=1)
    for pattern in ("*.mp4", "*"):
        code, out, err = run(pattern, "--every", "0.5", "--format", "csv")
        assert (code, err) == (0, "")
        assert {row["source"] for row in csv.DictReader(out.splitlines())} == {"film.mp4", "other.mp4"}
    Image.new("RGB", (90, 60)).save("photo.png")
    code, out, err = run("*", "--format", "json")
    assert code == 0
    assert [item["source"] for item in json.loads(out)] == ["photo.png"]
    assert (
        err
        == "facelex: 2 videos skipped: give videos a call of their own, such as facelex predict '*.mp4'.\n"
    )
    code, out, err = run("*", "--every", "0.5")
    assert (code, out) == (2, "")
    assert "got 1 picture, such as 'photo.png', beside 2 videos. Name the videos, such as '*.mp4'" in err
    code, out, err = run("photo.png", "film.mp4")
    assert (code, out) == (2, "")
    assert "Expected pictures or videos, but got both" in err


def test_the_videos_of_a_folder_are_said_to_be_left_out(run, film):
    Image.new("RGB", (90, 60)).save(film.parent / "photo.png")
    code, out, err = run(film.parent, "--format", "json")
    assert code == 0
    assert [Path(item["source"]).name for item in json.loads(out)] == ["photo.png"]
    assert err.startswith(
        "facelex: 1 video skipped: give videos a call of their own, such as facelex predict "
    )
    assert err.endswith(f"'{film.parent}/*.mp4'.\n")


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "parquet"])
def test_the_videos_of_a_folder_share_a_table(run, tmp_path, kind):
    if kind == "parquet":
        pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
    films, out, table = tmp_path / "films", tmp_path / "out", tmp_path / f"faces.{kind}"
    for place in ("a/one.mp4", "b/one.mp4", "two.mp4"):
        (films / place).parent.mkdir(parents=True, exist_ok=True)
        write_video(films / place, two_faces, seconds=1)
    (films / "broken.mp4").write_bytes(b"no film")
    code, text, err = run(films, "-r", "--every", "0.5", "-o", table, "--annotate", out)
    assert (code, text) == (1, "")
    assert "Could not read" in err
    assert "broken.mp4" in err
    assert sorted(path.name for path in out.iterdir()) == [
        "one-faces-2.mp4", "one-faces.mp4", "two-faces.mp4",
    ]  # fmt: skip
    if kind == "csv":
        rows = list(csv.DictReader(table.read_text().splitlines()))
    elif kind == "json":
        rows = json.loads(table.read_text())
    elif kind == "jsonl":
        rows = [json.loads(line) for line in table.read_text().splitlines()]
    else:
        rows = sys.modules["pandas"].read_parquet(table).to_dict("records")
    whole = {Path(row["source"]).relative_to(films).as_posix() for row in rows if not told(row.get("error"))}
    assert whole == {"a/one.mp4", "b/one.mp4", "two.mp4"}
    assert [Path(row["source"]).name for row in rows if told(row.get("error"))] == ["broken.mp4"]


def told(error: object) -> bool:
    """Whether a row has an error; pandas has NaN or None where there is none."""
    return isinstance(error, str) and error != ""


def test_the_summaries_of_several_videos_stand_under_their_names(run, film, tmp_path):
    other = write_video(tmp_path / "other.mp4", two_faces, seconds=1)
    code, out, err = run(film, other, film, "--every", "0.5")
    assert (code, err) == (0, "")
    first, second = out.index(f"{film}\n"), out.index(f"{other}\n")
    assert first < out.index("6 frames analysed over 2.5 s, 2 faces") < second
    assert out.count("frames analysed") == 2  # a film that is named twice is read once


def test_ctrl_c_between_videos_keeps_those_before(run, film, tmp_path, monkeypatch):
    other, opened = write_video(tmp_path / "other.mp4", two_faces, seconds=1), FrameReader.__init__

    def interrupted(self, source):
        if source == str(other):
            raise KeyboardInterrupt
        opened(self, source)

    monkeypatch.setattr(FrameReader, "__init__", interrupted)
    table = tmp_path / "t.csv"
    code, _, err = run(film, other, "-o", table)
    assert (code, err) == (130, f"facelex: stopped at {other}; what was done is kept.\n")
    assert {row["source"] for row in csv.DictReader(table.read_text().splitlines())} == {str(film)}
    table.write_text("old")
    assert run(other, film, "-o", table)[0] == 130
    assert table.read_text() == "old"


def test_videos_that_are_all_missing_replace_no_table(run, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("old")
    code, out, err = run(tmp_path / "a.mp4", tmp_path / "b.mp4", "-o", table)
    assert (code, out, table.read_text()) == (2, "", "old")
    assert "No such file" in err


def test_a_table_may_lie_in_the_folder_that_annotating_makes(run, film, tmp_path):
    out = tmp_path / "out"
    assert run(film, "--annotate", out, "-o", out / "faces.csv")[0] == 0
    assert sorted(path.name for path in out.iterdir()) == ["faces.csv", "film-faces.mp4"]


def test_ctrl_c_ends_all_videos(run, film, tmp_path, squares, monkeypatch):
    other, detect = write_video(tmp_path / "other.mp4", two_faces, seconds=1), squares.detect

    def interrupted(image):
        if squares.frames == 5:
            raise KeyboardInterrupt
        return detect(image)

    monkeypatch.setattr(squares, "detect", interrupted)
    code, _, err = run(film, other, "-o", tmp_path / "t.csv")
    assert code == 130
    assert "stopped in" in err
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert {row["source"] for row in rows} == {str(film)}


def test_a_progress_bar_says_who_is_in_sight(run, film, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    code, _, err = run(film, "-o", tmp_path / "t.csv")
    assert code == 0
    assert re.search(r"of 0:0[23].*#1 \w+ \d+%", err, re.DOTALL)
    assert "#1" not in run(film, "--format", "csv")[2]  # its rows are on the same screen


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.mp4"], "No such file"),
        (["gone*.mp4"], "No file matches 'gone*.mp4'"),
        (["https://example.org/film.mp4"], "got the address 'https://example.org/film.mp4'"),
        (["webcam:front"], "webcam:0, webcam:1"),
        (["webcam:98"], "webcam:98"),
        (["WEBCAM:98"], "webcam:98"),
        (["film.mp4", "--output", "faces.png"], "--timeline FILE"),
        (["film.mp4", "--output", "."], "is a folder"),
        (["film.mp4", "--output", "film.mp4"], "got the video"),
        (["film.mp4", "--output", "other.mp4"], "use --annotate"),
        (["film.mp4", "two.mp4", "--timeline", "t.png"], "Expected one video with --timeline, but got 2"),
        (["film.mp4", "two.mp4", "--annotate", "two.mov"], "Expected a folder for 2 annotated videos"),
        (["film.mp4", "webcam:0"], "Expected one camera, or videos, but got 2 inputs"),
        (["photo.png", "--every", "1"], "Expected a video or webcam:0 with --every"),
    ],
)
def test_the_command_refuses_with_a_sentence(run, film, monkeypatch, arguments, message):
    monkeypatch.chdir(film.parent)
    before = film.read_bytes()
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert film.read_bytes() == before


def test_ctrl_c_at_the_command_keeps_the_rows_and_gives_130(run, film, tmp_path, squares, monkeypatch):
    detect = squares.detect

    def interrupted(image):
        if squares.frames == 5:
            raise KeyboardInterrupt
        return detect(image)

    monkeypatch.setattr(squares, "detect", interrupted)
    code, _, err = run(film, "-o", tmp_path / "t.csv")
    assert code == 130
    assert "kept" in err
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + 5


def test_frames_that_become_larger_are_scaled_in_the_annotated_video(finder, tmp_path):
    parts = [
        write_video(tmp_path / f"{side}.ts", still((0, 0)), seconds=1, size=(side, side)).read_bytes()
        for side in (160, 320)
    ]
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    predict_video(tmp_path / "a.ts", finder, annotate=tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as written:
        last = [frame.to_ndarray(format="gray") for frame in written.decode(video=0)][-1]
    assert last.shape == (160, 160)
    assert (last[80:, 80:] < 60).mean() > 0.9  # far from the square in the corner; cut off it would be larger
    assert (
        last[: SIDE // 2, : SIDE // 2].mean() > 120 > last[SIDE // 2 + 4 : SIDE, SIDE // 2 + 4 : SIDE].mean()
    )


def test_damaged_sound_does_not_cost_the_annotated_video(finder, tmp_path):
    whole = write_video(tmp_path / "a.ts", two_faces, seconds=2, sound=True).read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(8):
        data = bytearray(whole)
        for place in rng.integers(len(data) // 4, len(data), 30):
            data[place] = rng.integers(256)
        (tmp_path / "bad.ts").write_bytes(data)
        result = predict_video(tmp_path / "bad.ts", finder, annotate=tmp_path / "b.mp4")
        assert result.frames > 3
        assert len(frames_of(tmp_path / "b.mp4")) >= result.frames
