"""What recognition answers: a face, the result of one image, and their flat and JSON forms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError, require
from facelex.recognize.layouts import FEATURE, LANDMARK_COLUMNS, Record, TableLayout, class_column, table_rows


class Result(Record, Protocol):
    """Faces one by one: an `ImageResult`, or a frame of a video."""

    @property
    def faces(self) -> tuple[Face, ...]:
        """Its faces."""
        ...

    def to_dict(self, *, embedding: bool = False) -> dict[str, Any]:
        """Return one JSON object."""
        ...

    def to_rows(self, *, embedding: bool = False, landmarks: bool = False) -> list[dict[str, Any]]:
        """Return one flat row a face."""
        ...


@dataclass(frozen=True)
class Face:
    """One face and what the model says about it."""

    box: tuple[float, float, float, float]
    """``x, y, w, h`` in pixels of the upright image; may reach past its edges."""
    score: float
    """The detector's confidence, [0, 1] for most detectors; 1.0 when the whole picture is the face."""
    emotion: str
    """The most probable class."""
    probabilities: dict[str, float]
    """Calibrated probability of each class, in the model's class order; they sum to 1."""
    unsure: bool = False
    """True when the highest probability lies below the recogniser's ``unsure_below``, or the face is smaller
    than its ``readable_from``."""
    words: dict[str, float] = field(default_factory=dict)
    """Score in [0, 1] of each word asked for: the share of reference faces that it fits less well."""
    embedding: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    """Unit-length features ``(E,)`` in the space shared with words; None for a model without words."""
    landmarks: dict[str, tuple[float, float]] | None = None
    """``right_eye``, ``left_eye``, ``nose`` (its tip), ``mouth_right`` and ``mouth_left`` (corners), each
    ``x, y`` in pixels of the upright image. Right and left are the person's own: in an image that is not
    mirrored, the right eye is the one further left. None where the detector gives none, or the whole picture
    is the face."""

    @property
    def probability(self) -> float:
        """Probability of ``emotion``."""
        return self.probabilities[self.emotion]

    def to_dict(self, *, embedding: bool = False) -> dict[str, Any]:
        """Return the face as JSON holds it; ``embedding=True`` adds the features as a list."""
        record: dict[str, Any] = {
            "box": [round(float(value), 2) for value in self.box],
            "score": round(float(self.score), 4),
            "emotion": self.emotion,
            "unsure": self.unsure,
            "probabilities": {name: round(float(p), 6) for name, p in self.probabilities.items()},
            "words": {word: round(float(score), 6) for word, score in self.words.items()},
            "landmarks": None if self.landmarks is None else {
                name: [round(float(value), 2) for value in point] for name, point in self.landmarks.items()
            },
        }  # fmt: skip
        if embedding:
            record["embedding"] = None if self.embedding is None else [float(v) for v in self.embedding]
        return record

    def to_row(self, *, embedding: bool = False, landmarks: bool = False) -> dict[str, Any]:
        """Return the face as one flat row: box, score, emotion, a column a class, ``word:...`` columns.

        ``embedding=True`` adds the features in columns ``embedding:0``, ``embedding:1`` and so on,
        ``landmarks=True`` those it has as ``right_eye_x``, ``right_eye_y`` and so on.
        """
        record = self.to_dict(embedding=embedding)
        x, y, width, height = record["box"]
        return {
            "x": x,
            "y": y,
            "width": width,
            "height": height,
            "score": record["score"],
            "emotion": self.emotion,
            "unsure": self.unsure,
            **{class_column(name): p for name, p in record["probabilities"].items()},
            **(_flat(record["landmarks"] or {}) if landmarks else {}),
            **{f"word:{word}": score for word, score in record["words"].items()},
            **{f"{FEATURE}{i}": value for i, value in enumerate(record.get("embedding") or ())},
        }


def _flat(landmarks: dict[str, list[float]]) -> dict[str, float]:
    return {f"{name}_{axis}": value for name, point in landmarks.items() for axis, value in zip("xy", point)}


