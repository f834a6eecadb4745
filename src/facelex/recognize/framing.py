"""Cut faces out of pictures the way FER2013 frames them.

FER2013's faces were cropped automatically, centred and of about equal size, without being turned upright
(Goodfellow et al. 2013, https://arxiv.org/abs/1307.0414, section 2). The numbers below were measured on its
pictures; ``docs/faces.md`` says how, ``tools/measure_framing.py`` does it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelex.errors import FacelexError, unknown_name
from facelex.recognize.detection import Detection, check_image

DEFAULT_FRAMING: dict[str, Any] = {
    "side": 2.66,  # the crop's side over the distance from between the eyes to between the mouth corners
    "box_side": 0.952,  # the crop's side over the box's longer side, where there are no landmarks
    "offset": (
        0.0,
        -0.015,
    ),  # from the box's centre to the crop's, in sides, right and down as the face sees it
    "upright": True,  # whether a tilted head is turned upright (needs landmarks)
    "roll": -1.5,  # degrees of tilt that the landmarks show in a face that is upright
}
_NO_FAR_CORNER = 1e6  # a crop that reaches further out is a mistake, not a face
_MOST_COVERED = 16
"""A crop covers this many times the picture's pixels at most, or its own: a close-up covers 9, turned."""


def crop_face(
    image: NDArray[np.uint8], detection: Detection, size: int, framing: Mapping[str, Any] | None = None
) -> NDArray[np.uint8]:
    """Cut a face out as a grey square, framed as FER2013 frames faces.

    With landmarks, a similarity transform puts eyes and mouth to their usual height and turns the face
    upright; without, the box alone decides. Where the square leaves the picture, its edge is repeated. Large
    faces are averaged, not sampled. Of a ``framed`` detection the middle square is taken, as it is where a
    dataset is read from folders.

    Args:
        image: HWC RGB uint8.
        detection: A face in it.
        size: Side of the crop in pixels.
        framing: Values that replace those of `DEFAULT_FRAMING`, by name; a recogniser's model file may bring
            them.

    Returns:
        ``(size, size)`` uint8, grey.

    Raises:
        FacelexError: If the picture is no RGB uint8 array, the box is empty, not finite or far larger than
            the picture, or a name in ``framing`` is not known.
    """
    check_image(image)
    if size < 1:
        raise FacelexError(f"Expected a crop of at least 1 pixel, but got {size}. Take for example 48.")
    _check_box(detection)
    if detection.framed:
        return _cut_straight(image, detection.box, size)
    center, side, tilt = frame_of(detection, framing)
    return _cut_turned(image, center, side, tilt, size)


