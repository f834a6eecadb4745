"""FER2013's CSV as a dataset, with the votes of FER+ where they are wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelex.data.dataset import FaceDataset
from facelex.data.fer2013 import Progress, completeness_notes, read_fer2013
from facelex.data.ferplus import read_votes
from facelex.data.options import ReadOptions
from facelex.data.splits import DEFAULT_SHARES, SPLIT_UNUSED
from facelex.emotions import EMOTIONS


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
        FacelexError: If the file, or that of FER+, is not what it should be.
    """
    options = options or ReadOptions()
    faces = read_fer2013(path, progress)
    votes = None if options.ferplus is None else read_votes(options.ferplus, faces.splits)
    notes = [SPLIT_UNUSED] if options.split != DEFAULT_SHARES else []
    dataset = FaceDataset.create(
        resize_all(faces.pixels, options.size),
        faces.labels,
        faces.splits,
        EMOTIONS,
        f"FER2013 from {path.name}" + (f", FER+ from {options.ferplus.name}" if options.ferplus else ""),
        votes,
    )
    return dataset, notes + completeness_notes(faces.splits)


def resize_all(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Scale square grey images ``(N, H, H)`` to ``(N, size, size)``."""
    if pixels.shape[1] == size:
        return pixels
    scaled = np.empty((len(pixels), size, size), np.uint8)
    for row, image in enumerate(pixels):
        scaled[row] = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    return scaled
