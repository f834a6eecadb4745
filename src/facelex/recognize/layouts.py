"""What a table of results holds: the columns of each kind, and a result as its rows and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

_PLACE = ("face", "x", "y", "width", "height", "score", "emotion", "unsure")
_TRACK = (
    "face", "first_s", "last_s", "frames", "video_s", "video_frames", "video_in_sight", "interrupted",
)  # fmt: skip
_OTHERS = {"source", "time_s", "frame", *_PLACE, *_TRACK, "faces", "error"}
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
    """Whether it has a row a face of a video, or a row a picture, with means; these have no features."""

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
        return ("source", *time, *_PLACE, *classes, *words, *features, "error")

    def rows(self, result: Record) -> list[dict[str, Any]]:
        """Return a result's rows."""
        return table_rows(result, embedding=self.embed_dim > 0)

    def record(self, result: Record) -> dict[str, Any]:
        """Return a result as one JSON object."""
        return result.to_dict(**_features(self.embed_dim > 0))


def table_rows(result: Record, *, embedding: bool = False) -> list[dict[str, Any]]:
    """Return a result's rows with a source that tables take, and each face's features if asked for."""
    source = table_source(result.source)
    return [row | {"source": source} for row in result.to_rows(**_features(embedding))]


def table_source(source: str) -> str:
    """Return a source as it stands in tables: file names need not be valid Unicode."""
    return source.encode("utf-8", "backslashreplace").decode()


def class_column(name: str) -> str:
    """Return the column of a class: its name, but ``class:face`` where tables have a column ``face``."""
    return f"class:{name}" if name in _OTHERS else name


def _features(embedding: bool) -> dict[str, bool]:
    """Return what asks a result for features: nothing where there are none to be had, as of summaries."""
    return {"embedding": True} if embedding else {}