def resize_crops(crops: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Scale crops ``(N, H, W)`` to ``(N, size, size)``, bilinear with antialiasing as training does."""
    if crops.shape[1:] == (size, size) or not len(crops):
        return crops.reshape(len(crops), size, size)
    bilinear = Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(crop).resize((size, size), bilinear)) for crop in crops])


def frame_of(
    detection: Detection, framing: Mapping[str, Any] | None = None
) -> tuple[tuple[float, float], float, float]:
    """Say where in the picture the crop of a face lies.

    Args:
        detection: A face.
        framing: As in `crop_face`.

    Returns:
        Centre ``x, y`` in pixels, side in pixels and tilt in radians, clockwise as seen.
    """
    chosen = _fill_in(framing)
    x, y, width, height = detection.box
    box_side = chosen["box_side"] * max(width, height)
    side, tilt = box_side, 0.0
    if detection.landmarks is not None:
        eyes, mouth = detection.landmarks[:2].mean(axis=0), detection.landmarks[3:].mean(axis=0)
        # Landmarks of a face that is hardly there may lie anywhere: the box keeps them within reason.
        side = float(np.clip(chosen["side"] * math.dist(eyes, mouth), 0.7 * box_side, 1.4 * box_side))
        if chosen["upright"]:
            tilt = _tilt(detection.landmarks) - math.radians(chosen["roll"])
    right, down = (side * share for share in chosen["offset"])
    cosine, sine = math.cos(tilt), math.sin(tilt)
    center = (x + width / 2 + cosine * right - sine * down, y + height / 2 + sine * right + cosine * down)
    return center, side, tilt


def _tilt(landmarks: NDArray[np.float32]) -> float:
    """Angle of the head in the picture plane: mean of the lines of eyes, of mouth and from eyes to mouth."""
    eye_left, eye_right, _, mouth_left, mouth_right = (complex(*point) for point in landmarks.tolist())
    down = (mouth_left + mouth_right) / 2 - (eye_left + eye_right) / 2
    direction = (eye_right - eye_left) + (mouth_right - mouth_left) + 2 * down / 1j
    return math.atan2(direction.imag, direction.real)


def _cut_straight(
    image: NDArray[np.uint8], box: tuple[float, float, float, float], size: int
) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    left, top = max(0.0, box[0]), max(0.0, box[1])
    inside = (left, top, min(float(width), box[0] + box[2]), min(float(height), box[1] + box[3]))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise FacelexError(f"Expected a box within the picture of {width}x{height} pixels, but got {box}.")
    side = min(inside[2] - inside[0], inside[3] - inside[1])
    left, top = (inside[0] + inside[2] - side) / 2, (inside[1] + inside[3] - side) / 2
    square = (left, top, left + side, top + side)
    grey = Image.fromarray(image).convert("L")
    return np.asarray(grey.resize((size, size), Image.Resampling.LANCZOS, box=square, reducing_gap=3.0))


def _cut_turned(
    image: NDArray[np.uint8], center: tuple[float, float], side: float, tilt: float, size: int
) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    reach = side * (abs(math.cos(tilt)) + abs(math.sin(tilt))) / 2 + 2
    too_large = (2 * reach) ** 2 > _MOST_COVERED * max(height * width, (2 * size) ** 2)
    if too_large or max(map(abs, center)) + reach > _NO_FAR_CORNER:
        raise FacelexError(
            f"Expected a face of ordinary size in the picture of {width}x{height} pixels, but got one of "
            f"{side:.3g} pixels at ({center[0]:.3g}, {center[1]:.3g}). Correct its box."
        )
    # Every step-th pixel block is averaged first, so that a large face costs no more than a small one.
    step = max(1, int(side / size / 2))
    left, top = math.floor(center[0] - reach), math.floor(center[1] - reach)
    count = math.ceil(2 * reach / step) + 1
    grey = Image.fromarray(_grey_square(image, left, top, count * step))
    if step > 1:
        grey = grey.reduce(step)
    pixels = side / step  # the crop's side in pixels of the reduced patch
    samples = max(1, math.ceil(pixels / size))  # per output pixel and axis
    scale = pixels / (size * samples)
    cosine, sine = math.cos(tilt) * scale, math.sin(tilt) * scale
    middle = size * samples / 2
    x, y = (center[0] - left) / step, (center[1] - top) / step
    matrix = (
        cosine, -sine, x - cosine * middle + sine * middle,
        sine, cosine, y - sine * middle - cosine * middle,
    )  # fmt: skip
    fine = grey.transform(
        (size * samples, size * samples), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )
    return np.asarray(fine.reduce(samples) if samples > 1 else fine)


def _grey_square(image: NDArray[np.uint8], left: int, top: int, count: int) -> NDArray[np.uint8]:
    """Take the square of ``count`` pixels at ``left, top``, grey; beyond the picture, its nearest pixel."""
    rows = np.clip(np.arange(top, top + count), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(left, left + count), 0, image.shape[1] - 1)
    inside = np.ascontiguousarray(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    grey = np.asarray(Image.fromarray(inside).convert("L"))
    return grey if grey.shape == (count, count) else grey[(rows - rows[0])[:, None], columns - columns[0]]


def _fill_in(framing: Mapping[str, Any] | None) -> dict[str, Any]:
    for name in framing or {}:
        if name not in DEFAULT_FRAMING:
            raise unknown_name("framing value", name, DEFAULT_FRAMING)
    return {**DEFAULT_FRAMING, **(framing or {})}


def _check_box(detection: Detection) -> None:
    if not np.isfinite(detection.box).all() or min(detection.box[2:]) <= 0:
        raise FacelexError(
            f"Expected a box x, y, width, height with positive sides, but got {detection.box}."
        )
    if detection.landmarks is not None and (
        detection.landmarks.shape != (5, 2) or not np.isfinite(detection.landmarks).all()
    ):
        raise FacelexError(
            f"Expected five finite landmarks of shape (5, 2), but got {detection.landmarks.shape}."
        )
