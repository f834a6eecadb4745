"""The official FER2013 file: one row a face, pixels as text (Goodfellow et al. 2013, arXiv:1307.0414)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facelex.data.packed import open_csv
from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError

SIDE = 48
"""Height and width of a FER2013 face."""

ROWS = {"train": 28_709, "val": 3_589, "test": 3_589}
"""Rows of the complete file by split."""

USAGES: dict[str, int] = {"Training": 0, "PublicTest": 1, "PrivateTest": 2}
"""FER2013's names of the splits, and their codes."""

CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")
"""The names under which the file is passed around; the second writes its headers with leading spaces."""

Progress = Callable[[int, int], None]
"""Called with what has been done and what there is in all, in one unit."""


class Fer2013(NamedTuple):
    """What the file holds, in file order: pixels ``(N, 48, 48)``, labels and split codes ``(N,)``."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    splits: NDArray[np.uint8]


def read_fer2013(path: Path, progress: Progress | None = None) -> Fer2013:
    """Read ``fer2013.csv`` or ``icml_face_data.csv``, plain or inside .zip, .tar, .xz or .gz, as a stream.

    Memory stays near twice the size of the pixels (83 MB for the complete file).

    Args:
        path: The file.
        progress: Called now and then with bytes read and bytes in all.

    Raises:
        FacelexError: If a column is missing or a row is wrong; the message names the row.
    """
    pixels, labels, splits = bytearray(), bytearray(), bytearray()
    with open_csv(path, CSV_NAMES) as stream:
        rows = csv.reader(stream.lines())
        number = 0
        try:
            header = [name.strip() for name in next((row for row in rows if any(map(str.strip, row))), [])]
            emotion, pixel, usage = _columns(header)
            for number, row in enumerate(filter(None, rows), start=1):
                if len(row) != len(header):
                    raise FacelexError(f"expected {len(header)} fields, but got {len(row)}")
                splits.append(_split_code(row[usage]))
                labels.append(_label(row[emotion]))
                pixels += _pixel_bytes(row[pixel])
                if progress and number % 250 == 0:
                    progress(*stream.position())
        except (FacelexError, csv.Error) as error:
            if isinstance(error, csv.Error) and rows.line_num > 1:
                number += 1  # it could not even be parted into fields
            place = f"row {number} (line {rows.line_num})" if number else "header"
            cut = " The file ends in the middle of this row: is it cut short?" if stream.ended_in_line else ""
            raise FacelexError(f"{path}, {place}: {error}.{cut}") from error
        if progress:
            progress(stream.total, stream.total)
    if not labels:
        raise FacelexError(f"{path} has a header but no rows; expected one face a row.")
    return Fer2013(
        np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE),
        np.frombuffer(labels, np.uint8).astype(np.int64),
        np.frombuffer(splits, np.uint8),
    )


def completeness_notes(splits: NDArray[np.uint8]) -> list[str]:
    """Say how a file with split codes ``(N,)`` differs from the complete one; nothing if it does not."""
    counts = {split: int(np.sum(splits == code)) for code, split in enumerate(ROWS)}
    if counts == ROWS:
        return []
    held = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    return [f"This is not the complete FER2013 ({sum(ROWS.values()):,} faces): it has {held}."]


def _columns(header: Sequence[str]) -> tuple[int, int, int]:
    """Return the places of emotion, pixels and Usage; case is ignored."""
    expected = ("emotion", "pixels", "Usage")
    lowered = [name.lower() for name in header]
    missing = [name for name in expected if name.lower() not in lowered]
    if missing:
        if not header:
            raise FacelexError("the file is empty; fetch or copy it again")
        got = ", ".join(header)[:80]
        hint = ""
        if "\0" in got:
            hint = "; this looks like UTF-16, save it as UTF-8"
        elif missing == ["Usage"]:
            hint = (
                "; this looks like the challenge's train.csv, take icml_face_data.csv or fer2013.csv instead"
            )
        raise FacelexError(
            f"no column {' or '.join(map(repr, missing))}: expected the columns {', '.join(expected)}, "
            f"but got {got!r}{hint}"
        )
    emotion, pixels, usage = (lowered.index(name.lower()) for name in expected)
    return emotion, pixels, usage


def _label(text: str) -> int:
    text = text.strip()
    if len(text) != 1 or text not in "0123456":
        raise FacelexError(f"expected an emotion from 0 to 6 ({', '.join(EMOTIONS)}), but got {text[:20]!r}")
    return int(text)


def _split_code(text: str) -> int:
    if text.strip() not in USAGES:
        raise FacelexError(f"expected a Usage of {', '.join(USAGES)}, but got {text.strip()[:20]!r}")
    return USAGES[text.strip()]


def _pixel_bytes(text: str) -> bytes:
    """Parse ``SIDE * SIDE`` grey values."""
    if text.encode(errors="replace").translate(
        None, b"0123456789 "
    ):  # anything else; NumPy would take "+7" and the like
        wrong = next((word for word in text.split() if not (word.isascii() and word.isdigit())), "a tab")
        raise FacelexError(f"expected pixels as whole numbers from 0 to 255, but got {wrong[:20]!r}")
    values = np.fromstring(text, np.int64, sep=" ")  # int64, since as uint8 256 may wrap to 0
    if len(values) != SIDE * SIDE:
        raise FacelexError(f"expected {SIDE * SIDE} pixels ({SIDE}x{SIDE}), but got {len(values)}")
    if values.max() > 255:
        raise FacelexError(f"expected pixels as whole numbers from 0 to 255, but got {values.max()}")
    return values.astype(np.uint8).tobytes()
