"""What an album's photos and videos hold: features and places of their faces, in memory or in one file.

The file holds emotion features, boxes, when they were seen in a video, file names, sizes and times of change;
no picture and nothing by which a person could be known. Deleting it forgets everything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError
from facelex.files import replacing
from facelex.recognize.results import ImageResult

FORMAT = 2
PHOTOS_ALONE = 1
"""The format before, which knew no videos and is read as well."""
KIND = "facelex album index"
CLOSE = 1e-3
"""Features of the probe that differ by more come from another model."""


@dataclass
class Looks:
    """When the faces of a video were seen; each face has a row for each analysed frame that it is in."""

    every: float
    """Seconds between analysed frames that were asked for."""
    seconds: float
    """Time of the last analysed frame."""
    times: NDArray[np.float64]
    """Seconds from the first frame, ``(n,)``."""
    tracks: NDArray[np.int64]
    """Number of the face, the same as long as it stays in sight, ``(n,)``."""


@dataclass
class Entry:
    """The faces of one photo or video, as they were when it was read."""

    size: int
    """Bytes of the file."""
    changed: int
    """Time of its last change, nanoseconds."""
    boxes: NDArray[np.float32]
    """``(n, 4)``: x, y, width, height in pixels."""
    scores: NDArray[np.float32]
    """The detector's, ``(n,)``."""
    features: NDArray[np.float32]
    """Unit length, ``(n, E)``."""
    probabilities: NDArray[np.float32]
    """``(n, K)``"""
    error: str | None = None
    """Why it, or a part of a video, could not be read; None when all went well."""
    looks: Looks | None = None
    """Of a video that could be read, when its faces were seen."""
    unfinished: bool = False
    """Whether it is a video whose reading was interrupted, which is read anew."""

    def is_current(self, path: str, every: float | None = None) -> bool:
        """Return whether the file is still the one that was read; one that could not be is tried again.

        Args:
            path: The file.
            every: Seconds between analysed frames that are asked for; None for any.
        """
        if self.unfinished:
            return False
        if self.looks is None:
            if self.error is not None:
                return False
        elif every not in (None, self.looks.every):
            return False
        return _status(path) == (self.size, self.changed)


