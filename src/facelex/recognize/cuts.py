"""Cuts of a film: whether a frame shows another shot than the one before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16
"""Squares a side over which a frame is averaged; noise and small movements vanish in them."""
CHANGE = 10.0
"""Grey levels, of 255, from which on a square has changed."""
MOST = 0.6
"""Share of the squares that a cut changes at least; a face that moves changes fewer."""
LIKENESS = 0.5
"""Correlation of the changed squares under which they show something else, not the same in other light."""
FLAT = 4.0
"""Standard deviation in grey levels under which a frame, a black one say, shows nothing to compare."""
SAMPLES = 256
"""Pixels of the shorter side that are looked at; more would only take time."""


class CutFinder:
    """Notices cuts, from the whole frame in few large squares of grey.

    A cut changes most of them, and what these show before and after is not alike. The change alone, by which
    PySceneDetect's ContentDetector goes (https://www.scenedetect.com/docs/latest/api/detectors.html), is that
    of a light switched on, too.
    """

    def __init__(self) -> None:
        """Start before the first frame."""
        self._before: NDArray[np.float32] | None = None

    def update(self, pixels: NDArray[np.uint8]) -> bool:
        """Return whether a cut lies between a frame and the last one before it that was not `FLAT`.

        Args:
            pixels: RGB, ``(H, W, 3)``.
        """
        squares = _squares(pixels)
        if squares.std() < FLAT:
            return False
        before, self._before = self._before, squares
        return before is not None and _is_cut(before, squares)


def _squares(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    step = max(1, min(pixels.shape[:2]) // SAMPLES)
    picture = Image.fromarray(np.ascontiguousarray(pixels[::step, ::step])).convert("L")
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)


def _is_cut(before: NDArray[np.float32], now: NDArray[np.float32]) -> bool:
    changed = np.abs(now - before) > CHANGE
    if changed.mean() < MOST:
        return False
    one, other = before[changed] - before[changed].mean(), now[changed] - now[changed].mean()
    # what FLAT adds keeps the noise of an even wall, brightened, from looking like another picture
    shared = np.mean(one * other) + FLAT**2
    return bool(shared / (one.std() * other.std() + FLAT**2) < LIKENESS)
