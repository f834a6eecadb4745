"""What an ONNX model answers about faces that are cropped already."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from facelex.evaluation.calibration import softmax
from facelex.recognize.framing import resize_crops
from facelex.recognize.model import FACES_AT_ONCE, Model


def predict_onnx(model: Model, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return class probabilities without the model's calibration.

    Args:
        model: The opened model.
        pixels: Grey faces of any size, ``(n, H, W)`` uint8; scaled to the model's size.

    Returns:
        ``(n, K)``
    """
    logits = [model.run(images[:, None])[0] for images in _batches(model, pixels)]  # (B, 1, S, S)
    return softmax(np.concatenate(logits)).astype(np.float32)


def answer_onnx(
    model: Model, pixels: NDArray[np.uint8], *, flip: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return what `Model.answer` says of faces as `predict_onnx` takes them."""
    answers = [model.answer(images, flip=flip) for images in _batches(model, pixels)]
    features = [found for _, found in answers if found is not None]
    return np.concatenate([probs for probs, _ in answers]), np.concatenate(features) if features else None


def _batches(model: Model, pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    """Yield faces as the network takes them, ``(B, S, S)`` in [0, 1]; of none an empty batch."""
    for start in range(0, max(1, len(pixels)), FACES_AT_ONCE):
        faces = pixels[start : start + FACES_AT_ONCE].astype(np.float32) / np.float32(255)
        yield resize_crops(faces, model.image_size)
