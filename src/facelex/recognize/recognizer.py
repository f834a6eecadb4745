"""The user-facing class: pictures in; faces with emotions, words and features out."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError
from facelex.recognize.detection import Box, Detection, Detector
from facelex.recognize.framing import crop_face, resize_crops
from facelex.recognize.images import ImageInput, load_image, to_uint8, unit_floats
from facelex.recognize.layouts import LANDMARKS, TableLayout
from facelex.recognize.model import Model, load_model
from facelex.recognize.results import Face, ImageResult
from facelex.recognize.sources import find_images
from facelex.recognize.word_meanings import WordMeaning, describe_words
from facelex.recognize.words import WordScorer, create_scorer, parse_words
from facelex.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

Words = Iterable[str] | str | None
"""``["bored", "barely hidden anger"]``, ``"bored, proud"``, or None for none."""


READABLE_FROM = 24.0
"""Pixels of a face below which the answers that would pass for sure are wrong too often (docs/faces.md)."""
UNIT_TOLERANCE = 0.01
"""How far from 1 the length of a feature may be: room for features kept in half precision."""


class Recognizer:
    """Finds faces in pictures and says which emotion each shows, in the model's classes or in any words.

    Example:
        >>> recognizer = Recognizer()  # doctest: +SKIP
        >>> [face.emotion for face in recognizer.predict("party.jpg")]  # doctest: +SKIP
        ['happy', 'surprise']
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        detector: str | Detector = "auto",
        flip: bool = True,
        unsure_below: float | None = None,
        readable_from: float = READABLE_FROM,
        threads: int | None = None,
        vocabulary: Vocabulary | str | os.PathLike[str] | None = None,
    ) -> None:
        """Load a model; the detector and the vocabulary follow when first needed.

        Args:
            model: Path of an exported ONNX file, ``"small"``, ``"tiny"`` or ``"ferplus"`` for one of the
                package's faster models, ``"hf:owner/name"``, or None for its largest.
            detector: Name as `create_detector` knows it, or an own object with its ``detect`` method.
            flip: Average each face with its mirror image, where the model says that this helps it.
            unsure_below: Probability under which a face is marked ``unsure``; by default the model's own.
            readable_from: Pixels that the longer side of a face's box must have, or it is ``unsure`` too.
            threads: Threads for a batch, and for a picture in the packaged face detector; by default the
                physical cores this process may use.
            vocabulary: Word vectors the model was trained with, or their GloVe text file, if they are not the
                packaged ones.

        Raises:
            FacelexError: If there is no such model or it cannot be used, no detector of that name, or an
                option is of the wrong type.
        """
        _check_options(model, unsure_below, readable_from, threads, vocabulary)
        if isinstance(detector, str):
            from facelex.recognize.faces import check_detector

            check_detector(detector)
        elif not callable(getattr(detector, "detect", None)):
            raise FacelexError(
                "Expected detector to be a name or an object with a method detect(image), but got "
                f"{detector!r}. Leave it out for the packaged one."
            )
        self._model: Model = load_model(model, threads=threads)
        self._source = model
        self._detector = detector
        self._threads = threads
        self._vocabulary = vocabulary
        self.flip = bool(flip and self._model.metadata.flip)
        self.unsure_below = float(self._model.metadata.unsure_below if unsure_below is None else unsure_below)
        self.readable_from = float(readable_from)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled: all but what is loaded again there from its file."""
        loaded = {"_model", "detector", "_scorer"}
        return {name: value for name, value in self.__dict__.items() if name not in loaded}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load the model again, from the same file or of the same name."""
        self.__dict__.update(state)
        self._model = load_model(self._source, threads=self._threads)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self._model.classes

    @property
    def embed_dim(self) -> int:
        """Length ``E`` of the features of `embed` and `Face.embedding`.

        Raises:
            FacelexError: If the model was trained without words and so has no features.
        """
        self._model.require_features("Features")
        assert self._model.metadata.embed_dim is not None  # or it would not have been opened
        return self._model.metadata.embed_dim

    @property
    def info(self) -> Mapping[str, Any]:
        """The ``facelex`` metadata of the model: scores, words, training record, card."""
        return self._model.info

    def table_layout(
        self,
        words: Words = None,
        *,
        embedding: bool = False,
        landmarks: bool = False,
        video: bool = False,
    ) -> TableLayout:
        """Return what a table of its results holds.

        Args:
            words: Words and phrases that are scored as well.
            embedding: Whether each face's features are written too.
            landmarks: Whether each face's landmarks are, where rows are written; JSON has them in any case.
            video: Whether the results are frames of a video.

        Raises:
            FacelexError: If features are asked for and the model has none, or a word is empty or no text.
        """
        embed_dim = self.embed_dim if embedding else 0
        return TableLayout(self.classes, parse_words(words), embed_dim, video, landmarks=landmarks)

    @cached_property
    def detector(self) -> Detector:
        """The face detector, created when first used."""
        if not isinstance(self._detector, str):
            return self._detector
        from facelex.recognize.faces import create_detector

        return create_detector(self._detector, threads=self._threads)

    def predict(
        self, image: ImageInput, *, words: Words = None, detect: bool = True, bgr: bool = False
    ) -> list[Face]:
        """Find and read the faces of one picture.

        Args:
            image: Whatever `load_image` reads: path, URL, bytes, file object, PIL image, NumPy RGB array.
            words: Words and phrases to score beside the classes.
            detect: False if the picture is a face crop already.
            bgr: The array's channels are in OpenCV's order.

        Returns:
            One `Face` a face; an empty list if there is none.

        Raises:
            FacelexError: If the picture cannot be read or a word is not known.
        """
        words = self._known_words(words)
        pixels = load_image(image, bgr=bgr)
        return self.describe(pixels, self.find(pixels, detect=detect), words=words)

    def predict_many(
        self,
        inputs: str | os.PathLike[str] | Iterable[ImageInput],
        *,
        words: Words = None,
        detect: bool = True,
        bgr: bool = False,
        batch_size: int = 64,
        workers: int | None = None,
        keep_images: bool = False,
        recursive: bool = False,
    ) -> Iterator[ImageResult]:
        """Read many pictures, one result each in the order given.

        Worker threads decode and detect ahead while the network runs on batches of faces from several
        pictures. Inputs are drawn as they are needed, so that any number of them fits in memory.

        Args:
            inputs: A folder, a glob, or an iterable of whatever `predict` takes. What an iterator yields is
                copied before it goes on.
            words: Words and phrases to score beside the classes.
            detect: False if the pictures are face crops already.
            bgr: The arrays' channels are in OpenCV's order.
            batch_size: Faces gathered for the network, and pictures read ahead.
            workers: Threads that decode and detect; by default the cores this process may use.
            keep_images: Give each result its pixels as ``image``; fewer pictures are then read ahead.
            recursive: Of a folder, read its folders too.

        Returns:
            Iterator of results. A picture that cannot be read gives one with ``error``; the rest follows.

        Raises:
            FacelexError: If a word is not known, a folder or glob holds no picture, or an option is wrong.
        """
        from facelex.recognize.batches import read_batches

        for name, value in (("batch_size", batch_size), ("workers", 1 if workers is None else workers)):
            if not isinstance(value, Integral) or value < 1:
                raise FacelexError(
                    f"Expected {name} to be a whole number, 1 or more, but got {value!r}. Leave it out for "
                    "the usual one."
                )
        words = self._known_words(words)
        items = _several(inputs, recursive)
        return read_batches(
            self, items, words=words, detect=detect, bgr=bgr, batch_size=batch_size, workers=workers,
            keep_images=keep_images,
        )  # fmt: skip

    def find(self, image: NDArray[np.uint8], *, detect: bool = True) -> list[Detection]:
        """Return the faces in upright RGB pixels ``(H, W, 3)``; with ``detect=False`` the whole picture.

        Raises:
            FacelexError: If an own detector answers with something else.
        """
        if detect:
            return _checked(self.detector.detect(image))
        from facelex.recognize.detectors import WholePicture

        return WholePicture().detect(image)

    def crop(self, image: NDArray[np.uint8], detections: Sequence[Detection]) -> NDArray[np.uint8]:
        """Cut faces out at the size of those that the model was trained with: grey, ``(N, S, S)`` uint8."""
        size, framing = self._model.metadata.crop_size, self._model.metadata.framing
        crops = [crop_face(image, detection, size, framing) for detection in detections]
        return np.stack(crops) if crops else np.zeros((0, size, size), np.uint8)

    def describe(
        self, image: NDArray[np.uint8], detections: Sequence[Detection], *, words: Words = None
    ) -> list[Face]:
        """Read faces that are found already (by a tracker, say), one `Face` a detection, order kept."""
        return self.faces_of(detections, self.crop(image, detections), words=words)

    def faces_of(
        self, detections: Sequence[Detection], crops: NDArray[np.uint8], *, words: Words = None
    ) -> list[Face]:
        """Return a `Face` for each detection and its crop ``(N, S, S)``, possibly from several pictures."""
        labels = self._known_words(words)
        probabilities, features = self._model.answer(self._images(crops), flip=self.flip)
        if labels is None:
            scores = np.zeros((len(detections), 0), np.float32)
        else:
            assert features is not None  # _known_words has refused models without
            scores = self._scorer.scores(features, labels)
        return [
            self._face(detection, row, dict(zip(labels or (), row_scores.tolist())), vector)
            for detection, row, row_scores, vector in zip(
                detections, probabilities, scores, [None] * len(detections) if features is None else features
            )
        ]

    def is_unsure(self, probability: float, box: Box) -> bool:
        """Whether an answer is marked ``unsure``: it is too improbable, or the face is too small to read.

        Args:
            probability: Of the most probable class.
            box: The face's ``x, y, width, height`` in pixels.
        """
        return bool(probability < self.unsure_below or max(box[2:]) < self.readable_from)

    def classify(self, crops: Any, *, flip: bool | None = None, bgr: bool = False) -> NDArray[np.float32]:
        """Classify face crops, without looking for faces.

        Args:
            crops: Grey crops ``(N, H, W)`` or colour crops ``(N, H, W, 3)`` as an array, or a list of images
                of any kind and size. uint8, or floats in [0, 1].
            flip: Average with the mirror image; by default as the recogniser was made.
            bgr: The colour arrays' channels are in OpenCV's order.

        Returns:
            Calibrated probabilities in class order, ``(N, K)``.

        Raises:
            FacelexError: If the crops are no such array or list, or one of them cannot be read.
        """
        return self._model.answer(self._crops(crops, bgr), flip=self.flip if flip is None else flip)[0]

    def embed(self, crops: Any, *, bgr: bool = False) -> NDArray[np.float32]:
        """Return the features ``(N, E)`` of face crops (as `classify` takes them), of unit length.

        Raises:
            FacelexError: As `classify`, or if the model was trained without words and so has no features.
        """
        self._model.require_features("Features")
        features = self._model.answer(self._crops(crops, bgr), flip=self.flip)[1]
        assert features is not None
        return features

    def score_words(self, features: NDArray[np.float32], words: Iterable[str] | str) -> NDArray[np.float32]:
        """Return scores ``(N, W)`` in [0, 1] of words for unit-length features ``(N, E)``, cached ones, say.

        Raises:
            FacelexError: If the model was trained without words, a word is not known, or the features are
                not what `embed` gives.
        """
        words = parse_words(words)
        self._scorer.text_features(words)  # an unknown word is said first
        width = len(self._scorer.projection.feature_mean)
        return self._scorer.scores(_unit_features(features, width), words)

    def rank(
        self, image: ImageInput, words: Iterable[str] | str, *, detect: bool = True, bgr: bool = False
    ) -> list[Face]:
        """Return the faces of a picture, the ``words`` of each ordered from the best fitting to the worst.

        Takes what `predict` takes.
        """
        from dataclasses import replace

        if words is None:
            raise FacelexError("Expected words to rank, such as 'bored, proud', but got None. See predict.")
        faces = self.predict(image, words=words, detect=detect, bgr=bgr)
        return [
            replace(face, words=dict(sorted(face.words.items(), key=lambda item: -item[1]))) for face in faces
        ]

    def describe_words(self, words: Iterable[str] | str) -> list[WordMeaning]:
        """Say what words will look for in faces, before any face is asked: which emotions they go with.

        Raises:
            FacelexError: If the model was trained without words, or a word is not known.
        """
        scorer, own = self._scorer, self._model.metadata.words
        return describe_words(scorer, {name: own.get(name) or [name] for name in self.classes}, words)

    @cached_property
    def _scorer(self) -> WordScorer:
        arrays, trained_with = self._model.word_side()
        if self._model.stale_words is not None:
            logger.warning("%s", self._model.stale_words)
        vocabulary = self._vocabulary
        if isinstance(vocabulary, (str, os.PathLike)):
            vocabulary = Vocabulary.from_glove(os.fspath(vocabulary))
        if vocabulary is not None:
            self._warn_of_strange(vocabulary)
        return create_scorer(arrays, trained_with, vocabulary)

    def _warn_of_strange(self, vocabulary: Vocabulary) -> None:
        """Say so where word vectors cannot be those of the training, since they lack a class's words."""
        own = self._model.metadata.words
        strange = [name for name, words in own.items() if words and not _knows_any(vocabulary, words)]
        if strange:
            logger.warning(
                "The word vectors given are not those that %r was trained with: they lack its words for %s. "
                "Scores of words mean something only if both sets of vectors share one space.",
                self._model.name,
                ", ".join(map(repr, strange)),
            )

    def _known_words(self, words: Words) -> tuple[str, ...] | None:
        """Return words parsed, None for none; raise for an unknown one now, before any picture is read."""
        if words is None:
            return None
        parsed = parse_words(words)
        self._scorer.text_features(parsed)
        return parsed

    def _crops(self, crops: Any, bgr: bool) -> NDArray[np.float32]:
        """Return crops in any form as the network takes them, ``(N, S, S)`` in [0, 1]."""
        size = self._model.metadata.crop_size
        crops = _as_array(crops)
        if isinstance(crops, np.ndarray):
            if crops.ndim == 4 and crops.shape[1] == 1:
                crops = crops[:, 0]
            if crops.shape[1:] in ((size, size), (self._model.image_size,) * 2):
                return self._images(crops)
            remedy = ""
            if crops.ndim not in (3, 4) or (crops.ndim == 3 and crops.shape[2] in (1, 3, 4)):
                remedy = "For one crop use crop[None]."
            elif crops.ndim == 4 and crops.shape[1] in (3, 4) and crops.shape[3] not in (1, 3, 4):
                remedy = "Their channels come first: use crops.transpose(0, 2, 3, 1)."
            if remedy:
                raise FacelexError(
                    f"Expected crops of shape (N, {size}, {size}), but got {crops.shape}. {remedy}"
                )
        elif isinstance(crops, (str, os.PathLike)) or _is_one(crops):
            raise FacelexError(
                f"Expected several crops, but got one {type(crops).__name__}. Put it into a list: [crop]."
            )
        pictures = (load_image(crop, bgr=bgr) for crop in crops)
        rows = [self.crop(pixels, self.find(pixels, detect=False)) for pixels in pictures]
        return self._images(np.concatenate(rows) if rows else np.zeros((0, size, size), np.uint8))

    def _images(self, crops: NDArray[Any]) -> NDArray[np.float32]:
        """Return grey crops as the network takes them; floats in [0, 1] keep their precision."""
        if crops.dtype.kind == "f":
            images = unit_floats(crops, "the array of crops")
        else:
            images = to_uint8(crops, "the array of crops").astype(np.float32) / np.float32(255.0)
        return resize_crops(images, self._model.image_size)

    def _face(
        self,
        detection: Detection,
        probabilities: NDArray[np.float32],
        words: dict[str, float],
        embedding: NDArray[np.float32] | None,
    ) -> Face:
        best = int(probabilities.argmax())
        return Face(
            box=detection.box,
            score=detection.score,
            emotion=self.classes[best],
            probabilities=dict(zip(self.classes, probabilities.tolist())),
            unsure=self.is_unsure(float(probabilities[best]), detection.box),
            words=words,
            embedding=embedding,
            landmarks=_named(detection.landmarks),
        )


