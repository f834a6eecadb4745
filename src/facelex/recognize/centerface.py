"""CenterFace, the packaged face detector: an ONNX file and the decoding of what it answers.

Xu, Yan, Yang, Luo, Li, He: "CenterFace: Joint Face Detection and Alignment Using Face as Point"
(https://arxiv.org/abs/1911.03599). A face is a peak of a heat map with a quarter of the picture's resolution;
size, offset and five landmarks are read at the peak.
"""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from threading import BoundedSemaphore

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from facelex.errors import FacelexError
from facelex.recognize.detection import Detection, check_image
from facelex.recognize.sessions import default_threads, session_options

STRIDE = 4  # heat map cells are this many pixels wide
MULTIPLE = 32  # the network halves its input five times
OUTPUTS = ["heatmap", "scale", "offset", "landmarks"]
PIXELS = 640 * 480  # a picture of this size is searched as it is
GREY = 128  # around the picture: black hides faces that touch the edge
SMALL_PICTURE = 128  # pixels; shorter ones are doubled and get a border, since a face may fill them
SMALL_FACE = 24  # pixels of network input; below, scores fall off and a second look pays
HINT = 0.1  # least score that makes a small face worth a second look


class CenterFace:
    """Finds faces with CenterFace through ONNX Runtime."""

    name = "centerface"

    def __init__(
        self,
        model: Path | None = None,
        pixels: int = PIXELS,
        threshold: float = 0.4,
        overlap: float = 0.3,
        threads: int | None = None,
    ) -> None:
        """Load the network.

        Args:
            model: An ONNX file laid out as the packaged one (see ``tools/pack_centerface.py``).
            pixels: Larger pictures are shrunk to this area before the search, which bounds time and memory;
                where that leaves hints of small faces, the search is repeated on four times the area.
            threshold: Least score of a face, 0 to 1.
            overlap: Of two boxes whose intersection over union is larger, the surer one stays.
            threads: Threads one picture is searched with; by default the physical cores this process may use.

        Raises:
            FacelexError: If the file is no such network, or there would be no thread.
        """
        self.pixels = pixels
        self.threshold = threshold
        self.overlap = overlap
        self._model = model
        self._threads = threads
        self.session = _load_session(model, threads)
        # ONNX Runtime keeps the memory of as many searches as ever ran at once. Without that arena a search
        # takes 1.6 times as long (1.16 times a batch of 32 faces in the larger model), while waiting for one
        # of these places made 24 callers on two cores no slower: four places kept 300 MB, none 1,100 MB.
        self._places = BoundedSemaphore(2 * default_threads())

    def __reduce__(self) -> tuple[type[CenterFace], tuple[Path | None, int, float, float, int | None]]:
        """Copy and pickle by the arguments: the model file is read again."""
        return CenterFace, (self._model, self.pixels, self.threshold, self.overlap, self._threads)

    @cached_property
    def model_digest(self) -> str:
        """SHA-256 of the model file, in hexadecimal.

        Raises:
            FacelexError: If the file has gone meanwhile.
        """
        return hashlib.sha256(_read_model(self._model)).hexdigest()

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces in an HWC RGB uint8 picture, surest first."""
        check_image(image)
        boxes, scores, landmarks, scale = self._search(image, self.pixels)
        small = boxes[:, 3] * scale < SMALL_FACE
        if (
            scale < 0.8 and small.any()
        ):  # the closer look decides on the small ones, the first one on the large
            closer = self._search(image, 4 * self.pixels)[:3]
            first = (boxes[~small], scores[~small], landmarks[~small])
            boxes, scores, landmarks = map(np.concatenate, zip(first, closer, strict=True))
        sure = scores > self.threshold
        boxes, scores, landmarks = boxes[sure], scores[sure], landmarks[sure]
        return [
            Detection((float(x), float(y), float(w), float(h)), float(scores[row]), landmarks[row])
            for row in suppress(boxes, scores, self.overlap)
            for x, y, w, h in [boxes[row]]
        ]

    def _search(self, image: NDArray[np.uint8], pixels: int) -> tuple[NDArray, NDArray, NDArray, float]:
        """Return boxes, scores and landmarks of all candidates in picture pixels, and the scale used."""
        network_input, scale, origin = fit(image, pixels)
        with self._places:
            answers = self.session.run(OUTPUTS, {"images": network_input})
        heatmap, log_sizes, offsets, points = (answer[0] for answer in answers)
        boxes, scores, landmarks = decode(heatmap, log_sizes, offsets, points, HINT)
        boxes[:, :2] -= origin
        return boxes / np.tile(scale, 2), scores, (landmarks - origin) / scale, float(scale.max())


def fit(
    image: NDArray[np.uint8], pixels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Shrink a large picture, double a tiny one, and pad with grey to the network's multiple.

    Args:
        image: HWC RGB uint8.
        pixels: Largest area to search.

    Returns:
        The network's input ``(1, 3, H, W)`` in [0, 255]; by how much width and height were scaled ``(2,)``;
        where the picture's corner ``x, y`` lies in the input ``(2,)``.
    """
    height, width = image.shape[:2]
    scale = 2.0 if max(height, width) < SMALL_PICTURE else min(1.0, math.sqrt(pixels / (height * width)))
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    if (new_width, new_height) != (width, height):
        picture = Image.fromarray(image)
        resized = picture.resize((new_width, new_height), Image.Resampling.BILINEAR, reducing_gap=2.0)
        image = np.asarray(resized)
    border = max(new_width, new_height) // 4 if scale > 1 else 0
    padded_height = math.ceil((new_height + 2 * border) / MULTIPLE) * MULTIPLE
    padded_width = math.ceil((new_width + 2 * border) / MULTIPLE) * MULTIPLE
    canvas = np.full((1, 3, padded_height, padded_width), GREY, np.float32)
    canvas[0, :, border : border + new_height, border : border + new_width] = image.transpose(2, 0, 1)
    scales = np.array([new_width / width, new_height / height], np.float32)
    return canvas, scales, np.full(2, border, np.float32)


