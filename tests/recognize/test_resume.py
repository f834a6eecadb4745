"""``predict --resume``: an interrupted call and its end make the file that one call makes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from drawn_video import BrightSquares, draw, write_video
from PIL import Image

from facelex.cli.main import main
from facelex.recognize import faces as faces_module
from facelex.recognize.recognizer import Recognizer


@pytest.fixture(autouse=True)
def squares(monkeypatch) -> BrightSquares:
    """The detector of the drawn faces, which counts what it has looked at."""
    detector = BrightSquares()
    monkeypatch.setattr(faces_module, "create_detector", lambda name, model=None, **_: detector)
    return detector


@pytest.fixture
def run(tiny_model, capsys):
    """Run ``predict``; returns exit code and stderr."""

    def call(*arguments: object, model: Path = tiny_model) -> tuple[int, str]:
        code = main(["predict", *map(str, arguments), "--model", str(model)])
        return code, capsys.readouterr().err

    return call


@pytest.fixture
def photos(tmp_path) -> Path:
    """Six pictures, two of one name, one without a face and one that is none."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "nobody.png", "y.png", "sub/a.png")):
        corners = [] if name == "nobody.png" else [(5 + 7 * number, 20), (90, 50)][: 1 + number % 2]
        Image.fromarray(draw(corners)).save(folder / name)
    (folder / "c.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def stop_after(monkeypatch):
    """Let Ctrl-C come after so many pictures of each call; None for never."""
    predict_many = Recognizer.predict_many

    def set_limit(count: int | None) -> None:
        def stopped(self, *args, **kwargs) -> Iterator:
            for number, result in enumerate(predict_many(self, *args, **kwargs)):
                if number == count:
                    raise KeyboardInterrupt
                yield result

        monkeypatch.setattr(Recognizer, "predict_many", stopped)

    return set_limit


def sources(path: Path) -> list[str]:
    """Return the pictures or videos of a file, each once, without folders."""
    if path.suffix == ".csv":
        with path.open(newline="") as stream:
            found = [row["source"] for row in csv.DictReader(stream)]
    else:
        found = [json.loads(line)["source"] for line in path.read_text().splitlines()]
    return [Path(source).name for source in dict.fromkeys(found)]


@pytest.mark.parametrize(
    ("kind", "patience", "known"),
    [("jsonl", 2, (2, 4)), ("csv", 3, (1, 2))],  # in CSV neither the last picture nor that without a face
)
def test_interrupted_calls_end_in_the_file_of_one_call(
    run, photos, tmp_path, stop_after, kind, patience, known
):
    (photos / "c.png").unlink()
    whole, target = tmp_path / f"whole.{kind}", tmp_path / f"faces.{kind}"
    call = (photos, "-r", "--embedding")
    assert run(*call, "-o", whole)[0] == 0
    stop_after(patience)
    told = []
    for _ in range(9):
        code, err = run(*call, "-o", target, "--resume")
        told.append(err.partition(" left")[0])
        if code == 0:
            break
        assert code == 130
    assert target.read_text() == whole.read_text()
    assert told[1:] == [f"facelex: {n} picture{'s' * (n > 1)} taken over, {5 - n}" for n in known]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["photos", whole.name, target.name])


def test_what_is_taken_over_is_not_read_again(run, photos, tmp_path, squares):
    target = tmp_path / "faces.jsonl"
    assert run(photos, "-o", target)[0] == 1
    before, looked = target.read_text(), squares.frames
    code, err = run(photos, "-o", target, "--resume")
    assert (code, squares.frames) == (1, looked)
    assert "4 pictures taken over, 1 left to read" in err
    assert sorted(target.read_text().splitlines()) == sorted(before.splitlines())
    Image.fromarray(draw([(5, 20)])).save(photos / "c.png")  # mended
    assert run(photos, "-o", target, "--resume")[0] == 0
    assert squares.frames == looked + 1
    assert "error" not in target.read_text()
    assert sorted(sources(target)) == ["a.png", "b.png", "c.png", "nobody.png", "y.png"]


def test_rows_of_other_pictures_are_kept(run, photos, tmp_path):
    for suffix in ("csv", "jsonl"):
        target = tmp_path / f"faces.{suffix}"
        assert run(photos / "a.png", photos / "c.png", "-o", target)[0] == 1
        before = target.read_text()
        assert run(photos / "y.png", "-o", target, "--resume")[0] == 0
        assert target.read_text().startswith(before)
        assert sources(target) == ["a.png", "c.png", "y.png"]


def test_an_interruption_before_the_first_new_picture_leaves_the_file(run, photos, tmp_path, stop_after):
    target = tmp_path / "faces.csv"
    assert run(photos / "a.png", photos / "b.png", "-o", target)[0] == 0
    before = target.read_bytes()
    stop_after(0)
    assert run(photos, "-o", target, "--resume")[0] == 130
    assert target.read_bytes() == before


