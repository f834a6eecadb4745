from __future__ import annotations

import gzip
import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from fake_fer2013 import faces, ferplus_csv, official_csv, write
from PIL import Image

from facelex.cli.main import main
from facelex.data import FaceDataset, load_dataset
from facelex.data.info import contact_sheet, describe
from facelex.emotions import EMOTIONS


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_prepare_writes_where_fer2013_is_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("fer2013.csv"), official_csv())
    write(Path("votes.csv"), ferplus_csv())
    assert main(["data", "prepare", "fer2013.csv", "--ferplus", "votes.csv"]) == 0
    out = capsys.readouterr()
    assert "data/fer2013.npz written: FaceDataset(10 train, 2 val, 2 test" in out.out
    assert "not the complete FER2013" in out.err
    assert load_dataset("fer2013").votes is not None
    assert main(["data", "prepare", "fer2013.csv", "--ferplus", "votes.csv"]) == 0
    assert "data/fer2013.npz is up to date" in capsys.readouterr().out


def test_a_dataset_that_is_replaced_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("fer2013.csv"), official_csv())
    Path("own/happy").mkdir(parents=True)
    Image.fromarray(faces(1)[0]).save("own/happy/1.png")
    assert main(["data", "prepare", "fer2013.csv"]) == 0
    assert "replaces" not in capsys.readouterr().err
    for source, said in (
        (["own", "-o", "data/fer2013.npz"], "FER2013 from fer2013.csv"),
        (["own", "--seed", "1"], "images of own"),
        (["own", "--seed", "1"], None),
        (["own", "--seed", "1", "--force"], None),
    ):
        assert main(["data", "prepare", *source]) == 0
        notes = [line for line in capsys.readouterr().err.splitlines() if "replaces" in line]
        assert len(notes) == (said is not None)
        assert said is None or notes[0].startswith("Note: data/fer2013.npz replaces a dataset")
        assert said is None or notes[0].endswith(f": {said}.")


@pytest.mark.parametrize("name", ["own", "images", "own faces", "elsewhere/own"])
def test_a_dataset_of_another_source_is_not_replaced_unasked(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("fer2013.csv"), official_csv())
    for folder in (name, "first/own"):
        Path(folder, "happy").mkdir(parents=True)
        Image.fromarray(faces(1)[0]).save(f"{folder}/happy/1.png")
    assert main(["data", "prepare", "fer2013.csv"]) == 0
    before = Path("data/fer2013.npz").read_bytes()
    capsys.readouterr()
    assert main(["data", "prepare", name]) == 2
    advised = shlex.quote(f"data/{Path(name).name}.npz")
    assert capsys.readouterr().err == (
        "facelex: data/fer2013.npz holds a dataset made from another source (FER2013 from fer2013.csv). "
        f"Name another file, such as -o {advised}, or add --force to replace it.\n"
    )
    assert Path("data/fer2013.npz").read_bytes() == before
    assert main(["data", "prepare", name, "-o", "data/own.npz"]) == 0
    assert main(["data", "prepare", name, "--force"]) == 0
    assert main(["data", "prepare", name, "--seed", "1"]) == 0  # of the same source otherwise: that is said
    for other in ("first/own", "fer2013.csv", "fer2013.csv.gz"):
        if other.endswith(".gz"):
            Path(other).write_bytes(gzip.compress(official_csv().encode()))
        assert main(["data", "prepare", other]) == 2
        assert "-o data/fer2013.npz" not in capsys.readouterr().err
    assert load_dataset("fer2013").source.startswith("images")


