"""Reading ``.npz`` files that are whole, damaged or something else."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from facelex.data.dataset import FaceDataset, read_signature
from facelex.data.sketch import sketch_dataset
from facelex.errors import FacelexError
from facelex.evaluation.predictions import Predictions
from facelex.npz import read_npz
from facelex.vocabulary.packed import load_packed, save_packed


def ask_for_a_password(path: Path) -> None:
    """Flip one bit in the directory at the end of an archive, in the entry of its first file."""
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] ^= 1
    path.write_bytes(data)


def test_arrays_are_read_by_name_as_far_as_they_are_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.arange(3), two=np.array("text"))
    arrays = read_npz(tmp_path / "a.npz")
    assert list(arrays) == ["one", "two"]
    assert arrays["one"].tolist() == [0, 1, 2]
    assert str(arrays["two"]) == "text"
    assert list(read_npz(tmp_path / "a.npz", ("two", "three"))) == ["two"]


@pytest.mark.filterwarnings("ignore")  # of the format or of an escape in a damaged head
def test_no_flipped_byte_raises_anything_else_than_it_says(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, one=np.arange(3, dtype=np.uint8), two=np.array("text"))
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole)):
        for bits in (1, 128, 255):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :])
            with suppress(OSError, ValueError):
                read_npz(path)
                refused -= 1
            refused += 1
    assert refused > len(whole)  # of three flips a byte


def test_a_missing_file_is_no_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "none.npz")


def test_a_file_that_asks_for_a_password_is_told_of_by_each_that_reads_one(tmp_path: Path) -> None:
    predictions, dataset, vocabulary = (tmp_path / f"{name}.npz" for name in "pdv")
    Predictions(np.ones((2, 1)), np.zeros(2), np.zeros(2, bool), ("happy",)).save(predictions)
    sketch_dataset(7).save(dataset, signature="made")
    save_packed(vocabulary, ["joy", "fear"], np.eye(2), "made", step=0.1)
    for path in (predictions, dataset, vocabulary):
        ask_for_a_password(path)
    with pytest.raises(FacelexError, match=r"a predictions file .*password"):
        Predictions.load(predictions)
    with pytest.raises(FacelexError, match=r"damaged .*password.*facelex data prepare SOURCE"):
        FaceDataset.load(dataset)
    with pytest.raises(FacelexError, match=r"Cannot read the vocabulary v\.npz: .*password"):
        load_packed(vocabulary)
    assert read_signature(dataset) == ""  # so that the dataset is prepared anew
