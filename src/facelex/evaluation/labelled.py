"""Any labelled faces as a dataset to be scored, and their class names matched with a model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facelex.data.dataset import FaceDataset
from facelex.data.mapping import IGNORE, lowered
from facelex.emotions import classes_named, merging_notes
from facelex.errors import FacelexError, unknown_name

_ALL_TEST = (0.0, 0.0, 1.0)


def load_labelled(
    source: str | Path,
    size: int = 48,
    keep: Sequence[str] = (),
    *,
    find_faces: bool = False,
    classes: Sequence[str] = (),
    mapping: Mapping[str, str] | None = None,
) -> tuple[FaceDataset, list[str]]:
    """Read faces that are to be scored.

    Args:
        source: See :func:`facelex.data.source.find_source`.
        size: Side in pixels at which images are read.
        keep: Further columns to read of a CSV that lists image files.
        find_faces: The images of a folder or list are photos, whose faces are cut out; by default they are
            face crops.
        classes: Class names of the model, if one is asked: votes that a list has are counted by what their
            names mean to it.
        mapping: See :func:`match_classes`; the dataset keeps the names.

    Returns:
        The dataset, in which examples that come without a split are all in ``test``, and notes for the user:
        what was decided or left out.

    Raises:
        FacelexError: If the source cannot be read as labelled faces.
    """
    from facelex.data.options import AUTO, ReadOptions
    from facelex.data.source import OFFICIAL, find_source
    from facelex.data.splits import SPLIT_UNUSED

    found = find_source(source)
    wanted: dict[str, Any] = {"size": size, "classes": AUTO, "split": _ALL_TEST, "keep": tuple(keep)}
    wanted |= {"for_model": tuple(classes), "mapping": (mapping or {}) if classes else {}}
    if found.kind is OFFICIAL:
        del wanted["size"], wanted["classes"]  # a network that has learned from it knows it as it is
    meant: dict[str, Any] = {name: value for name, value in wanted.items() if name in found.kind.options}
    dataset, notes = found.read(ReadOptions(**meant, find_faces=find_faces))
    return dataset, [note for note in notes if note != SPLIT_UNUSED]  # nobody asked for other ones


def match_classes(
    names: Sequence[str], classes: Sequence[str], mapping: Mapping[str, str] | None = None
) -> np.ndarray:
    """Find the model's class for each class of the data.

    Names match in any spelling known to ``facelex.emotions``, case ignored, where that leads to one class; a
    class of the very same name goes first. ``mapping`` goes before both.

    Args:
        names: Class names of the data, M of them.
        classes: Class names of the model.
        mapping: The data's name to the model's, or to ``ignore``.

    Returns:
        Class ids of the model, ``(M,)`` int64; -1 for a class to leave out.

    Raises:
        FacelexError: If a name matches no class or several, or the mapping names what is not there.
    """
    wanted = lowered(mapping)
    for name in wanted:
        if name not in [own.lower() for own in names]:
            raise unknown_name("class of the data in --map", name, names)
    found = {name: _find(name, wanted.get(name.lower()), classes) for name in names}
    unclear = {name: len(ids) for name, ids in found.items() if len(ids) != 1}
    if unclear:
        raise _no_class(unclear, classes)
    return np.array([found[name][0] for name in names], np.int64)


def merged_classes(
    names: Sequence[str], classes: Sequence[str], mapping: Mapping[str, str] | None = None
) -> list[str]:
    """Say which classes of the data, matched as in :func:`match_classes`, are one to the model unasked."""
    asked = {name.lower() for name in mapping or {}}
    ids = match_classes(names, classes, mapping)
    return merging_notes((name, classes[i]) for name, i in zip(names, ids) if name.lower() not in asked)


def _find(name: str, target: str | None, classes: Sequence[str]) -> list[int]:
    """Return the ids that a class of the data may mean, -1 to leave it out."""
    if target is None:
        return classes_named(name, classes)
    if target.lower() == IGNORE:
        return [-1]
    ids = classes_named(target, classes)
    if len(ids) != 1:
        raise unknown_name("class of the model in --map", target, [*classes, IGNORE])
    return ids


def _no_class(matches: Mapping[str, int], classes: Sequence[str]) -> FacelexError:
    """Name the classes of the data that fit none or several of the model's, given how many each fits."""
    kinds = {
        "no class": [name for name, count in matches.items() if count == 0],
        "several classes": [name for name, count in matches.items() if count > 1],
    }
    has = " and ".join(f"{kind} for {', '.join(map(repr, names))}" for kind, names in kinds.items() if names)
    example = ",".join(f"{name}={IGNORE}" for name in matches)
    return FacelexError(
        f"The model has {has}; its classes are {', '.join(classes)}. Say which they are, or leave them out, "
        f"with --map, for example --map {example}. If they are words to ask the model for, measure how well "
        "it finds them with --words names."
    )
