"""Face detectors of other packages, used when they are installed, and the one that looks for nothing."""

from __future__ import annotations

import hashlib
import math
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
    """dlib's frontal face detector (histograms of oriented gradients): quick, upright faces, no landmarks."""

    name = "dlib"

    def __init__(self, pixels: int = 1280 * 960, threshold: float = 0.2) -> None:
        """Load the detector.

        Args:
            pixels: Larger pictures are shrunk to this area before the search.
            threshold: Least score of a face; false ones seen had 0.1, true ones 0.2 and more.
        """
        dlib = require("dlib", "dlib", "The face detector 'dlib'")
        self.pixels = pixels
        self.threshold = threshold
        self._detector = dlib.get_frontal_face_detector()
        self._lock = threading.Lock()  # dlib's object holds the picture searched, and dlib releases the GIL

    def __reduce__(self) -> tuple[type[DlibHog], tuple[int, float]]:
        """Copy and pickle by the arguments."""
        return DlibHog, (self.pixels, self.threshold)

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find upright frontal faces of at least about 80 pixels, surest first."""
        check_image(image)
        shrunk, scale = shrink(image, self.pixels)
        with self._lock:
            rectangles, scores, _ = self._detector.run(np.ascontiguousarray(shrunk), 0, self.threshold)
        found = []
        for rectangle, score in zip(rectangles, scores, strict=True):
            # dlib frames brows to mouth. Its sides are 0.78 of CenterFace's height on the same faces and its
            # centre lies lower by 0.06 of its side (medians over 15 photographs, docs/faces.md).
            found_side = rectangle.width() / scale
            side = found_side / 0.78
            middle_x = (rectangle.left() + rectangle.right() + 1) / 2 / scale
            middle_y = (rectangle.top() + rectangle.bottom() + 1) / 2 / scale - 0.06 * found_side
            found.append(Detection((middle_x - side / 2, middle_y - side / 2, side, side), float(score)))
        return sorted(found, key=lambda face: -face.score)


class YuNet:
    """YuNet through OpenCV, with a model file of the user's."""

    name = "yunet"

    def __init__(self, model: Path, pixels: int = 1280 * 960, threshold: float = 0.6) -> None:
        """Load the network.

        Args:
            model: A YuNet ONNX file.
            pixels: Larger pictures are shrunk to this area before the search.
            threshold: Least score of a face, 0 to 1.
        """
        cv2 = require("cv2", "yunet", "The face detector 'yunet'")
        if not Path(model).is_file():
            raise FacelexError(f"Expected a YuNet model file, but there is none at {str(model)!r}.")
        try:
            self._detector = cv2.FaceDetectorYN.create(str(model), "", (64, 64), score_threshold=threshold)
            self._detector.detect(np.zeros((64, 64, 3), np.uint8))  # another network fails only here
        except cv2.error as error:
            raise FacelexError(
                f"Expected {str(model)!r} to be a YuNet ONNX file, but OpenCV cannot load it. "
                "Use face_detection_yunet_2023mar.onnx of OpenCV's model zoo, or another detector."
            ) from error
        self.pixels = pixels
        self.threshold = threshold
        self.model_digest = hashlib.sha256(Path(model).read_bytes()).hexdigest()
        """SHA-256 of the model file, in hexadecimal."""
        self._model = Path(model)
        self._lock = threading.Lock()  # OpenCV's object holds the picture size between two calls

    def __reduce__(self) -> tuple[type[YuNet], tuple[Path, int, float]]:
        """Copy and pickle by the arguments: the model file is read again."""
        return YuNet, (self._model, self.pixels, self.threshold)

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find faces, surest first."""
        check_image(image)
        shrunk, scale = shrink(image, self.pixels)
        height, width = shrunk.shape[:2]
        with self._lock:
            self._detector.setInputSize((width, height))
            _, rows = self._detector.detect(np.ascontiguousarray(shrunk[:, :, ::-1]))
        if rows is None:
            return []
        found = []
        for row in np.asarray(rows, np.float32):  # box, five points, score
            x, y, box_width, box_height = (float(value) / scale for value in row[:4])
            points = (row[4:14].reshape(5, 2) / scale).astype(np.float32)
            found.append(Detection((x, y, box_width, box_height), float(row[14]), points))
        return sorted(found, key=lambda face: -face.score)


def shrink(image: NDArray[np.uint8], pixels: int) -> tuple[NDArray[np.uint8], float]:
    """Shrink a picture to an area of ``pixels`` if it is larger; also return by how much."""
    height, width = image.shape[:2]
    scale = min(1.0, math.sqrt(pixels / (height * width)))
    if scale == 1.0:
        return image, scale
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)), scale
