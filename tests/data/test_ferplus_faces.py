"""The dataset with other labels that fine-tuning is tried on."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from facelex.data.dataset import FaceDataset
from facelex.data.votes import Votes
from facelex.emotions import EMOTIONS, FERPLUS_COLUMNS


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "ferplus_faces.py"
    spec = importlib.util.spec_from_file_location("ferplus_faces", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def voted() -> FaceDataset:
    """3,400 PublicTest faces: three of four taken clearly for happiness, sadness or (few) contempt."""
    random = np.random.default_rng(0)
    votes = np.zeros((3500, 10), np.uint8)
    column = random.choice([1, 3, 7], 3500, p=[0.6, 0.395, 0.005])
    votes[np.arange(3500), column] = np.where(random.random(3500) < 0.75, 8, 5)
    votes[:, 0] = 2
    votes[:, 9] = 10 - votes.sum(1)
    pixels = np.arange(3500, dtype=np.uint32).view(np.uint8).reshape(3500, 4)
    return FaceDataset.create(
        np.repeat(pixels, 16, 1).reshape(3500, 8, 8), np.zeros(3500, np.int64),
        np.r_[np.zeros(100), np.ones(3400)].astype(np.uint8), EMOTIONS, "drawn", Votes(votes),
    )  # fmt: skip


def test_labels_are_clear_majorities_and_rare_classes_are_left_out(
    tool: ModuleType, voted: FaceDataset
) -> None:
    made = tool.relabel(voted, 200)
    assert made.class_names == ("happiness", "sadness")
    source = {pixels.tobytes(): row for row, pixels in enumerate(voted.pixels)}
    for pixels, label in zip(made.pixels, made.labels):
        row = source[pixels.tobytes()]
        assert voted.splits[row] == 1
        assert voted.votes is not None
        assert voted.votes.counts[row, FERPLUS_COLUMNS.index(made.class_names[label])] == 8


def test_validation_and_test_are_the_same_for_every_number_of_training_faces(
    tool: ModuleType, voted: FaceDataset
) -> None:
    few, many = tool.relabel(voted, 10), tool.relabel(voted, 1000)
    assert [len(made.indices("train")) for made in (few, many)] == [10, 1000]
    assert len(few.indices("val")) == 500
    for split in ("val", "test"):
        ours, theirs = (made.pixels[made.indices(split)] for made in (few, many))
        np.testing.assert_array_equal(ours, theirs)
    assert {p.tobytes() for p in few.pixels[few.indices("train")]} <= {
        p.tobytes() for p in many.pixels[many.indices("train")]
    }
