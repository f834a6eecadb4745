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
from facelex.emotions import EMOTIONS, FERPLUS_COLUMNS, classes_named
from facelex.errors import FacelexError


def read_votes(path: Path, splits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Read ``fer2013new.csv`` and check that its rows are those of the official FER2013 file.

    The file has no pixels: row i belongs to row i of ``fer2013.csv``. What can be checked is the number of
    rows and the ``Usage`` of each.

    Args:
        path: ``fer2013new.csv``, plain or inside .zip, .xz or .gz.
        splits: Split code of each FER2013 row, ``(N,)``.

    Returns:
        Votes as given, ``(N, 10)`` uint8 in ``FERPLUS_COLUMNS`` order; they sum to ten in most rows.

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
    return np.array(votes, np.uint8).reshape(-1, len(FERPLUS_COLUMNS))


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


def ferplus_classes(classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the class id of each FER+ column, ``(10,)``, -1 where ``classes`` have none or several for it.

    Args:
        classes: Class names in any spelling of ``facelex.emotions``; "contempt" is known where it is a class.
    """
    found = [classes_named(column, classes) for column in FERPLUS_COLUMNS]
    return np.array([ids[0] if len(ids) == 1 else -1 for ids in found], np.int64)


def class_votes(votes: NDArray[np.integer], classes: Sequence[str]) -> NDArray[np.int64]:
    """Count the votes on each class, ``(N, K)``; 0 for a class that no tagger was asked about.

    Args:
        votes: Votes, ``(N, 10)`` in ``FERPLUS_COLUMNS`` order.
        classes: Class names, K of them.
    """
    counts = np.zeros((len(votes), len(classes)), np.int64)
    for column, class_id in enumerate(ferplus_classes(classes)):
        if class_id >= 0:
            counts[:, class_id] = votes[:, column]
    return counts


def vote_shares(votes: NDArray[np.integer], classes: Sequence[str] = EMOTIONS) -> NDArray[np.float64]:
    """Turn votes into a distribution over ``classes``.

    Votes for anything outside ``classes`` are left out and the rest is scaled to sum to one: with the seven
    emotions that drops contempt, unknown and NF ("not a face"); with an eighth class named "contempt" its
    votes count. A row without any vote left becomes uniform: nobody named one of these classes.

    Args:
        votes: Votes, ``(N, 10)`` in ``FERPLUS_COLUMNS`` order.
        classes: Class names in the order wanted, in any spelling of ``facelex.emotions``.

    Returns:
        Shares, ``(N, K)`` float64, non-negative, rows sum to 1.

    Raises:
        FacelexError: If FER+ has no votes on any of ``classes``.
    """
    if (ferplus_classes(classes) < 0).all():
        raise FacelexError(f"FER+ has no votes on any of: {', '.join(classes)}.")
    counts = class_votes(votes, classes).astype(np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full_like(counts, 1.0 / len(classes)), where=totals > 0)
