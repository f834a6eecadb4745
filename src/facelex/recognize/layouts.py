"""What a table of results holds: the columns of each kind, and a result as its rows and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

_PLACE = ("face", "x", "y", "width", "height", "score", "emotion", "unsure")
_TRACK = (
    "face", "first_s", "last_s", "frames", "video_s", "video_frames", "video_in_sight", "interrupted",
)  # fmt: skip
LANDMARKS = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")
"""A detection's landmarks in order; right and left are the person's own."""
LANDMARK_COLUMNS = tuple(f"{name}_{axis}" for name in LANDMARKS for axis in "xy")
_OTHERS = {"source", "time_s", "frame", *_PLACE, *LANDMARK_COLUMNS, *_TRACK, "faces", "error"}
"""Columns of all tables, but for those of classes, words and features."""
FEATURE = "embedding:"
"""How the columns of features begin."""


class Record(Protocol):
    """What is written and tabulated: a `Result`, or the summary of a picture or a video."""

    @property
    def source(self) -> str:
        """Where it came from."""
        ...

    @property
    def error(self) -> str | None:
        """Why it could not be read."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table it belongs to, as far as they are known, but for features."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return one JSON object."""
        ...

    def to_rows(self) -> list[dict[str, Any]]:
        """Return its flat rows."""
        ...


@dataclass(frozen=True)
class TableLayout:
    """What the columns of a table, or the objects of a JSON file, hold."""

    classes: tuple[str, ...] = ()
    """The model's classes."""
    words: tuple[str, ...] = ()
    """Words asked for."""
    embed_dim: int = 0
    """Length of each face's features (`Recognizer.embed_dim`), 0 where they are left out."""
    video: bool = False
    """Whether it is about videos, not pictures."""
    summary: bool = False
    """Whether it has a row a face of a video, or a row a picture, with means; these have neither features nor
    landmarks."""
    landmarks: bool = False
    """Whether rows have each face's landmarks; JSON has them in any case."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table, in order."""
        classes = [*map(class_column, self.classes)]
        words = [f"word:{word}" for word in self.words]
        if self.summary:
            place = _TRACK if self.video else ("faces",)
            leads = [f"emotion:{name}" for name in self.classes]
            return ("source", *place, "emotion", "unsure", *classes, *leads, *words, "error")
        time = ("time_s", "frame") if self.video else ()
        features = [f"{FEATURE}{i}" for i in range(self.embed_dim)]
        points = LANDMARK_COLUMNS if self.landmarks else ()
        return ("source", *time, *_PLACE, *classes, *points, *words, *features, "error")

    def rows(self, result: Record) -> list[dict[str, Any]]:
        """Return a result's rows."""
        return table_rows(result, embedding=self.embed_dim > 0, landmarks=self.landmarks)

    def record(self, result: Record) -> dict[str, Any]:
        """Return a result as one JSON object."""
        return result.to_dict(**_asked(embedding=self.embed_dim > 0))


def table_rows(result: Record, *, embedding: bool = False, landmarks: bool = False) -> list[dict[str, Any]]:
    """Return a result's rows with a source that tables take, and what of each face is asked for."""
    source = table_source(result.source)
    return [
        row | {"source": source} for row in result.to_rows(**_asked(embedding=embedding, landmarks=landmarks))
    ]


def table_source(source: str) -> str:
    """Return a source as it stands in tables: file names need not be valid Unicode."""
    return source.encode("utf-8", "backslashreplace").decode()


def class_column(name: str) -> str:
    """Return the column of a class: its name, but ``class:face`` where tables have a column ``face``."""
    return f"class:{name}" if name in _OTHERS else name


def _asked(**asked: bool) -> dict[str, bool]:
    """Return what asks a result for features or landmarks: nothing where there are none, as of summaries."""
    return {name: True for name, wanted in asked.items() if wanted}
