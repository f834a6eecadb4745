"""Many faces in few numbers: a face over a film, the faces of a picture, and the table of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelex.recognize.layouts import TableLayout, class_column
from facelex.recognize.results import Face, ImageResult


@dataclass(frozen=True, kw_only=True)
class FaceMeans:
    """What several faces show on average: what a table has a column for in each, averaged."""

    probabilities: dict[str, float]
    """Mean probability of each class."""
    emotions: dict[str, float]
    """Share of the faces that each class leads, in [0, 1]; they sum to 1."""
    unsure: float
    """Share of the faces that are unsure, in [0, 1]."""
    words: dict[str, float]
    """Mean score of each word asked for."""

    @property
    def emotion(self) -> str:
        """The class with the highest mean probability."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    @property
    def probability(self) -> float:
        """Mean probability of ``emotion``."""
        return self.probabilities[self.emotion]

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"emotion", "unsure", "probabilities", "emotions", "words"}`` as JSON holds it."""
        return {
            "emotion": self.emotion,
            "unsure": round(self.unsure, 6),
            "probabilities": _rounded(self.probabilities),
            "emotions": _rounded(self.emotions),
            "words": _rounded(self.words),
        }

    def to_row(self) -> dict[str, Any]:
        """Return one flat row: ``emotion``, ``unsure``, a column a class, ``emotion:...``, ``word:...``."""
        record = FaceMeans.to_dict(self)
        return {
            "emotion": record["emotion"],
            "unsure": record["unsure"],
            **{class_column(name): p for name, p in record["probabilities"].items()},
            **{f"emotion:{name}": share for name, share in record["emotions"].items()},
            **{f"word:{word}": score for word, score in record["words"].items()},
        }


@dataclass(frozen=True, kw_only=True)
class TrackSummary(FaceMeans):
    """One face of a video, over all frames it was seen in; its numbers are the smoothed ones."""

    id: int
    """Number of the track, 1, 2, ..., in order of appearance."""
    first: float
    """Seconds at which it was first seen."""
    last: float
    """Seconds at which it was last seen."""
    frames: int
    """Analysed frames it was seen in."""

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON holds it."""
        return {
            "id": self.id,
            "first_s": round(self.first, 3),
            "last_s": round(self.last, 3),
            "frames": self.frames,
            **super().to_dict(),
        }

    def to_row(self) -> dict[str, Any]:
        """Return one flat row: ``face``, ``first_s``, ``last_s``, ``frames``, then the means."""
        place = {"first_s": round(self.first, 3), "last_s": round(self.last, 3), "frames": self.frames}
        return {"face": self.id, **place, **super().to_row()}


@dataclass(frozen=True)
class ImageSummary:
    """The faces of one picture in one row, which is there though nobody is in it."""

    source: str
    """The picture, as it was given."""
    width: int | None
    height: int | None
    faces: int
    """Faces found."""
    means: FaceMeans | None
    """What they show on average; None where there is no face."""
    error: str | None = None
    """Why the picture could not be read."""
    columns: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Columns of the table it belongs to, as far as they are known."""

    @classmethod
    def of(cls, result: ImageResult) -> ImageSummary:
        """Summarise a result of `Recognizer.predict_many`."""
        means = None
        classes: tuple[str, ...] = ()
        words: tuple[str, ...] = ()
        if result.faces:
            classes, words = tuple(result.faces[0].probabilities), tuple(result.faces[0].words)
            values = np.mean([face_values(face) for face in result.faces], axis=0)
            means = FaceMeans(**means_of(values, classes, words))
        columns = TableLayout(classes, words, summary=True).columns
        return cls(
            result.source, result.width, result.height, len(result.faces), means, result.error, columns
        )

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"source", "width", "height", "faces"}`` and the means, or ``{"source", "error"}``."""
        if self.error is not None:
            return {"source": self.source, "error": self.error}
        size = {"width": self.width, "height": self.height}
        means = {} if self.means is None else self.means.to_dict()
        return {"source": self.source, **size, "faces": self.faces, **means}

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one flat row, with ``faces`` 0 where there is none, and without where it was not read."""
        if self.error is not None:
            return [{"source": self.source, "error": self.error}]
        means = {} if self.means is None else self.means.to_row()
        return [{"source": self.source, "faces": self.faces, **means}]


def face_values(face: Face) -> NDArray[np.float64]:
    """Return all that is averaged of a face: probabilities, words, a 1 for its emotion, whether unsure.

    Returns:
        ``(K + W + K + 1,)`` for ``K`` classes and ``W`` words.
    """
    leads = [float(name == face.emotion) for name in face.probabilities]
    return np.array([*face.probabilities.values(), *face.words.values(), *leads, float(face.unsure)])


def means_of(values: NDArray[np.float64], classes: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
    """Return the mean of `face_values` ``(K + W + K + 1,)`` under the names of `FaceMeans`."""
    *numbers, unsure = values.tolist()
    leads = len(classes) + len(words)
    return {
        "probabilities": dict(zip(classes, numbers)),
        "words": dict(zip(words, numbers[len(classes) :])),
        "emotions": dict(zip(classes, numbers[leads:])),
        "unsure": unsure,
    }


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in values.items()}
