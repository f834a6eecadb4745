"""Runner of deepface (PyPI) with its default detector."""

from __future__ import annotations

from typing import Any

import numpy as np
from protocol import EMOTIONS, serve


class DeepFace:
    classes = EMOTIONS

    def __init__(self) -> None:
        from deepface import DeepFace as Api

        self.api = Api

    def _analyze(self, images: Any, **options: Any) -> Any:
        return self.api.analyze(images, actions=["emotion"], enforce_detection=False, silent=True, **options)

    def classify(self, crops: np.ndarray) -> np.ndarray:
        pictures = list(np.repeat(crops[..., None], 3, axis=3))
        answers = self._analyze(pictures, detector_backend="skip", align=False)
        rows = [answer[0] if isinstance(answer, list) else answer for answer in answers]
        return np.array([[row["emotion"][name] for name in EMOTIONS] for row in rows])

    def read_photo(self, path: str) -> list[dict[str, Any]]:
        return [
            {
                "box": [float(face["region"][key]) for key in ("x", "y", "w", "h")],
                "emotion": face["dominant_emotion"],
            }
            for face in self._analyze(path)
            if face.get("face_confidence", 1) > 0  # 0: the whole picture, since there was no face
        ]


if __name__ == "__main__":
    serve(DeepFace)
