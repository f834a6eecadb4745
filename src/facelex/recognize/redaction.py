"""Make faces in a picture unrecognisable."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelex.errors import unknown_name

STYLES = ("blur", "pixelate")
CELLS = 6
"""Cells a face's shorter side is averaged into: too few to tell two people apart."""
MARGIN = 0.2
"""Share of the box added on each side, so that hairline, ears and chin go too."""


def redaction_style(redact: str | bool | None) -> str | None:
    """Return the style that an argument ``redact`` asks for, None if the faces are to stay as they are.

    Args:
        redact: A style; True for ``blur``; False or None for none.

    Raises:
        FacelexError: If it is anything else.
    """
    if redact is None or redact is False:
        return None
    style = "blur" if redact is True else redact
    if style not in STYLES:
        raise unknown_name("redaction style", str(style), STYLES)
    return style


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
        raise unknown_name("redaction style", str(style), STYLES)
    picture = Image.fromarray(image)
    for x, y, width, height in boxes:
        columns = _span(x, width, picture.width)
        rows = _span(y, height, picture.height)
        if columns.shown and rows.shown:
            cell = max(1.0, min(columns.length, rows.length) / CELLS)
            fade = MARGIN * min(width, height) / 2
            region = picture.crop(
                (columns.shown.start, rows.shown.start, columns.shown.stop, rows.shown.stop)
            )
            mask = np.outer(rows.cover(fade), columns.cover(fade))
            corner = (columns.shown.start, rows.shown.start)
            picture.paste(
                _coarse(region, cell, style), corner, Image.fromarray(np.rint(255 * mask).astype(np.uint8))
            )
    return np.asarray(picture)


class _Span(NamedTuple):
    """What a box with its margin takes of the columns, or of the rows, of a picture."""

    start: int
    length: int
    shown: range
    """The part that lies in the picture."""

    def cover(self, fade: float) -> NDArray[np.float64]:
        """Return how much of each shown column is hidden, in [0, 1]: less and less where the margin ends.

        The margin may end outside the picture, so that a face at its edge is covered up to there.
        """
        centers = np.arange(self.shown.start, self.shown.stop) + 0.5 - self.start
        return np.clip(np.minimum(centers, self.length - centers) / max(fade, 0.5), 0.0, 1.0)


def _span(start: float, length: float, size: int) -> _Span:
    first = math.floor(start - MARGIN * length)
    last = math.ceil(start + (1 + MARGIN) * length)
    return _Span(first, last - first, range(max(0, first), min(size, last)))


def _coarse(region: Image.Image, cell: float, style: str) -> Image.Image:
    """Average squares of ``cell`` pixels a side, whatever part of the face is in the picture."""
    grid = region.resize(
        (max(1, round(region.width / cell)), max(1, round(region.height / cell))), Image.Resampling.BOX
    )
    smooth = Image.Resampling.BICUBIC if style == "blur" else Image.Resampling.NEAREST
    return grid.resize(region.size, smooth)
