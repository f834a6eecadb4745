"""Search an album: the faces of thousands of photos, ranked by how well words fit them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facelex.errors import FacelexError
from facelex.files import check_place
from facelex.recognize.album_index import AlbumIndex, file_status
from facelex.recognize.framing import DEFAULT_FRAMING
from facelex.recognize.recognizer import check_recognizer
from facelex.recognize.results import Face
from facelex.recognize.sources import check_there, find_images, folder_of, is_address
from facelex.recognize.words import parse_words

if TYPE_CHECKING:
    from facelex.recognize.detection import Detector
    from facelex.recognize.recognizer import Recognizer

SAVE_EVERY = 2000
"""Photos read between two savings of the index: what a crash can cost."""
DETECTOR_SETTINGS = ("name", "model_digest", "pixels", "threshold", "overlap")
"""Attributes of a detector that change what it finds; one of a user's own may lack any of them."""


@dataclass(frozen=True)
class Match:
    """A face that words fit."""

    rank: int
    """1 for the best."""
    score: float
    """Mean score of the words, [0, 1]: the share of reference faces that they fit less well."""
    source: str
    """The photo."""
    number: int
    """Which of the photo's faces, 0, 1, ..."""
    face: Face
    """With the score of each word."""
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    """Boxes of all faces found in the photo, also small ones: what a redacted picture of it must cover."""

    def to_dict(self) -> dict[str, Any]:
        """Return the match as JSON holds it."""
        place = {"rank": self.rank, "score": round(self.score, 6), "source": self.source, "face": self.number}
        face = self.face.to_dict()
        return {**place, "box": face["box"], "emotion": face["emotion"], "words": face["words"]}

    def to_row(self) -> dict[str, Any]:
        """Return the match as one flat row."""
        record = self.to_dict()
        box = dict(zip(("x", "y", "width", "height"), record.pop("box")))
        words = {f"word:{word}": score for word, score in record.pop("words").items()}
        return {**record, **box, **words}


