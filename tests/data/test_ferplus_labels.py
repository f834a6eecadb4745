"""FER2013's faces with the labels of FER+'s majority."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_fer2013 import FERPLUS_HEADER, faces, official_csv, rows, write

from facelex.cli.main import run
from facelex.data.dataset import FaceDataset
from facelex.data.options import AUTO, ReadOptions
from facelex.data.prepare import Prepared, prepare
from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError

VOTES = (  # neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF
    "6,0,0,4,0,0,0,0,0,0",  # more than half
    "5,0,0,5,0,0,0,0,0,0",  # half
    "4,1,1,1,1,1,1,0,0,0",  # single votes are dropped
    "4,0,0,3,0,3,0,0,0,0",  # the most, but not half
    "2,0,0,0,0,0,0,8,0,0",  # contempt
    "2,0,0,0,0,0,0,0,8,0",  # unknown
    "0,0,0,0,0,0,0,0,0,10",  # no face
    "0,0,9,0,0,0,1,0,0,0",
)
"""Of the eight rows of `official`, and what FER+'s rule makes of them."""


@pytest.fixture
def official(tmp_path: Path) -> Path:
    return write(tmp_path / "fer2013.csv", official_csv(len(VOTES)))


@pytest.fixture
def ferplus(tmp_path: Path) -> Path:
    usages = [usage for _, _, usage in rows(len(VOTES))]
    lines = [f"{usage},x.png,{votes}\n" for usage, votes in zip(usages, VOTES)]
    return write(tmp_path / "fer2013new.csv", FERPLUS_HEADER + "\n" + "".join(lines))


def relabelled(official: Path, ferplus: Path, classes: tuple[str, ...] | None = None) -> Prepared:
    options = ReadOptions(ferplus=ferplus, ferplus_labels=True, classes=classes)
    return prepare(official, official.with_name("out.npz"), options)


def test_the_label_is_what_more_than_half_say_once_single_votes_are_dropped(
    official: Path, ferplus: Path
) -> None:
    prepared = relabelled(official, ferplus)
    dataset = prepared.dataset
    assert [dataset.class_names[label] for label in dataset.labels] == ["neutral", "neutral", "surprise"]
    assert dataset.class_names == EMOTIONS
    kept = [0, 2, 7]
    np.testing.assert_array_equal(dataset.pixels, faces(len(VOTES))[kept])
    assert dataset.splits.tolist() == [0, 0, 0]
    assert dataset.votes is not None
    assert dataset.votes.counts[:, 0].tolist() == [6, 4, 0]
    assert list(prepared.notes[-2:]) == [
        "The label is what the majority of FER+'s taggers says, not FER2013's.",
        "Left out: 4 without a majority for an emotion, 1 mostly for contempt.",
    ]


def test_contempt_may_be_an_eighth_class(official: Path, ferplus: Path) -> None:
    dataset = relabelled(official, ferplus, AUTO).dataset
    assert dataset.class_names == (*EMOTIONS, "contempt")
    assert dataset.labels.tolist() == [6, 6, 7, 5]
    assert dataset.splits.tolist() == [0, 0, 1, 0]


def test_faces_of_classes_that_are_not_asked_for_are_left_out_by_name(official: Path, ferplus: Path) -> None:
    prepared = relabelled(official, ferplus, ("anger", "calm"))
    assert prepared.dataset.labels.tolist() == [1, 1]
    assert prepared.notes[-1].endswith("1 mostly for surprise, 1 mostly for contempt.")
    with pytest.raises(FacelexError, match=r"majority for any of fear, but no picture of .* contempt"):
        relabelled(official, ferplus, ("fear",))


def test_a_class_that_ferplus_does_not_have_is_refused_with_the_nearest(
    official: Path, ferplus: Path
) -> None:
    with pytest.raises(FacelexError, match=r"'hapy'.*Did you mean 'happy'"):
        relabelled(official, ferplus, ("angry", "hapy"))


def test_by_default_they_take_no_other_labels_place(
    official: Path, ferplus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(official.parent)
    assert run(["data", "prepare", str(official), "--ferplus", str(ferplus)]) == 0
    assert run(["data", "prepare", str(official), "--ferplus", str(ferplus), "--ferplus-labels"]) == 0
    assert len(FaceDataset.load(Path("data/fer2013.npz"))) == len(VOTES)
    assert len(FaceDataset.load(Path("data/ferplus.npz"))) == 3


def test_the_same_file_with_and_without_its_labels_are_two_datasets(official: Path, ferplus: Path) -> None:
    output = official.with_name("out.npz")
    assert not relabelled(official, ferplus).reused
    assert relabelled(official, ferplus).reused
    plain = prepare(official, output, ReadOptions(ferplus=ferplus))
    assert not plain.reused
    assert len(plain.dataset) == len(VOTES)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ferplus-labels"], "give fer2013new.csv with --ferplus"),
        (["--classes", "auto"], "--classes is only for those of FER+"),
        (["--ferplus-labels", "--votes", "angry"], "--votes is for a CSV that lists images"),
    ],
)
def test_options_that_lack_something_are_explained(
    options: list[str], said: str, official: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = official.with_name("out.npz")
    assert run(["data", "prepare", str(official), "-o", str(output), *options]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not output.exists()


def test_folders_have_no_rows_that_votes_could_belong_to(
    official: Path, ferplus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = official.parent / "faces" / "happy"
    folder.mkdir(parents=True)
    shutil.copy(official, folder / "notes.txt")
    command = ["data", "prepare", str(folder.parent), "--ferplus", str(ferplus), "--ferplus-labels"]
    assert run(command) == 2
    assert "is for FER2013's CSV" in " ".join(capsys.readouterr().err.split())
