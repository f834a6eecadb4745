"""What an ONNX model answers about faces that are cropped already."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facelex.evaluation.calibration import softmax
from facelex.recognize.framing import resize_crops
from facelex.recognize.model import FACES_AT_ONCE, Model


def predict_onnx(model: Model, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return class probabilities without the model's calibration, ``(n, K)``; faces as for `run_onnx`."""
    return softmax(run_onnx(model, pixels)[0]).astype(np.float32)


def run_onnx(
    model: Model, pixels: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Run a model on faces.

    Args:
        model: The opened model.
        pixels: Grey faces of any size, ``(n, H, W)`` uint8; scaled to the model's size.

    Returns:
        Logits ``(n, K)`` and unit-length features ``(n, E)``, or None for a model without words.
    """
    parts = [model.run(np.zeros((0, 1, model.image_size, model.image_size), np.float32))]
    for start in range(0, len(pixels), FACES_AT_ONCE):
        faces = pixels[start : start + FACES_AT_ONCE].astype(np.float32) / np.float32(255)
        parts.append(model.run(resize_crops(faces, model.image_size)[:, None]))  # (B, 1, S, S)
    logits = np.concatenate([part[0] for part in parts])
    features = [part[1] for part in parts if part[1] is not None]
    return logits, np.concatenate(features) if features else None
