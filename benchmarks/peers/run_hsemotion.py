"""Runner of hsemotion-onnx (PyPI). It takes faces that somebody else has found."""

from __future__ import annotations

from typing import Any

import numpy as np
from protocol import serve

NAMES = {
    "Anger": "angry", "Disgust": "disgust", "Fear": "fear", "Happiness": "happy", "Sadness": "sad",
    "Surprise": "surprise", "Neutral": "neutral", "Contempt": "contempt",
}  # fmt: skip
BATCH = 32  # 224 pixels in three colours a face: 19 MB a batch


class HSEmotion:
    def __init__(self) -> None:
        import urllib.request  # hsemotion uses it without importing it

        from hsemotion_onnx.facial_emotions import HSEmotionRecognizer

        assert urllib.request
        self.recognizer = HSEmotionRecognizer(model_name="enet_b0_8_best_vgaf")
        names = self.recognizer.idx_to_class
        self.classes = tuple(NAMES[names[index]] for index in sorted(names))

    def classify(self, crops: np.ndarray) -> np.ndarray:
        rgb = np.repeat(crops[..., None], 3, axis=3)
        batches = [list(rgb[start : start + BATCH]) for start in range(0, len(rgb), BATCH)]
        return np.concatenate([self.recognizer.predict_multi_emotions(batch)[1] for batch in batches])

    def read_photo(self, path: str) -> list[dict[str, Any]]:
        raise NotImplementedError("hsemotion-onnx finds no faces")


if __name__ == "__main__":
    serve(HSEmotion)
