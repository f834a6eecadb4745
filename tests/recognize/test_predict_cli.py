"""``facelex predict``: exit codes, formats, files, and inputs that fail."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_recognition import EMBED, FixedDetector

from facelex import Recognizer
from facelex.cli.main import main
from facelex.recognize import faces


@pytest.fixture(autouse=True)
def two_faces(monkeypatch):
    """Every picture has two faces, whichever detector is asked for."""
    detector = FixedDetector((0.1, 0.2, 0.3, 0.4), (0.5, 0.3, 0.3, 0.5))
    monkeypatch.setattr(faces, "create_detector", lambda name, model=None, **_: detector)


@pytest.fixture
def run(wordless_model, capsys):
    """Run ``predict`` with the tiny model; returns exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main(["predict", *map(str, arguments), "--model", str(wordless_model)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def photos(tmp_path, photo, save_picture) -> Path:
    """Two pictures of one name, one JPEG and a broken file."""
    for name in ("in/a.png", "in/sub/a.png", "in/b.jpg"):
        save_picture(photo, name)
    (tmp_path / "in" / "broken.png").write_bytes((tmp_path / "in" / "a.png").read_bytes()[:500])
    return tmp_path / "in"


def test_a_large_photo_brings_no_warning_of_pillow(run, photos, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 120 * 90 - 1)
    assert run(photos / "a.png", "--format", "json")[0] == 0
    assert [str(one.message) for one in recwarn] == []


def test_json_of_a_good_picture_is_the_whole_of_stdout(run, photos):
    code, out, err = run(photos / "a.png", "--format", "json")
    assert (code, err) == (0, "")
    (image,) = json.loads(out)
    assert (image["source"], image["width"], image["height"]) == (str(photos / "a.png"), 120, 90)
    assert [face["box"] for face in image["faces"]] == [[12, 18, 36, 36], [60, 27, 36, 45]]


def test_a_broken_file_is_reported_and_the_rest_processed(run, photos):
    code, out, err = run(photos, "--format", "json")
    assert code == 1
    results = {Path(item["source"]).name: item for item in json.loads(out)}
    assert list(results) == ["a.png", "b.jpg", "broken.png"]
    assert set(results["broken.png"]) == {"source", "error"}
    assert len(results["b.jpg"]["faces"]) == 2
    assert "broken.png" in err


def test_a_missing_file_among_good_ones_is_a_failed_input_alone_a_mistake(run, photos):
    code, out, _ = run(photos / "gone.png", photos / "a.png", "--format", "json")
    assert code == 1
    assert "No such file" in json.loads(out)[0]["error"]
    code, out, err = run(photos / "gone.png", "--format", "json")
    assert (code, out) == (2, "")
    assert "No such file" in err


def test_a_data_url_is_read_alone_as_well(run, photos):
    url = f"data:image/png;base64,{base64.b64encode((photos / 'a.png').read_bytes()).decode()}"
    for inputs in ((url,), (url, photos / "a.png")):
        code, out, err = run(*inputs, "--format", "json")
        assert (code, err) == (0, "")
        assert [item["source"] for item in json.loads(out)] == ["data URL 0", *map(str, inputs[1:])]
    code, _, err = run(f"data:image/png;hex,{'0' * 9999}")
    assert code == 1
    assert len(run(photos / "gone.png", "x" * 9999)[2]) < 1000


def test_a_folder_that_may_not_be_read_is_a_failed_input_alone_a_mistake(run, photos, lock):
    (photos / "broken.png").unlink()
    lock(photos / "sub")
    said = f"Could not open {str(photos / 'sub')!r}: Permission denied"
    for inputs in ((photos, "-r"), (photos / "sub", photos), (photos / "sub", photos / "a.png")):
        code, out, err = run(*inputs, "--format", "json")
        assert code == 1
        assert {Path(item["source"]).name for item in json.loads(out)} >= {"a.png", "sub"}
        assert said in err
    for folder in (photos / "sub", photos / "su?"):
        code, out, err = run(folder, "--format", "json")
        assert (code, out) == (2, "")
        assert "Permission denied" in err


def test_no_detect_takes_each_picture_as_one_face(run, photos, monkeypatch):
    asked = []
    create = faces.create_detector
    monkeypatch.setattr(
        faces, "create_detector", lambda name, model=None, **_: asked.append(name) or create(name, model)
    )
    code, out, _ = run(photos / "a.png", "--no-detect", "--format", "json")
    assert code == 0
    assert [face["box"] for face in json.loads(out)[0]["faces"]] == [[0, 0, 120, 90]]
    assert asked == ["none"]


def test_no_faces_still_give_valid_json(run, photos, monkeypatch):
    monkeypatch.setattr(faces, "create_detector", lambda name, model=None, **_: FixedDetector())
    code, out, _ = run(photos / "a.png", "--format", "json")
    assert code == 0
    assert json.loads(out)[0]["faces"] == []


def test_table_is_the_default(run, photos):
    code, out, _ = run(photos)
    assert code == 1
    assert "a.png" in out
    assert "damaged" in out


def test_the_outputs_suffix_names_the_format(run, photos, tmp_path):
    target = tmp_path / "faces.csv"
    code, out, _ = run(photos, "-r", "-o", target)
    assert (code, out) == (1, "")
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert [Path(row["source"]).name for row in rows] == ["a.png"] * 2 + ["b.jpg"] * 2 + ["broken.png"] + [
        "a.png"
    ] * 2
    run(photos, "-o", tmp_path / "faces.json")
    assert len(json.loads((tmp_path / "faces.json").read_text())) == 3
    run(photos, "-o", tmp_path / "faces.txt", "--format", "csv")
    assert (tmp_path / "faces.txt").read_text().startswith("source,face")


def test_an_output_whose_suffix_names_no_format_is_refused_unless_one_is_given(run, photos, tmp_path):
    code, _, err = run(photos / "a.png", "-o", tmp_path / "faces.xlsx")
    assert code == 2
    assert "named .json, .jsonl, .csv, .parquet or .txt, but got" in " ".join(err.split())
    assert not (tmp_path / "faces.xlsx").exists()
    assert run(photos / "a.png", "-o", tmp_path / "faces.tsv", "--format", "csv")[0] == 0
    assert run(photos / "a.png", "-o", tmp_path / "faces.txt")[0] == 0
    assert "emotion" in (tmp_path / "faces.txt").read_text()


def test_parquet_goes_to_a_file_only(run, photos, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run(photos, "-o", tmp_path / "faces.parquet")[0] == 1
    assert parquet.read_table(tmp_path / "faces.parquet").num_rows == 5
    code, _, err = run(photos, "--format", "parquet")
    assert code == 2
    assert "--output" in err


def test_annotated_pictures_of_one_name_do_not_replace_each_other(run, photos, tmp_path):
    before = {path: path.read_bytes() for path in photos.rglob("*.*")}
    code, _, _ = run(photos, "-r", "--annotate", photos)
    assert code == 1
    new = sorted(path.name for path in photos.iterdir() if path.is_file() and path not in before)
    assert new == ["a-faces-2.png", "a-faces.png", "b-faces.jpg"]
    assert {path: path.read_bytes() for path in before} == before
    # the annotated files are inputs of a second run, and stay as they are
    first = (photos / "a-faces.png").read_bytes()
    run(photos, "--annotate", photos)
    assert (photos / "a-faces.png").read_bytes() == first


def test_results_may_go_into_the_folder_that_annotating_makes(run, photos, tmp_path):
    out = tmp_path / "out"
    assert run(photos / "a.png", "--annotate", out, "-o", out / "faces.csv")[0] == 0
    assert sorted(path.name for path in out.iterdir()) == ["a-faces.png", "faces.csv"]


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "parquet", "table"])
def test_what_was_read_before_ctrl_c_is_kept(run, photos, tmp_path, monkeypatch, kind):
    """The second picture is where the user's patience ends; nothing read replaces no file."""
    if kind == "parquet":
        pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
    predict_many = Recognizer.predict_many

    def interrupted(self, *args, **kwargs):
        for number, result in enumerate(predict_many(self, *args, **kwargs)):
            if number == read:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(Recognizer, "predict_many", interrupted)
    target = tmp_path / "faces"
    target.write_text("old")
    read = 0
    assert run(photos / "a.png", photos / "b.jpg", "-o", target, "--format", kind)[0] == 130
    assert target.read_text() == "old"
    read = 1
    code, _, err = run(photos / "a.png", photos / "b.jpg", "-o", target, "--format", kind)
    assert code == 130
    assert "stopped after 1 of 2 pictures; what was done is kept." in err
    if kind == "json":
        assert [row["source"] for row in json.loads(target.read_text())] == [str(photos / "a.png")]
    elif kind == "parquet":
        assert sys.modules["pandas"].read_parquet(target)["source"].nunique() == 1
    else:
        assert "a.png" in target.read_text()
        assert "b.jpg" not in target.read_text()


def test_redact_hides_the_faces_in_what_is_written(run, tmp_path, save_picture):
    noise = np.random.default_rng(5).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    picture = save_picture(noise, "noise.png")
    assert run(picture, "--annotate", tmp_path / "out", "--redact", "--redact-style", "pixelate")[0] == 0
    drawn = np.asarray(Image.open(tmp_path / "out" / "noise-faces.png"))
    inside = np.s_[200:300, 100:200]
    assert np.corrcoef(drawn[inside].ravel(), noise[inside].ravel())[0, 1] < 0.2
    code, _, err = run(picture, "--redact")
    assert code == 2
    assert "--annotate" in err


@pytest.mark.parametrize("name", ["in/a.png", "new.jpg", "new.mp4", "in", "none/faces.csv"])
def test_an_output_that_would_harm_or_cannot_be_is_refused(run, photos, tmp_path, name):
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    code, _, err = run(photos, "-o", tmp_path / name)
    assert code == 2
    assert err.startswith("facelex: ")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


@pytest.mark.skipif(os.name != "posix", reason="links, pipes and permissions of POSIX")
def test_an_output_may_be_a_link_or_a_pipe_and_keeps_its_permissions(run, photos, tmp_path):
    target, link, pipe = tmp_path / "target.csv", tmp_path / "link.csv", tmp_path / "pipe.csv"
    target.touch(0o600)
    link.symlink_to(target)
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(pipe.read_text)
        assert run(photos / "a.png", "-o", pipe)[0] == 0
        rows = reader.result(timeout=30)
    assert pipe.is_fifo()
    assert run(photos / "a.png", "-o", link)[0] == 0
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.read_text() == rows != ""


def test_mistakes_exit_with_2_and_one_sentence(run, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments in (
        (),
        (tmp_path / "empty",),
        (photos / "*.tiff",),
        (photos / "a.png", "--words", "happy"),
        (photos / "a.png", "--words", ","),
        (photos / "a.png", "--unsure-below", "7"),
        (photos / "a.png", "--threads", "0"),
        (photos / "a.png", "film.mp4"),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (2, ""), arguments
        assert err.startswith("facelex: "), arguments
        assert "Traceback" not in err


def test_words_are_scored(tiny_model, photos, capsys, monkeypatch):
    from tiny_recognition import TinyVocabulary

    from facelex.vocabulary import Vocabulary

    monkeypatch.setattr(Vocabulary, "packaged", TinyVocabulary)
    words = "bored, barely hidden anger"
    code = main(
        ["predict", str(photos / "a.png"), "--words", words, "--format", "json", "--model", str(tiny_model)]
    )
    face = json.loads(capsys.readouterr().out)[0]["faces"][0]
    assert code == 0
    assert list(face["words"]) == ["bored", "barely hidden anger"]
    assert all(0 <= score <= 1 for score in face["words"].values())
    code = main(["predict", str(photos / "a.png"), "--words", "b0red", "--model", str(tiny_model)])
    assert code == 2
    assert "b0red" in capsys.readouterr().err


def test_the_models_own_word_vectors_are_read_from_a_file(tiny_model, photos, tmp_path, capsys):
    from tiny_recognition import TinyVocabulary

    words = ["bored", "proud"]
    vectors = [TinyVocabulary().phrase(word) for word in words]
    lines = [f"{word} {' '.join(map(str, vector))}\n" for word, vector in zip(words, vectors, strict=True)]
    (tmp_path / "mine.txt").write_text("".join(lines))
    own = ["--no-detect", "--words", "bored, proud", "--format", "json", "--model", str(tiny_model)]
    assert main(["predict", str(photos / "a.png"), *own]) == 2
    assert "--vocabulary FILE" in capsys.readouterr().err
    assert main(["predict", str(photos / "a.png"), *own, "--vocabulary", str(tmp_path / "mine.txt")]) == 0
    scores = json.loads(capsys.readouterr().out)[0]["faces"][0]["words"]
    recognizer = Recognizer(tiny_model, detector="none", vocabulary=TinyVocabulary())
    expected = recognizer.predict(photos / "a.png", words=words, detect=False)[0].words
    assert scores == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "parquet"])
def test_features_are_written_where_they_are_asked_for(kind, tiny_model, photos, tmp_path):
    target = tmp_path / f"faces.{kind}"
    call = [
        "predict",
        str(photos / "a.png"),
        str(photos / "b.jpg"),
        "-o",
        str(target),
        "--model",
        str(tiny_model),
    ]
    assert main([*call, "--embedding"]) == 0
    read = read_features(target)
    expected = [
        face.embedding
        for name in ("a.png", "b.jpg")
        for face in Recognizer(tiny_model, detector=faces.create_detector("any")).predict(photos / name)
    ]
    assert np.shape(read) == (4, EMBED)
    np.testing.assert_allclose(read, expected, atol=1e-6)
    assert main(call) == 0
    assert read_features(target) == [[]] * 4


def read_features(path: Path) -> list[list[float]]:
    """Return what a file holds of each face's features."""
    if path.suffix in (".csv", ".parquet"):
        pd = pytest.importorskip("pandas")
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        return table.filter(like="embedding:").to_numpy().tolist()
    text = path.read_text()
    pictures = (
        json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    )
    return [face.get("embedding", []) for picture in pictures for face in picture["faces"]]


def test_features_that_nothing_can_hold_are_refused(run, photos, tmp_path):
    code, out, err = run(photos / "a.png", "--embedding")
    assert (code, out) == (2, "")
    assert "got a table" in err
    code, out, err = run(photos / "a.png", "--embedding", "-o", tmp_path / "faces.csv")
    assert (code, out) == (2, "")
    assert "Features need a model trained with words" in err
    assert not (tmp_path / "faces.csv").exists()


def test_flip_and_threshold_reach_the_recogniser(run, photos):
    def probabilities(*options: str) -> list[dict]:
        return json.loads(run(photos / "a.png", "--format", "json", *options)[1])[0]["faces"]

    assert probabilities() != probabilities("--no-flip")
    assert all(face["unsure"] for face in probabilities("--unsure-below", "1.0"))
    assert not any(face["unsure"] for face in probabilities("--unsure-below", "0.0"))
    # the faces of the picture, 120x90, are 36x36 and 36x45 pixels
    small = probabilities("--unsure-below", "0.0", "--readable-from", "40")
    assert [face["unsure"] for face in small] == [True, False]


def test_videos_and_webcams_go_to_the_video_room(run, monkeypatch):
    asked = []

    def predict_videos(sources, recognizer, layout, **options):
        asked.append((*sources, type(recognizer).__name__, layout.words, options["format"]))
        return 0

    monkeypatch.setitem(
        sys.modules, "facelex.cli.predict_video", types.SimpleNamespace(predict_videos=predict_videos)
    )
    assert run("film.MP4", "--format", "csv", "--words", "bored")[0] == 0
    assert run("Webcam:0")[0] == 0
    assert asked == [("film.MP4", "Recognizer", ("bored",), "csv"), ("Webcam:0", "Recognizer", (), "table")]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_job_that_is_told_to_end_keeps_what_was_read(wordless_model, photos, tmp_path):
    target = tmp_path / "faces.csv"
    code = f"""
import os, signal, sys, time
from facelex.cli.main import main
from facelex.recognize.recognizer import Recognizer
predict_many = Recognizer.predict_many
def ended_after_the_first(*args, **options):
    yield next(predict_many(*args, **options))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
Recognizer.predict_many = ended_after_the_first
sys.argv = ["facelex", "predict", {str(photos / "a.png")!r}, {str(photos / "b.jpg")!r}, "--no-detect", "-o",
            {str(target)!r}, "--model", {str(wordless_model)!r}]
main()
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (finished.returncode, len(target.read_text().splitlines())) == (143, 2)
    assert finished.stderr == "facelex: stopped after 1 of 2 pictures; what was done is kept.\n"


def test_a_progress_bar_is_shown_to_a_person_only(run, photos, monkeypatch, photo, save_picture):
    for i in range(6):
        save_picture(photo, f"many/{i}.png")
    many = photos.parent / "many"
    assert run(many, "--format", "json")[2] == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, out, err = run(many, "--format", "json")
    assert code == 0
    assert len(json.loads(out)) == 6
    assert "Reading pictures" in err


@pytest.mark.skipif(os.name == "nt", reason="names on Windows are Unicode")
def test_file_names_that_are_not_unicode_pass_through(run, photos, tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        Path(os.fsdecode(name)).write_bytes((photos / "a.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    code, _, _ = run(os.fsdecode(name), "-o", tmp_path / "x.json")
    assert code == 0
    assert json.loads((tmp_path / "x.json").read_text())[0]["source"] == os.fsdecode(name)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_control_characters_of_a_name_reach_no_screen_but_the_records(run, photos):
    for name, suffix in (("a.png", "good.png"), ("broken.png", "bad.png")):
        (photos / name).rename(photos / f"\x1b[31m{suffix}")
    for format in ((), ("-o", photos.parent / "x.txt"), ("--format", "json")):
        code, out, err = run(photos, *format)
        assert code == 1
        assert "\x1b" not in out + err
    assert "\\x1b[31mgood.png" in (photos.parent / "x.txt").read_text()
    sources = [item["source"] for item in json.loads(out)]
    assert sources[:2] == [str(photos / "\x1b[31mbad.png"), str(photos / "\x1b[31mgood.png")]


def test_a_style_of_covering_without_covering_is_refused(run, photos, tmp_path):
    options = ("--redact-style", "pixelate", "--annotate", tmp_path / "out")
    code, _, err = run(photos / "a.png", *options)
    assert code == 2
    assert "Expected --redact with --redact-style" in err
    assert not (tmp_path / "out").exists()


def test_results_never_replace_what_they_are_made_with(run, wordless_model, photos, tmp_path):
    before = wordless_model.read_bytes()
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("happy 1 0\n")
    for output, options in ((wordless_model, ()), (vectors, ("--vocabulary", vectors))):
        code, _, err = run(photos / "a.png", "--format", "json", "-o", output, *options)
        assert code == 2
        assert "which they are made with. Name another file" in err
    assert wordless_model.read_bytes() == before
    assert vectors.read_text() == "happy 1 0\n"


def test_names_with_emoji_codes_are_shown_as_they_are(run, photos):
    (photos / "a.png").rename(photos / ":smile:.png")
    code, out, _ = run(photos / ":smile:.png")
    assert code == 0
    assert ":smile:.png" in out
    code, _, err = run(photos / ":smile:x.png")
    assert code == 2
    assert ":smile:x.png" in err
