"""Ways of looking at a face: the picture, its mirror image, and ten windows of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

VIEWS: tuple[str, ...] = ("single", "flip", "ten_crop")
"""The picture as it is; the mean of the probabilities of the picture and its mirror image; the mean over ten
windows."""

VIEW_LABELS = {"single": "single view", "flip": "with mirror image", "ten_crop": "ten-crop"}
"""What tables call them."""

WINDOW = 44 / 48
"""Side of a ten-crop window as a share of the picture's side."""


def mirrored(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mirror images of pictures, ``(n, H, W)``, without copying."""
    return pixels[:, :, ::-1]


def ten_crops(pixels: NDArray[np.uint8], window: float = WINDOW) -> Iterator[NDArray[np.uint8]]:
    """Cut five windows out of every picture (the corners and the centre), and mirror each.

    Args:
        pixels: Pictures, ``(n, H, W)``.
        window: Side of the window as a share of the picture's side, in (0, 1].

    Yields:
        Ten times ``(n, h, w)`` without copying: top left, top right, bottom left, bottom right, centre, each
        followed by its mirror image.
    """
    height, width = pixels.shape[1:]
    h, w = max(1, round(height * window)), max(1, round(width * window))
    bottom, right = height - h, width - w
    for top, left in ((0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)):
        part = pixels[:, top : top + h, left : left + w]
        yield part
        yield mirrored(part)
