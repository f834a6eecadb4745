"""The user-facing class: pictures in, faces with emotions, words and features out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facelex.recognize.results import Face, ImageResult

if TYPE_CHECKING:
    from facelex.recognize.faces import Detection, Detector

ImageInput = Any
"""Path, ``http(s)://`` URL, bytes, binary file object, PIL image or NumPy array (HWC RGB)."""


class Recognizer:
    """Final signatures; the bodies follow in the next commit."""

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        detector: str | Detector = "auto",
        flip: bool = True,
        unsure_below: float | None = None,
        threads: int | None = None,
    ) -> None:
        raise NotImplementedError

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        raise NotImplementedError

    @property
    def info(self) -> Mapping[str, Any]:
        """The ``facelex`` metadata of the model."""
        raise NotImplementedError

    @property
    def detector(self) -> Detector:
        """The face detector, created when first used."""
        raise NotImplementedError

    def predict(
        self,
        image: ImageInput,
        *,
        words: Sequence[str] | str | None = None,
        detect: bool = True,
        bgr: bool = False,
    ) -> list[Face]:
        """Find and read the faces of one image."""
        raise NotImplementedError

    def predict_many(
        self,
        inputs: Iterable[ImageInput],
        *,
        words: Sequence[str] | str | None = None,
        detect: bool = True,
        bgr: bool = False,
        batch_size: int = 64,
        workers: int | None = None,
        keep_images: bool = False,
    ) -> Iterator[ImageResult]:
        """Read many images in order, with decoding, detection and inference overlapped."""
        raise NotImplementedError

    def describe(
        self,
        image: NDArray[np.uint8],
        detections: Sequence[Detection],
        *,
        words: Sequence[str] | str | None = None,
    ) -> list[Face]:
        """Read faces that are found already (by a tracker, say), one `Face` a detection, order kept."""
        raise NotImplementedError

    def classify(self, crops: Any, *, flip: bool | None = None) -> NDArray[np.float32]:
        """Return calibrated probabilities ``(N, K)`` of face crops."""
        raise NotImplementedError

    def embed(self, crops: Any) -> NDArray[np.float32]:
        """Return unit features ``(N, E)`` of face crops."""
        raise NotImplementedError

    def score_words(self, features: NDArray[np.float32], words: Sequence[str] | str) -> NDArray[np.float32]:
        """Return scores ``(N, W)`` in [0, 1] of words for unit features ``(N, E)`` (cached ones, say)."""
        raise NotImplementedError

    def rank(
        self, image: ImageInput, words: Sequence[str] | str, *, detect: bool = True, bgr: bool = False
    ) -> list[Face]:
        """Return the faces of an image, each with ``words`` ordered best first."""
        raise NotImplementedError