def test_mistake_gives_one_line_and_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("fer2013.csv"), official_csv().replace("Training", "Practice", 1))
    assert main(["data", "prepare", "fer2013.csv"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("facelex: fer2013.csv, row 1 (line 2): expected a Usage")
    assert error.count("\n") == 1
    assert not Path("data").exists()


@pytest.mark.parametrize("split", ["0.8,0.2", "a,b,c", "0.5,0.5,0.5", "1.2,-0.1,-0.1", "nan,0,1"])
def test_shares_that_are_no_shares_are_refused(split: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("fer2013.csv"), official_csv())
    assert main(["data", "prepare", "fer2013.csv", "--split", split]) == 2
    assert "three shares of train, val and test that sum to 1" in capsys.readouterr().err


def test_own_classes_and_split_reach_the_reader() -> None:
    for number, image in enumerate(faces(10)):
        folder = Path("own", ("bored", "awake")[number % 2])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    command = [
        "data",
        "prepare",
        "own",
        "-o",
        "own.npz",
        "--classes",
        "bored, awake",
        "--split",
        "0.6,0.2,0.2",
    ]
    assert main(command) == 0
    dataset = load_dataset("own.npz")
    assert dataset.class_names == ("bored", "awake")
    assert [len(dataset.indices(split)) for split in ("train", "val", "test")] == [6, 2, 2]


def crossing() -> FaceDataset:
    pixels = faces(6)
    pixels[4], pixels[5], pixels[3] = pixels[0], pixels[3], 7
    labels = np.array([0, 1, 2, 3, 1, 5])  # the copy of face 0 has another label
    splits = np.array([0, 0, 1, 1, 2, 2], np.uint8)
    return FaceDataset.create(pixels, labels, splits, EMOTIONS, "fake")


def test_info_counts_copies_contradictions_and_blanks() -> None:
    found = describe(crossing())
    assert found.counts["train"] == {**dict.fromkeys(EMOTIONS, 0), "angry": 1, "disgust": 1}
    assert found.duplicates["test in train"] == 1
    assert found.duplicates["train in test"] == 1
    assert found.duplicates["val in train"] == found.duplicates["test in val"] == 0
    assert (found.duplicate_groups, found.conflicting_groups) == (1, 1)
    assert found.blank == {"train": 0, "val": 1, "test": 0}


def test_info_prints_json_and_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    crossing().save("faces.npz")
    assert main(["data", "info", "faces.npz", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["duplicates"]["test in train"] == 1
    assert main(["data", "info", "faces.npz"]) == 0
    table = capsys.readouterr().out
    assert "val in train 0; test in train 1; test in val 0" in table
    assert "surprise" in table


def test_names_that_look_like_markup_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    labels, splits = np.arange(4) % 2, np.zeros(4, np.uint8)
    FaceDataset.create(faces(4), labels, splits, ("[red]", "[/x]"), "images of [b]mine").save("faces.npz")
    assert main(["data", "info", "faces.npz"]) == 0
    table = capsys.readouterr().out
    for name in ("[red]", "[/x]", "images of [b]mine"):
        assert name in table


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_control_characters_of_names_are_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    for number, image in enumerate(faces(6)):
        folder = Path("mine\x1b[2J", "train", "\x1b[31mred")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    (folder / "\x1b[7mbad.png").touch()
    command = ["data", "prepare", "mine\x1b[2J", "--classes", "auto", "-o", "mine.npz"]
    assert main(command) == 2
    assert main([*command, "--skip-bad"]) == 0
    assert main(["data", "info", "mine.npz"]) == 0
    printed = "".join(capsys.readouterr())
    assert "\x1b" not in printed
    for name in ("mine\\x1b[2J", "\\x1b[31mred", "\\x1b[7mbad.png"):
        assert name in printed


def test_a_source_named_like_markup_is_named_beside_its_progress_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, for Rich
    write(Path("[red]faces.csv"), official_csv())
    assert main(["data", "prepare", "[red]faces.csv"]) == 0
    assert "Reading [red]faces.csv" in capsys.readouterr().err


def test_info_without_a_dataset_says_what_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info"]) == 2
    assert "There is no dataset at data/fer2013.npz; make it with" in capsys.readouterr().err


def test_contact_sheet_has_a_row_for_each_class() -> None:
    assert main(["data", "info", "sketch:70", "--sheet", "sheet.png"]) == 0
    with Image.open("sheet.png") as sheet:
        assert sheet.size == (90 + 12 * 96, 7 * 96)
        assert sheet.format == "PNG"


def test_contact_sheet_shows_pictures_of_the_class_named() -> None:
    pixels = np.repeat(np.arange(7, dtype=np.uint8) * 30, 3)[:, None, None] * np.ones((48, 48), np.uint8)
    dataset = FaceDataset.create(pixels, np.repeat(np.arange(7), 3), np.zeros(21, np.uint8), EMOTIONS, "flat")
    sheet = np.asarray(contact_sheet(dataset, columns=3))
    for row in range(7):
        assert (sheet[row * 96 : row * 96 + 96, 90:] == row * 30).all()


def test_sketch_writes_the_faces_that_the_name_gives() -> None:
    assert main(["data", "sketch", "-o", "drawn.npz", "--count", "21", "--sheet", "drawn.png"]) == 0
    assert load_dataset("drawn.npz").fingerprint == load_dataset("sketch:21").fingerprint
    assert Path("drawn.png").stat().st_size > 1000


def test_sketch_replaces_nothing_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("fer2013.csv"), official_csv())
    assert main(["data", "prepare", "fer2013.csv", "-o", "data/sketch.npz"]) == 0
    np.savez("predictions.npz", probs=np.eye(7))
    held = {name: Path(name).read_bytes() for name in ("data/sketch.npz", "predictions.npz")}
    for options, fault in (
        ([], "data/sketch.npz holds a dataset made from another source (FER2013 from fer2013.csv)."),
        (["-o", "predictions.npz"], "predictions.npz is no dataset of facelex, and would be lost."),
    ):
        capsys.readouterr()
        assert main(["data", "sketch", "--count", "7", *options]) == 2
        told = capsys.readouterr()
        assert fault in told.err
        assert "or add --force to replace it" in told.err
        assert told.out == ""
    assert {name: Path(name).read_bytes() for name in held} == held
    assert main(["data", "sketch", "--count", "7", "-o", "data/sketch.npz"]) == 0
    replaced = "Note: data/sketch.npz replaces a dataset made from another source"
    told = capsys.readouterr().err
    assert replaced in told
    assert told.rstrip().endswith(": FER2013 from fer2013.csv.")
    for count, noted in (("7", False), ("14", True), ("14", False)):
        assert main(["data", "sketch", "--count", count]) == 0
        assert (replaced in capsys.readouterr().err) == noted
    assert main(["data", "sketch", "--count", "7", "-o", "predictions.npz", "--force"]) == 0
    assert len(load_dataset("predictions.npz")) == 7


def test_download_says_the_next_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("facelex.data.download.download_fer2013", lambda: tmp_path / "with space")
    assert main(["data", "download"]) == 0
    assert f"facelex data prepare '{tmp_path}/with space'" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["info", "sketch:70"], ["sketch", "-o", "drawn.npz", "--count", "21"]])
def test_contact_sheet_of_another_suffix_is_refused_before_the_work(
    command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["data", *command, "--sheet", "sheet.jpg"]) == 2
    captured = capsys.readouterr()
    assert "Expected a file for a contact sheet named .png, but got 'sheet.jpg'" in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_missing_votes_are_noticed_before_the_pictures_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("fer2013.csv"), "not even a header\n")
    assert main(["data", "prepare", "fer2013.csv", "--ferplus", "votse.csv"]) == 2
    assert "There is no file votse.csv" in capsys.readouterr().err
