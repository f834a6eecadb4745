"""Cut faces out of pictures the way FER2013 frames them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelex.recognize.detection import Detection


def crop_face(
    image: NDArray[np.uint8], detection: Detection, size: int, framing: dict | None = None
) -> NDArray[np.uint8]:
    """Cut a face out as a grey square.

    Args:
        image: HWC RGB uint8.
        detection: A face in it.
        size: Side of the crop in pixels.
        framing: Not used yet.

    Returns:
        ``(size, size)`` uint8, grey.
    """
    x, y, width, height = detection.box
    side = max(width, height)
    left, top = x + (width - side) / 2, y + (height - side) / 2
    crop = (
        Image.fromarray(image)
        .convert("L")
        .crop((round(left), round(top), round(left + side), round(top + side)))
    )
    return np.asarray(crop.resize((size, size), Image.Resampling.LANCZOS))
