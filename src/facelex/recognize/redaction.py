"""Make faces in a picture unrecognisable."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from facelex.errors import unknown_name

STYLES = ("blur", "pixelate")
CELLS = 6
"""Cells a face's shorter side is averaged into: too few to tell two people apart."""
MARGIN = 0.2
"""Share of the box added on each side, so that hairline, ears and chin go too."""


def redact_faces(
    image: NDArray[np.uint8], boxes: Iterable[tuple[float, float, float, float]], style: str = "blur"
) -> NDArray[np.uint8]:
    """Return a copy in which nothing of each box's pixels is left but a few averages.

    Both styles first average the region into a coarse grid, which no later sharpening can undo, unlike a
    Gaussian blur of the pixels; ``blur`` then shows the grid smoothly, ``pixelate`` as squares.

    Args:
        image: RGB pixels ``(H, W, 3)``.
        boxes: ``x, y, w, h`` in pixels; may reach past the edges.
        style: ``blur`` or ``pixelate``.

    Raises:
        FacelexError: If the style is not known.
    """
    if style not in STYLES:
        raise unknown_name("redaction style", style, STYLES)
    picture = Image.fromarray(image)
    for x, y, width, height in boxes:
        left, top = max(0, int(x - MARGIN * width)), max(0, int(y - MARGIN * height))
        right = min(picture.width, int(np.ceil(x + (1 + MARGIN) * width)))
        bottom = min(picture.height, int(np.ceil(y + (1 + MARGIN) * height)))
        if right > left and bottom > top:
            region = _coarse(picture.crop((left, top, right, bottom)), style)
            picture.paste(region, (left, top), _mask(region.size, MARGIN * min(width, height)))
    return np.asarray(picture)


def _coarse(region: Image.Image, style: str) -> Image.Image:
    cell = max(1.0, min(region.size) / CELLS)
    grid = region.resize(
        (max(1, round(region.width / cell)), max(1, round(region.height / cell))), Image.Resampling.BOX
    )
    smooth = Image.Resampling.BICUBIC if style == "blur" else Image.Resampling.NEAREST
    return grid.resize(region.size, smooth)


def _mask(size: tuple[int, int], margin: float) -> Image.Image:
    """Full over the box, fading to nothing within the outer part of its margin."""
    fade = max(1, int(margin / 3))
    mask = Image.new("L", size, 255)
    inner = Image.new("L", (max(1, size[0] - 2 * fade), max(1, size[1] - 2 * fade)), 255)
    if min(size) > 4 * fade:
        mask = Image.new("L", size, 0)
        mask.paste(inner, (fade, fade))
        mask = mask.filter(ImageFilter.GaussianBlur(fade / 3))
    return mask
