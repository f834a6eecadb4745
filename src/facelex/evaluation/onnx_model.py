"""Uncalibrated class probabilities of an ONNX model for faces that are cropped already."""

from __future__ import annotations

import numpy as np

from facelex.evaluation.calibration import softmax
from facelex.recognize.framing import resize_crops
from facelex.recognize.model import FACES_AT_ONCE, Model


def predict_onnx(model: Model, pixels: np.ndarray) -> np.ndarray:
    """Return class probabilities without the model's calibration.

    Args:
        model: The opened model.
        pixels: Grey faces of any size, ``(n, H, W)`` uint8; scaled to the model's size.

    Returns:
        Probabilities, ``(n, K)`` float32.
    """
    rows = [np.zeros((0, len(model.classes)), np.float32)]
    for start in range(0, len(pixels), FACES_AT_ONCE):
        faces = pixels[start : start + FACES_AT_ONCE].astype(np.float32) / np.float32(255)
        logits, _ = model.run(resize_crops(faces, model.image_size)[:, None])  # (B, 1, S, S)
        rows.append(softmax(logits).astype(np.float32))
    return np.concatenate(rows)
