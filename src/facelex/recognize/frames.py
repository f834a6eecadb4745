"""Frames of a video file or camera, decoded only where they are needed, upright and with their times."""

from __future__ import annotations

import math
import os
import reprlib
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError, require
from facelex.recognize.images import MAX_PIXELS, MIN_SIDE
from facelex.recognize.sources import is_camera, is_url, no_such_file

WAITING = 512
"""Packets held back while it is not known whether their frames are needed; about 20 seconds of film."""
LONGEST = 1e7
"""Seconds, four months: a later time stamp is damage."""
BACK = 1.0
"""Seconds by which time stamps go back where a recording was begun anew or another one appended."""
FAULTS = 100
"""Damaged packets in a row after which the rest of a file is given up."""


class UnreadableVideoError(FacelexError):
    """A video is not there or holds nothing that can be read; another one may."""


@dataclass
class Frame:
    """One frame, not yet converted to pixels."""

    index: int
    """0, 1, ... in the order of display."""
    time: float
    """Seconds from the first frame."""
    due: bool
    """Whether the asked-for spacing falls on this frame."""
    picture: Any = field(repr=False)
    stretch: float = 1.0
    """Width of a pixel over its height, as old camcorders have it."""

    def pixels(self) -> NDArray[np.uint8]:
        """Return upright RGB pixels ``(H, W, 3)``, square ones."""
        width = round(self.picture.width * self.stretch)
        pixels = self.picture.to_ndarray(format="rgb24", width=width, height=self.picture.height)
        matrices = (data for data in self.picture.side_data if data.type.name == "DISPLAYMATRIX")
        matrix = next(matrices, None)
        return pixels if matrix is None else _displayed(pixels, bytes(matrix))


