"""Runner of facelex itself."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from protocol import serve


class Facelex:
    def __init__(self) -> None:
        import facelex

        options = json.loads(sys.argv[1])
        self.recognizer = facelex.Recognizer(options.get("model"), flip=options.get("flip", True))
        self.classes = self.recognizer.classes

    def classify(self, crops: np.ndarray) -> np.ndarray:
        return self.recognizer.classify(crops)

    def read_photo(self, path: str) -> list[dict[str, Any]]:
        return [
            {"box": [float(value) for value in face.box], "emotion": face.emotion}
            for face in self.recognizer.predict(path)
        ]


if __name__ == "__main__":
    serve(Facelex)
