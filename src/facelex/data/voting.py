"""Images that several people judged: the class that most of them chose, and the votes on every class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from facelex.data.class_names import called, class_names, composed, meanings
from facelex.data.dataset import SPLITS
from facelex.data.labelled_file import LabelledFile
from facelex.data.mapping import IGNORE, lowered
from facelex.data.options import AUTO, ReadOptions
from facelex.data.vote_cells import known_names, own_classes, read_cells
from facelex.data.votes import Votes
from facelex.emotions import classes_named, merging_notes
from facelex.errors import FacelexError
from facelex.recognize.detection import Box

Key = TypeVar("Key")

NO_CLASS = ("unknown", "nf")
"""What FER+'s taggers could say in place of an emotion; NF means "not a face"."""


def vote_columns(header: Sequence[str], options: ReadOptions) -> tuple[str, ...]:
    """Return the columns of a table, if several, that are called like classes or FER+'s other answers."""
    known = known_names(options)
    found = tuple(name for name in header if classes_named(name, known))
    return found if len(found) > 1 else ()


def with_votes(
    path: Path,
    files: Sequence[LabelledFile],
    names: Sequence[str],
    cells: Sequence[tuple[int, Sequence[str]]],
    options: ReadOptions,
) -> tuple[list[LabelledFile], list[str]]:
    """Put the votes of each row of a table to its image, and those of the rows of one image together.

    Args:
        path: The table, to be named in messages.
        files: The image of each row.
        names: Names of the columns of votes.
        cells: Line and cells of each row, see :func:`facelex.data.vote_cells.read_cells`.
        options: What the cells may name.

    Returns:
        Each image once, in order, with its votes by the names that the table gives, and notes.

    Raises:
        FacelexError: If the cells cannot be read, or the rows of an image name different splits.
    """
    read, notes = read_cells(path, names, cells, options)
    merged: dict[tuple[Path, Box | None], LabelledFile] = {}
    for (line, _), votes, file in zip(cells, read, files):
        held = merged.setdefault((file.path, file.box), replace(file, votes={}))
        if file.split != held.split:
            one, other = (SPLITS[code or 0] for code in (held.split, file.split))
            raise FacelexError(
                f"Expected one split for all votes on an image in {path}, but {file.path.name}, which an "
                f"earlier line has in {one}, is in {other} on line {line}. Give its rows one split."
            )
        both = _summed(chain((held.votes or {}).items(), votes.items()))
        merged[file.path, file.box] = replace(held, votes=both)
    return list(merged.values()), notes


def elected(
    root: Path, files: Sequence[LabelledFile], options: ReadOptions
) -> tuple[list[LabelledFile], tuple[str, ...], list[str]]:
    """Label each image with the class that most votes are for, and leave out those where there is none.

    Args:
        root: The table, to be named in messages.
        files: Images with votes, by names of classes as they are given.
        options: What the names mean: ``mapping``, ``classes`` and ``for_model``. What is ignored, FER+'s
            "unknown" and NF, and its contempt where no class is called so, are choices, but no classes.

    Returns:
        Images with a label and votes on classes alone; the classes, with `AUTO` those that were voted for;
        and notes: names that are one class, and images left out, since they have no votes, as many for one
        choice as for another, or most for what is no class.

    Raises:
        FacelexError: If a name means no class or several, or no image is left.
    """
    given = list(dict.fromkeys(name for file in files for name in file.votes or ()))
    targets = {name: name for name in given}
    if not options.for_model:
        targets = called(root, given, options.mapping)
    aside = {name for name in given if _is_no_class(targets[name], options)}
    wanted = [targets[name] for name in given if name not in aside]
    names = class_names(options.classes, wanted)
    meant = {name: names[code] for name, code in meanings(root, wanted, names).items()}
    class_of = {name: meant[targets[name]] for name in given if name not in aside}
    choices = {
        name: _choice(class_of[name], options) if name in class_of else (name.lower(),) for name in given
    }
    kept, reasons = [], Counter[str]()
    for file in files:
        said = (file.votes or {}).items()
        first = _most(_summed((choices[name], count) for name, count in said))
        if not first:
            reasons["without votes"] += 1
        elif len(first) > 1:
            reasons["tied"] += 1
        elif isinstance(first[0], tuple):
            reasons[f"mostly for {first[0][0]}"] += 1
        else:
            votes = _summed((class_of[name], count) for name, count in said if name in class_of)
            alike = [class_of[name] for name, _ in said if choices[name] == first[0]]
            kept.append(replace(file, label=max(alike, key=votes.__getitem__), votes=votes))
    counts = ", ".join(f"{count:,} {why}" for why, count in sorted(reasons.items()))
    if not kept:
        raise FacelexError(
            f"Expected images in {root} with most votes for one class, but got none: {counts}. Correct "
            "the table."
        )
    if options.classes == AUTO:
        asked = lowered(options.mapping) if options.for_model else {}
        voted = {name for file in kept for name, count in (file.votes or {}).items() if count}
        names = tuple(name for name in names if name in voted or name.lower() in asked)
    notes = [f"Left out, since no class has the most votes: {counts}."] if reasons else []
    return kept, names, notes + merging_notes((composed(name), meant[name]) for name in wanted)


def votes_on(files: Sequence[LabelledFile], classes: tuple[str, ...]) -> Votes:
    """Return the votes of images that `elected` has left, on the classes of a dataset."""
    return Votes(np.array([[(file.votes or {}).get(name, 0) for name in classes] for file in files]), classes)


def _summed(counts: Iterable[tuple[Key, float]]) -> dict[Key, float]:
    sums: dict[Key, float] = {}
    for key, count in counts:
        sums[key] = sums.get(key, 0) + count
    return sums


def _most(tally: Mapping[Key, float]) -> list[Key]:
    """Return what has the most votes, several where they are tied, nothing where there are no votes."""
    best = max(tally.values(), default=0) * (1 - 1e-6)  # shares may be rounded
    return [choice for choice, count in tally.items() if count > best]


def _choice(name: str, options: ReadOptions) -> int | str:
    """What a class is to who counts the votes: the class of a model that is asked, else itself."""
    target = lowered(options.mapping).get(name.lower(), name) if options.for_model else IGNORE
    ids = [] if target.lower() == IGNORE else classes_named(target, options.for_model)
    return ids[0] if len(ids) == 1 else name


def _is_no_class(name: str, options: ReadOptions) -> bool:
    if name.lower() == IGNORE:
        return True
    own = [*own_classes(options), *(options.mapping if options.for_model else ())]
    takes_all = options.classes == AUTO and not options.for_model
    no_class = NO_CLASS if takes_all else (*NO_CLASS, "contempt")
    return name.strip().lower() in no_class and not classes_named(name, own)
