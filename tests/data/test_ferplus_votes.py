from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_fer2013 import ferplus_csv, write
from hypothesis import given
from hypothesis import strategies as st

from facelex.data.ferplus import read_votes
from facelex.data.votes import Votes
from facelex.emotions import EMOTIONS, FERPLUS_COLUMNS
from facelex.errors import FacelexError

SPLITS = np.array([0, 0, 0, 0, 1, 2] * 2 + [0, 0], np.uint8)


def test_votes_are_kept_as_given_in_column_order(tmp_path: Path) -> None:
    votes = read_votes(write(tmp_path / "fer2013new.csv", ferplus_csv()), SPLITS)
    assert (votes.counts.shape, votes.of_ferplus) == ((14, 10), True)
    assert votes.counts[3].tolist() == [3, 0, 0, 1, 3, 2, 0, 0, 1, 0]


def test_columns_are_found_by_name_not_by_place(tmp_path: Path) -> None:
    lines = [line.split(",") for line in ferplus_csv().splitlines()]
    turned = "\n".join(",".join(reversed(line)) for line in lines)
    votes = read_votes(write(tmp_path / "votes.csv", turned), SPLITS)
    assert votes.counts[3].tolist() == [3, 0, 0, 1, 3, 2, 0, 0, 1, 0]


def test_missing_vote_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "votes.csv", ferplus_csv().replace("contempt", "scorn"))
    with pytest.raises(FacelexError, match="no column 'contempt'"):
        read_votes(path, SPLITS)


@pytest.mark.parametrize(
    ("old", "new"),
    [(",1,3,2,", ",1,x,2,"), (",1,3,2,", ",1,-3,2,"), (",1,3,2,", ",1,300,2,"), (",1,3,2,", ",1,3,"),
     ("Training,fer", "Practice,fer"), (",1,3,2,", f",1,{'9' * 5000},2,")],
)  # fmt: skip
def test_wrong_vote_row_is_named(tmp_path: Path, old: str, new: str) -> None:
    lines = ferplus_csv().splitlines()
    lines[4] = lines[4].replace(old, new)
    with pytest.raises(FacelexError, match=r"row 4: expected a Usage of .* and ten whole numbers"):
        read_votes(write(tmp_path / "votes.csv", "\n".join(lines)), SPLITS)


@pytest.mark.parametrize(("line", "place"), [(0, "line 1"), (4, "line 5")])
def test_votes_that_cannot_be_parted_into_fields_are_refused_with_the_line(
    tmp_path: Path, line: int, place: str
) -> None:
    lines = ferplus_csv().splitlines()
    lines[line] = "x" * 140_000  # longer than the csv module takes
    with pytest.raises(FacelexError, match=rf"votes.csv, {place}: field larger than .*fer2013new.csv"):
        read_votes(write(tmp_path / "votes.csv", "\n".join(lines)), SPLITS)


def test_votes_for_another_number_of_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FacelexError, match="13 rows of votes, but the FER2013 file has 14"):
        read_votes(write(tmp_path / "votes.csv", ferplus_csv(13)), SPLITS)


def test_votes_in_another_order_are_refused_with_the_row(tmp_path: Path) -> None:
    swapped = SPLITS.copy()
    swapped[[4, 5]] = swapped[[5, 4]]
    with pytest.raises(FacelexError, match=r"row 5: its Usage means val, but the same row .* is in test"):
        read_votes(write(tmp_path / "votes.csv", ferplus_csv()), swapped)


@given(st.lists(st.lists(st.integers(0, 10), min_size=10, max_size=10), min_size=1, max_size=8))
def test_shares_are_a_distribution_that_follows_the_votes(rows: list[list[int]]) -> None:
    shares = Votes(np.array(rows)).shares(EMOTIONS)
    assert shares.shape == (len(rows), 7)
    assert np.allclose(shares.sum(axis=1), 1)
    names = {"angry": "anger", "happy": "happiness", "sad": "sadness"}
    for row, share in zip(rows, shares):
        counted = [row[FERPLUS_COLUMNS.index(names.get(name, name))] for name in EMOTIONS]
        total = sum(counted)
        assert np.allclose(share, [count / total for count in counted] if total else [1 / 7] * 7)


def test_contempt_counts_where_it_is_a_class_and_is_left_out_elsewhere() -> None:
    votes = np.zeros((1, 10), np.uint8)
    votes[0, FERPLUS_COLUMNS.index("contempt")] = 6
    votes[0, FERPLUS_COLUMNS.index("anger")] = 2
    votes[0, FERPLUS_COLUMNS.index("NF")] = 2
    assert Votes(votes).shares(EMOTIONS)[0].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert Votes(votes).shares((*EMOTIONS, "contempt"))[0].tolist() == [0.25, 0, 0, 0, 0, 0, 0, 0.75]


def test_votes_go_to_the_class_that_is_named_so_before_another_spelling() -> None:
    votes = np.zeros((1, 10), np.uint8)
    votes[0, FERPLUS_COLUMNS.index("neutral")] = 3
    votes[0, FERPLUS_COLUMNS.index("happiness")] = 1
    assert Votes(votes).shares(("calm", "joy", "neutral"))[0].tolist() == [0, 0.25, 0.75]


def test_classes_without_any_votes_are_refused() -> None:
    with pytest.raises(FacelexError, match="votes on any of bored, proud, but they are on neutral,"):
        Votes(np.zeros((1, 10))).shares(("bored", "proud"))


@pytest.mark.parametrize(
    "counts", [[[1, -1]], [[1, np.nan]], [1, 2], [[1, 2, 3]], [["1", "2"]], [[1j, 2]], [[1e300, 1]]]
)
def test_votes_that_cannot_be_are_refused(counts: list) -> None:
    with pytest.raises(ValueError, match="expected votes"):
        Votes(np.array(counts), ("happy", "sad"))


def test_votes_for_names_that_are_one_class_are_added_up() -> None:
    votes = Votes(np.array([[1, 2, 4, 8]]), ("joy", "Happiness", "bored", "sad"))
    assert votes.on(("sad", "happy")).tolist() == [[8, 3]]
    assert votes.renamed({"Bored": "sad", "joy": "ignore"}).on(("sad", "happy")).tolist() == [[12, 2]]


def test_votes_keep_their_numbers() -> None:
    for counts, dtype in (([[255, 1]], np.uint8), ([[256, 1]], np.float32), ([[0.5, 1]], np.float32)):
        votes = Votes(np.array(counts), ("happy", "sad"))
        assert (votes.counts.tolist(), votes.counts.dtype) == (counts, dtype)
