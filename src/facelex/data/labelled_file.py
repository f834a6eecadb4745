"""One image as a folder or a table tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from facelex.recognize.detection import Box

SPLIT_NAMES: dict[str, int] = {
    "train": 0, "training": 0,
    "val": 1, "valid": 1, "validation": 1, "dev": 1, "publictest": 1,
    "test": 2, "testing": 2, "privatetest": 2,
}  # fmt: skip
"""Names of folders, and words in tables, that say a split, case ignored."""


@dataclass(frozen=True)
class LabelledFile:
    """One image: where it is, the name of its class, and the code of its split, where that is said.

    ``attributes`` is what else a table says about it, by the name of the column, ``box`` where in it the face
    is, ``votes`` how many people chose which name; the label follows from them.
    """

    path: Path
    label: str
    split: int | None
    attributes: Mapping[str, str] = field(default_factory=dict)
    box: Box | None = None
    votes: Mapping[str, float] | None = None
