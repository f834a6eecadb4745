"""Faces over the frames of a video or of one's own: found, numbered, read and smoothed, frame after frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError
from facelex.recognize.cuts import CutFinder
from facelex.recognize.detection import Box
from facelex.recognize.images import ImageInput, load_image
from facelex.recognize.layouts import TableLayout
from facelex.recognize.recognizer import check_recognizer
from facelex.recognize.results import Face
from facelex.recognize.tracks import Smoother, Tracker
from facelex.recognize.words import parse_words

if TYPE_CHECKING:
    from facelex.recognize.recognizer import Recognizer, Words

EVERY = 0.2
"""Seconds between analysed frames: expressions that people notice last longer (0.5 to 4 s)."""
SMOOTH = 0.4
"""Seconds over which probabilities are smoothed."""


@dataclass(frozen=True)
class FrameResult:
    """The faces of one analysed frame."""

    source: str
    """The video, as it was given."""
    time: float
    """Seconds from the first frame."""
    frame: int
    """Number of the frame, 0, 1, ...; for a camera, of those it sent."""
    width: int
    height: int
    ids: tuple[int, ...]
    """Track number of each face: the same as long as the face stays in sight. No identity."""
    faces: tuple[Face, ...]
    """Faces with smoothed probabilities and word scores."""
    columns: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Columns of the table it belongs to, known even where there is no face."""

    @property
    def error(self) -> None:
        """None: what is wrong with a video concerns no frame and is a result of its own."""
        return None

    def to_dict(self, *, embedding: bool = False) -> dict[str, Any]:
        """Return ``{"source", "time_s", "frame", "width", "height", "faces"}``, each face led by ``id``.

        ``embedding=True`` adds each face's features as a list.
        """
        return {
            "source": self.source,
            "time_s": round(self.time, 3),
            "frame": self.frame,
            "width": self.width,
            "height": self.height,
            "faces": [
                {"id": id_, **face.to_dict(embedding=embedding)} for id_, face in zip(self.ids, self.faces)
            ],
        }

    def to_rows(self, *, embedding: bool = False, landmarks: bool = False) -> list[dict[str, Any]]:
        """Return one flat row a face; a frame without faces has none."""
        place = {"source": self.source, "time_s": round(self.time, 3), "frame": self.frame}
        return [
            {**place, "face": id_, **face.to_row(embedding=embedding, landmarks=landmarks)}
            for id_, face in zip(self.ids, self.faces)
        ]


class FaceTracker:
    """Follows faces through frames that come one by one, from a camera loop, a stream or a screen.

    It keeps no frame. One tracker follows one stream, in one thread; several may share a recogniser.

    Example:
        >>> tracker = FaceTracker(Recognizer(), words="bored")
        >>> for time, pixels in frames:
        ...     seen = tracker.update(pixels, time)
        ...     print(time, [(number, face.emotion) for number, face in zip(seen.ids, seen.faces)])
    """

    def __init__(
        self,
        recognizer: Recognizer,
        *,
        every: float = EVERY,
        smooth: float = SMOOTH,
        words: Words = None,
        detect: bool = True,
        source: str = "frames",
    ) -> None:
        """Start without faces.

        Args:
            recognizer: What finds and reads the faces.
            every: Seconds that usually lie between the frames that it is given, all of which it analyses. A
                face may be out of sight for 2.5 times as long, but at least a second, and keep its number.
            smooth: Seconds over which each face's numbers are smoothed; 0 for those of each frame alone.
            words: Words and phrases to score as well.
            detect: False if the whole frame is one face.
            source: What the results give as their ``source``.

        Raises:
            FacelexError: If an option is wrong, a word is not known, or there is no recogniser.
        """
        check_recognizer(recognizer)
        self.source = source
        self.words = parse_words(words)
        """The words asked for."""
        self.columns = TableLayout(recognizer.classes, self.words, video=True).columns
        """Columns of the table of its results."""
        memory = out_of_sight(check_seconds("every", every))
        self._smoother = Smoother(check_seconds("smooth", smooth), recognizer.is_unsure, memory)
        # an unknown word is said now
        recognizer.describe(np.zeros((8, 8, 3), np.uint8), [], words=self.words or None)
        self._recognizer = recognizer
        self._detect = detect
        self._cuts = CutFinder()
        self._tracker = Tracker(memory)
        self._count = 0
        self._time = -math.inf

    def update(self, frame: ImageInput, time: float, *, bgr: bool = False) -> FrameResult:
        """Return the faces of the next frame.

        Args:
            frame: RGB pixels ``(H, W, 3)`` uint8, or whatever `load_image` reads. Its buffer may be filled
                anew afterwards.
            time: Seconds from any beginning; the same as for the frame before, or more.
            bgr: The array's channels are in OpenCV's order.

        Returns:
            The faces in the order of their numbers; ``frame`` counts the frames given, from 0.

        Raises:
            FacelexError: If the frame cannot be read, or its time is no number or lies before that of the
                last one. Nothing is changed then, and the next frame may follow.
        """
        if not (isinstance(time, Real) and math.isfinite(time)):
            raise FacelexError(f"Expected the frame's time in seconds, but got {time!r}.")
        if time < self._time:
            raise FacelexError(
                f"Expected times that do not go back, but got {float(time):g} s after {self._time:g} s. Give "
                "the frames in order, and another stream a FaceTracker of its own."
            )
        pixels = load_image(frame, bgr=bgr)
        result = self.read(pixels, float(time), source=self.source, frame=self._count)
        self._time, self._count = float(time), self._count + 1
        return result

    def read(self, pixels: NDArray[np.uint8], time: float, *, source: str, frame: int) -> FrameResult:
        """Return the faces of a frame as `update` does, unchecked: a damaged video's times may go back.

        Args:
            pixels: RGB, ``(H, W, 3)``.
            time: Seconds from the first frame.
            source: The video.
            frame: Number of the frame in it.
        """
        detections = self._recognizer.find(pixels, detect=self._detect)
        ids = self._numbers(pixels, time, [detection.box for detection in detections])
        raw = self._recognizer.describe(pixels, detections, words=self.words or None)
        faces = self._smoother.update(time, ids, raw)
        order = sorted(range(len(ids)), key=lambda i: ids[i])
        height, width = pixels.shape[:2]
        return FrameResult(
            source, time, frame, width, height,
            tuple(ids[i] for i in order), tuple(faces[i] for i in order), self.columns,
        )  # fmt: skip

    def find(self, pixels: NDArray[np.uint8], time: float) -> dict[int, Box]:
        """Return only where the faces of a frame ``(H, W, 3)`` are, by their numbers, and read none."""
        boxes = [detection.box for detection in self._recognizer.find(pixels, detect=self._detect)]
        return dict(zip(self._numbers(pixels, time, boxes), boxes))

    def _numbers(self, pixels: NDArray[np.uint8], time: float, boxes: Sequence[Box]) -> list[int]:
        """Return the track number of each box; none goes on across a cut, nor does what is smoothed by it."""
        if self._cuts.update(pixels):
            self._tracker.forget()
        return self._tracker.update(time, boxes)


def out_of_sight(every: float) -> float:
    """Return for how many seconds a face may be missed and keep its number, in frames so far apart."""
    return max(1.0, 2.5 * every)


def check_seconds(name: str, value: float) -> float:
    """Return an option in seconds, and refuse what is none.

    Raises:
        FacelexError: If it is no number, or below 0.
    """
    if not (isinstance(value, Real) and 0 <= value < math.inf):
        raise FacelexError(f"Expected {name} in seconds, 0 or more, but got {value!r}.")
    return float(value)
