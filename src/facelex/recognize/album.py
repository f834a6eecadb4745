"""Search an album: the faces of photos and the moments of videos, ranked by how well words fit them."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facelex.errors import FacelexError, MissingExtraError, require, shorten
from facelex.files import check_place
from facelex.recognize.album_index import AlbumIndex, Entry, file_status
from facelex.recognize.face_tracker import check_seconds
from facelex.recognize.framing import DEFAULT_FRAMING
from facelex.recognize.matches import Match
from facelex.recognize.ranking import best_matches
from facelex.recognize.recognizer import check_recognizer
from facelex.recognize.sources import (
    LOOK_DEEPER,
    check_there,
    find_media,
    folder_of,
    is_address,
    is_camera,
    names_video,
)
from facelex.recognize.words import parse_words

if TYPE_CHECKING:
    from facelex.recognize.detection import Detector
    from facelex.recognize.recognizer import Recognizer

logger = logging.getLogger(__name__)

SAVE_EVERY = 2000
"""Photos read between two savings of the index: what a crash can cost."""
SAVE_SECONDS = 60.0
"""Seconds between two savings while videos are read, each of which may take longer."""
DETECTOR_SETTINGS = ("name", "model_digest", "pixels", "threshold", "overlap")
"""Attributes of a detector that change what it finds; one of a user's own may lack any of them."""