def _named(landmarks: NDArray[np.float32] | None) -> dict[str, tuple[float, float]] | None:
    """Return landmarks ``(5, 2)`` by their names."""
    if landmarks is None:
        return None
    return {name: (float(x), float(y)) for name, (x, y) in zip(LANDMARKS, landmarks, strict=True)}


def check_recognizer(recognizer: object) -> None:
    """Refuse what is no recogniser and does not look like one.

    Raises:
        FacelexError: If it cannot read faces.
    """
    if not callable(getattr(recognizer, "describe", None)):
        raise FacelexError(
            f"Expected recognizer to be a Recognizer, but got {recognizer!r}. Make one with "
            "facelex.Recognizer()."
        )


def _check_options(model: Any, unsure_below: Any, readable_from: Any, threads: Any, vocabulary: Any) -> None:
    """Raise for an option of `Recognizer` that is of the wrong type or out of range."""
    if not (model is None or isinstance(model, (str, os.PathLike))):
        raise FacelexError(
            f"Expected model to be a name or the path of an ONNX file, but got {model!r}. Leave it out for "
            "the packaged one."
        )
    if unsure_below is not None and not (
        isinstance(unsure_below, (int, float, np.floating)) and 0.0 <= unsure_below <= 1.0
    ):
        raise FacelexError(
            f"Expected unsure_below to be a probability in [0, 1], but got {unsure_below!r}. Leave it out "
            "for the model's own."
        )
    if not (isinstance(readable_from, (int, float, np.floating)) and 0 <= readable_from < math.inf):
        raise FacelexError(
            f"Expected readable_from in pixels, 0 or more, but got {readable_from!r}. Leave it out for "
            f"{READABLE_FROM:g}."
        )
    if not (threads is None or isinstance(threads, Integral)):
        raise FacelexError(
            f"Expected threads to be a whole number, 1 or more, but got {threads!r}. Leave it out for all."
        )
    if not (
        vocabulary is None or isinstance(vocabulary, (str, os.PathLike)) or hasattr(vocabulary, "phrase")
    ):
        raise FacelexError(
            "Expected vocabulary to be a Vocabulary or the path of a GloVe text file, but got "
            f"{vocabulary!r}. Leave it out for the packaged one."
        )