def test_a_line_that_a_killed_process_has_cut_off_is_read_again(run, photos, tmp_path):
    for suffix in ("csv", "jsonl"):
        target = tmp_path / f"faces.{suffix}"
        pictures = (photos / "a.png", photos / "b.png", photos / "y.png")
        assert run(*pictures, "-o", target)[0] == 0
        before = target.read_text()
        target.write_text(before[:-90])
        assert run(*pictures, "-o", target, "--resume")[0] == 0
        assert target.read_text() == before


def test_annotated_copies_keep_their_pictures(run, photos, tmp_path, stop_after):
    once, out, target = tmp_path / "once", tmp_path / "out", tmp_path / "faces.jsonl"
    (photos / "a.png").rename(photos / "z.png")  # so that sub/a.png ...
    (photos / "sub" / "z.png").write_bytes((photos / "y.png").read_bytes())  # ... has a namesake read later
    assert run(photos, "-r", "--annotate", once, "-o", tmp_path / "once.jsonl")[0] == 1
    stop_after(5)
    assert run(photos, "-r", "--annotate", out, "-o", target)[0] == 130
    copies = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert run(photos, "-r", "--annotate", out, "-o", target, "--resume")[0] == 1
    assert {path: path.stat().st_mtime_ns for path in copies} == copies
    assert len(copies) == 4
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in once.iterdir()
    }


@pytest.fixture
def films(tmp_path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for number, name in enumerate("abc"):
        write_video(folder / f"{name}.mp4", lambda time, x=20 * number: [(x, 20)], seconds=1)
    return folder


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_films_are_gone_on_with_at_the_one_that_was_begun(run, films, tmp_path, squares, kind):
    whole, target, call = tmp_path / f"whole.{kind}", tmp_path / f"faces.{kind}", (films, "--every", "0.2")
    assert run(*call, "-o", whole)[0] == 0
    detect = squares.detect

    def stop_at(frame: int) -> None:
        def detect_until(image: np.ndarray) -> list:
            if squares.frames == frame:
                squares.frames += 1
                raise KeyboardInterrupt
            return detect(image)

        squares.frames, squares.detect = 0, detect_until

    stop_at(8)  # the second film, 3 of 5 frames
    assert run(*call, "-o", target)[0] == 130
    begun = target.read_bytes()
    assert len(begun.splitlines()) == 8 + (kind == "csv")
    stop_at(2)  # earlier than before
    assert run(*call, "-o", target, "--resume")[0] == 130
    assert target.read_bytes() == begun
    stop_at(4)  # later: that is worth more
    code, err = run(*call, "-o", target, "--resume")
    assert (code, sources(target)) == (130, ["a.mp4", "b.mp4"])
    assert "1 video taken over, 2 left to read" in err
    assert len(target.read_text().splitlines()) == 9 + (kind == "csv")
    squares.frames, squares.detect = 0, detect
    assert run(*call, "-o", target, "--resume")[0] == 0
    assert target.read_text() == whole.read_text()
    assert squares.frames == 10
    code, err = run(films / "c.mp4", "--every", "0.2", "-o", target, "--resume")  # the last may lack its end
    assert (code, err, target.read_text()) == (0, "", whole.read_text())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}\n", "but its line 1 is something else"),
        ('{"source": "x", "error": "gone"}\n[1]\n{"source": "y", "error": "gone"}\n', "but its line 2 is"),
        (
            '{"source": "x", "width": 9, "height": 9, "time_s": 0.0, "frame": 1, "faces": []}\n',
            "holds time_s",
        ),
    ],
)
def test_a_file_of_something_else_is_refused_and_kept(run, photos, tmp_path, content, message):
    target = tmp_path / "faces.jsonl"
    target.write_text(content)
    code, err = run(photos, "-o", target, "--resume")
    assert (code, target.read_text()) == (2, content)
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_other_columns_are_refused_and_named(run, photos, tmp_path, wordless_model, kind):
    target = tmp_path / f"faces.{kind}"
    assert run(photos / "a.png", "-o", target, model=wordless_model)[0] == 0
    before = target.read_text()
    code, err = run(photos / "a.png", "-o", target, "--embedding", "--resume")
    assert (code, target.read_text()) == (2, before)
    assert "but it lacks embedding:0, embedding:1, embedding:2, .... Give the same words and options" in err


def test_what_cannot_be_gone_on_with_is_refused(run, photos, tmp_path):
    out = tmp_path / "faces.jsonl"
    for arguments, message in (
        ((photos,), "got no --output"),
        ((photos, "-o", tmp_path / "faces.parquet"), "in the format parquet"),
        ((photos, "-o", tmp_path / "faces.json"), "in the format json"),
        ((photos, "-o", out, "--summary", tmp_path / "s.csv"), "--resume without --summary"),
        ((photos, "-o", tmp_path / "f.csv", "--annotate", tmp_path / "out"), "but got a CSV"),
        (("webcam:0", "-o", out), "got 'webcam:0', which is not known again by its name"),
        (("film.mp4", "-o", out, "--timeline", tmp_path / "t.png"), "--resume without --timeline"),
    ):
        code, err = run(*arguments, "--resume")
        assert code == 2, arguments
        assert message in " ".join(err.split()), arguments
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
