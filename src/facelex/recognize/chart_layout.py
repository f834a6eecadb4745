"""Where the labels and charts of annotated faces go: sizes and places, before anything is painted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

from facelex.errors import FacelexError, one_line
from facelex.recognize.results import Face

FONT = Path(__file__).parents[1] / "fonts" / "DejaVuSans.ttf"
"""Has the letters of Europe's languages, Latin, Greek and Cyrillic; ``FACELEX_FONT`` names another file."""

BARS = 3
"""Emotions, and words, shown in a chart."""
CHART_SCALES = (0.9, 0.68)
"""Text of a chart against that of the label; the second where the first finds no room."""
SMALLEST_TEXT = 9
MOST_OVERLAP = 0.35
"""Share of a label that may lie over other faces and labels; in a denser crowd the colour must do."""

Rectangle = tuple[float, float, float, float]
"""``left, top, right, bottom``."""


@dataclass(frozen=True)
class Label:
    """What is said about one face, and how large."""

    face: Face
    box: Rectangle
    """Of the face, in the picture's pixels."""
    text: str
    font: ImageFont.FreeTypeFont
    pill: tuple[float, float]
    """Width and height of the label."""

    @property
    def unit(self) -> float:
        """Height of the text in pixels."""
        return float(self.font.size)


@dataclass(frozen=True)
class Placed:
    """A face with the places found for its label and its chart, None for what found none."""

    label: Label
    pill: Rectangle | None
    chart: Rectangle | None
    chart_unit: float
    """Height of the chart's text in pixels."""


class Bar(NamedTuple):
    """A line of a chart."""

    name: str
    share: float
    """Length of the bar, in [0, 1]."""
    number: str
    emotion: str | None
    """The class that gives it its colour; None for a word."""


@lru_cache(maxsize=64)
def text_font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font of every picture for people, ``size`` pixels high.

    Raises:
        FacelexError: If ``FACELEX_FONT`` names no font.
    """
    path = os.environ.get("FACELEX_FONT") or FONT
    try:
        return ImageFont.truetype(path, size)
    except OSError as error:
        if path is FONT:
            raise
        raise FacelexError(
            f"Expected a font file in FACELEX_FONT, but {str(path)!r} cannot be read as one: {error}. "
            "Correct the path, or unset it."
        ) from error


def drawable(text: str) -> str:
    """Return text as a font can draw it: on one line, in valid Unicode. Names of files need be neither."""
    return one_line(text).encode("utf-8", "replace").decode()


def plan_label(face: Face, zoom: float, size: tuple[int, int], caption: str) -> Label:
    """Return what is said about a face in a picture of ``size``, enlarged ``zoom`` times."""
    x, y, width, height = (value * zoom for value in face.box)
    scale = float(np.sqrt(size[0] * size[1]))
    usual = float(np.clip(0.13 * height, max(11, 0.016 * scale), max(13, 0.033 * scale)))
    unit = max(10.0, min(usual, 0.27 * width))  # in a crowd a label is no wider than its face
    font = text_font(round(unit))
    mark = "?" if face.unsure else ""
    text = drawable(f"{caption} {face.emotion}{mark} {face.probability:.0%}".strip())
    return Label(face, (x, y, x + width, y + height), text, font, (font.getlength(text) + unit, 1.5 * unit))


def chart_size(face: Face, unit: float) -> tuple[float, float]:
    """Return width and height of a face's chart whose text is ``unit`` pixels high."""
    rows = chart_bars(face)
    names = max(text_font(round(unit)).getlength(bar.name) for bar in rows)
    words = 0.6 if face.words else 0.0  # a gap between emotions and words
    return names + 9.2 * unit, unit * (1.45 * len(rows) + 0.55 + words)


def chart_bars(face: Face) -> list[Bar]:
    """Return the lines of a face's chart: the likeliest emotions, then the best words."""
    emotions = sorted(face.probabilities.items(), key=lambda item: -item[1])[:BARS]
    words = sorted(face.words.items(), key=lambda item: -item[1])[:BARS]
    shown = [Bar(_short(name), p, f"{p:.0%}", name) for name, p in emotions]
    # a word's score is no probability, so it has no percent sign
    return shown + [Bar(_short(word), score, f"{score:.2f}", None) for word, score in words]