def _unit_features(features: Any, width: int) -> NDArray[np.float32]:
    """Return features ``(N, width)`` as float32, or raise where they are not finite and of unit length."""
    try:
        vectors = np.asarray(features, np.float32)
    except (TypeError, ValueError):
        found = f"a {type(features).__name__} that is no array of numbers"
    else:
        lengths = np.linalg.norm(vectors, axis=-1) if vectors.ndim else vectors
        if vectors.shape[1:] != (width,) or vectors.ndim != 2:
            found = f"shape {vectors.shape}"
        elif not np.isfinite(lengths).all():
            found = "numbers that are not finite"
        elif lengths.size and np.abs(lengths - 1).max() > UNIT_TOLERANCE:
            found = f"a length of {lengths[np.abs(lengths - 1).argmax()]:g}"
        else:
            return vectors
    raise FacelexError(
        f"Expected finite features of unit length, shape (N, {width}), but got {found}. Take them from "
        "embed(crops) or from a face's embedding[None]."
    )


def _knows_any(vocabulary: Vocabulary, words: Sequence[str]) -> bool:
    for word in words:
        with suppress(FacelexError):
            vocabulary.phrase(word)
            return True
    return False


def _checked(found: Any) -> list[Detection]:
    """Return what a detector found, or raise if it is no list of detections."""
    detections = list(found) if isinstance(found, Iterable) else None
    if detections is None or not all(isinstance(one, Detection) for one in detections):
        came = type(found).__name__
        if detections:
            came += f" of {type(detections[0]).__name__}"
        raise FacelexError(
            f"Expected the detector's detect(image) to return a list of Detection, but got {came}. Make each "
            "face a Detection((x, y, width, height), score) of facelex.recognize.faces."
        )
    return detections


