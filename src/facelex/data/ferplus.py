"""FER+ votes: ten people's opinions on each FER2013 picture (Barsoum et al. 2016)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelex.data.dataset import SPLITS
from facelex.data.fer2013 import USAGES
from facelex.data.packed import open_csv
from facelex.data.votes import Votes
from facelex.emotions import FERPLUS_COLUMNS
from facelex.errors import FacelexError


def read_votes(path: Path, splits: NDArray[np.uint8]) -> Votes:
    """Read ``fer2013new.csv`` and check that its rows are those of the official FER2013 file.

    The file has no pixels: row i belongs to row i of ``fer2013.csv``. What can be checked is the number of
    rows and the ``Usage`` of each.

    Args:
        path: ``fer2013new.csv``, plain or inside .zip, .xz or .gz.
        splits: Split code of each FER2013 row, ``(N,)``.

    Returns:
        Votes as given, in ``FERPLUS_COLUMNS`` order; they sum to ten in most rows.

    Raises:
        FacelexError: If a column is missing, a vote is not a number, or the rows are not those of ``splits``.
    """
    votes, usages = _read_rows(path)
    if len(votes) != len(splits):
        raise FacelexError(
            f"{path} has {len(votes):,} rows of votes, but the FER2013 file has {len(splits):,} pictures; "
            "votes are joined by row, so both must be the complete files."
        )
    differing = np.flatnonzero(np.array(usages, np.uint8) != splits)
    if len(differing):
        row_index = int(differing[0])
        raise FacelexError(
            f"{path}, row {row_index + 1}: its Usage means {SPLITS[usages[row_index]]}, but the same row "
            f"of the FER2013 file is in {SPLITS[int(splits[row_index])]}; "
            "the two files are not in the same order."
        )
    return Votes(np.array(votes, np.uint8).reshape(-1, len(FERPLUS_COLUMNS)))


def ferplus_majority(votes: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the FER+ column that the taggers agree on, ``(n,)`` int64, or -1.

    The rule of Barsoum et al. 2016 (https://arxiv.org/abs/1608.01041) as their reader carries it out: single
    votes are outliers and dropped, then one column must hold more than half of the votes that remain, and it
    must be an emotion (not "unknown", not "not a face").

    Args:
        votes: Votes in ``FERPLUS_COLUMNS`` order, ``(n, 10)``.
    """
    kept = np.where(votes <= 1, 0, votes).astype(np.int64)
    best = kept.argmax(axis=1)
    clear = 2 * kept.max(axis=1, initial=0) > kept.sum(axis=1)
    return np.where(clear & (best < FERPLUS_COLUMNS.index("unknown")), best, -1)


def _read_rows(path: Path) -> tuple[list[list[int]], list[int]]:
    """Return the ten votes and the split code of each row."""
    votes, usages = [], []
    with open_csv(path, ("fer2013new.csv",)) as stream:
        rows = csv.reader(stream.lines())
        try:
            header = [name.strip() for name in next(rows, [])]
            columns = _columns(path, header)
            for number, row in enumerate((row for row in rows if row), start=1):
                usage, *cells = (
                    [row[column].strip() for column in columns] if len(row) == len(header) else [""]
                )
                if usage not in USAGES or not all(map(_is_vote, cells)):
                    raise FacelexError(
                        f"{path}, row {number}: expected a Usage of {', '.join(USAGES)} and ten whole "
                        f"numbers of votes, but got {','.join(row)[:80]!r}."
                    )
                votes.append([int(cell) for cell in cells])
                usages.append(USAGES[usage])
        except csv.Error as error:
            raise FacelexError(
                f"{path}, line {rows.line_num}: {error}; expected FER+'s fer2013new.csv, one picture a line."
            ) from error
    return votes, usages


def _columns(path: Path, header: Sequence[str]) -> list[int]:
    """Return the places of Usage and of the ten columns of votes."""
    names = ("Usage", *FERPLUS_COLUMNS)
    missing = [name for name in names if name not in header]
    if missing:
        raise FacelexError(
            f"{path} has no column {', '.join(map(repr, missing))}; expected FER+'s fer2013new.csv with "
            f"{', '.join(names)}."
        )
    return [header.index(name) for name in names]


def _is_vote(cell: str) -> bool:
    return cell.isascii() and cell.isdigit() and len(cell) <= 3 and int(cell) <= 255
