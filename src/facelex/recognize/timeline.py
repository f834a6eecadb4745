"""Each face's emotions over time: sums in bounded memory, a summary a face, and a picture of it all."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError, require
from facelex.files import check_place, check_suffix, replacing
from facelex.recognize.drawing import colour_of
from facelex.recognize.results import Face
from facelex.recognize.summaries import TrackSummary, face_values, means_of

MOST_BINS = 2000
"""Steps of time kept; in a longer video neighbours are joined, so that memory does not grow with it."""
TIMELINE_SUFFIXES = (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".webp")
MOST_TRACKS = 20_000
"""Tracks kept; of more, the half seen for the shortest time is forgotten, and counted."""
MOST_ROWS = 8
"""Faces drawn: those seen longest."""


@dataclass
class _Sums:
    first: float
    last: float
    frames: int = 0
    total: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # of `face_values`
    bins: dict[int, tuple[int, NDArray[np.float64]]] = field(default_factory=dict)


class Timeline:
    """Collects faces over time and draws them."""

    def __init__(self, step: float, classes: Sequence[str], words: Sequence[str] = ()) -> None:
        """Start empty.

        Args:
            step: Seconds between analysed frames.
            classes: The model's classes.
            words: Words asked for.
        """
        self.classes = tuple(classes)
        self.words = tuple(words)
        self._step = max(step, 1e-3)
        self._width = self._step  # seconds a bin
        self._end = 0.0
        self._tracks: dict[int, _Sums] = {}
        self.frames = 0
        """Frames added."""
        self.frames_with_faces = 0
        """Those of them with a face."""
        self.forgotten = 0
        """Faces that are not among the `tracks`: there were more than `MOST_TRACKS`."""

    def add(self, time: float, ids: Iterable[int], faces: Iterable[Face]) -> None:
        """Add the faces of the frame at ``time`` seconds."""
        self._end = max(self._end, time)
        while self._end / self._width > MOST_BINS:
            self._join()
        ids = tuple(ids)
        self.frames += 1
        self.frames_with_faces += bool(ids)
        for id_, face in zip(ids, faces, strict=True):
            values = face_values(face)
            sums = self._tracks.setdefault(id_, _Sums(time, time, total=np.zeros(len(values))))
            sums.last, sums.frames, sums.total = time, sums.frames + 1, sums.total + values
            count, before = sums.bins.get(self._bin(time), (0, 0.0))
            drawn = values[: len(self.classes) + len(self.words)]
            sums.bins[self._bin(time)] = (count + 1, before + drawn)
        if len(self._tracks) > MOST_TRACKS:
            self._forget(time)

    def _forget(self, time: float) -> None:
        """Keep those seen longest, and those that may still be in sight at ``time`` seconds."""
        before = len(self._tracks)
        kept = set(sorted(self._tracks, key=lambda id_: -self._tracks[id_].frames)[: MOST_TRACKS // 2])
        kept |= {id_ for id_, sums in self._tracks.items() if time - sums.last < 10}
        self._tracks = {id_: sums for id_, sums in self._tracks.items() if id_ in kept}
        self.forgotten += before - len(self._tracks)

    def tracks(self) -> list[TrackSummary]:
        """Return a summary of each face, in order of appearance."""
        return [
            TrackSummary(
                id=id_,
                first=sums.first,
                last=sums.last,
                frames=sums.frames,
                **means_of(sums.total / sums.frames, self.classes, self.words),
            )
            for id_, sums in sorted(self._tracks.items())
        ]

    def save(self, path: Path, title: str) -> None:
        """Draw the faces seen longest as stacked bands of their emotions, with words as lines, into a file.

        Raises:
            MissingExtraError: If matplotlib is not installed.
            FacelexError: If the file cannot be written.
        """
        check_suffix(path, TIMELINE_SUFFIXES, "the timeline")
        figure = self._draw(title)
        with replacing(path) as part:
            figure.savefig(part, dpi=130, facecolor=figure.get_facecolor())

    def _bin(self, time: float) -> int:
        return int((time + 1e-6) / self._width)

    def _join(self) -> None:
        """Make bins twice as wide."""
        self._width *= 2
        for sums in self._tracks.values():
            joined: dict[int, tuple[int, NDArray[np.float64]]] = {}
            for place, (count, values) in sums.bins.items():
                before, total = joined.get(place // 2, (0, 0.0))
                joined[place // 2] = (before + count, total + values)
            sums.bins = joined

    def _pieces(self, sums: _Sums) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Return stretches without a gap: times ``(n,)`` and means ``(n, classes + words)``."""
        places = sorted(sums.bins)
        widest = max(2, math.ceil(1.0 / self._width))  # a second out of sight is no gap
        starts = [0, *(i for i in range(1, len(places)) if places[i] - places[i - 1] > widest), len(places)]
        pieces = []
        for start, stop in pairwise(starts):
            part = places[start:stop]
            times = np.array([*part, part[-1] + 1]) * self._width  # the last bin has a width, too
            means = [sums.bins[place][1] / sums.bins[place][0] for place in part]
            pieces.append((times, np.array([*means, means[-1]])))
        return pieces

    def _draw(self, title: str) -> Any:
        figure_module = require("matplotlib.figure", "report", "The timeline")
        shown = sorted(self._tracks, key=lambda id_: (-self._tracks[id_].frames, id_))[:MOST_ROWS]
        rows = max(1, len(shown))
        figure = figure_module.Figure(figsize=(11, 1.3 + 1.35 * rows), facecolor="white")
        axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
        for axis in axes:
            _prepare(axis)
        for axis, id_ in zip(axes, sorted(shown)):
            self._draw_track(axis, id_)
        if not shown:
            axes[0].text(
                0.5,
                0.5,
                "no face found",
                transform=axes[0].transAxes,
                ha="center",
                va="center",
                color="#667080",
            )
        axes[0].set_xlim(0, max(self._end + self._width, 1e-3))
        axes[-1].xaxis.set_major_formatter(lambda value, _: _clock(value))
        hidden = len(self._tracks) + self.forgotten - len(shown)
        note = f"   ({hidden} more faces, seen more briefly, are not shown)" if hidden else ""
        title = title.encode("utf-8", "replace").decode()  # file names need not be valid Unicode
        figure.suptitle(title + note, x=0.012, ha="left", fontsize=11, color="#222831")
        self._draw_legend(figure)
        for text in figure.findobj(require("matplotlib.text", "report", "The timeline").Text):
            text.set_parse_math(False)  # a dollar in a name or word begins no formula
        height = figure.get_size_inches()[1]
        figure.tight_layout(rect=(0, 0.42 / height, 1, 1), h_pad=0.5)
        return figure

    def _draw_track(self, axis: Any, id_: int) -> None:
        count = len(self.classes)
        colours = [colour_of(name, self.classes) for name in self.classes]
        for times, means in self._pieces(self._tracks[id_]):
            axis.stackplot(times, means[:, :count].T, colors=colours, linewidth=0)
            for values, style in zip(means[:, count:].T, _STYLES * (1 + len(self.words) // len(_STYLES))):
                axis.plot(times, values, color="white", linewidth=3.2)
                axis.plot(times, values, color="#14181d", linewidth=1.4, linestyle=style)
        axis.set_ylabel(f"face {id_}", rotation=0, ha="right", va="center", fontsize=10)

    def _draw_legend(self, figure: Any) -> None:
        lines = require("matplotlib.lines", "report", "The timeline")
        patches = require("matplotlib.patches", "report", "The timeline")
        handles = [patches.Patch(color=colour_of(name, self.classes), label=name) for name in self.classes]
        handles += [
            lines.Line2D([], [], color="#14181d", linewidth=1.4, linestyle=style, label=f"“{word}”")
            for word, style in zip(self.words, _STYLES * (1 + len(self.words) // len(_STYLES)))
        ]
        figure.legend(
            handles=handles, loc="lower center", ncol=min(10, len(handles)), frameon=False, fontsize=9
        )


def check_timeline(path: Path) -> None:
    """Refuse, before a film is read, a file that could not take its timeline.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        FacelexError: If the suffix names no picture, or the place cannot be written.
    """
    check_suffix(path, TIMELINE_SUFFIXES, "the timeline")
    require("matplotlib.figure", "report", "The timeline")
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a name is too long
        raise FacelexError(f"Expected a file for the timeline, but {str(path)!r} is a folder.")
    check_place(path)


_STYLES: list[Any] = ["-", "--", ":", "-.", (0, (1, 1)), (0, (5, 1))]


def _prepare(axis: Any) -> None:
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"], fontsize=7, color="#667080")
    axis.tick_params(axis="x", labelsize=8, colors="#667080", length=3)
    axis.tick_params(axis="y", length=0)
    axis.set_facecolor("#f2f4f7")
    for side in axis.spines.values():
        side.set_visible(False)


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{max(0.0, seconds):g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
