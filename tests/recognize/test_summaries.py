"""Summaries: a row a face of a video, a row a picture, beside the rows of each frame and in every format."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_video import draw, write_video
from PIL import Image
from tiny_recognition import TinyVocabulary

from facelex.cli.main import main
from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError
from facelex.recognize import faces as faces_module
from facelex.recognize.layouts import TableLayout
from facelex.recognize.recognizer import Recognizer
from facelex.recognize.results import Face, ImageResult, to_frame
from facelex.recognize.summaries import ImageSummary
from facelex.recognize.timeline import Timeline
from facelex.recognize.video import predict_video
from facelex.recognize.writers import open_summary


@pytest.fixture
def run(wordless_model, squares, monkeypatch, capsys):
    """Run ``predict`` with the drawn faces' detector; returns exit code, stdout and stderr."""
    monkeypatch.setattr(faces_module, "create_detector", lambda name, model=None, **_: squares)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main(["predict", *map(str, arguments), "--model", str(wordless_model)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def films(tmp_path) -> Path:
    """A folder: two faces of which one joins later, nobody at all, and a file that is no film."""
    folder = tmp_path / "films"
    folder.mkdir()

    def come_and_go(time: float) -> list[tuple[int, int]]:
        first = [(int(10 * time), 20)] if time < 1.5 else []
        return first + ([(90, 40)] if 0.9 < time < 1.9 else [])

    write_video(folder / "a.mp4", come_and_go, seconds=2.5)
    write_video(folder / "empty.mp4", lambda time: [], seconds=1)
    (folder / "broken.mp4").write_bytes(b"no film")
    return folder


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_summary_has_the_means_of_the_rows_beside_it(run, films, tmp_path):
    table, summary, out = tmp_path / "faces.csv", tmp_path / "summary.csv", tmp_path / "out"
    code, text, err = run(films, "--every", "0.1", "-o", table, "--summary", summary, "--annotate", out)
    assert (code, text) == (1, "")
    assert "broken.mp4" in err
    assert sorted(path.name for path in out.iterdir()) == ["a-faces.mp4", "empty-faces.mp4"]
    rows = read_csv(summary)
    assert list(rows[0]) == list(TableLayout(EMOTIONS, video=True, summary=True).columns)
    assert [(Path(row["source"]).name, row["face"]) for row in rows] == [
        ("a.mp4", "1"), ("a.mp4", "2"), ("broken.mp4", ""), ("empty.mp4", ""),
    ]  # fmt: skip
    frames = [row for row in read_csv(table) if not row["error"]]
    for row in rows[:2]:
        own = [frame for frame in frames if frame["face"] == row["face"]]
        assert int(row["frames"]) == len(own)
        assert (row["first_s"], row["last_s"]) == (own[0]["time_s"], own[-1]["time_s"])
        for name in EMOTIONS:
            mean = sum(float(frame[name]) for frame in own) / len(own)
            assert float(row[name]) == pytest.approx(mean, abs=2e-6)
            share = sum(frame["emotion"] == name for frame in own) / len(own)
            assert float(row[f"emotion:{name}"]) == pytest.approx(share, abs=1e-6)
        assert row["emotion"] == max(EMOTIONS, key=lambda name: float(row[name]))
        unsure = sum(frame["unsure"] == "True" for frame in own) / len(own)
        assert float(row["unsure"]) == pytest.approx(unsure, abs=1e-6)
        assert (row["video_frames"], row["video_s"], row["error"]) == ("25", "2.4", "")
        in_sight = len({frame["frame"] for frame in frames}) / 25
        assert float(row["video_in_sight"]) == pytest.approx(in_sight)
        assert 0.5 < in_sight < 1
    broken, empty = rows[2:]
    assert "as a video" in broken["error"]
    assert (broken["frames"], broken["video_frames"]) == ("", "")
    assert (empty["frames"], empty["video_frames"], empty["video_in_sight"]) == ("0", "10", "0.0")
    assert (empty["emotion"], empty["happy"], empty["error"]) == ("", "", "")


def face(emotion: str, *probabilities: float, unsure: bool = False, word: float = 0.5) -> Face:
    return Face(
        (0, 0, 9, 9), 1.0, emotion, dict(zip(("happy", "sad"), probabilities)), unsure, {"bored": word}
    )


def test_the_emotion_on_average_and_those_that_lead_are_told_apart():
    timeline = Timeline(0.2, ["happy", "sad"], ["bored"])
    seen = [
        face("happy", 0.55, 0.45, unsure=True, word=0.1),
        face("happy", 0.6, 0.4, word=0.2),
        face("sad", 0.1, 0.9),
    ]
    for i, one in enumerate(seen):
        timeline.add(0.2 * i, [1], [one])
    timeline.add(0.6, [], [])
    (track,) = timeline.tracks()
    assert (track.emotion, track.frames, track.last) == ("sad", 3, 0.4)
    assert track.probabilities == pytest.approx({"happy": 1.25 / 3, "sad": 1.75 / 3})
    assert track.emotions == pytest.approx({"happy": 2 / 3, "sad": 1 / 3})
    assert track.unsure == pytest.approx(1 / 3)
    assert track.words == pytest.approx({"bored": 0.8 / 3})
    assert (timeline.frames, timeline.frames_with_faces) == (4, 3)
    picture = ImageSummary.of(ImageResult("a.jpg", 60, 40, tuple(seen)))
    with pytest.raises(FacelexError, match="ImageSummary, a summary without features"):
        to_frame([picture], embedding=True)
    assert picture.to_rows() == [
        {
            "source": "a.jpg", "faces": 3, "emotion": "sad", "unsure": 0.333333, "happy": 0.416667,
            "sad": 0.583333, "emotion:happy": 0.666667, "emotion:sad": 0.333333, "word:bored": 0.266667,
        }
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet"])
def test_every_format_of_a_summary_holds_the_same(run, films, tmp_path, kind):
    run(films, "--every", "0.5", "--format", "csv", "--summary", tmp_path / "s.csv")
    expected = read_csv(tmp_path / "s.csv")
    target = tmp_path / f"s.{kind}"
    assert run(films, "--every", "0.5", "--format", "csv", "--summary", target)[0] == 1
    if kind == "parquet":
        pytest.importorskip("pyarrow")
        table = pytest.importorskip("pandas").read_parquet(target)
        assert list(table.columns) == list(expected[0])
        assert table["unsure"].tolist()[:2] == [float(row["unsure"]) for row in expected[:2]]
        assert table["happy"].tolist()[:2] == [float(row["happy"]) for row in expected[:2]]
        assert table["face"].isna().tolist() == [False, False, True, True]
        return
    text = target.read_text()
    films_told = json.loads(text) if kind == "json" else [json.loads(line) for line in text.splitlines()]
    whole, broken, empty = films_told
    assert list(broken) == ["source", "error"]
    assert (empty["tracks"], empty["frames"], empty["in_sight"]) == ([], 2, 0.0)
    assert [str(track["id"]) for track in whole["tracks"]] == ["1", "2"]
    for track, row in zip(whole["tracks"], expected[:2], strict=True):
        assert track["probabilities"] == {name: float(row[name]) for name in EMOTIONS}
        assert track["emotions"] == {name: float(row[f"emotion:{name}"]) for name in EMOTIONS}
        assert (track["emotion"], track["unsure"]) == (row["emotion"], float(row["unsure"]))


def test_a_table_for_people_and_a_summary_go_together(run, films, tmp_path):
    code, out, _ = run(films / "a.mp4", "--every", "0.5", "--summary", tmp_path / "s.csv")
    assert code == 0
    assert "5 frames analysed over 2.0 s, 2 faces, somebody in sight in 80% of them" in out
    assert [row["face"] for row in read_csv(tmp_path / "s.csv")] == ["1", "2"]


def test_ctrl_c_keeps_the_summary_of_what_was_done(run, films, tmp_path, squares, monkeypatch):
    (films / "broken.mp4").unlink()
    detect = squares.detect

    def interrupted(image):
        if squares.frames == 8:  # five frames of the first film, three of the second
            raise KeyboardInterrupt
        return detect(image)

    monkeypatch.setattr(squares, "detect", interrupted)
    write_video(films / "z.mp4", lambda time: [(5, 5)], seconds=1)
    code, _, err = run(films, "--every", "0.5", "--format", "csv", "--summary", tmp_path / "s.csv")
    assert code == 130
    assert "what was done is kept" in err
    rows = read_csv(tmp_path / "s.csv")
    told = [(Path(row["source"]).name, row["interrupted"], row["video_frames"]) for row in rows]
    assert told == [("a.mp4", "False", "5")] * 2 + [("empty.mp4", "False", "2"), ("z.mp4", "True", "1")]


def test_a_summary_that_comes_to_nothing_replaces_nothing(run, films, tmp_path, squares, monkeypatch):
    summary = tmp_path / "s.csv"
    summary.write_text("old")
    assert run(films / "broken.mp4", "--summary", summary)[0] == 2

    def fault(image):
        raise RuntimeError("ours")

    monkeypatch.setattr(squares, "detect", fault)
    assert run(films / "a.mp4", "--summary", summary)[0] != 0
    assert summary.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["films", "s.csv"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--summary", "s.txt"], "Expected a file for the summary named .csv, .json, .jsonl, .parquet"),
        (["-o", "s.csv", "--summary", "./s.csv"], "Expected a file of its own for the summary"),
        (["--summary", "none/s.csv"], "there is no folder 'none'"),
        (["--summary", "folder.csv"], "is a folder"),
    ],
)
@pytest.mark.parametrize("source", ["films/a.mp4", "photo.png"])
def test_a_summary_without_a_place_is_refused_first(
    run, films, tmp_path, squares, monkeypatch, options, message, source
):
    monkeypatch.chdir(tmp_path)
    Path("folder.csv").mkdir()
    Image.fromarray(draw([(5, 5)])).save("photo.png")
    before = sorted(tmp_path.iterdir())
    code, out, err = run(source, *options)
    assert (code, out, squares.frames) == (2, "", 0)
    assert message in " ".join(err.split())
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_photos_have_a_row_each_in_a_summary(run, tmp_path, kind):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, corners in (("both.png", [(5, 20), (80, 40)]), ("nobody.png", [])):
        Image.fromarray(draw(corners)).save(photos / name)
    (photos / "broken.png").write_bytes(b"no picture")
    table, summary = tmp_path / "out" / "faces.csv", tmp_path / "out" / f"s.{kind}"
    code, _, _ = run(photos, "-o", table, "--summary", summary, "--annotate", tmp_path / "out")
    assert code == 1
    found = [row for row in read_csv(table) if not row["error"]]
    assert len(found) == 2
    means = {name: np.mean([float(row[name]) for row in found]) for name in EMOTIONS}
    if kind == "json":
        both, broken, nobody = json.loads(summary.read_text())
        assert (both["faces"], both["width"], both["height"]) == (2, 128, 96)
        assert both["probabilities"] == pytest.approx(means, abs=2e-6)
        assert list(broken) == ["source", "error"]
        assert (nobody["faces"], "emotion" in nobody) == (0, False)
        return
    both, broken, nobody = rows = read_csv(summary)
    assert list(both) == list(TableLayout(EMOTIONS, summary=True).columns)
    assert [row["faces"] for row in rows] == ["2", "", "0"]
    assert {name: float(both[name]) for name in EMOTIONS} == pytest.approx(means, abs=2e-6)
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert nobody["happy"] == ""


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
@pytest.mark.parametrize("source", ["films", "photo.png"])
def test_landmarks_and_features_stand_in_the_rows_and_a_summary_is_the_same_without(
    tiny_model, squares, monkeypatch, films, tmp_path, kind, source
):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(faces_module, "create_detector", lambda name, model=None, **_: squares)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(draw([(5, 20), (80, 40)])).save("photo.png")
    told = []
    for asked in ([], ["--landmarks", "--embedding"]):
        arguments = [source, "-o", "faces.csv", "--summary", f"s.{kind}", "--model", str(tiny_model), *asked]
        assert main(["predict", *arguments]) == int(source == "films")  # of which one is broken
        told.append(Path(f"s.{kind}").read_bytes())
        assert {"right_eye_x", "embedding:0"} & set(read_csv(Path("faces.csv"))[0]) == (
            {"right_eye_x", "embedding:0"} if asked else set()
        )
    assert told[0] == told[1]


def test_words_are_averaged_and_a_data_frame_takes_summaries(tiny_model, squares, films, tmp_path):
    pandas = pytest.importorskip("pandas")
    finder = Recognizer(tiny_model, detector=squares, threads=1, vocabulary=TinyVocabulary())  # type: ignore[arg-type]
    options = {"every": 0.5, "words": "proud, bored"}
    results = [predict_video(films / name, finder, **options) for name in ("a.mp4", "empty.mp4")]
    predict_video(films / "a.mp4", finder, **options, table=tmp_path / "t.csv")
    frame = to_frame(results)
    layout = finder.table_layout("proud, bored", video=True)
    assert frame.columns.tolist() == list(replace(layout, summary=True).columns)
    means = pandas.read_csv(tmp_path / "t.csv").groupby("face")["word:bored"].mean()
    assert frame["word:bored"].tolist()[:2] == pytest.approx(means.tolist(), abs=2e-6)
    assert frame["frames"].tolist() == [3, 2, 0]
    with pytest.raises(FacelexError, match="got a VideoResult, a summary without features"):
        to_frame(results, embedding=True)
    with open_summary(tmp_path / "s.csv", layout) as writer:
        for result in results:
            writer.write(result)
    written = pandas.read_csv(tmp_path / "s.csv")
    assert written.pop("error").isna().all()
    assert frame.pop("error").isna().all()
    pandas.testing.assert_frame_equal(written, frame, check_dtype=False)
