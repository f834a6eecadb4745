"""Images that several people judged: the class that most of them chose, and the votes on every class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from facelex.data.class_names import called, class_names, meanings
from facelex.data.labelled_file import LabelledFile
from facelex.data.mapping import IGNORE, column_name, lowered
from facelex.data.options import AUTO, ReadOptions
from facelex.data.votes import Votes
from facelex.emotions import EMOTIONS, FERPLUS_COLUMNS, classes_named
from facelex.errors import FacelexError
from facelex.recognize.detection import Box

NO_CLASS = ("unknown", "nf")
"""What FER+'s taggers could say in place of an emotion; NF means "not a face"."""


def vote_columns(header: Sequence[str], options: ReadOptions) -> tuple[str, ...]:
    """Return the columns of a table, if several, that are called like classes or FER+'s other answers."""
    known = [column_name(own) for own in (*options.mapping, *_own(options), *EMOTIONS, *FERPLUS_COLUMNS)]
    found = tuple(name for name in header if classes_named(name, known))
    return found if len(found) > 1 else ()


def with_votes(
    path: Path,
    files: Sequence[LabelledFile],
    names: Sequence[str],
    cells: Sequence[tuple[int, Sequence[str]]],
    mapping: Mapping[str, str],
) -> list[LabelledFile]:
    """Put the votes of each row of a table to its image, and those of the rows of one image together.

    Args:
        path: The table, to be named in messages.
        files: The image of each row.
        names: Names of the columns of votes.
        cells: Line and cells of each row. If they are numbers, each is of votes for what its column is
            called; else the vote of one person for the class that it names. Numbers are such names where
            ``mapping`` has them all, and no column.
        mapping: What to call classes.

    Returns:
        Each image once, in order, with its votes by the names that the table gives.

    Raises:
        FacelexError: If a vote is no number where others are, or the rows of an image name different splits.
    """
    renamed = lowered(mapping)
    filled = [text for _, texts in cells for text in texts if text]
    codes = not renamed.keys() & {*names} and all(text.lower() in renamed for text in filled)
    are_names = codes or not all(map(_is_number, filled[:1]))
    merged: dict[tuple[Path, Box | None], LabelledFile] = {}
    for (line, texts), file in zip(cells, files):
        held = merged.setdefault((file.path, file.box), replace(file, votes={}))
        if file.split != held.split:
            raise FacelexError(
                f"Expected one split for all votes on an image in {path}, but line {line} names another."
            )
        votes = dict(held.votes or {})
        for name, text in zip(names, texts):
            choice, count = (text, 1.0) if are_names else (name, _count(path, text, line))
            if choice:
                votes[choice] = votes.get(choice, 0) + count
        merged[file.path, file.box] = replace(held, votes=votes)
    return list(merged.values())


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _count(path: Path, text: str, line: int) -> float:
    if text and not (_is_number(text) and float(text) >= 0):
        raise FacelexError(
            f"Expected votes in {path} as numbers of 0 or more, since its first vote is a number, but line "
            f"{line} has {text!r}."
        )
    return float(text or 0)


def elected(
    root: Path, files: Sequence[LabelledFile], options: ReadOptions
) -> tuple[list[LabelledFile], list[str]]:
    """Label each image with the class that most votes are for, and leave out those where there is none.

    Args:
        root: The table, to be named in messages.
        files: Images with votes, by names of classes as they are given.
        options: What the names mean: ``mapping`` and ``classes``. What is ignored, FER+'s "unknown" and NF,
            and its contempt beside the seven emotions, are choices, but no classes.

    Returns:
        Images with a label and votes on classes alone, and notes on those left out: no votes, as many for
        one choice as for another, or most for what is no class.

    Raises:
        FacelexError: If a name means no class or several, or no image is left.
    """
    given = list(dict.fromkeys(name for file in files for name in file.votes or ()))
    targets = called(root, given, options.mapping)
    aside = {name for name in given if _is_no_class(targets[name], options)}
    wanted = [targets[name] for name in given if name not in aside]
    names = class_names(options.classes, wanted)
    meant = {name: names[code] for name, code in meanings(root, wanted, names).items()}
    kept, reasons = [], Counter[str]()
    for file in files:
        votes: dict[str, float] = {}
        others: dict[str, float] = {}
        for name, count in (file.votes or {}).items():
            tally, choice = (others, name.lower()) if name in aside else (votes, meant[targets[name]])
            tally[choice] = tally.get(choice, 0) + count
        best = max((*votes.values(), *others.values()), default=0) * (1 - 1e-6)  # shares may be rounded
        first, beside = ([name for name, count in tally.items() if count > best] for tally in (votes, others))
        if not best:
            reasons["without votes"] += 1
        elif len(first) + len(beside) > 1:
            reasons["tied"] += 1
        elif beside:
            reasons[f"mostly for {beside[0]}"] += 1
        else:
            kept.append(replace(file, label=first[0], votes=votes))
    counts = ", ".join(f"{count:,} {why}" for why, count in sorted(reasons.items()))
    if not kept:
        raise FacelexError(
            f"Expected images in {root} with most votes for one class, but got none: {counts}. Correct "
            "the table."
        )
    return kept, [f"Left out, since no class has the most votes: {counts}."] if reasons else []


def votes_on(files: Sequence[LabelledFile], classes: tuple[str, ...]) -> Votes:
    """Return the votes of images that `elected` has left, on the classes of a dataset."""
    return Votes(np.array([[(file.votes or {}).get(name, 0) for name in classes] for file in files]), classes)


def _own(options: ReadOptions) -> Sequence[str]:
    return () if options.classes in (None, AUTO) else options.classes or ()


def _is_no_class(name: str, options: ReadOptions) -> bool:
    if name.lower() == IGNORE:
        return True
    no_class = (*NO_CLASS, "contempt") if options.classes is None else NO_CLASS
    return name.strip().lower() in no_class and not classes_named(name, _own(options))
