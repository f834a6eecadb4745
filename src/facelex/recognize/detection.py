"""What a face detector answers, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError

Box = tuple[float, float, float, float]
"""``x, y, width, height`` in pixels."""


@dataclass(frozen=True, eq=False)
class Detection:
    """One face found in a picture."""

    box: Box
    """``x, y, width, height`` in pixels, about hairline to chin; may reach past the edge."""
    score: float
    """How sure the detector is; CenterFace and YuNet: 0 to 1, dlib: any number, larger is surer."""
    landmarks: NDArray[np.float32] | None = None
    """``(5, 2)`` pixel positions ``x, y``: eye, eye, nose tip, mouth corner, mouth corner.

    Of each pair the first is the one further left in an upright picture (the person's own right).
    """
    framed: bool = False
    """True if the box is a crop already (the whole picture is a face): no margin is added, and of one that is
    not square the middle is taken."""


class Detector(Protocol):
    """Finds faces; made by `create_detector`, or any object with this method.

    An album's index notices another detector by its ``name``, ``model_digest`` and limits, if it has them.
    """

    def detect(self, image: NDArray[np.uint8], /) -> list[Detection]:
        """Find the faces in a picture.

        Args:
            image: HWC RGB uint8, of any size.

        Returns:
            One `Detection` a face, surest first; empty if there is none.
        """
        ...


def intersection_over_union(one: Box, other: Box) -> float:
    """Return how much two boxes overlap, in [0, 1]: 1 where they are equal, 0 where they share nothing.

    Boxes without an area share nothing.
    """
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def check_image(image: NDArray[np.uint8]) -> None:
    """Refuse what is not an HWC RGB uint8 picture of at least one pixel.

    Raises:
        FacelexError: If shape or type differ.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        came = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise FacelexError(
            f"Expected an RGB picture as a uint8 array of shape (height, width, 3), but got {came}. "
            "Convert it first, for example with numpy.asarray(picture.convert('RGB'))."
        )
    if image.size == 0:
        raise FacelexError(f"Expected a picture of at least one pixel, but got shape {image.shape}.")
