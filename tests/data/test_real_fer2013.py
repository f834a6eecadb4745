"""Facts of the real FER2013; skipped where ``data/fer2013.npz`` has not been prepared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facelex.data import FaceDataset
from facelex.data.ferplus import ferplus_majority
from facelex.data.info import describe
from facelex.emotions import EMOTIONS, FERPLUS_COLUMNS

PREPARED = Path(__file__).parents[2] / "data" / "fer2013.npz"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not PREPARED.exists(), reason="needs the real FER2013 in data/fer2013.npz"),
]


@pytest.fixture(scope="module")
def fer2013() -> FaceDataset:
    return FaceDataset.load(PREPARED)


def test_splits_have_the_official_sizes(fer2013: FaceDataset) -> None:
    assert [len(fer2013.indices(split)) for split in ("train", "val", "test")] == [28_709, 3_589, 3_589]
    assert fer2013.class_names == EMOTIONS


def test_288_test_images_have_a_copy_in_train(fer2013: FaceDataset) -> None:
    assert int(fer2013.seen_in("test").sum()) == 288


def test_blank_images_are_twelve_two_and_none(fer2013: FaceDataset) -> None:
    assert describe(fer2013).blank == {"train": 12, "val": 2, "test": 0}


def test_58_pictures_carry_conflicting_labels(fer2013: FaceDataset) -> None:
    assert describe(fer2013).conflicting_groups == 58


def test_votes_agree_with_the_labels_far_above_chance(fer2013: FaceDataset) -> None:
    if fer2013.votes is None:
        pytest.skip("prepared without --ferplus")
    names = {"happiness": "happy", "sadness": "sad", "anger": "angry"}
    columns = [FERPLUS_COLUMNS.index(n) for e in EMOTIONS for n in FERPLUS_COLUMNS if names.get(n, n) == e]
    agreement = np.mean(fer2013.votes.counts[:, columns].argmax(axis=1) == fer2013.labels)
    assert 0.55 < agreement < 0.75  # joined by the wrong rows it would be near 0.2


def test_ferplus_has_a_majority_for_nearly_nine_faces_in_ten(fer2013: FaceDataset) -> None:
    assert fer2013.votes is not None
    decided = ferplus_majority(fer2013.votes.counts) >= 0
    assert [int(decided[fer2013.indices(split)].sum()) for split in ("train", "val", "test")] == [
        25_060, 3_199, 3_153,
    ]  # fmt: skip