@dataclass
class AlbumIndex:
    """Photos and videos by absolute path, and for which model and detector they were read."""

    classes: tuple[str, ...]
    settings: str
    """Detector and options that change what is found."""
    probe: NDArray[np.float32]
    """The model's features for a fixed pattern, by which it is known again, ``(P, E)``."""
    entries: dict[str, Entry] = field(default_factory=dict)

    def add(self, path: str, result: ImageResult, status: tuple[int, int]) -> None:
        """Keep what was found in a photo whose size and time of change were ``status`` before it was read."""
        faces = result.faces
        width, count = self.probe.shape[1], len(self.classes)
        self.entries[path] = Entry(
            *status,
            np.array([face.box for face in faces], np.float32).reshape(-1, 4),
            np.array([face.score for face in faces], np.float32),
            np.array([face.embedding for face in faces], np.float32).reshape(-1, width),
            np.array([list(face.probabilities.values()) for face in faces], np.float32).reshape(-1, count),
            result.error,
        )

    def fits(self, other: AlbumIndex) -> bool:
        """Return whether both were made by the same model, detector and options."""
        return (
            self.classes == other.classes
            and self.settings == other.settings
            and self.probe.shape == other.probe.shape
            and bool(np.allclose(self.probe, other.probe, atol=CLOSE))
        )

    def forget_missing(self, searched: Iterable[str] = ()) -> int:
        """Drop files that are no longer on the disk; returns how many.

        Those whose folder is not there either are kept, as of a disk that is not plugged in, unless they lie
        in a folder that was searched and is there.

        Args:
            searched: Absolute paths of such folders, and of files that are asked for by name.
        """
        places = set(searched)
        gone = [
            path
            for path in self.entries
            if _is_gone(path)
            and (
                os.path.isdir(os.path.dirname(path))  # noqa: PTH112, PTH120
                or any(str(place) in places for place in (Path(path), *Path(path).parents))
            )
        ]
        for path in gone:
            del self.entries[path]
        return len(gone)

    def save(self, path: Path) -> None:
        """Write the index in one piece; names are kept relative to it, so that both may move together.

        Raises:
            FacelexError: If it cannot be written.
        """
        entries = list(self.entries.values())
        looks = [entry.looks for entry in entries]
        head = {
            "kind": KIND, "format": FORMAT, "classes": self.classes, "settings": self.settings,
            "paths": [_relative(name, path) for name in self.entries],
            "errors": [entry.error for entry in entries],
            "looks": [one and [one.every, one.seconds] for one in looks],
        }  # fmt: skip
        with replacing(path, mode=0o600) as part, part.open("wb") as stream:  # for no one else's eyes
            columns: dict[str, Any] = {
                name: _joined([getattr(entry, name) for entry in entries], width)
                for name, width in self._widths().items()
            }
            np.savez(
                stream,
                head=np.frombuffer(json.dumps(head).encode(), np.uint8),
                probe=self.probe,
                # a size that no file has, by which every version reads an unfinished one anew
                sizes=np.array(
                    [~entry.size if entry.unfinished else entry.size for entry in entries], np.int64
                ),
                changed=np.array([entry.changed for entry in entries], np.int64),
                counts=np.array([len(entry.boxes) for entry in entries], np.int64),
                times=np.concatenate([np.zeros(0), *(one.times for one in looks if one)]),
                tracks=np.concatenate([np.zeros(0, np.int64), *(one.tracks for one in looks if one)]),
                **columns,
            )

    @classmethod
    def load(cls, path: Path) -> AlbumIndex:
        """Read an index.

        Raises:
            FacelexError: If there is a folder, or a file that may not be read, is no index, or damaged.
        """
        with _opened(path) as stream:
            head, arrays = _read(path, stream)
        try:
            if head["format"] == PHOTOS_ALONE:
                head["looks"] = [None] * len(head["paths"])
                arrays |= {"times": np.zeros(0), "tracks": np.zeros(0, np.int64)}
            elif head["format"] != FORMAT:
                raise FacelexError(
                    f"The index {str(path)!r} was written by another version of facelex. Delete it, and it "
                    "is made anew."
                )
            return cls._from_arrays(path, head, arrays)
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise FacelexError(
                f"The index {str(path)!r} is damaged. Delete it, and it is made anew."
            ) from error

    @classmethod
    def _from_arrays(cls, path: Path, head: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> AlbumIndex:
        index = cls(tuple(head["classes"]), head["settings"], arrays["probe"])
        ends = np.cumsum(arrays["counts"])
        for name, width in index._widths().items():
            if len(arrays[name]) != sum(arrays["counts"]) or arrays[name].shape[1:] != (
                (width,) if width else ()
            ):
                raise ValueError(name)
        columns = [np.split(arrays[name], ends)[:-1] for name in index._widths()]
        rows = zip(
            head["paths"], arrays["sizes"].tolist(), arrays["changed"].tolist(), *columns, head["errors"],
            _looks(head["looks"], arrays), strict=True,
        )  # fmt: skip
        for name, size, *fields in rows:
            entry = Entry(~size if size < 0 else size, *fields)
            entry.unfinished = size < 0
            index.entries[os.path.normpath(path.absolute().parent / name)] = entry
        return index

    def _widths(self) -> dict[str, int]:
        """Columns of each array that has a row a face; 0 for a plain column."""
        return {"boxes": 4, "scores": 0, "features": self.probe.shape[1], "probabilities": len(self.classes)}


def _looks(described: list[Any], arrays: dict[str, NDArray[Any]]) -> list[Looks | None]:
    """Return when the faces of each video were seen, None for each photo."""
    videos = np.array([one is not None for one in described], bool)
    ends = np.cumsum(arrays["counts"] * videos)
    for name in ("times", "tracks"):
        if arrays[name].shape != (sum(arrays["counts"][videos]),):
            raise ValueError(name)
    times, tracks = (np.split(arrays[name], ends)[:-1] for name in ("times", "tracks"))
    return [
        None if one is None else Looks(float(one[0]), float(one[1]), seen, numbers)
        for one, seen, numbers in zip(described, times, tracks, strict=True)
    ]


def _opened(path: Path) -> IO[bytes]:
    try:
        if not path.is_file():  # a pipe would block
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise FacelexError(f"Expected a file for the index, but {str(path)!r} is {kind}. Name a file.")
        return path.open("rb")
    except OSError as error:
        raise FacelexError(
            f"Could not read the index {str(path)!r}: {error.strerror or error}. Check its permissions, or "
            "name another file."
        ) from error


def _read(path: Path, stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return what an index says of itself, and its arrays."""
    try:
        with np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        head = json.loads(arrays["head"].tobytes())
        if head["kind"] != KIND:
            raise ValueError("another kind of file")
    except Exception as error:  # a zip of arrays that anyone may have damaged, or someone's notes
        raise FacelexError(
            f"Expected an index of an album, but {str(path)!r} is none or is damaged. Name another file, or "
            "delete this one if you know that it was an index."
        ) from error
    return head, arrays


def file_status(path: str) -> tuple[int, int]:
    """Return size and time of change of a file; zeros where there is none."""
    return _status(path) or (0, 0)


def _status(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - thousands of them, as plain strings
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _is_gone(path: str) -> bool:
    try:
        os.lstat(path)
    except PermissionError:  # it may be there
        return False
    except (OSError, ValueError):
        return True
    return False


def _relative(name: str, index: Path) -> str:
    try:
        return os.path.relpath(name, index.absolute().parent)
    except ValueError:  # another drive
        return name


def _joined(parts: Sequence[NDArray[np.float32]] | Iterable[Any], width: int) -> NDArray[np.float32]:
    empty = np.zeros((0, width) if width else (0,), np.float32)
    return np.concatenate([empty, *parts])
