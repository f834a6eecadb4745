"""Small videos made with PyAV: bright textured squares that move, and a detector that finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from facelex.recognize.detection import Detection

WIDTH, HEIGHT, SIDE = 128, 96, 24
FACE = np.where(np.indices((SIDE, SIDE)).sum(0)[:, :, None] // 3 % 2, 255, 190).astype(np.uint8)


def still(position: tuple[int, int]) -> Callable[[float], list[tuple[int, int]]]:
    return lambda time: [position]


def draw(
    corners: Iterable[tuple[int, int]], width: int = WIDTH, height: int = HEIGHT, scene: int | None = None
) -> NDArray[np.uint8]:
    """Draw faces, bright squares with diagonal stripes, on a dark frame, or in one of many dark scenes."""
    frame = np.full((height, width, 3), 40, np.uint8)
    if scene is not None:
        blocks = np.random.default_rng(scene).integers(0, 90, (6, 8, 1), dtype=np.uint8)
        frame[:] = np.kron(blocks, np.ones((height // 6, width // 8, 1), np.uint8))
    for x, y in corners:
        frame[y : y + SIDE, x : x + SIDE] = FACE
    return frame


def write_video(
    path: Path,
    faces: Callable[[float], list[tuple[int, int]]],
    *,
    seconds: float = 2.0,
    rate: int = 10,
    gop: int = 10,
    b_frames: int = 0,
    times: Iterable[float] | None = None,
    rotation: int = 0,
    sound: bool | float = False,
    sound_codec: str = "aac",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    codec: str = "libx264",
    pixel_aspect: Fraction | None = None,
    last_frame: float | None = None,
    index_first: bool = False,
    scenes: Callable[[float], int] | None = None,
    title: str = "",
) -> Path:
    """Write a video whose faces are where ``faces(time)`` says.

    ``times`` makes a variable frame rate, of which the last frame may stand for ``last_frame`` seconds;
    ``sound`` lasts as long as the picture, or so many seconds; ``scenes(time)`` is the scene around faces.
    """
    layout = {"movflags": "faststart"} if index_first else {}
    with av.open(str(path), "w", options=layout) as container:
        container.metadata.update({"title": title} if title else {})
        options = {"crf": "10", "preset": "ultrafast", "bf": str(b_frames), "sc_threshold": "0"}
        if codec != "libx264":
            options = {"bf": str(b_frames)} if b_frames else {}
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, "yuv420p", gop
        steps = rate if codec.startswith("mpeg") else 1000  # these know no finer times
        stream.codec_context.time_base = Fraction(1, steps)
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation:
            stream.set_display_rotation(rotation)
        pitch = 16_000 if sound_codec == "aac" else 48_000  # AC-3 knows no lower one
        voice = container.add_stream(sound_codec, rate=pitch) if sound else None
        packets = []
        for time in times if times is not None else [i / rate for i in range(round(seconds * rate))]:
            pixels = draw(faces(time), *size, scene=None if scenes is None else scenes(time))
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time * steps), Fraction(1, steps)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if last_frame is not None:
            packets[-1].duration = round(last_frame / packets[-1].time_base)
        container.mux(packets)
        if voice is not None:
            for i in range(int((seconds if sound is True else sound) * 16)):
                tone = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1000), np.float32), format="fltp", layout="mono"
                )
                tone.sample_rate, tone.pts = 16000, i * 1000
                container.mux(voice.encode(tone))
            container.mux(voice.encode(None))
    return path


def overwrite_the_middle(path: Path, count: int) -> None:
    """Damage a file: put random bytes in its middle."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + count] = np.random.default_rng(0).bytes(count)
    path.write_bytes(data)


class BrightSquares:
    """Finds the bright squares of `draw`, from left to right, and counts the frames it saw."""

    name = "squares"

    def __init__(self) -> None:
        self.frames = 0

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        self.frames += 1
        bright = image.min(axis=2) > 120
        columns = np.flatnonzero(bright.any(axis=0))
        groups = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1) if len(columns) else []
        found = []
        for group in groups:
            rows = np.flatnonzero(bright[:, group].any(axis=1))
            found.append(
                Detection(tuple(map(float, (group[0], rows[0], len(group), rows[-1] - rows[0] + 1))), 0.9)
            )
        return found