@dataclass
class AlbumChanges:
    """What an update found."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    dropped: int = 0
    """Photos outside the album that an index of another model or other settings held."""
    failed: dict[str, str] = field(default_factory=dict)
    """Photos that cannot be read, and why."""
    interrupted: bool = False


class Album:
    """Photos whose faces are read once and searched as often as one likes.

    Nothing is stored unless ``index`` names a file.

    Example:
        >>> album = Album("photos/", Recognizer())  # doctest: +SKIP
        >>> [match.source for match in album.search("delighted", top=3)]  # doctest: +SKIP
        ['photos/12.jpg', 'photos/7.jpg', 'photos/7.jpg']
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        recognizer: Recognizer,
        index: str | os.PathLike[str] | None = None,
        *,
        recursive: bool = False,
        detect: bool = True,
        rebuild: bool = False,
    ) -> None:
        """Find the photos; they are read by `update` or the first `search`.

        Folders and globs are looked at again by each `update`.

        Args:
            paths: A folder, a glob, a photo, or several of them.
            recognizer: What finds and reads the faces; its model must know words.
            index: File that keeps what was found for the next time; it is made if there is none. One made
                with another model, framing, detector, detector file or limit of the detector is built anew.
            recursive: Look into the folders' folders too, but for those that are symbolic links.
            detect: False if the photos are face crops already.
            rebuild: Read every photo of the album anew, whatever the index says; what it holds of others is
                kept.

        Raises:
            FacelexError: If there is no photo, the model knows no words, the index is no index, or an
                argument is of the wrong type.
        """
        self._paths = _listed(paths)
        check_recognizer(recognizer)
        self._recursive = recursive
        self._take(find_images(self._paths, recursive=recursive))
        check_there(self.sources)
        self.recognizer = recognizer
        self._detect = detect
        self._path = None if index is None else Path(index)
        self._index = self._new_index()
        self._dropped = 0
        self._open(rebuild)
        self._changes: AlbumChanges | None = None

    def _take(self, sources: list[str]) -> None:
        """Make these the photos of the album."""
        by_path: dict[str, str] = {}  # a photo named twice is searched once
        for source in sources:
            by_path.setdefault(os.path.abspath(source), source)  # noqa: PTH100 - links are kept as they are
        self._by_source = {source: path for path, source in by_path.items()}
        self.sources = list(self._by_source)

    def _look_again(self) -> None:
        found: dict[str, None] = {}
        for item in self._paths:
            with suppress(FacelexError):  # a folder or glob that gives nothing any more
                found.update(dict.fromkeys(find_images([item], recursive=self._recursive)))
        self._take(list(found))

    def _new_index(self) -> AlbumIndex:
        settings = {
            "flip": self.recognizer.flip,
            "framing": {**DEFAULT_FRAMING, **(self.recognizer.info.get("framing") or {})},
            "detector": _detector_settings(self.recognizer.detector),
            "detect": self._detect,
        }
        # a fixed pattern: a model is known again by the features it gives it
        pattern = np.random.default_rng(0).random((4, 48, 48), np.float32)
        probe = self.recognizer.embed(pattern)
        return AlbumIndex(self.recognizer.classes, json.dumps(settings, sort_keys=True), probe)

    def _open(self, rebuild: bool) -> None:
        if self._path is None or not os.path.exists(self._path):  # noqa: PTH110 - never raises
            return
        if os.path.realpath(self._path) in {os.path.realpath(source) for source in self.sources}:
            raise FacelexError(f"Expected a file for the index, but got the photo {str(self._path)!r}.")
        stored = AlbumIndex.load(self._path)  # also to rebuild: a file that is no index is not replaced
        own = set(self._by_source.values())
        others = {path: photo for path, photo in stored.photos.items() if path not in own}
        if not stored.fits(self._index):
            self._dropped = len(others)
        elif rebuild:
            self._index.photos = others
        else:
            self._index = stored

    def update(self, progress: Callable[[int, int], None] | None = None) -> AlbumChanges:
        """Read photos that are new or changed, forget those that are gone, save the index if there is one.

        Folders and globs are looked at anew. A photo that was named by its own path and is gone is removed
        once, and told as failed each time. Photos outside the album are forgotten only if their folder is
        still there. Ctrl-C ends the reading; what was read is kept and saved.

        Args:
            progress: Called with the number of photos read and to read.

        Raises:
            FacelexError: If the index cannot be written; that is tried before photos are read.
        """
        self._look_again()
        changes = AlbumChanges(removed=self._index.forget_missing(self._searched()), dropped=self._dropped)
        self._dropped = 0
        to_read: list[str] = []
        for source, path in self._by_source.items():
            known = self._index.photos.get(path)
            if known is not None and known.is_current(path):
                changes.unchanged += 1
            else:
                changes.added += known is None and os.path.lexists(path)
                changes.changed += known is not None
                to_read.append(source)
        if to_read or changes.removed:
            if self._path is not None:
                check_place(self._path)
            try:
                self._read(to_read, progress)
            except KeyboardInterrupt:
                changes.interrupted = True
        for source, path in self._by_source.items():
            photo = self._index.photos.get(path)
            if photo is not None and photo.error is not None:
                changes.failed[source] = photo.error
        if to_read or changes.removed:
            # what was named and not found is told, but is no photo of the index
            self._index.forget_missing(self._by_source.values())
            self._save()
        self._changes = changes
        return changes

    def _searched(self) -> list[str]:
        """Return the album's folders that are there, and its photos, by absolute path."""
        folders = filter(None, map(folder_of, self._paths))
        return [*map(os.path.abspath, folders), *self._by_source.values()]

    def _read(self, sources: list[str], progress: Callable[[int, int], None] | None) -> None:
        before: dict[str, tuple[int, int]] = {}  # as it was when reading began: a later change is noticed

        def listed() -> Iterable[str]:
            for source in sources:
                before[source] = file_status(source)
                yield source

        results = self.recognizer.predict_many(listed(), detect=self._detect)
        for count, (source, result) in enumerate(zip(sources, results), start=1):
            self._index.add(self._by_source[source], result, before.pop(source))
            if progress is not None:
                progress(count, len(sources))
            if count % SAVE_EVERY == 0:
                self._save()

    def _save(self) -> None:
        if self._path is not None:
            self._index.save(self._path)

    def search(
        self, words: Sequence[str] | str, top: int | None = 20, *, min_size: float = 0.0
    ) -> list[Match]:
        """Return the faces that words fit best.

        Args:
            words: A word or phrase; several, separated by commas or as a list, are averaged.
            top: Faces to return; None for all, ranked.
            min_size: Pixels that the shorter side of a face must have; tiny faces show little expression.

        Raises:
            FacelexError: If a word is not known, or an option is wrong.
        """
        if top is not None and not (isinstance(top, Integral) and top >= 1):
            raise FacelexError(f"Expected top to be 1 or more or None for all, but got {top!r}.")
        if not (isinstance(min_size, Real) and min_size >= 0):
            raise FacelexError(
                f"Expected min_size to be a number of pixels, 0 or more, but got {min_size!r}."
            )
        labels = parse_words(words)
        if not labels:
            raise FacelexError("Expected a word or phrase to search for, but got none.")
        self.check_words(labels)
        if self._changes is None:
            self.update()
        places, features = self._faces(min_size)
        scores = self.recognizer.score_words(features, labels)  # (n, words)
        means = scores.mean(axis=1) if len(places) else np.zeros(0, np.float32)
        best = np.argsort(-means, kind="stable")[:top]
        return [
            self._match(rank, places[i], float(means[i]), dict(zip(labels, scores[i].tolist())))
            for rank, i in enumerate(best, start=1)
        ]

    def check_words(self, words: Sequence[str] | str) -> None:
        """Raise now, before photos are read, if a word is not known or the model knows none.

        Raises:
            FacelexError: As it says.
        """
        self.recognizer.score_words(self._index.probe[:0], words)

    @property
    def num_faces(self) -> int:
        """Faces in the photos read so far."""
        return len(self._faces(0.0)[0])

    def _faces(self, min_size: float) -> tuple[list[tuple[str, int]], np.ndarray]:
        """Return the place of each face, ``(source, number)``, and all features ``(n, E)``."""
        places: list[tuple[str, int]] = []
        parts = [self._index.probe[:0]]
        for source, path in self._by_source.items():
            photo = self._index.photos.get(path)
            if photo is None or not len(photo.boxes):
                continue
            kept = np.flatnonzero(photo.boxes[:, 2:].min(axis=1) >= min_size)
            places += [(source, int(number)) for number in kept]
            parts.append(photo.features[kept])
        return places, np.concatenate(parts)

    def _match(self, rank: int, place: tuple[str, int], score: float, words: dict[str, float]) -> Match:
        source, number = place
        path = self._by_source[source]
        face = self._index.face(path, number)
        unsure = self.recognizer.is_unsure(face.probability, face.box)
        boxes = tuple((x, y, w, h) for x, y, w, h in self._index.photos[path].boxes.tolist())
        return Match(rank, score, source, number, replace(face, words=words, unsure=unsure), boxes)


