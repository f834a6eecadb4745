"""Runner of fer (PyPI) in its default form: Haar cascade, quantised TensorFlow Lite network."""

from __future__ import annotations

from typing import Any

import numpy as np
from protocol import EMOTIONS, serve


class Fer:
    classes = EMOTIONS

    def __init__(self) -> None:
        import cv2
        from fer.fer import FER

        self.resize = cv2.resize
        self.fer = FER()

    def classify(self, crops: np.ndarray) -> np.ndarray:
        """Do what `detect_emotions` does with given faces, but without rounding the scores to two digits."""
        faces = np.stack([self.resize(crop, (64, 64)) for crop in crops]).astype(np.float32)
        return np.asarray(self.fer._classify_emotions((faces / 255.0 - 0.5) * 2.0))

    def read_photo(self, path: str) -> list[dict[str, Any]]:
        return [
            {
                "box": [float(value) for value in face["box"]],
                "emotion": max(face["emotions"], key=face["emotions"].get),
            }
            for face in self.fer.detect_emotions(path)
        ]


if __name__ == "__main__":
    serve(Fer)