@dataclass(frozen=True)
class ImageResult:
    """The faces of one image, or why it could not be read."""

    source: str
    """Where the image came from: path or URL as given, or ``array 3`` for the fourth input."""
    width: int | None = None
    """Width of the upright image in pixels; None when it could not be read."""
    height: int | None = None
    """Height of the upright image in pixels; None when it could not be read."""
    faces: tuple[Face, ...] = ()
    """Faces in the detector's order; empty when there is none."""
    error: str | None = None
    """One sentence on why the image could not be read; None when all went well."""
    image: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    """Upright RGB pixels ``(H, W, 3)``, only when asked for with ``keep_images=True``."""
    columns: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Columns of the table it belongs to, known even where there is no face."""

    @property
    def ok(self) -> bool:
        """True when the image was read."""
        return self.error is None

    def to_dict(self, *, embedding: bool = False) -> dict[str, Any]:
        """Return ``{"source", "width", "height", "faces"}``, or ``{"source", "error"}``."""
        if self.error is not None:
            return {"source": self.source, "error": self.error}
        return {
            "source": self.source,
            "width": self.width,
            "height": self.height,
            "faces": [face.to_dict(embedding=embedding) for face in self.faces],
        }

    def to_rows(self, *, embedding: bool = False, landmarks: bool = False) -> list[dict[str, Any]]:
        """Return one flat row a face, led by ``source`` and ``face`` (0, 1, ...).

        An image without faces has no row; one that could not be read has one, with ``error`` filled.
        """
        if self.error is not None:
            return [{"source": self.source, "error": self.error}]
        return [
            {"source": self.source, "face": i, **face.to_row(embedding=embedding, landmarks=landmarks)}
            for i, face in enumerate(self.faces)
        ]


def to_frame(results: Iterable[Record], *, embedding: bool = False, landmarks: bool = False) -> Any:
    """Return a pandas data frame, one row a face (an unreadable image is a row with ``error``).

    Of summaries (`ImageSummary`, `VideoResult`) it has their own rows. It has the columns of all results,
    which may come from calls with different words, and with ``embedding=True`` each face's features in
    columns ``embedding:0``, ``embedding:1`` and so on; with ``landmarks=True`` its landmarks in columns
    ``right_eye_x``, ``right_eye_y`` and so on.

    Raises:
        FacelexError: If it is given something else than results, such as the faces of one picture.
        MissingExtraError: If pandas is not installed.
    """
    return frame_of(results, TableLayout(landmarks=landmarks), embedding=embedding)


def frame_of(results: Iterable[Record], layout: TableLayout, *, embedding: bool = False) -> Any:
    """Return the data frame of `to_frame`, with at least a layout's columns where results know none."""
    pandas = require("pandas", "table", "A data frame")
    if not isinstance(results, Iterable):
        raise FacelexError(
            f"Expected the results of predict_many or read_video, but got one {type(results).__name__}. Put "
            "it into a list: [result]."
        )
    rows: list[dict[str, Any]] = []
    seen: dict[str, None] = {}  # in order
    for result in results:
        if not hasattr(result, "to_rows"):
            raise FacelexError(
                f"Expected results of predict_many or read_video, but got a {type(result).__name__}. For one "
                "picture call predict_many([picture])."
            )
        if (embedding or layout.landmarks) and not isinstance(getattr(result, "faces", None), Sequence):
            option, held = ("embedding", "features") if embedding else ("landmarks", "landmarks")
            raise FacelexError(
                f"Expected results with faces for {option}=True, but got a {type(result).__name__}, a "
                f"summary without {held}. Leave {option} out."
            )
        found = table_rows(result, embedding=embedding, landmarks=layout.landmarks)
        known = [*(result.columns or layout.columns), *(LANDMARK_COLUMNS if layout.landmarks else ())]
        seen |= dict.fromkeys([*known, *(name for row in found for name in row)])
        rows += found
    order = sorted(
        seen or layout.columns,
        key=lambda name: (name == "error", name.startswith(FEATURE), name.startswith("word:")),
    )
    return pandas.DataFrame(rows, columns=order)