def _displayed(pixels: NDArray[np.uint8], matrix: bytes) -> NDArray[np.uint8]:
    """Turn and mirror stored pixels ``(H, W, 3)`` by quarter turns, as they are to be shown.

    Args:
        pixels: As the decoder gives them.
        matrix: FFmpeg's display matrix ``a, b, u, c, d, v, x, y, w``, native int32: the pixel in column p and
            row q is shown in column a p + c q + x and row b p + d q + y (libavutil/display.h).
    """
    a, b, _, c, d = (int(number) for number in np.frombuffer(matrix, np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, across, down = pixels.transpose(1, 0, 2), c, b
    else:
        across, down = a, d
    return np.ascontiguousarray(pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


class FrameReader:
    """An opened video. Faults of the file that did not stop the reading are counted, not raised.

    Use it as a context manager; `frames` may be gone through once.
    """

    def __init__(self, source: str | os.PathLike[str]) -> None:
        """Open a video file, or a camera given as ``webcam:0``.

        Raises:
            UnreadableVideoError: If there is no such file, or it holds no video.
            FacelexError: If there is no such camera.
            MissingExtraError: If PyAV is not installed.
        """
        self.source = check_source(source)
        self.live = is_camera(source)
        self._av = require("av", "video", "Video")
        if self.live:
            self._container = _open_camera(self._av, self.source)
        else:
            self._container = _open_file(self._av, self.source)
        streams = [
            s for s in self._container.streams.video if s.codec_context is not None and not _is_cover(s)
        ]
        if not streams:
            self._container.close()
            raise UnreadableVideoError(f"Expected a video, but {self.source!r} holds no moving picture.")
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        size = (self._stream.width or 0, self._stream.height or 0)
        if size[0] * size[1] > MAX_PIXELS or (min(size) and min(size) < MIN_SIDE):
            self._container.close()
            raise UnreadableVideoError(f"Refused {self.source!r}: frames of {size[0]}x{size[1]} pixels.")
        self.damaged = 0
        """Packets that could not be decoded, and frames that could only in part."""
        self.end = 0.0
        """Time of the last frame decoded, due or not."""
        self.fault: str | None = None
        """What ended the reading early; None if the end of the file was reached."""
        self._start: float | None = None
        self._shown_until = self._others_until = 0.0
        self._in_a_row = 0
        self._times = _OnwardTimes(1 / self.rate)
        self._camera: _Newest | None = None

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._camera is None or self._camera.stop():  # closed under a reading thread, FFmpeg would crash
            self._container.close()

    @property
    def duration(self) -> float | None:
        """Seconds the file announces; None for a camera or where it is not said.

        Those of the picture; of all that is in the file where it tells no more, as in Matroska.
        """
        if self.live:
            return None
        if self._tells_own_duration:
            return float(self._stream.duration * self._stream.time_base)
        return self._container.duration / self._av.time_base if self._container.duration else None

    @property
    def _tells_own_duration(self) -> bool:
        return bool(self._stream.duration and self._stream.time_base)

    @property
    def _until(self) -> float:
        """Seconds after which nothing came any more of what `duration` counts."""
        if self._tells_own_duration:
            return self._shown_until
        return max(self._shown_until, self._others_until)

    @property
    def rate(self) -> float:
        """Frames a second, on average; 25 where it is not said."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(rate) if rate and 0 < rate <= 1000 else 25.0

    @property
    def _stretch(self) -> float:
        aspect = float(self._stream.sample_aspect_ratio or 1.0)
        return aspect if 0.25 <= aspect <= 4.0 else 1.0

    @property
    def audio(self) -> Any:
        """The first sound stream; None if there is none."""
        return next(iter(self._container.streams.audio), None)

    @property
    def start(self) -> float:
        """Time stamp of the first frame in seconds; known once a frame was read."""
        return self._start or 0.0

    def complaint(self, *, ended: bool) -> str | None:
        """Return what was wrong with the file, in one sentence; None if nothing was.

        Args:
            ended: Whether `frames` was gone through to its end, and not left earlier.

        Raises:
            FacelexError: If it ended without a frame.
        """
        if ended and self._start is None:
            why = self.fault or "no frame of it could be decoded"
            raise UnreadableVideoError(f"Could not read {self.source!r} as a video: {why}.")
        faults = []
        if self.fault:
            faults.append(f"the reading ended at {self.end:.1f} s: {self.fault}")
        elif ended and self.duration and self._until < 0.95 * self.duration - 1.0:
            faults.append(f"it announces {self.duration:.1f} s but ends at {self._until:.1f} s")
        if self.damaged:
            places = "1 place" if self.damaged == 1 else f"{self.damaged} places"
            faults.append(f"it is damaged in {places}")
        return f"The video is incomplete: {'; '.join(faults)}." if faults else None

    def frames(
        self, every: float, *, all_frames: bool = False, sound: list[Any] | None = None
    ) -> Iterator[Frame]:
        """Yield frames in the order of display.

        Groups of frames between two key frames in which no frame is due are not decoded at all.

        Args:
            every: Seconds between frames that are due; 0 for each frame.
            all_frames: Yield the others too, with ``due=False``.
            sound: Takes the sound's packets as they come, if they are wanted.
        """
        if self.live:
            yield from self._live_frames(every)
            return
        clock = _Clock(every)
        for index, picture in self._decode(clock, sound, skip=every > 0 and not all_frames):
            time = self._time(picture, index)
            due = clock.due(time)
            if due or all_frames:
                yield Frame(index, time, due, picture, self._stretch)

    def frames_at(self, times: Iterable[float]) -> Iterator[Frame]:
        """Yield the frame at each of some times, in order, or the first one after it.

        Groups of frames between two key frames in which none of them lies are not decoded.

        Args:
            times: Seconds from the first frame, as an earlier reading of the file gave them.
        """
        clock = _Appointments(times)
        for index, picture in self._decode(clock, None, skip=True):
            time = self._time(picture, index)
            if clock.due(time):
                yield Frame(index, time, True, picture, self._stretch)
            if math.isinf(clock.next):
                return

    def _time(self, picture: Any, index: int) -> float:
        stamp = picture.time
        if stamp is None or (self._start is not None and abs(stamp - self._start) > LONGEST):
            stamp = self.start + index / self.rate
        if self._start is None:
            self._start = stamp
        self.end = max(0.0, stamp - self._start)
        self._shown_until = self.end + float((picture.duration or 0) * (picture.time_base or 0))
        return self.end

    def _decode(
        self, clock: _Clock | _Appointments, sound: list[Any] | None, skip: bool
    ) -> Iterator[tuple[int, Any]]:
        """Yield ``(index, picture)``, leaving out groups that end before the next frame that is due."""
        waiting: list[Any] = []
        position = index = 0  # packets read; number of the next frame out of the decoder
        since: list[int] | None = None  # after a leap, until its first frame: time stamps of what was read
        for packet in self._packets(sound):
            if packet.stream is not self._stream:
                if sound is not None:
                    sound.append(packet)
                continue
            last = packet.size == 0 and packet.pts is None  # the end: asks the decoder for what it holds
            time = None if packet.pts is None else float(packet.pts * packet.time_base) - self.start
            if skip and packet.is_keyframe and waiting and time is not None and time <= clock.next:
                # everything due lies behind this key frame
                self._stream.codec_context.flush_buffers()
                waiting, index, since = [], position, []
            if since is not None and packet.pts is not None:
                since.append(packet.pts)
            waiting.append(packet)
            position += not packet.is_discard
            needed = not skip or last or time is None or self._start is None or time >= clock.next
            if needed or len(waiting) >= WAITING:
                for held in waiting:
                    for picture in self._pictures(held):
                        if since is not None and picture.pts is not None:
                            # some decoders drop frames that lean on those before the leap
                            index += sum(stamp < picture.pts for stamp in since)
                        since = None
                        yield index, picture
                        index += 1
                waiting = []
            if self.fault:
                return

    def _packets(self, sound: list[Any] | None) -> Iterator[Any]:
        wanted = [self._stream] if sound is None or self.audio is None else [self._stream, self.audio]
        # without arguments it gives all streams: `_until` needs their ends
        packets = self._container.demux(*(wanted if self._tells_own_duration else ()))
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (self._av.FFmpegError, OSError, ValueError) as error:
                self.fault = _reason(error)
                return
            self._times.correct(packet)
            if packet.stream is not self._stream:
                if packet.dts is None:
                    continue  # the stream's end
                self._note_end(packet)
            if any(packet.stream is stream for stream in wanted):
                yield packet

    def _note_end(self, packet: Any) -> None:
        start = (self._container.start_time or 0) / self._av.time_base
        end = float((packet.dts + (packet.duration or 0)) * (packet.time_base or 0)) - start
        if end < LONGEST:
            self._others_until = max(self._others_until, end)

    def _pictures(self, packet: Any) -> list[Any]:
        try:
            pictures = packet.decode()
        except self._av.EOFError:
            return []
        except (self._av.FFmpegError, OSError, ValueError) as error:
            self.damaged += 1
            self._in_a_row += 1
            if self._in_a_row >= FAULTS:
                self.fault = _reason(error)
            return []
        if pictures:
            self._in_a_row = 0
        self.damaged += sum(picture.is_corrupt for picture in pictures)  # FFmpeg filled in what was lost
        return [picture for picture in pictures if 0 < picture.width * picture.height <= MAX_PIXELS]

    def _live_frames(self, every: float) -> Iterator[Frame]:
        self._camera = _Newest(self._container.decode(self._stream))
        clock = _Clock(every)
        for index, picture in self._camera:
            time = self._time(picture, index)
            if clock.due(time):
                yield Frame(index, time, True, picture)
        self.fault = self._camera.fault


class _OnwardTimes:
    """Lets the times of packets go on where their stamps begin anew, as in parts joined end to end.

    The first stream to begin anew says by how much the part is moved: to the end of all that came before. The
    others, which begin it a little earlier or later, are moved as far, so sound and picture stay together.
    """

    def __init__(self, lasts: float) -> None:
        self._lasts = lasts
        """Seconds for a packet that does not say how long it lasts."""
        self._shifts = [0.0]
        """Seconds that each part is moved by."""
        self._parts: dict[int, int] = {}
        """The part that each stream has come to."""
        self._first: dict[int, float] = {}
        self._last: dict[int, tuple[float, float]] = {}
        """The first and the last two time stamps of each stream, in seconds, as they stand in the file."""
        self._end = 0.0

    def correct(self, packet: Any) -> None:
        """Move the time stamps of the next packet of the file, if it is of a later part."""
        raw = packet.pts if packet.dts is None else packet.dts
        if raw is None or not packet.time_base:
            return
        stream, stamp = packet.stream.index, float(raw * packet.time_base)
        if abs(stamp - self._first.setdefault(stream, stamp)) > LONGEST:
            return
        if packet.dts is not None and self._begins_anew(stream, stamp):
            part = max(self._parts.get(stream, 0) + 1, len(self._shifts) - 1)
            self._parts[stream] = part
            if part == len(self._shifts):
                self._shifts.append(self._end - stamp)
        part = self._parts.get(stream, 0)
        if part:
            shift = round(self._shifts[part] / packet.time_base)
            packet.dts = None if packet.dts is None else packet.dts + shift
            packet.pts = None if packet.pts is None else packet.pts + shift
        lasts = float(packet.duration * packet.time_base) if packet.duration else self._lasts
        self._end = max(self._end, stamp + self._shifts[part] + lasts)

    def _begins_anew(self, stream: int, stamp: float) -> bool:
        """Note the next stamp of a stream, and whether it goes back; not so after a single one far ahead."""
        before, last = self._last.get(stream, (stamp, stamp))
        self._last[stream] = (last, stamp)
        return stamp < min(before, last) - BACK


class _Clock:
    """Says which frames are due: the first, then the first at or after each multiple of the spacing."""

    def __init__(self, every: float) -> None:
        self.every = every
        self.next = 0.0

    def due(self, time: float) -> bool:
        if time + 1e-6 < self.next:
            return False
        if self.every > 0:
            self.next = (math.floor((time + 1e-6) / self.every) + 1) * self.every
        return True


class _Appointments:
    """Says which frames are due: the first at or after each of some times."""

    def __init__(self, times: Iterable[float]) -> None:
        self._times = sorted(set(times), reverse=True)

    @property
    def next(self) -> float:
        return self._times[-1] if self._times else math.inf

    def due(self, time: float) -> bool:
        if time + 1e-6 < self.next:
            return False
        while self._times and self._times[-1] <= time + 1e-6:
            self._times.pop()
        return True


class _Newest:
    """Reads a camera in a thread of its own and hands out the newest picture, so that none is ever late."""

    def __init__(self, pictures: Iterator[Any]) -> None:
        self.fault: str | None = None
        self._pictures = pictures
        self._slot: tuple[int, Any] | None = None
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True, name="facelex-camera")
        self._thread.start()

    def _read(self) -> None:
        try:
            for item in enumerate(self._pictures):
                with self._changed:
                    self._slot = item
                    self._changed.notify()
                    if self._ended:
                        return
        except Exception as error:  # the camera was unplugged, for example
            self.fault = _reason(error)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        while True:
            with self._changed:
                while self._slot is None and not self._ended:
                    self._changed.wait(0.1)  # short, so that Ctrl-C is heard
                if self._slot is None:
                    return
                item, self._slot = self._slot, None
            yield item

    def stop(self) -> bool:
        """End the reading; False if the camera does not let go of its thread."""
        with self._changed:
            self._ended = True
        self._thread.join(timeout=5)
        return not self._thread.is_alive()


def check_source(source: str | os.PathLike[str]) -> str:
    """Return what names a camera or a video file, and refuse what is neither.

    Raises:
        FacelexError: If it is no path, or `check_file` refuses it.
    """
    name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
    if not isinstance(name, str):  # a path may also be of bytes
        raise FacelexError(
            f"Expected the path of a video, but got {reprlib.repr(source)}. Name a file, or a camera as "
            "'webcam:0'; frames of your own are followed by facelex.recognize.face_tracker.FaceTracker."
        )
    if not is_camera(source):
        check_file(name)
    return name


def check_file(source: str) -> None:
    """Refuse what is no file.

    Raises:
        FacelexError: If it is an address, a folder, not there or not a regular file.
    """
    if is_url(source):
        raise UnreadableVideoError(
            f"Expected a video file, but got the address {source!r}. Download it first."
        )
    path = Path(source)
    try:
        if path.is_dir():
            raise UnreadableVideoError(f"Expected a video file, but {source!r} is a folder.")
        if not path.exists():
            raise UnreadableVideoError(no_such_file(path))
        if not path.is_file():
            raise UnreadableVideoError(f"Expected a video file, but {source!r} is not a regular file.")
    except (OSError, ValueError) as error:  # ValueError: a NUL inside the name
        reason = getattr(error, "strerror", None) or error
        raise UnreadableVideoError(
            f"Could not open {source!r}: {reason}. Check path and permissions."
        ) from error


def _open_file(av: Any, source: str) -> Any:
    # titles need not be UTF-8; PyAV takes that as it is from 19 on
    titles = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    try:
        # a path with a colon must not be taken for a protocol, nor a playlist lead to the network
        return av.open(f"file:{Path(source)}", options={"protocol_whitelist": "file"}, **titles)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UnreadableVideoError(
            f"Could not read {source!r} as a video: {_reason(error)}. It is damaged, incomplete, or no video."
        ) from error


def camera_number(source: str) -> int:
    """Return the number in ``webcam:0``.

    Raises:
        FacelexError: If it is no number.
    """
    number = source.partition(":")[2]
    if not number.isascii() or not number.isdigit() or len(number) > 3:
        raise FacelexError(f"Expected a camera as webcam:0, webcam:1, ..., but got {source!r}.")
    return int(number)


def camera_input(av: Any, number: int, platform: str = sys.platform) -> tuple[str, str, dict[str, str]]:
    """Return what FFmpeg calls a camera on this system: file, format and options.

    Raises:
        FacelexError: If there is no such camera (Linux and Windows; macOS says so when it is opened).
    """
    if platform == "darwin":
        return str(number), "avfoundation", {"framerate": "30", "pixel_format": "uyvy422"}
    if platform == "win32":
        devices = av.device.enumerate_input_devices("dshow")
        cameras = [device for device in devices if "video" in device.media_types]
        if number >= len(cameras):
            raise _no_camera(number, [camera.description for camera in cameras])
        return f"video={cameras[number].name}", "dshow", {"rtbufsize": "256M"}
    device = Path(f"/dev/video{number}")
    if not device.exists():
        raise _no_camera(number, sorted(str(path) for path in Path("/dev").glob("video[0-9]*")))
    return str(device), "v4l2", {}


def _no_camera(number: int, present: list[str]) -> FacelexError:
    known = f"There is: {', '.join(present)}." if present else "No camera is connected."
    return FacelexError(f"There is no camera webcam:{number}. {known}")


def _open_camera(av: Any, source: str) -> Any:
    number = camera_number(source)
    if sys.platform == "win32":
        try:
            import av.device as _  # noqa: F401 - makes av.device known
        except ImportError as error:
            raise FacelexError("A camera on Windows needs PyAV 17. Install it: pip install -U av") from error
    file, kind, options = camera_input(av, number)
    try:
        return av.open(file, format=kind, options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise FacelexError(
            f"Could not open the camera webcam:{number}: {_reason(error)}. Close other programs that use it "
            "and check that this one is allowed to."
        ) from error


def _is_cover(stream: Any) -> bool:
    """Return whether a stream is a still such as an album's cover."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).strip().rstrip(".")