def _several(inputs: Any, recursive: bool) -> Iterable[ImageInput]:
    """Return the inputs of `predict_many` as an iterable of pictures."""
    if isinstance(inputs, (str, os.PathLike)):
        return find_images([os.fspath(inputs)], recursive=recursive)
    inputs = _as_array(inputs)
    if _is_one(inputs) or (isinstance(inputs, np.ndarray) and inputs.ndim < 4):  # an array's rows are none
        raise FacelexError(
            f"Expected a folder, a glob or several pictures, but got one {type(inputs).__name__}. Put it "
            "into a list: [image]."
        )
    return inputs


def _as_array(images: Any) -> Any:
    """Return several pictures in one array or tensor as an array; one of objects (paths, say) as a list."""
    if not hasattr(images, "__array__"):
        return images
    try:
        array = np.asarray(images)
    except Exception as error:  # the caller's __array__, for example a tensor on a GPU
        reason = str(error).rstrip(".")
        raise FacelexError(f"Could not read {type(images).__name__} as a NumPy array: {reason}.") from error
    return array.tolist() if array.ndim == 1 and array.dtype.kind in "OUT" else array


def _is_one(images: Any) -> bool:
    """Return whether something is one picture or none, although it may be iterable: a file gives lines."""
    single = isinstance(images, (bytes, bytearray, memoryview)) or hasattr(images, "read")
    return single or not isinstance(images, Iterable)
