"""The annotated video: boxes carried between analysed frames, faces covered if asked, sound copied."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelex.errors import FacelexError, require
from facelex.files import AbandonedError, replacing
from facelex.recognize.detection import Box
from facelex.recognize.drawing import annotate
from facelex.recognize.frames import FrameReader
from facelex.recognize.redaction import redact_faces
from facelex.recognize.results import Face

logger = logging.getLogger(__name__)

_SOUND = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "alac", "flac"})
SOUND = {".mp4": _SOUND, ".mov": _SOUND - {"opus", "flac"}, ".mkv": _SOUND}
"""Kinds of sound copied as they are, by suffix; others are left out. FFmpeg puts no Opus or FLAC in .mov."""
SUFFIXES = tuple(SOUND)
CODECS = {"libx264": {"crf": "20", "preset": "veryfast"}, "mpeg4": {"qscale": "3"}}
"""H.264 where the installed FFmpeg can write it, else MPEG-4."""
TIME_BASE = Fraction(1, 60_000)
"""Common frame rates, 29.97 among them, are whole numbers of it."""
COVER_SECONDS = 0.5
"""A redacted face stays covered so long before it is found and after it is lost."""
HELD_BYTES = 256 * 2**20
"""Frames held as they are take no more memory than this; beyond, redaction holds them compressed."""
HELD_FRAMES = 500
"""Frames held for redaction: half a second at 1000 a second. Only time stamps that stand still reach it."""
JPEG_QUALITY = 95
"""Of compressed frames, with full colour: above that of the video they are written to."""


@dataclass
class _Seen:
    """Where the faces were in one analysed frame."""

    time: float
    boxes: Mapping[int, Box]
    faces: Mapping[int, Face]


class AnnotatedVideo:
    """Writes frames with their faces marked; the file takes its place when it is closed."""

    def __init__(self, path: Path, reader: FrameReader, *, every: float, redact: str | None = None) -> None:
        """Prepare; the file is begun with the first frame.

        Args:
            path: File to write: .mp4, .mov or .mkv.
            reader: The video that is read, for its rate and sound.
            every: Seconds between analysed frames, for how long a box is kept without a new one.
            redact: ``"blur"`` or ``"pixelate"`` covers the faces and leaves the sound out.

        Raises:
            FacelexError: If the suffix is none of these, or the file is the one that is read.
        """
        if path.suffix.lower() not in SUFFIXES:
            raise FacelexError(
                f"Expected an annotated video named {', '.join(SUFFIXES)}, or a folder, but got "
                f"{str(path)!r}. Name it {path.with_suffix(SUFFIXES[0]).name}, or make the folder first."
            )
        there = os.path.exists(path)  # noqa: PTH110 - never raises
        if not reader.live and there and path.samefile(reader.source):
            raise FacelexError(f"{str(path)!r} is the video that is read. Choose another name.")
        self.path = path
        self.redact = redact
        self.sound: list[Any] | None = [] if redact is None and _copies_sound(reader, path) else None
        """Packets of sound to copy, filled by the reader; None if there is no sound to copy."""
        self._av = require("av", "video", "Video")
        self._place = ExitStack()  # closed, it moves the file there
        self._reader = reader
        self._hold = 1.5 * max(every, 1 / reader.rate)
        self._ahead = COVER_SECONDS if redact else 0.0
        self._held: deque[tuple[float, NDArray[np.uint8] | bytes]] = deque()
        self._seen: deque[_Seen] = deque()
        self._container: Any = None
        self._last_pts = -1

    def add(
        self,
        time: float,
        pixels: NDArray[np.uint8],
        boxes: Mapping[int, Box] | None,
        faces: Mapping[int, Face],
    ) -> None:
        """Add the next frame.

        Args:
            time: Seconds from the first frame.
            pixels: Upright RGB, ``(H, W, 3)``.
            boxes: Box of each track in this frame; None if it was not searched.
            faces: What is known of each track.
        """
        if self._container is None:
            self._begin(pixels.shape[1], pixels.shape[0])
        self._held.append((time, self._kept(pixels)))
        if boxes is not None:
            self._seen.append(_Seen(time, dict(boxes), dict(faces)))
        most = max(1, HELD_BYTES // pixels.nbytes) if self.redact is None else HELD_FRAMES
        known = self._seen[-1].time if self._seen else -1.0
        while self._held and (self._held[0][0] + self._ahead <= known or len(self._held) > most):
            self._write_first()
        self._copy_sound()

    def close(self) -> None:
        """Write what is held, complete the file and move it to its place; without a frame there is none.

        Raises:
            FacelexError: If it cannot be written.
        """
        while self._held:
            self._write_first()
        self._copy_sound()
        if self._container is None:
            return
        try:
            self._mux(self._stream.encode(None))
            self._container.close()
            self._place.close()
        except (self._av.FFmpegError, OSError) as error:
            self.abandon()
            raise _not_written(self.path, error) from error

    def abandon(self) -> None:
        """Leave nothing behind."""
        if self._container is not None:
            # the disk is full, say: what matters is that it goes
            with suppress(self._av.FFmpegError, OSError):
                self._container.close()
        with suppress(AbandonedError), self._place:
            raise AbandonedError

    def _begin(self, width: int, height: int) -> None:
        try:
            part = self._place.enter_context(replacing(self.path))
            options = {} if self.path.suffix.lower() == ".mkv" else {"movflags": "faststart"}
            self._container = self._av.open(str(part), "w", options=options)
            codec = next(name for name in CODECS if name in self._av.codecs_available)
            rate = Fraction(self._reader.rate).limit_denominator(1001)
            self._stream = self._container.add_stream(codec, rate=rate, options=CODECS[codec])
        except (self._av.FFmpegError, OSError) as error:
            raise _not_written(self.path, error) from error
        self._size = (width - width % 2 or 2, height - height % 2 or 2)  # the codec halves its colours
        self._stream.width, self._stream.height = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = TIME_BASE
        self._sound_stream = (
            None if self.sound is None else self._container.add_stream_from_template(self._reader.audio)
        )

    def _kept(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | bytes:
        """Return a frame as it is held: compressed if it has to wait though memory is short."""
        held = sum(frame.nbytes for _, frame in self._held if isinstance(frame, np.ndarray))
        if self.redact is None or held + pixels.nbytes <= HELD_BYTES:
            return pixels
        stream = BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        return stream.getvalue()

    def _write_first(self) -> None:
        """Write the frame held longest."""
        time, frame = self._held.popleft()
        self._write(time, frame if isinstance(frame, np.ndarray) else np.asarray(Image.open(BytesIO(frame))))

    def _write(self, time: float, pixels: NDArray[np.uint8]) -> None:
        while len(self._seen) > 2 and self._seen[1].time < time - max(self._hold, COVER_SECONDS):
            self._seen.popleft()
        if self.redact is not None:
            pixels = redact_faces(
                pixels, self._boxes(time, COVER_SECONDS, COVER_SECONDS).values(), self.redact
            )
        faces, captions = self._drawn(time)
        picture = annotate(pixels, faces, captions=captions, keep_size=True)
        drawn, (width, height) = np.asarray(picture), self._size
        if drawn.shape[0] - height in (0, 1) and drawn.shape[1] - width in (0, 1):
            drawn = drawn[:height, :width]
        drawn = np.ascontiguousarray(drawn)  # PyAV scales one of another size than the first
        frame = self._av.VideoFrame.from_ndarray(drawn, format="rgb24")
        # players show no two frames at once: broken time stamps are pushed on by the least step
        self._last_pts = max(self._last_pts + 1, round(time / TIME_BASE))
        frame.pts, frame.time_base = self._last_pts, TIME_BASE
        try:
            self._mux(self._stream.encode(frame))
        except (self._av.FFmpegError, OSError) as error:
            raise _not_written(self.path, error) from error

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            try:
                self._container.mux(packet)
            except (self._av.error.InvalidDataError, self._av.error.PatchWelcomeError):
                if self._sound_stream is None:
                    raise
                self.sound = None  # damaged sound, held for its turn, is what failed: it ends here

    def _drawn(self, time: float) -> tuple[list[Face], list[str]]:
        boxes = self._boxes(time, self._hold, 0.0)
        past = [seen for seen in self._seen if seen.time <= time + 1e-9] or list(self._seen)[:1]
        known: dict[int, Face] = {}
        for seen in past:
            known |= seen.faces
        ids = [id_ for id_ in sorted(boxes) if id_ in known]
        return [replace(known[id_], box=boxes[id_]) for id_ in ids], [f"#{id_}" for id_ in ids]

    def _boxes(self, time: float, after: float, before: float) -> dict[int, Box]:
        """Return where each track is at ``time``: between two sights of it, in between; else where it was.

        Args:
            time: Seconds.
            after: Seconds a box stays after the last sight.
            before: Seconds it is there before the first one.
        """
        earlier: dict[int, tuple[float, Box]] = {}
        later: dict[int, tuple[float, Box]] = {}
        for seen in self._seen:
            for id_, box in seen.boxes.items():
                if seen.time <= time + 1e-9:
                    earlier[id_] = (seen.time, box)
                else:
                    later.setdefault(id_, (seen.time, box))
        boxes: dict[int, Box] = {}
        for id_ in earlier.keys() | later.keys():
            if id_ in earlier and id_ in later:
                boxes[id_] = _between(*earlier[id_], *later[id_], time)
            elif id_ in earlier and time - earlier[id_][0] <= after:
                boxes[id_] = earlier[id_][1]
            elif id_ in later and later[id_][0] - time <= before:
                boxes[id_] = later[id_][1]
        return boxes

    def _copy_sound(self) -> None:
        if not self.sound or self._container is None:
            return
        packets, self.sound[:] = list(self.sound), []
        for packet in packets:
            shift = round(self._reader.start / packet.time_base)
            if packet.pts is None or packet.dts is None or packet.pts < shift or packet.dts < shift:
                continue
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = self._sound_stream
            try:
                self._container.mux(packet)
            except (self._av.FFmpegError, ValueError):
                continue  # a damaged packet of sound is no reason to lose the picture


def _copies_sound(reader: FrameReader, path: Path) -> bool:
    """Return whether the file takes the sound as it is; say so if there is some that it does not."""
    kind = "" if reader.live or reader.audio is None else _sound_kind(reader.audio)
    if kind in SOUND[path.suffix.lower()]:
        return True
    if kind:
        logger.warning("%s: the sound (%s) is left out of %s.", reader.source, kind, path.name)
    return False


def _sound_kind(stream: Any) -> str:
    context = stream.codec_context
    if context is None or not context.sample_rate or not context.channels:
        return ""
    return str(context.codec.canonical_name)  # the decoder may be called otherwise: mp3float


def _between(start: float, one: Box, end: float, other: Box, time: float) -> Box:
    share = (time - start) / (end - start)
    x, y, width, height = (a + share * (b - a) for a, b in zip(one, other))
    return x, y, width, height


def _not_written(path: Path, error: Exception) -> FacelexError:
    reason = getattr(error, "strerror", None) or str(error)
    return FacelexError(f"Could not write {str(path)!r}: {reason}. Choose another place.")
