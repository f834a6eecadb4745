"""The classes of folders and tables: what their names are called, and which class each of them means."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from facelex.data.mapping import lowered
from facelex.data.options import AUTO
from facelex.emotions import EMOTIONS, classes_named
from facelex.errors import FacelexError, did_you_mean, unknown_name


def composed(name: str) -> str:
    """Return a class name as people type it: macOS writes an umlaut in a folder's name as two letters."""
    return unicodedata.normalize("NFC", name.strip())


def called(root: Path, names: Collection[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Return what each name is called by the mapping, which may be ``ignore``.

    Args:
        root: The folder or table that gives the names, to be named in messages.
        names: Names of classes as they are given.
        mapping: Names, case ignored, and what to call them.

    Raises:
        FacelexError: If the mapping has a name that is not given.
    """
    targets = lowered({composed(name): target for name, target in mapping.items()})
    given = {composed(name).lower(): name for name in names}
    for name in targets:
        if name not in given:
            raise unknown_name(f"{_what(root)} in --map", name, given.values())
    return {name: targets.get(composed(name).lower(), name) for name in names}


def class_names(classes: Sequence[str] | None, given: Collection[str]) -> tuple[str, ...]:
    """Return the class names in label order, those ``given`` where `AUTO` says so.

    Raises:
        FacelexError: If a name is empty or occurs twice.
    """
    if classes is None:
        return EMOTIONS
    if tuple(classes) == AUTO:
        spellings: dict[str, str] = {}  # names that differ only in case are one class
        for name in sorted({composed(name) for name in given}):
            spellings.setdefault(name.lower(), name)
        return tuple(spellings.values())
    names = tuple(map(composed, classes))
    if len(set(names)) != len(names) or not all(names):
        raise FacelexError(f"Expected different class names in --classes, but got {','.join(names)!r}.")
    return names


def meanings(root: Path, given: Collection[str], classes: Sequence[str]) -> dict[str, int]:
    """Return the id of the class that each name means.

    Args:
        root: The folder or table that gives the names, to be named in messages.
        given: Names of classes.
        classes: Class names in label order.

    Raises:
        FacelexError: If a name means no class, or may mean several.
    """
    meant = {name: classes_named(composed(name), classes) for name in dict.fromkeys(given)}
    unknown = sorted(name for name, ids in meant.items() if not ids)
    if unknown:
        near = did_you_mean(unknown[0].lower(), map(str.lower, classes)) if len(unknown) == 1 else ""
        raise FacelexError(
            f"Unknown {_what(root)} {', '.join(map(repr, unknown))} in {root}.{near} "
            f"Known: {', '.join(classes)}. For classes of your own give --classes a,b,c, or --classes auto "
            "to take the names as they are."
        )
    for name, ids in meant.items():
        if len(ids) > 1:
            raise FacelexError(
                f"The {_what(root)} {name!r} in {root} may mean "
                f"{' or '.join(repr(classes[i]) for i in ids)}. Rename it to the class that it holds."
            )
    return {name: ids[0] for name, ids in meant.items()}


def _what(root: Path) -> str:
    return "class folder" if root.is_dir() else "class"
