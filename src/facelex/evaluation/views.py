"""Ways of looking at a face: the picture, its mirror image, and ten windows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW = 44 / 48
"""Side of a ten-crop window as a share of the picture's side.

Results published for FER2013 cut 40 or 44 of 48 pixels, with networks that take just that size and were
trained on random windows of it. Ours take whole pictures, so a window is enlarged to the network's size and
shows the face magnified (9 % for 44, 20 % for 40) and shifted (by 2 or 4 pixels). Training with the shipped
configurations draws zooms of up to 8 or 10 % and shifts of up to 3 or 4 pixels: 44 asks about faces much as
the network has seen them, 40 does not.
"""


def mirrored(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mirror images of pictures, ``(n, H, W)``, without copying."""
    return pixels[:, :, ::-1]


def ten_crops(pixels: NDArray[np.uint8], window: float = WINDOW) -> Iterator[NDArray[np.uint8]]:
    """Cut five windows out of every picture (the corners and the centre), and mirror each.

    As in Krizhevsky et al. 2012, section 4.1 (there 224 of 256 pixels).

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


@dataclass(frozen=True)
class View:
    """A way to look at a picture: the mean of a network's answers to variants of it.

    Attributes:
        label: What tables call it.
        array: Name under which ``Predictions`` and its files keep the answers that this view adds.
        variants: Number of variants that it adds.
        make: Makes them, one after the other, of pictures ``(n, H, W)``.
        with_picture: Whether the answer to the picture as it is enters the mean too.
    """

    label: str
    array: str
    variants: int
    make: Callable[[NDArray[np.uint8]], Iterable[NDArray[np.uint8]]]
    with_picture: bool = False


VIEWS: dict[str, View] = {
    "single": View("single view", "probs", 1, lambda pixels: (pixels,)),
    "flip": View("with mirror image", "mirror_probs", 1, lambda pixels: (mirrored(pixels),), True),
    "ten_crop": View("ten-crop", "crop_probs", 10, ten_crops),
}
"""The picture as it is; the mean of the probabilities of the picture and its mirror image; the mean over ten
windows."""

VIEW_LABELS = {name: view.label for name, view in VIEWS.items()}
"""What tables call them."""


def chosen_views(*, flip: bool = False, ten_crop: bool = False) -> tuple[str, ...]:
    """Name the views asked for; the picture as it is always is."""
    asked = {"single": True, "flip": flip, "ten_crop": ten_crop}
    return tuple(name for name in VIEWS if asked[name])
