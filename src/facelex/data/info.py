"""What a dataset holds: counts, copies, contradictions, blanks, and a contact sheet to look at."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from facelex.data.dataset import SPLITS, FaceDataset
from facelex.data.duplicates import conflicting_groups
from facelex.files import check_suffix, replace_file


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a dataset; plain values, ready for JSON."""

    source: str
    fingerprint: str
    image_size: list[int]
    classes: list[str]
    counts: dict[str, dict[str, int]]  # split -> class -> images
    blank: dict[str, int]  # split -> images that show nothing
    duplicates: dict[str, int]  # "test in train" -> images of test with a copy in train
    duplicate_groups: int  # pictures that occur more than once
    conflicting_groups: int  # of these, the ones whose copies carry different labels
    votes: bool
    vote_names: list[str]  # what people voted for
    attributes: dict[str, int]  # column kept beside the pictures -> different values of it


def describe(dataset: FaceDataset) -> DatasetInfo:
    """Count what the dataset holds."""
    blank = dataset.blank()
    counts = {}
    for split in SPLITS:
        labels = dataset.labels[dataset.indices(split)]
        per_class = np.bincount(labels, minlength=len(dataset.class_names))
        counts[split] = dict(zip(dataset.class_names, per_class.tolist()))
    return DatasetInfo(
        source=dataset.source,
        fingerprint=dataset.fingerprint,
        image_size=list(dataset.pixels.shape[1:]),
        classes=list(dataset.class_names),
        counts=counts,
        blank={split: int(blank[dataset.indices(split)].sum()) for split in SPLITS},
        duplicates={
            f"{split} in {other}": int(dataset.seen_in(split, other).sum())
            for split, other in permutations(SPLITS, 2)
        },
        duplicate_groups=int(np.sum(np.bincount(dataset.groups) > 1)),
        conflicting_groups=len(conflicting_groups(dataset.groups, dataset.labels)),
        votes=dataset.votes is not None,
        vote_names=[] if dataset.votes is None else list(dataset.votes.names),
        attributes={name: len(set(values.tolist()) - {""}) for name, values in dataset.attributes.items()},
    )


def contact_sheet(dataset: FaceDataset, columns: int = 12, seed: int = 0) -> Image.Image:
    """Draw one row of examples for each class, chosen at random, with the class names at the left."""
    size, margin, scale = dataset.pixels.shape[1], 90, 2
    cell = size * scale
    sheet = Image.new("L", (margin + columns * cell, len(dataset.class_names) * cell), "white")
    pen = ImageDraw.Draw(sheet)
    rng = np.random.default_rng(seed)
    for row, name in enumerate(dataset.class_names):
        members = np.flatnonzero(dataset.labels == row)
        pen.text((6, row * cell + cell // 2 - 6), name, fill="black")
        for column, index in enumerate(rng.permutation(members)[:columns]):
            face = Image.fromarray(dataset.pixels[index]).resize((cell, cell), Image.Resampling.BICUBIC)
            sheet.paste(face, (margin + column * cell, row * cell))
    return sheet


def check_sheet(path: Path | None) -> None:
    """Refuse a name that a contact sheet could not have, before any work is done."""
    if path is not None:
        check_suffix(path, (".png",), "a contact sheet")


def save_contact_sheet(dataset: FaceDataset, path: str | os.PathLike[str]) -> None:
    """Write :func:`contact_sheet` as a PNG, whole or not at all."""
    path = Path(path)
    check_sheet(path)
    sheet = contact_sheet(dataset)
    replace_file(path, lambda file: sheet.save(file, format="PNG"))
