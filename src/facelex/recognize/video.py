"""Videos and cameras: faces over time as a table, an annotated video and a timeline, in bounded memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from facelex.errors import FacelexError
from facelex.recognize.detection import Box
from facelex.recognize.face_tracker import EVERY, SMOOTH, FaceTracker, FrameResult, check_seconds
from facelex.recognize.frames import Frame, FrameReader, check_source
from facelex.recognize.layouts import Record, TableLayout
from facelex.recognize.redaction import redaction_style
from facelex.recognize.results import Face, ImageResult, frame_of
from facelex.recognize.sources import is_camera
from facelex.recognize.summaries import TrackSummary
from facelex.recognize.timeline import Timeline, check_timeline

if TYPE_CHECKING:
    from facelex.recognize.annotated_video import AnnotatedVideo
    from facelex.recognize.recognizer import Recognizer, Words
    from facelex.recognize.writers import Writer

logger = logging.getLogger(__name__)

Progress = Callable[[FrameResult, float | None], None]
"""Called with each analysed frame and the seconds the whole video has, if they are known."""


@dataclass(frozen=True)
class VideoResult:
    """What a video held, in short; the rest went to the table, frame by frame."""

    source: str
    width: int
    height: int
    seconds: float
    """Time of the last analysed frame."""
    frames: int
    """Analysed frames."""
    in_sight: float
    """Share of the analysed frames with a face in them, in [0, 1]; 0 where none was analysed."""
    tracks: tuple[TrackSummary, ...]
    """A summary of each face, in order of appearance."""
    error: str | None = None
    """What was wrong with the file, if not all of it could be read."""
    interrupted: bool = False
    """True if Ctrl-C ended it; all that was asked for holds what was done until then."""
    forgotten: int = 0
    """Faces left out of ``tracks``: of 20,000 the half seen most briefly is forgotten, for memory's sake."""
    columns: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Columns of the table it belongs to, known even where there is no face."""

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON holds it, under the names of the fields."""
        return {
            "source": self.source,
            "width": self.width,
            "height": self.height,
            "seconds": round(self.seconds, 3),
            "frames": self.frames,
            "in_sight": round(self.in_sight, 6),
            "tracks": [track.to_dict() for track in self.tracks],
            "error": self.error,
            "interrupted": self.interrupted,
            "forgotten": self.forgotten,
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one flat row a face; where nobody was seen, one without ``face`` and with 0 ``frames``.

        What concerns the whole video stands in each: ``video_s``, ``video_frames``, ``video_in_sight``,
        ``interrupted`` and ``error``.
        """
        video = {
            "video_s": round(self.seconds, 3),
            "video_frames": self.frames,
            "video_in_sight": round(self.in_sight, 6),
            "interrupted": self.interrupted,
            "error": self.error,
        }
        faces = [track.to_row() for track in self.tracks] or [{"frames": 0}]
        return [{"source": self.source, **face, **video} for face in faces]


def to_frame(results: Iterable[Record], *, embedding: bool = False, landmarks: bool = False) -> Any:
    """Return a pandas data frame with the rows and the columns of all results.

    That is one row a face and frame, or of `VideoResult` one row a face. ``embedding=True`` adds each face's
    features in columns ``embedding:0``, ``embedding:1`` and so on, ``landmarks=True`` its landmarks.

    Raises:
        FacelexError: If it is given something else than results.
        MissingExtraError: If pandas is not installed.
    """
    return frame_of(results, TableLayout(video=True, landmarks=landmarks), embedding=embedding)


def read_video(
    source: str | os.PathLike[str],
    recognizer: Recognizer,
    *,
    every: float = EVERY,
    words: Words = None,
    smooth: float = SMOOTH,
    detect: bool = True,
    max_frames: int | None = None,
    max_seconds: float | None = None,
) -> Iterator[FrameResult]:
    """Yield the faces of each analysed frame, as it comes; memory does not grow with the length.

    Of a damaged or incomplete file all frames come that can be decoded; a warning of the logger
    ``facelex.recognize.video`` then says what was wrong. `predict_video` has it in its result.

    Args:
        source: A video file, or ``webcam:0``.
        recognizer: What finds and reads the faces.
        every: Seconds between analysed frames; 0 for each frame.
        words: Words and phrases to score as well.
        smooth: Seconds over which each face's numbers are smoothed; 0 for the numbers of each frame alone.
        detect: False if the whole frame is one face.
        max_frames: Stop after so many analysed frames.
        max_seconds: Stop after so many seconds of video.

    Raises:
        FacelexError: If an option is wrong or there is no such file; with the first step, if it cannot be
            read at all.
    """
    every = check_seconds("every", every)
    tracker = FaceTracker(recognizer, every=every, smooth=smooth, words=words, detect=detect)
    limits = _Limits(max_frames, max_seconds)
    check_source(source)

    def results() -> Iterator[FrameResult]:
        with FrameReader(source) as reader:
            for frame in limits.apply(reader.frames(every)):
                yield tracker.read(frame.pixels(), frame.time, source=reader.source, frame=frame.index)
            complaint = reader.complaint(ended=not limits.reached)
            if complaint is not None:
                logger.warning("%s: %s", reader.source, complaint)

    return results()


def predict_video(
    source: str | os.PathLike[str],
    recognizer: Recognizer,
    *,
    every: float = EVERY,
    words: Words = None,
    smooth: float = SMOOTH,
    detect: bool = True,
    table: str | os.PathLike[str] | IO[str] | None = None,
    table_format: str | None = None,
    writer: Writer | None = None,
    embedding: bool = False,
    landmarks: bool = False,
    annotate: str | os.PathLike[str] | None = None,
    redact: str | bool | None = None,
    timeline: str | os.PathLike[str] | None = None,
    max_frames: int | None = None,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> VideoResult:
    """Analyse a video and write what is asked for.

    Ctrl-C ends the reading, not the writing: every file then holds what was done so far. So does the fault of
    a damaged file, which comes back as ``error``.

    Args:
        source: A video file, or ``webcam:0``.
        recognizer: What finds and reads the faces.
        every: Seconds between analysed frames; 0 for each frame.
        words: Words and phrases to score as well.
        smooth: Seconds over which each face's numbers are smoothed; 0 for the numbers of each frame alone.
        detect: False if the whole frame is one face.
        table: File for a row a face and frame: .csv, .parquet, .json or .jsonl; or an open text stream.
        table_format: ``csv``, ``parquet``, ``json`` or ``jsonl``; by default as the suffix says.
        writer: An open table in place of ``table``, which several videos can share, from
            ``open_writer(kind, target, recognizer.table_layout(words, video=True))`` of
            ``facelex.recognize.writers``; it stays open.
        embedding: Write each face's features into ``table`` as well, which are those of the frame alone.
        landmarks: Write each face's landmarks into a ``table`` of rows as well; JSON has them in any case.
        annotate: File for the annotated video (.mp4, .mov, .mkv), or a folder, which is there or has no
            suffix, for ``NAME-faces.mp4``.
        redact: ``"blur"`` (or True) or ``"pixelate"`` covers the faces in the annotated video. Every frame is
            then searched for faces, and the sound, which also tells who speaks, is left out.
        timeline: File for the picture of each face's emotions over time, .png (needs matplotlib).
        max_frames: Stop after so many analysed frames.
        max_seconds: Stop after so many seconds of video.
        progress: Called with each analysed frame and the seconds the video has, if known.

    Raises:
        UnreadableVideoError: If the video cannot be read at all.
        FacelexError: If an option is wrong, or a file cannot be written.
    """
    if table is not None and writer is not None:
        raise FacelexError("Expected a table or a writer, but got both. Leave one out.")
    annotate_path, timeline_path = _path("annotate", annotate), _path("timeline", timeline)
    redact = redaction_style(redact)
    every = check_seconds("every", every)
    tracker = FaceTracker(recognizer, every=every, smooth=smooth, words=words, detect=detect)
    limits = _Limits(max_frames, max_seconds)
    if timeline_path is not None:
        check_timeline(timeline_path)  # said now, not after an hour of video
    with ExitStack() as stack:
        reader = stack.enter_context(FrameReader(source))
        emotions = Timeline(every or 1 / reader.rate, recognizer.classes, tracker.words)
        run = _Run(tracker, reader, emotions, progress)
        if annotate_path is not None:
            from facelex.recognize.annotated_video import AnnotatedVideo

            target = _annotated_path(annotate_path, reader.source)
            run.annotated = AnnotatedVideo(target, reader, every=0.0 if redact else every, redact=redact)
            stack.callback(run.annotated.abandon)
        run.table = writer
        if table is not None:
            layout = recognizer.table_layout(
                tracker.words or None, embedding=embedding, landmarks=landmarks, video=True
            )
            run.table = stack.enter_context(_open_table(table, table_format, layout))
        sound = None if run.annotated is None else run.annotated.sound
        frames = reader.frames(every, all_frames=run.annotated is not None, sound=sound)
        try:
            for frame in limits.apply(frames):
                run.take(frame)
        except KeyboardInterrupt:
            run.interrupted = True
        error = reader.complaint(ended=not run.interrupted and not limits.reached)
        if error is not None and run.table is not None:
            run.table.write(ImageResult(reader.source, error=error))
        if run.annotated is not None:
            run.annotated.close()
    # only now, so that table and video are there whatever comes of it
    if timeline_path is not None:
        run.timeline.save(timeline_path, Path(reader.source).name)
    return run.result(error)


@dataclass
class _Run:
    """One pass through a video and what it hands to whom."""

    tracker: FaceTracker
    reader: FrameReader
    timeline: Timeline
    progress: Progress | None
    annotated: AnnotatedVideo | None = None
    table: Writer | None = None
    interrupted: bool = False
    last: FrameResult | None = None
    known: Mapping[int, Face] = field(default_factory=dict)

    def take(self, frame: Frame) -> None:
        """Analyse a frame if it is due, and pass it on."""
        pixels = frame.pixels()
        boxes: Mapping[int, Box] | None = None
        if frame.due:
            result = self.tracker.read(pixels, frame.time, source=self.reader.source, frame=frame.index)
            self.last = result
            self.known = dict(zip(result.ids, result.faces))
            boxes = {id_: face.box for id_, face in self.known.items()}
            self.timeline.add(result.time, result.ids, result.faces)
            if self.table is not None:
                self.table.write(result)
            if self.progress is not None:
                self.progress(result, self.reader.duration)
        elif self.annotated is not None and self.annotated.redact is not None:
            boxes = self.tracker.find(pixels, frame.time)
        if self.annotated is not None:
            self.annotated.add(frame.time, pixels, boxes, self.known)

    def result(self, error: str | None) -> VideoResult:
        """Return the summary."""
        last = self.last
        width, height, seconds = (0, 0, 0.0) if last is None else (last.width, last.height, last.time)
        timeline = self.timeline
        return VideoResult(
            source=self.reader.source,
            width=width,
            height=height,
            seconds=seconds,
            frames=timeline.frames,
            in_sight=timeline.frames_with_faces / max(1, timeline.frames),
            tracks=tuple(timeline.tracks()),
            forgotten=timeline.forgotten,
            error=error,
            interrupted=self.interrupted,
            columns=TableLayout(timeline.classes, timeline.words, video=True, summary=True).columns,
        )


class _Limits:
    """Where to stop, if not at the end."""

    def __init__(self, frames: int | None, seconds: float | None) -> None:
        if not (frames is None or (isinstance(frames, Integral) and frames >= 1)):
            raise FacelexError(f"Expected max_frames to be a whole number, 1 or more, but got {frames!r}.")
        if not (seconds is None or (isinstance(seconds, Real) and seconds > 0)):
            raise FacelexError(f"Expected max_seconds to be a number above 0, but got {seconds!r}.")
        self._frames = frames
        self._seconds = seconds
        self.reached = False

    def apply(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Pass frames on until a limit is reached."""
        due = 0
        for frame in frames:
            late = self._seconds is not None and frame.time >= self._seconds
            if late or (frame.due and self._frames is not None and due >= self._frames):
                self.reached = True
                return
            due += frame.due
            yield frame


def _path(name: str, value: str | os.PathLike[str] | None) -> Path | None:
    if not (value is None or isinstance(value, (str, os.PathLike))):
        raise FacelexError(f"Expected {name} to be the path of a file to write, but got {value!r}.")
    return None if value is None else Path(value)


def _annotated_path(annotate: Path, source: str) -> Path:
    """Return the file itself, or that in a folder; `AnnotatedVideo` refuses what is neither."""
    if annotate.suffix and not annotate.is_dir():
        return annotate
    stem = source.replace(":", "-") if is_camera(source) else Path(source).stem
    return annotate / f"{stem}-faces.mp4"


def _open_table(
    table: str | os.PathLike[str] | IO[str], kind: str | None, layout: TableLayout
) -> AbstractContextManager[Writer]:
    from facelex.errors import unknown_name
    from facelex.recognize.writers import ROW_FORMATS, format_of, open_writer

    target = Path(table) if isinstance(table, (str, os.PathLike)) else table
    if isinstance(target, Path):
        kind = kind or format_of(target, ROW_FORMATS)
    elif kind is None or not hasattr(target, "write"):
        raise FacelexError(
            "Expected table to be the path of a file, or an open text stream with table_format, but got "
            f"{table!r}."
        )
    if kind not in ROW_FORMATS:
        raise unknown_name("table_format", kind, ROW_FORMATS)
    return open_writer(kind, target, layout)