def _listed(paths: Any) -> list[str]:
    """Return the folders, globs and photos that an album is made of."""
    several = isinstance(paths, Iterable) and not isinstance(paths, (str, bytes, os.PathLike))
    listed = list(paths) if several else [paths]
    for item in listed:
        if not isinstance(item, (str, os.PathLike)):
            raise FacelexError(
                f"Expected the paths of folders and photos, but got {type(item).__name__}. Save pictures as "
                "files first."
            )
        if is_address(item):
            raise FacelexError(
                "Expected folders and photos of this machine, but got an address. Save it first."
            )
    if not listed:
        raise FacelexError("Expected a folder of photos, but got no path. Name one.")
    return [os.fspath(item) for item in listed]


def _detector_settings(detector: Detector) -> dict[str, str | float]:
    """Return what a detector's answers depend on, as far as it says: its name, model file and limits."""
    known = {name: getattr(detector, name, None) for name in DETECTOR_SETTINGS}
    plain = {name: value for name, value in known.items() if isinstance(value, (str, int, float))}
    return {"name": type(detector).__name__, **plain}


def match_columns(words: Sequence[str]) -> list[str]:
    """Return the columns of `Match.to_row`, in order."""
    place = ["rank", "score", "source", "face", "emotion", "x", "y", "width", "height"]
    return [*place, *(f"word:{word}" for word in words)]
