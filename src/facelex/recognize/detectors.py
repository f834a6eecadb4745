"""Face detectors of other packages, used when they are installed, and the one that looks for nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError, require
from facelex.recognize.detection import Detection, check_image


class WholePicture:
    """Takes every picture for one face, cropped already."""

    name = "none"

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Answer with one face, the whole picture."""
        check_image(image)
        height, width = image.shape[:2]
        return [Detection((0.0, 0.0, float(width), float(height)), 1.0, framed=True)]


class DlibHog:
    """dlib's frontal face detector (histogram of oriented gradients): quick, upright faces, no landmarks."""

    name = "dlib"

    def __init__(self) -> None:
        dlib = require("dlib", "dlib", "The dlib face detector")
        self._detector = dlib.get_frontal_face_detector()

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find upright frontal faces of at least about 80 pixels, surest first."""
        check_image(image)
        rectangles, scores, _ = self._detector.run(np.ascontiguousarray(image), 0, 0.0)
        found = [
            Detection(
                (float(r.left()), float(r.top()), float(r.width()), float(r.height())),
                float(score),
            )
            for r, score in zip(rectangles, scores, strict=True)
        ]
        return sorted(found, key=lambda face: -face.score)


class YuNet:
    """YuNet through OpenCV, with a model file of the user's."""

    name = "yunet"

    def __init__(self, model: Path, threshold: float = 0.6) -> None:
        cv2 = require("cv2", "yunet", "The YuNet face detector")
        if not Path(model).is_file():
            raise FacelexError(f"Expected a YuNet model file, but there is none at {str(model)!r}.")
        try:
            self._detector = cv2.FaceDetectorYN.create(str(model), "", (320, 320), score_threshold=threshold)
        except cv2.error as error:
            raise FacelexError(
                f"Expected {str(model)!r} to be a YuNet ONNX file, but OpenCV cannot load it. "
                "Use face_detection_yunet_2023mar.onnx of OpenCV's model zoo, or another detector."
            ) from error
        self._lock = threading.Lock()  # OpenCV's object holds the picture size between two calls

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find faces, surest first."""
        check_image(image)
        height, width = image.shape[:2]
        with self._lock:
            self._detector.setInputSize((width, height))
            _, rows = self._detector.detect(np.ascontiguousarray(image[:, :, ::-1]))
        if rows is None:
            return []
        rows = np.asarray(rows, np.float32)
        found = [
            Detection(tuple(map(float, row[:4])), float(row[14]), row[4:14].reshape(5, 2).copy())
            for row in rows
        ]
        return sorted(found, key=lambda face: -face.score)
