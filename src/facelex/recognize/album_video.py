"""A video read for an album: each look at each face, in compact columns."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from facelex.recognize.album_index import Entry, Looks, file_status
from facelex.recognize.frames import UnreadableVideoError
from facelex.recognize.video import predict_video

if TYPE_CHECKING:
    from facelex.recognize.face_tracker import FrameResult
    from facelex.recognize.recognizer import Recognizer

EVERY = 0.5
"""Seconds between the frames of a video that are looked at, unless asked for otherwise: expressions that
people notice last half a second and more."""


def read_video_entry(
    source: str,
    recognizer: Recognizer,
    *,
    every: float,
    detect: bool,
    progress: Callable[[float], None] | None = None,
) -> tuple[Entry, bool]:
    """Return what an album holds of a video, and whether Ctrl-C ended the reading.

    What was read until then, or of a damaged file, is kept; an interrupted one does not count as current.

    Args:
        source: The file.
        recognizer: What finds and reads the faces.
        every: Seconds between analysed frames.
        detect: False if each frame is one face.
        progress: Called with the share that is read, in [0, 1], where the file says how long it is.

    Raises:
        KeyboardInterrupt: If there was no frame yet.
    """
    status = file_status(source)  # as it was when reading began: a later change is noticed
    looks = _Columns(recognizer)

    def tell(frame: FrameResult, seconds: float | None) -> None:
        if progress is not None and seconds:
            progress(min(1.0, frame.time / seconds))

    try:
        result = predict_video(
            source, recognizer, every=every, smooth=0.0, detect=detect, writer=looks, progress=tell
        )
    except UnreadableVideoError as error:
        return looks.entry(status, str(error)), False
    seen = Looks(float(every), result.seconds, np.array(looks.times), np.array(looks.tracks, np.int64))
    return looks.entry(status, result.error, seen, unfinished=result.interrupted), result.interrupted


class _Columns:
    """Takes the frames of a video, of which it keeps some 350 bytes a face."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._widths = {"boxes": 4, "scores": 0, "probabilities": len(recognizer.classes)}
        self._widths["features"] = recognizer.embed_dim
        self._numbers = {name: array("f") for name in self._widths}
        self.times = array("d")
        self.tracks = array("q")

    def write(self, frame: FrameResult) -> None:
        """Add the faces of a frame; what is wrong with a file, which comes as a result as well, has none."""
        for number, face in zip(getattr(frame, "ids", ()), frame.faces):
            self.times.append(frame.time)
            self.tracks.append(number)
            self._numbers["boxes"].extend(face.box)
            self._numbers["scores"].append(face.score)
            self._numbers["probabilities"].extend(face.probabilities.values())
            self._numbers["features"].frombytes(np.asarray(face.embedding, np.float32).tobytes())

    def close(self) -> None:
        """Nothing is held back."""

    def entry(
        self,
        status: tuple[int, int],
        error: str | None,
        looks: Looks | None = None,
        *,
        unfinished: bool = False,
    ) -> Entry:
        """Return all that was added, of a file with this size and time of change."""
        columns: dict[str, Any] = {
            name: np.array(self._numbers[name], np.float32).reshape((-1, width) if width else -1)
            for name, width in self._widths.items()
        }
        return Entry(*status, **columns, error=error, looks=looks, unfinished=unfinished)
