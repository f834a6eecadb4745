"""Cells of votes: numbers of votes for what their columns are called, or names of classes, one vote each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from facelex.data.mapping import column_name
from facelex.data.options import AUTO, ReadOptions
from facelex.emotions import EMOTIONS, FERPLUS_COLUMNS, classes_named
from facelex.errors import FacelexError, shorten

UNANSWERED = ("", "-", "na", "n/a", "#n/a", "<na>", "nan", "null", "none")
"""What tools write where somebody has not answered; a class only where the options name one so."""

MARKS = {"true": 1.0, "false": 0.0, "x": 1.0, "✓": 1.0, "✔": 1.0}
"""Ticks in columns that are called like classes, in lower case."""

MOST = 1e9
"""More votes than this are a slip; sums of them still fit into float32."""

_NUMERIC = re.compile(r"[-+]?[\d.][\d.,'%\s]*(e[-+]?\d+)?|[-+]?inf(inity)?", re.IGNORECASE)
_WITH_COMMA = re.compile(r"\d+(,\d+)?")
_DECIMAL_COMMA = re.compile(r"0,\d+|\d+,(?!\d{3}$)\d+")  # 1,000 alone may be a thousand


def own_classes(options: ReadOptions) -> Sequence[str]:
    """The classes that the options name, of a model that is asked or of the dataset."""
    return options.for_model or (() if options.classes in (None, AUTO) else options.classes or ())


def known_names(options: ReadOptions) -> list[str]:
    """Names, spelled as columns, that are sure to be classes or FER+'s other answers."""
    names = (*options.mapping, *own_classes(options), *EMOTIONS, *FERPLUS_COLUMNS)
    return list(map(column_name, names))


def read_cells(
    path: Path, names: Sequence[str], cells: Sequence[tuple[int, Sequence[str]]], options: ReadOptions
) -> tuple[list[dict[str, float]], list[str]]:
    """Read the votes of each row of a table.

    Args:
        path: The table, to be named in messages.
        names: Names of the columns of votes.
        cells: Line and cells of each row.
        options: ``mapping`` and the classes that are named say which numbers and which of `UNANSWERED` are
            names.

    Returns:
        Votes by what they are for, and notes. All cells together decide: names are votes for what they name,
        and so are numbers that the options name, unless they name a column. Else numbers are votes for what
        their column is called: plain ones, per cent, with a decimal comma, or `MARKS`.

    Raises:
        FacelexError: If a cell does not fit the others, is no number from 0 to `MOST` where numbers are
            expected, or numbers stand in columns that are not called like classes.
    """
    named = {_code(name): name for name in (*own_classes(options), *options.mapping)}
    filled = [
        (row, column, text)
        for row, (_, texts) in enumerate(cells)
        for column, text in enumerate(texts)
        if text.lower() not in UNANSWERED or _code(text) in named
    ]
    codes = {} if any(_code(name) in named for name in names) else named
    texts = [text for _, _, text in filled]
    numeric = [bool(_NUMERIC.fullmatch(text)) for text in texts]
    marks = bool(texts) and all(text.lower() in MARKS.keys() - named.keys() for text in texts)
    votes: list[dict[str, float]] = [{} for _ in cells]
    if not marks and all(_code(text) in codes or not is_number for text, is_number in zip(texts, numeric)):
        for row, _, text in filled:
            choice = codes.get(_code(text), text)
            votes[row][choice] = votes[row].get(choice, 0) + 1
        return votes, []
    lines = [cells[row][0] for row, _, _ in filled]
    if not marks:
        _refuse_unfitting(path, names, list(zip(lines, texts, numeric)), codes)
    values = _values(texts)
    for line, text, value in zip(lines, texts, values):
        if not 0 <= value <= MOST:
            raise FacelexError(
                f"Expected votes in {path} as numbers of 0 or more, such as 3 or 0.8, all written alike and "
                f"none above a billion, but line {line} has {shorten(text)!r}. Correct it."
            )
    notes = _about_columns(path, names, texts, options)
    for (row, column, _), value in zip(filled, values):
        votes[row][names[column]] = value
    return [dict.fromkeys(names, 0.0) | row for row in votes], notes


