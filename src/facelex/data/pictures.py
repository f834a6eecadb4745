"""Read one image file as a small grey square: the whole of it, or the face in it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from facelex.errors import FacelexError
from facelex.recognize.detection import Detector
from facelex.recognize.framing import crop_face
from facelex.recognize.images import load_image


class UnreadableImageError(Exception):
    """A file is no image, is damaged, or is smaller or larger than any photo."""


class NoFaceError(Exception):
    """In a picture no face was found."""


def read_grey(path: Path, size: int) -> NDArray[np.uint8]:
    """Read an image as grey levels, ``(size, size)`` uint8 in [0, 255].

    It is decoded as a picture that is to be recognised (``load_image``): the camera's rotation is applied,
    transparency is put on white and 16-bit grey is scaled to 8 bits. A picture that is not square is cropped
    to its middle square. A grey image of that size keeps its pixels.

    Raises:
        UnreadableImageError: With the reason in a few words, without the file's name.
    """
    grey = Image.fromarray(_load(path)).convert("L")
    if grey.size != (size, size):
        grey = ImageOps.fit(grey, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(grey, np.uint8)


def read_face(path: Path, size: int, detector: Detector) -> NDArray[np.uint8]:
    """Cut the largest face out of a photo, as a recogniser does, ``(size, size)`` uint8 grey.

    Raises:
        UnreadableImageError: As :func:`read_grey`.
        NoFaceError: If the detector finds none.
    """
    pixels = _load(path)
    faces = detector.detect(pixels)
    if not faces:
        raise NoFaceError
    return crop_face(pixels, max(faces, key=lambda face: face.box[2] * face.box[3]), size)


def _load(path: Path) -> NDArray[np.uint8]:
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises where a name is too long
        raise UnreadableImageError("there is no such file")
    try:
        return load_image(path)
    except FacelexError as error:
        reason = str(error).replace(repr(str(path)), "it").rstrip(".")
        raise UnreadableImageError(reason) from error