def decode(
    heatmap: NDArray[np.float32],
    scale: NDArray[np.float32],
    offset: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    threshold: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Read boxes, scores and landmarks from the network's maps.

    Args:
        heatmap: Scores, ``(1, h, w)``.
        scale: Logarithms of box height and width in cells, ``(2, h, w)``.
        offset: Centre's offset ``y, x`` within its cell, ``(2, h, w)``.
        landmarks: Five times ``y, x`` as shares of the box from its top left corner, ``(10, h, w)``.
        threshold: Cells with smaller scores are passed over.

    Returns:
        Boxes ``x, y, width, height`` ``(n, 4)``, scores ``(n,)`` and landmarks ``x, y`` ``(n, 5, 2)``,
        in pixels of the network's input.
    """
    rows, columns = np.nonzero(heatmap[0] > threshold)
    sizes = np.exp(scale[:, rows, columns][::-1].T) * STRIDE  # (n, 2) width, height
    cells = np.stack([columns, rows], axis=1) + 0.5 + offset[:, rows, columns][::-1].T
    corners = cells * STRIDE - sizes / 2
    points = landmarks[:, rows, columns].T.reshape(-1, 5, 2)[:, :, ::-1]  # (n, 5, 2) x, y
    points = points * sizes[:, None] + corners[:, None]
    boxes = np.concatenate([corners, sizes], axis=1)
    return boxes.astype(np.float32), heatmap[0, rows, columns], points.astype(np.float32)


def suppress(boxes: NDArray[np.float32], scores: NDArray[np.float32], overlap: float) -> NDArray[np.int64]:
    """Greedy non-maximum suppression.

    Returns:
        Rows to keep, surest first.
    """
    order = np.argsort(-scores, kind="stable")
    start, end = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    areas = boxes[:, 2] * boxes[:, 3]
    kept: list[int] = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(int(best))
        sides = np.minimum(end[best], end[order]) - np.maximum(start[best], start[order])
        shared = np.prod(np.maximum(sides, 0), axis=1)
        order = order[shared / (areas[best] + areas[order] - shared) <= overlap]
    return np.array(kept, np.int64)


def _read_model(model: Path | None) -> bytes:
    if model is None:
        return files("facelex").joinpath("weights/centerface.onnx").read_bytes()
    try:
        return Path(model).read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise FacelexError(f"Expected a CenterFace model at {str(model)!r}, but: {reason}.") from error


def _load_session(model: Path | None, threads: int | None) -> ort.InferenceSession:
    options = session_options(threads)
    content = _read_model(model)
    try:
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no public base class for its errors
        raise FacelexError(
            f"Expected {str(model)!r} to be an ONNX file, but ONNX Runtime cannot load it. "
            "Leave the model out to use the packaged one."
        ) from error
    names = [value.name for value in session.get_outputs()]
    if names != OUTPUTS or [value.name for value in session.get_inputs()] != ["images"]:
        raise FacelexError(
            f"Expected a CenterFace model with input images and outputs {', '.join(OUTPUTS)}, "
            f"but {str(model)!r} has outputs {', '.join(names)}. Leave the model out to use the packaged one."
        )
    return session