@dataclass
class AlbumChanges:
    """What an update found."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    dropped: int = 0
    """Files outside the album that an index of another model or other settings held."""
    failed: dict[str, str] = field(default_factory=dict)
    """Photos and videos of which all or a part cannot be read, and why."""
    interrupted: bool = False


class Album:
    """Photos and videos whose faces are read once and searched as often as one likes.

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
        videos: bool = True,
        every: float | None = None,
    ) -> None:
        """Find the photos and videos; they are read by `update` or the first `search`.

        Folders and globs are looked at again by each `update`.

        Args:
            paths: A folder, a glob, a photo, a video, or several of them.
            recognizer: What finds and reads the faces; its model must know words.
            index: File that keeps what was found for the next time; it is made if there is none. One made
                with another model, framing, detector, detector file or limit of the detector is built anew.
            recursive: Look into the folders' folders too, but for those that are symbolic links.
            detect: False if the photos, and the frames of videos, are face crops already.
            rebuild: Read every file of the album anew, whatever the index says; what it holds of others is
                kept.
            videos: False leaves videos out, which take longer than photos, also those that are named. Beside
                photos they are left out, with a warning, also where PyAV, which reads them, is not installed.
            every: Seconds between the frames of a video that are looked at; by default 0.5, or whatever an
                index holds of it. 0 for each frame.

        Raises:
            MissingExtraError: If there are videos alone, or one was named, and PyAV is not installed.
            FacelexError: If there is neither photo nor video, or no photo without videos, the model knows no
                words, the index is no index, or an argument is of the wrong type.
        """
        self._paths = _listed(paths)
        check_recognizer(recognizer)
        self._every = None if every is None else check_seconds("every", every)
        self._recursive = recursive
        self._with_videos = videos
        found = self._find(self._paths)
        if found[1]:
            found = found[0], self._readable(*found)
        self._take(*found)
        check_there(self.sources)
        self.recognizer = recognizer
        self._detect = detect
        self._path = None if index is None else Path(index)
        self._index = self._new_index()
        self._dropped = 0
        self._open(rebuild)
        self._changes: AlbumChanges | None = None

    def _find(self, paths: list[str]) -> tuple[list[str], list[str]]:
        """Return the photos and the videos that paths stand for, without those that are to be left out.

        Raises:
            FacelexError: If a folder or glob gives neither, or all that were found are to be left out.
        """
        photos, videos = find_media(paths, recursive=self._recursive, videos_alone=True)
        if self._with_videos:
            return photos, videos
        if videos and not photos:
            shown = repr(shorten(videos[0]))
            films = f"the video {shown}" if len(videos) == 1 else f"{len(videos):,} videos, such as {shown},"
            hint = LOOK_DEEPER if not self._recursive and any(map(folder_of, paths)) else ""
            raise FacelexError(
                f"Expected photos, but found {films} alone. To search videos, leave out --no-videos "
                f"(videos=False).{hint}"
            )
        return photos, []

    def _readable(self, photos: list[str], videos: list[str]) -> list[str]:
        """Return the videos, or none where they only lie beside photos and nothing here can read them."""
        try:
            require("av", "video", "Searching videos")
        except MissingExtraError as error:
            if not photos or any(map(names_video, self._paths)):
                raise
            self._with_videos = False
            counted = "1 video is" if len(videos) == 1 else f"{len(videos):,} videos are"
            logger.warning("%s left out. %s", counted, error)
            return []
        return videos

    def _take(self, photos: list[str], videos: list[str]) -> None:
        """Make these the files of the album."""
        by_path: dict[str, str] = {}  # a photo named twice is searched once
        for source in (*photos, *videos):
            by_path.setdefault(os.path.abspath(source), source)  # noqa: PTH100 - links are kept as they are
        self._by_source = {source: path for path, source in by_path.items()}
        self.sources = list(self._by_source)
        """Photos, then videos."""
        self.videos = frozenset(videos)
        """Those of the sources that are videos."""

    def _look_again(self) -> None:
        photos: dict[str, None] = {}
        videos: dict[str, None] = {}
        for item in self._paths:
            with suppress(FacelexError):  # a folder or glob that gives nothing any more
                for kind, found in zip((photos, videos), self._find([item])):
                    kind.update(dict.fromkeys(found))
        self._take(list(photos), list(videos))

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
            kind = "video" if names_video(str(self._path)) else "photo"
            raise FacelexError(f"Expected a file for the index, but got the {kind} {str(self._path)!r}.")
        stored = AlbumIndex.load(self._path)  # also to rebuild: a file that is no index is not replaced
        own = set(self._by_source.values())
        others = {path: entry for path, entry in stored.entries.items() if path not in own}
        if not stored.fits(self._index):
            self._dropped = len(others)
        elif rebuild:
            self._index.entries = others
        else:
            self._index = stored

    def update(self, progress: Callable[[float, int], None] | None = None) -> AlbumChanges:
        """Read files that are new or changed, forget those that are gone, save the index if there is one.

        Folders and globs are looked at anew. A file that was named by its own path and is gone is removed
        once, and told as failed each time. Files outside the album are forgotten only if their folder is
        still there. Photos are read first, then videos. Ctrl-C ends the reading; what was read is kept and
        saved, and a video of which that is a part is read anew by the next update.

        Args:
            progress: Called with the number of files read, of which a video counts by the share that is, and
                to read.

        Raises:
            FacelexError: If the index cannot be written; that is tried before anything is read.
        """
        self._look_again()
        changes = AlbumChanges(removed=self._index.forget_missing(self._searched()), dropped=self._dropped)
        self._dropped = 0
        to_read: list[str] = []
        for source, path in self._by_source.items():
            known = self._index.entries.get(path)
            if known is not None and known.is_current(path, self._every):
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
            entry = self._index.entries.get(path)
            if entry is not None and entry.error is not None:
                changes.failed[source] = entry.error
        if to_read or changes.removed:
            # what was named and not found is told, but is no file of the index
            self._index.forget_missing(self._by_source.values())
            self._save()
        self._changes = changes
        return changes

    def _searched(self) -> list[str]:
        """Return the album's folders that are there, and its files, by absolute path."""
        folders = filter(None, map(folder_of, self._paths))
        return [*map(os.path.abspath, folders), *self._by_source.values()]

    def _read(self, sources: list[str], progress: Callable[[float, int], None] | None) -> None:
        def tell(done: float) -> None:
            if progress is not None:
                progress(done, len(sources))

        photos = [source for source in sources if source not in self.videos]
        self._read_photos(photos, tell)
        self._read_videos([source for source in sources if source in self.videos], len(photos), tell)

    def _read_photos(self, sources: list[str], tell: Callable[[float], None]) -> None:
        before: dict[str, tuple[int, int]] = {}  # as it was when reading began: a later change is noticed

        def listed() -> Iterable[str]:
            for source in sources:
                before[source] = file_status(source)
                yield source

        results = self.recognizer.predict_many(listed(), detect=self._detect)
        for count, (source, result) in enumerate(zip(sources, results), start=1):
            self._index.add(self._by_source[source], result, before.pop(source))
            tell(count)
            if count % SAVE_EVERY == 0:
                self._save()

    def _read_videos(self, sources: list[str], done: int, tell: Callable[[float], None]) -> None:
        if not sources:
            return
        from facelex.recognize.album_video import EVERY, read_video_entry

        every = EVERY if self._every is None else self._every
        saved = time.monotonic()
        for count, source in enumerate(sources, start=done):
            entry, interrupted = read_video_entry(
                source,
                self.recognizer,
                every=every,
                detect=self._detect,
                progress=lambda share, count=count: tell(count + share),  # type: ignore[misc]
            )
            self._index.entries[self._by_source[source]] = entry
            if interrupted:
                raise KeyboardInterrupt
            tell(count + 1)
            if time.monotonic() - saved > SAVE_SECONDS:
                self._save()
                saved = time.monotonic()

    def _save(self) -> None:
        if self._path is not None:
            self._index.save(self._path)

    def search(
        self, words: Sequence[str] | str, top: int | None = 20, *, min_size: float = 0.0
    ) -> list[Match]:
        """Return the faces that words fit best.

        Of a face in a video that is each moment at which its score is highest for five seconds around; its
        scores are averaged over about a second.

        Args:
            words: A word or phrase; several, separated by commas or as a list, are averaged.
            top: Faces and moments to return; None for all, ranked.
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
        return best_matches(self._entries(), self.recognizer, labels, top=top, min_size=min_size)

    def check_words(self, words: Sequence[str] | str) -> None:
        """Raise now, before photos are read, if a word is not known or the model knows none.

        Raises:
            FacelexError: As it says.
        """
        self.recognizer.score_words(self._index.probe[:0], words)

    @property
    def num_faces(self) -> int:
        """Faces in what was read so far; in a video each counts as often as it comes into sight."""
        return sum(
            len(entry.boxes) if entry.looks is None else len(np.unique(entry.looks.tracks))
            for entry in self._entries().values()
        )

    @property
    def video_seconds(self) -> float:
        """Length of the videos read so far."""
        return sum(entry.looks.seconds for entry in self._entries().values() if entry.looks is not None)

    def _entries(self) -> dict[str, Entry]:
        """Return what was found in each file of the album that was read."""
        entries = self._index.entries
        return {source: entries[path] for source, path in self._by_source.items() if path in entries}


def _listed(paths: Any) -> list[str]:
    """Return the folders, globs, photos and videos that an album is made of."""
    several = isinstance(paths, Iterable) and not isinstance(paths, (str, bytes, os.PathLike))
    listed = list(paths) if several else [paths]
    for item in listed:
        if not isinstance(item, (str, os.PathLike)):
            raise FacelexError(
                f"Expected the paths of folders, photos and videos, but got {type(item).__name__}. Save "
                "pictures as files first."
            )
        if is_address(item):
            raise FacelexError(
                "Expected folders, photos and videos of this machine, but got an address. Save it first."
            )
        if is_camera(item):
            raise FacelexError(
                f"Expected folders, photos and videos, but got the camera {item!r}. Record it first."
            )
    if not listed:
        raise FacelexError("Expected a folder of photos or videos, but got no path. Name one.")
    return [os.fspath(item) for item in listed]


def _detector_settings(detector: Detector) -> dict[str, str | float]:
    """Return what a detector's answers depend on, as far as it says: its name, model file and limits."""
    known = {name: getattr(detector, name, None) for name in DETECTOR_SETTINGS}
    plain = {name: value for name, value in known.items() if isinstance(value, (str, int, float))}
    return {"name": type(detector).__name__, **plain}
