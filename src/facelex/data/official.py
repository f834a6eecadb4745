"""FER2013's CSV as a dataset, with the votes of FER+ where they are wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelex.data.class_names import class_names
from facelex.data.dataset import FaceDataset
from facelex.data.fer2013 import Progress, completeness_notes, read_fer2013
from facelex.data.ferplus import ferplus_majority, read_votes
from facelex.data.options import AUTO, ReadOptions
from facelex.data.splits import DEFAULT_SHARES, SPLIT_UNUSED
from facelex.data.votes import Votes
from facelex.emotions import EMOTIONS, FERPLUS_COLUMNS, canonical_name, classes_named
from facelex.errors import FacelexError, unknown_name

FERPLUS_CLASSES = (*EMOTIONS, "contempt")
"""What FER+'s taggers could say, but for "unknown" and NF, which are no classes."""


def read_official(
    path: Path, options: ReadOptions | None = None, progress: Progress | None = None
) -> tuple[FaceDataset, list[str]]:
    """Read FER2013's CSV, plain or packed.

    Args:
        path: The file; see :func:`facelex.data.fer2013.read_fer2013`.
        options: How to read.
        progress: Called now and then with bytes read and bytes in all.

    Returns:
        The dataset and notes for the user.

    Raises:
        FacelexError: If the file, or that of FER+, is not what it should be, or the options lack something.
    """
    options = options or ReadOptions()
    _refuse_lone_options(path, options)
    faces = read_fer2013(path, progress)
    votes = None if options.ferplus is None else read_votes(options.ferplus, faces.splits)
    notes = [SPLIT_UNUSED] if options.split != DEFAULT_SHARES else []
    notes += completeness_notes(faces.splits)
    source = f"FER2013 from {path.name}" + (f", FER+ from {options.ferplus.name}" if options.ferplus else "")
    labels, classes = faces.labels, EMOTIONS
    if votes is not None and options.ferplus_labels:
        source += " with its labels"
        classes = _ferplus_classes(options.classes)
        labels, more = _majority_labels(votes, classes)
        if (labels < 0).all():
            raise FacelexError(
                f"Expected FER+ to have a majority for any of {', '.join(classes)}, but no picture of "
                f"{path} has one. Its classes are: {', '.join(FERPLUS_CLASSES)}."
            )
        notes += more
    kept = np.flatnonzero(labels >= 0)
    dataset = FaceDataset.create(
        resize_all(faces.pixels[kept], options.size),
        labels[kept],
        faces.splits[kept],
        classes,
        source,
        None if votes is None else votes[kept],
    )
    return dataset, notes


def _ferplus_classes(wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """Class names in label order, in the user's spelling, each of something that FER+'s taggers could say."""
    if wanted == AUTO:
        return FERPLUS_CLASSES
    names = class_names(wanted, FERPLUS_CLASSES)
    for name in names:
        if not classes_named(name, FERPLUS_CLASSES):
            raise unknown_name("class of FER+", name, FERPLUS_CLASSES)
    return names


def _refuse_lone_options(path: Path, options: ReadOptions) -> None:
    """Refuse options that mean something only beside others."""
    if options.ferplus_labels and options.ferplus is None:
        raise FacelexError(
            "--ferplus-labels takes the labels from FER+'s votes, but there are none: give fer2013new.csv "
            "with --ferplus."
        )
    if options.classes is not None and not options.ferplus_labels:
        raise FacelexError(
            f"{path} has FER2013's seven emotions, so --classes is only for those of FER+, which "
            "--ferplus fer2013new.csv --ferplus-labels takes. Leave it out."
        )


def _majority_labels(votes: Votes, classes: tuple[str, ...]) -> tuple[NDArray[np.int64], list[str]]:
    """Return the class that FER+'s majority is for, ``(N,)``, -1 for none, and a note on what that means."""
    majority = ferplus_majority(votes.counts)
    decided = majority >= 0
    labels = np.where(decided, votes.class_ids(classes)[majority], -1)
    reasons = {"without a majority for an emotion": int((~decided).sum())}
    for column, name in enumerate(FERPLUS_COLUMNS):
        if lost := int(((majority == column) & (labels < 0)).sum()):
            reasons[f"mostly for {canonical_name(name)}"] = lost
    counts = ", ".join(f"{count:,} {why}" for why, count in reasons.items() if count)
    notes = ["The label is what the majority of FER+'s taggers says, not FER2013's."]
    return labels, notes + ([f"Left out: {counts}."] if counts else [])


def resize_all(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Scale square grey images ``(N, H, H)`` to ``(N, size, size)``."""
    if pixels.shape[1] == size:
        return pixels
    scaled = np.empty((len(pixels), size, size), np.uint8)
    for row, image in enumerate(pixels):
        scaled[row] = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    return scaled