def _short(text: str, longest: int = 24) -> str:
    text = drawable(text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def arrange(labels: Sequence[Label], size: tuple[int, int]) -> list[Placed]:
    """Find each label and chart a place, larger faces first; what finds no free place is left out."""
    boxes = [label.box for label in labels]
    order = sorted(range(len(labels)), key=lambda i: -area(boxes[i]))
    pills: dict[int, Rectangle | None] = {}
    for i in order:
        others = np.array(boxes[:i] + boxes[i + 1 :] + [pill for pill in pills.values() if pill is not None])
        best = min(_pill_places(labels[i], size), key=lambda place: overlap(place, others))
        pills[i] = best if overlap(best, others) < MOST_OVERLAP * area(best) else None
    taken = boxes + [pill for pill in pills.values() if pill is not None]
    placed = {}
    for i in order:
        placed[i] = _place_chart(
            labels[i], pills[i], np.array(taken), np.array(boxes[:i] + boxes[i + 1 :]), size
        )
        taken += [chart for chart in (placed[i].chart,) if chart is not None]
    return [placed[i] for i in range(len(labels))]


def _place_chart(
    label: Label,
    pill: Rectangle | None,
    taken: NDArray[np.float64],
    other_faces: NDArray[np.float64],
    size: tuple[int, int],
) -> Placed:
    for unit in (scale * label.unit for scale in CHART_SCALES):
        margin = 0.8 * unit  # a chart that touches another face would seem to be about that one
        for place in _chart_places(label, pill, chart_size(label.face, unit), size):
            wider = grow(place, margin)
            if unit >= SMALLEST_TEXT and overlap(place, taken) + overlap(wider, other_faces) < 1.0:
                return Placed(label, pill, place, unit)
    return Placed(label, pill, None, 0.0)


def _pill_places(label: Label, size: tuple[int, int]) -> list[Rectangle]:
    left, top, _, bottom = label.box
    width, height = label.pill
    gap = 0.25 * label.unit
    tops = (top - height - gap, bottom + gap, top + gap, bottom - height - gap)
    inside = [y for y in tops if 0 <= y <= size[1] - height] or [min(max(0.0, tops[2]), size[1] - height)]
    x = min(max(0.0, left), max(0.0, size[0] - width))
    return [(x, y, x + width, y + height) for y in inside]


def _chart_places(
    label: Label, pill: Rectangle | None, chart: tuple[float, float], size: tuple[int, int]
) -> list[Rectangle]:
    left, top, right, bottom = label.box
    width, height = chart
    gap = 0.5 * label.unit
    above, below = (min(top, pill[1]), max(bottom, pill[3])) if pill is not None else (top, bottom)
    corners = [
        (right + gap, top), (left - gap - width, top),
        (left, below + gap), (right - width, below + gap), ((left + right - width) / 2, below + gap),
        (left, above - gap - height), (right - width, above - gap - height),
        (right + gap, bottom - height), (left - gap - width, bottom - height),
    ]  # fmt: skip
    places = []
    for x, y in corners:
        # slid into the picture where it sticks out a little; the overlap test then decides
        x, y = (
            min(max(x, gap / 2), size[0] - width - gap / 2),
            min(max(y, gap / 2), size[1] - height - gap / 2),
        )
        if x >= 0 and y >= 0:
            places.append((x, y, x + width, y + height))
    return places


def grow(box: Rectangle, margin: float) -> Rectangle:
    """Return a rectangle that is larger by ``margin`` on each side."""
    return box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin


def area(box: Rectangle) -> float:
    """Return a rectangle's area."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def overlap(box: Rectangle, others: Sequence[Rectangle] | NDArray[np.float64]) -> float:
    """Return the area that ``box`` shares with other rectangles, ``(N, 4)``."""
    left, top, right, bottom = np.asarray(others, np.float64).reshape(-1, 4).T
    width = np.minimum(box[2], right) - np.maximum(box[0], left)
    height = np.minimum(box[3], bottom) - np.maximum(box[1], top)
    return float((width.clip(min=0) * height.clip(min=0)).sum())
