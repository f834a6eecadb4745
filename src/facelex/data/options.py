"""How labelled images are read: every option of a source, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from facelex.data.fer2013 import SIDE
from facelex.data.mapping import column_name
from facelex.data.splits import DEFAULT_SHARES, Shares

AUTO = ("auto",)
"""As ``classes``: take the names that the source gives, case ignored, in alphabetical order; with FER+'s
labels the seven emotions and contempt."""


@dataclass(frozen=True)
class ReadOptions:
    """How a source is read; which of them mean something to which source, :mod:`facelex.data.source` says.

    Attributes:
        ferplus: FER+'s ``fer2013new.csv``, whose rows are those of the official CSV.
        ferplus_labels: Label each face with what the majority of FER+'s taggers says, in place of FER2013's
            label, and leave out those without such a majority.
        size: Height and width to store; another shape is cropped to its middle square.
        classes: Class names in label order, or `AUTO`; by default the seven emotions in any spelling. FER2013
            has these, unless its labels are FER+'s.
        split: Shares of train, val and test where the source gives no splits. Where it gives train but no
            val, the val share is taken from train. Each class is shared out alike; pixel-identical images
            and the faces of one picture stay together.
        seed: Seed of those splits.
        skip_bad: Leave out images that cannot be read.
        find_faces: Take the largest face of each image, or the one at its box where a table gives that, found
            and cut out as a recogniser does, and leave images without one out; by default the images are face
            crops.
        keep: Further columns of a table to keep beside the pictures, as ``FaceDataset.attributes``.
        mapping: Class names of the source, case ignored, and what to call them, or ``ignore``.
        together: A column of a table, such as ``subject``; images with the same value are drawn into one
            split. It is not kept unless ``keep`` names it too.
        columns: Columns of a table that are called otherwise, by what they hold: ``image``, ``label``,
            ``split`` or a name of ``BOX_COLUMNS``. If all are numbers, from 1, it has no header line.
        votes: Columns of a table with what several people took each image for, see
            :func:`facelex.data.listed.listed_files`; the label is what most of them chose.
        for_model: Classes of a model that is asked about the images: votes are counted by what their names
            mean to it, ``mapping`` says that, and the dataset keeps the names.

    Columns are named in any case.
    """

    ferplus: Path | None = None
    ferplus_labels: bool = False
    size: int = SIDE
    classes: tuple[str, ...] | None = None
    split: Shares = DEFAULT_SHARES
    seed: int = 0
    skip_bad: bool = False
    find_faces: bool = False
    keep: tuple[str, ...] = ()
    mapping: Mapping[str, str] = field(default_factory=dict)
    together: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    votes: tuple[str, ...] = ()
    for_model: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Spell alike what means the same, as signatures compare it."""
        spelled = {
            "ferplus": None if self.ferplus is None else Path(self.ferplus),
            "keep": tuple(map(column_name, self.keep)),
            "votes": tuple(map(column_name, self.votes)),
            "together": column_name(self.together or "") or None,
            "columns": {role: column_name(name) for role, name in self.columns.items()},
        }
        for name, value in spelled.items():
            object.__setattr__(self, name, value)