def _code(text: str) -> str:
    """A name as it is compared; of a whole number its digits alone, as tables may have 3.0 for 3."""
    plain = text.strip().lower()
    value = _number(plain)
    return str(int(value)) if 0 <= value <= MOST and value.is_integer() else plain


def _number(text: str) -> float:
    """Return a number that is written plainly, -1 for anything else."""
    try:
        return float(text) if _NUMERIC.fullmatch(text) else -1.0
    except ValueError:
        return -1.0


def _values(texts: Sequence[str]) -> list[float]:
    """Return the numbers that texts are, all written in one way; -1 for what is none."""
    if all(text.lower() in MARKS for text in texts):
        return [MARKS[text.lower()] for text in texts]
    unit = 1
    if all(text.endswith("%") for text in texts):
        texts, unit = [text[:-1].strip() for text in texts], 100
    if all(map(_WITH_COMMA.fullmatch, texts)) and any(map(_DECIMAL_COMMA.fullmatch, texts)):
        texts = [text.replace(",", ".") for text in texts]
    return [_number(text) / unit for text in texts]


def _refuse_unfitting(
    path: Path, names: Sequence[str], cells: Sequence[tuple[int, str, bool]], codes: dict[str, str]
) -> None:
    """Refuse the first cell that is a name among numbers or a number among names.

    Args:
        path: The table.
        names: Names of the columns.
        cells: Line, text and whether it is a number, of each that is filled.
        codes: What numbers may mean.
    """
    strange = next(
        ((line, text) for line, text, is_number in cells if is_number and _code(text) not in codes), None
    )
    if strange and any(_NUMERIC.fullmatch(code) for code in codes):
        line, text, code = *strange, _code(strange[1])
        raise FacelexError(
            f"Expected --map to say what each number in the columns {', '.join(names)} of {path} means, but "
            f"it does not have {text!r} of line {line}. Add {code}=CLASS, or {code}=ignore."
        )
    numbers = sum(is_number for _, _, is_number in cells)
    if numbers == len(cells):
        return
    if 2 * numbers < len(cells) and strange:
        raise FacelexError(
            f"Expected votes in {path} as names of classes, since most of them are, but line {strange[0]} "
            f"has {strange[1]!r}. Correct it, or say what it means with --map {strange[1]}=CLASS."
        )
    line, text = next((line, text) for line, text, is_number in cells if not is_number)
    raise FacelexError(
        f"Expected votes in {path} as numbers of 0 or more, since most of them are, but line {line} has "
        f"{shorten(text)!r}. Correct it, leave it empty where nobody was asked, or name other columns with "
        "--votes."
    )


def _about_columns(path: Path, names: Sequence[str], texts: Sequence[str], options: ReadOptions) -> list[str]:
    """Refuse numbers in columns of which none is called like a class, or say what they are taken for."""
    known = known_names(options)
    if any(classes_named(name, known) for name in names):
        return []
    columns, example = ", ".join(names), f"--map {_code(texts[0])}=CLASS,..."
    if options.classes == AUTO:
        return [
            f"The numbers in {columns} are taken for votes on classes of these names; if they stand for "
            f"classes, say what they mean with {example}"
        ]
    several = sorted(set(texts), key=lambda text: (_number(text), text))
    span = several[0] if len(several) == 1 else f"{several[0]} to {several[-1]}"
    raise FacelexError(
        f"Expected columns that are called like classes, since their cells hold numbers ({span}), but got "
        f"{columns} in {path}. If the numbers stand for classes, say what they mean with {example}; if the "
        f"columns do, with --map {names[0]}=CLASS,... or --classes auto."
    )
