"""Read one image file as small grey squares: the whole of it, or faces in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from facelex.errors import FacelexError
from facelex.recognize.detection import Box, Detection, Detector, intersection_over_union
from facelex.recognize.framing import crop_face
from facelex.recognize.images import load_image

SAME_FACE = 0.4
"""Least intersection over union of a face that is found and a box that is meant to be it.

Detectors and people draw boxes of one face more or less wide: half as wide again is 0.44. Two faces that a
detector tells apart overlap by 0.3 at most.
"""


class UnreadableImageError(Exception):
    """A file is no image, is damaged, or is smaller or larger than any photo."""


class NoFaceError(Exception):
    """In a picture no face was found."""


@dataclass(frozen=True)
class Picture:
    """A picture in memory: HWC RGB uint8, and the faces found in it; None where it is a face crop itself."""

    pixels: NDArray[np.uint8]
    faces: Sequence[Detection] | None = None

    @property
    def short_side(self) -> int:
        """The shorter of height and width, in pixels."""
        return min(self.pixels.shape[:2])

    def cut(self, size: int, box: Box | None = None) -> NDArray[np.uint8]:
        """Return a face as grey levels, ``(size, size)`` uint8 in [0, 255].

        A face crop is taken whole; one that is not square is cropped to its middle square, and one of that
        size keeps its levels. Of a photo, the face at ``box`` is cut out as a recogniser does it, see
        :meth:`face_at`.

        Raises:
            UnreadableImageError: If the box does not lie in the picture, or is far larger.
            NoFaceError: If a photo has no face.
        """
        if self.faces is not None:
            try:
                return crop_face(self.pixels, self.face_at(box), size)
            except FacelexError as error:
                raise UnreadableImageError(f"no face can be cut out: {str(error).rstrip('.')}") from error
        grey = Image.fromarray(self.pixels).convert("L")
        if grey.size != (size, size):
            grey = ImageOps.fit(grey, (size, size), Image.Resampling.LANCZOS)
        return np.asarray(grey, np.uint8)

    def face_at(self, box: Box | None = None) -> Detection:
        """Return the found face that overlaps ``box`` best; without one the largest.

        Where none overlaps it by `SAME_FACE`, the box itself is the face, framed without landmarks.

        Raises:
            UnreadableImageError: If the box does not lie in the picture.
            NoFaceError: If there is no box and no face.
        """
        faces = self.faces or ()
        if box is None:
            if not faces:
                raise NoFaceError
            return max(faces, key=lambda face: face.box[2] * face.box[3])
        height, width = self.pixels.shape[:2]
        if not intersection_over_union(box, (0, 0, width, height)) or max(box[2:]) > 2 * max(width, height):
            raise UnreadableImageError(f"the box of its face does not lie in its {width}x{height} pixels")
        best = max(faces, key=lambda face: intersection_over_union(face.box, box), default=None)
        if best is not None and intersection_over_union(best.box, box) >= SAME_FACE:
            return best
        return Detection(box, score=1.0)


def open_picture(path: Path, detector: Detector | None = None) -> Picture:
    """Read an image file.

    It is decoded as a picture that is to be recognised (``load_image``): the camera's rotation is applied,
    transparency is put on white and 16-bit grey is scaled to 8 bits.

    Args:
        path: The file.
        detector: Finds the faces of a photo; without one the picture is a face crop.

    Raises:
        UnreadableImageError: With the reason in a few words, without the file's name.
    """
    pixels = _load(path)
    return Picture(pixels, None if detector is None else detector.detect(pixels))


def read_grey(path: Path, size: int) -> NDArray[np.uint8]:
    """Read a face crop as grey levels, ``(size, size)`` uint8 in [0, 255]; see :meth:`Picture.cut`.

    Raises:
        UnreadableImageError: As :func:`open_picture`.
    """
    return open_picture(path).cut(size)


def _load(path: Path) -> NDArray[np.uint8]:
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises where a name is too long
        raise UnreadableImageError("there is no such file")
    try:
        return load_image(path)
    except FacelexError as error:
        reason = str(error).replace(repr(str(path)), "it").rstrip(".")
        raise UnreadableImageError(reason) from error
