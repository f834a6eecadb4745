"""Annotated pictures: a rounded box a face, its emotion, and a small chart where there is room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFont

from facelex.errors import FacelexError
from facelex.recognize.images import ImageInput, load_image
from facelex.recognize.redaction import redact_faces, redaction_style
from facelex.recognize.results import Face

COLOURS: dict[str, str] = {
    "angry": "#e5484d",
    "disgust": "#7fb238",
    "fear": "#8f6cf0",
    "happy": "#ffc53d",
    "sad": "#3e8ee8",
    "surprise": "#f0609e",
    "neutral": "#a3b1bf",
}
OTHER_COLOURS = ("#2bb5a0", "#f08a3c", "#6c7df0", "#c9a227", "#4fb06d", "#c86bd9")
"""For classes beyond the seven, in turn."""
WORD_COLOUR = "#2bb5a0"
PANEL = (18, 22, 28, 225)
TRACK = (66, 73, 84, 255)
BARS = 3
"""Emotions, and words, shown in a chart."""
CHART_SCALES = (0.9, 0.68)
"""Text of a chart against that of the label; the second where the first finds no room."""
SMALLEST_TEXT = 9
MOST_OVERLAP = 0.35
"""Share of a label that may lie over other faces and labels; in a denser crowd the colour must do."""
SMALLEST_SIDE = 480
"""Smaller pictures are enlarged first: text needs its pixels."""
SMOOTH_UP_TO = 2000
"""Longer side up to which shapes are drawn at twice the size and reduced, for smooth edges."""

Rectangle = tuple[float, float, float, float]
"""``left, top, right, bottom``."""


def annotate(
    image: ImageInput,
    faces: Sequence[Face],
    *,
    captions: Sequence[str] | None = None,
    redact: str | bool | None = None,
    keep_size: bool = False,
) -> Image.Image:
    """Draw faces and their emotions on a picture.

    Sizes follow the picture and the face. A chart of the likeliest emotions (and of the words asked for)
    stands beside each face where it covers no other face; a face filling the picture gets it on an added
    strip. An ``unsure`` face has a broken outline and a question mark.

    Args:
        image: Whatever `load_image` reads: path, URL, bytes, file object, PIL image, NumPy RGB array.
        faces: Faces in it.
        captions: Text before each label, for example a track's number: one for each face.
        redact: ``"blur"`` (or True) or ``"pixelate"`` makes the faces unrecognisable first.
        keep_size: Neither enlarge a small picture nor add a strip (for frames of a video).

    Returns:
        An RGB picture; ``numpy.asarray`` gives its pixels.

    Raises:
        FacelexError: If the picture cannot be read, or faces, captions or redact are not what they should be.
    """
    _check_faces(faces, captions)
    style = redaction_style(redact)
    pixels = load_image(image)
    if style is not None:
        pixels = redact_faces(pixels, [face.box for face in faces], style)
    picture = Image.fromarray(pixels)
    zoom = 1.0
    if not keep_size and max(picture.size) < SMALLEST_SIDE:
        zoom = float(np.ceil(SMALLEST_SIDE / max(picture.size)))
        size = (round(picture.width * zoom), round(picture.height * zoom))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    labels = [
        _plan(face, zoom, picture.size, caption)
        for face, caption in zip(faces, [""] * len(faces) if captions is None else captions)
    ]
    if not keep_size and len(labels) == 1:
        picture = _widen(picture, labels[0])
    layout = _arrange(labels, picture.size)
    return _paint(picture, layout)


def _check_faces(faces: Any, captions: Sequence[str] | None) -> None:
    if not (isinstance(faces, Sequence) and all(isinstance(face, Face) for face in faces)):
        raise FacelexError(
            f"Expected a list of faces, as predict gives it, but got {type(faces).__name__}. Give one face "
            "as [face], and of a result its faces."
        )
    if captions is not None and len(captions) != len(faces):
        raise FacelexError(
            f"Expected a caption for each of the {len(faces)} faces, but got {len(captions)}. Give an empty "
            "one where nothing is to be said."
        )


@dataclass(frozen=True)
class _Label:
    """What is said about one face, and how large."""

    face: Face
    box: Rectangle
    text: str
    font: ImageFont.FreeTypeFont
    pill: tuple[float, float]
    """Width and height of the label."""

    @property
    def unit(self) -> float:
        return float(self.font.size)


@dataclass(frozen=True)
class _Placed:
    label: _Label
    pill: Rectangle | None
    chart: Rectangle | None
    chart_unit: float


def colour_of(emotion: str, classes: Sequence[str] = ()) -> str:
    """Return an emotion's colour as ``#rrggbb``, the same in every picture."""
    if emotion in COLOURS:
        return COLOURS[emotion]
    others = [name for name in classes if name not in COLOURS]
    place = others.index(emotion) if emotion in others else sum(map(ord, emotion))
    return OTHER_COLOURS[place % len(OTHER_COLOURS)]


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's wheels bring FreeType
    return font


def _plan(face: Face, zoom: float, size: tuple[int, int], caption: str) -> _Label:
    x, y, width, height = (value * zoom for value in face.box)
    scale = float(np.sqrt(size[0] * size[1]))
    usual = float(np.clip(0.13 * height, max(11, 0.016 * scale), max(13, 0.033 * scale)))
    unit = max(10.0, min(usual, 0.27 * width))  # in a crowd a label is no wider than its face
    font = _font(round(unit))
    mark = "?" if face.unsure else ""
    text = f"{caption} {face.emotion}{mark} {face.probability:.0%}".strip()
    return _Label(face, (x, y, x + width, y + height), text, font, (font.getlength(text) + unit, 1.5 * unit))


def _chart_size(face: Face, unit: float) -> tuple[float, float]:
    rows = _rows(face)
    names = max(_font(round(unit)).getlength(name) for name, *_ in rows)
    words = 0.6 if face.words else 0.0  # a gap between emotions and words
    return names + 8.3 * unit, unit * (1.45 * len(rows) + 0.55 + words)


def _rows(face: Face) -> list[tuple[str, float, str, str]]:
    """Name, length, colour and number of each bar: the likeliest emotions, then the best words."""
    classes = tuple(face.probabilities)
    emotions = sorted(face.probabilities.items(), key=lambda item: -item[1])[:BARS]
    words = sorted(face.words.items(), key=lambda item: -item[1])[:BARS]
    shown = [(_short(name), p, colour_of(name, classes), f"{p:.0%}") for name, p in emotions]
    # a word's score is no probability, so it has no percent sign
    return shown + [(_short(word), score, WORD_COLOUR, f"{score:.2f}") for word, score in words]


def _short(text: str, longest: int = 24) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _widen(picture: Image.Image, label: _Label) -> Image.Image:
    """Add a strip on the right for the chart of a face that leaves no room for it."""
    left, top, right, bottom = label.box
    gap = 0.5 * label.unit
    width, height = (side + 2 * gap for side in _chart_size(label.face, CHART_SCALES[0] * label.unit))
    if max(left, picture.width - right) >= width:
        return picture
    if max(top, picture.height - bottom) >= height + label.pill[1]:
        return picture
    wide = Image.new("RGB", (picture.width + round(width), max(picture.height, round(height))), (32, 37, 44))
    wide.paste(picture)
    return wide


def _arrange(labels: Sequence[_Label], size: tuple[int, int]) -> list[_Placed]:
    """Find each label and chart a place, larger faces first; what finds no free place is left out."""
    boxes = [label.box for label in labels]
    order = sorted(range(len(labels)), key=lambda i: -_area(boxes[i]))
    pills: dict[int, Rectangle | None] = {}
    for i in order:
        others = np.array(boxes[:i] + boxes[i + 1 :] + [pill for pill in pills.values() if pill is not None])
        best = min(_pill_places(labels[i], size), key=lambda place: _overlap(place, others))
        pills[i] = best if _overlap(best, others) < MOST_OVERLAP * _area(best) else None
    taken = boxes + [pill for pill in pills.values() if pill is not None]
    placed = {}
    for i in order:
        placed[i] = _place_chart(
            labels[i], pills[i], np.array(taken), np.array(boxes[:i] + boxes[i + 1 :]), size
        )
        taken += [chart for chart in (placed[i].chart,) if chart is not None]
    return [placed[i] for i in range(len(labels))]


def _place_chart(
    label: _Label,
    pill: Rectangle | None,
    taken: NDArray[np.float64],
    other_faces: NDArray[np.float64],
    size: tuple[int, int],
) -> _Placed:
    for unit in (scale * label.unit for scale in CHART_SCALES):
        margin = 0.8 * unit  # a chart that touches another face would seem to be about that one
        for place in _chart_places(label, pill, _chart_size(label.face, unit), size):
            wider = _grow(place, margin)
            if unit >= SMALLEST_TEXT and _overlap(place, taken) + _overlap(wider, other_faces) < 1.0:
                return _Placed(label, pill, place, unit)
    return _Placed(label, pill, None, 0.0)


def _pill_places(label: _Label, size: tuple[int, int]) -> list[Rectangle]:
    left, top, _, bottom = label.box
    width, height = label.pill
    gap = 0.25 * label.unit
    tops = (top - height - gap, bottom + gap, top + gap, bottom - height - gap)
    inside = [y for y in tops if 0 <= y <= size[1] - height] or [min(max(0.0, tops[2]), size[1] - height)]
    x = min(max(0.0, left), max(0.0, size[0] - width))
    return [(x, y, x + width, y + height) for y in inside]


def _chart_places(
    label: _Label, pill: Rectangle | None, chart: tuple[float, float], size: tuple[int, int]
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


def _grow(box: Rectangle, margin: float) -> Rectangle:
    return box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin


def _area(box: Rectangle) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _overlap(box: Rectangle, others: Sequence[Rectangle] | NDArray[np.float64]) -> float:
    """Return the area that ``box`` shares with other rectangles, ``(N, 4)``."""
    left, top, right, bottom = np.asarray(others, np.float64).reshape(-1, 4).T
    width = np.minimum(box[2], right) - np.maximum(box[0], left)
    height = np.minimum(box[3], bottom) - np.maximum(box[1], top)
    return float((width.clip(min=0) * height.clip(min=0)).sum())


def _paint(picture: Image.Image, layout: Sequence[_Placed]) -> Image.Image:
    picture = picture.convert("RGB")
    for placed in layout:
        with _Layer(picture, _grow(placed.label.box, placed.label.unit)) as layer:
            _paint_box(layer, placed.label)
    for placed in layout:
        if placed.chart is not None:
            with _Layer(picture, placed.chart) as layer:
                _paint_chart(layer, placed.label.face, placed.chart, placed.chart_unit)
        if placed.pill is not None:
            with _Layer(picture, placed.pill) as layer:
                _paint_pill(layer, placed.label, placed.pill)
    return picture


class _Layer:
    """A clear sheet over a part of the picture, drawn at twice the size for smooth edges and then laid on."""

    def __init__(self, picture: Image.Image, part: Rectangle) -> None:
        self._picture = picture
        self.factor = 2 if max(picture.size) <= SMOOTH_UP_TO else 1
        left, top = max(0, int(part[0]) - 2), max(0, int(part[1]) - 2)
        right, bottom = min(picture.width, int(part[2]) + 3), min(picture.height, int(part[3]) + 3)
        self._place = (left, top)
        size = (max(1, right - left) * self.factor, max(1, bottom - top) * self.factor)
        self.sheet = Image.new("RGBA", size, (0, 0, 0, 0))

    def rectangle(self, place: Rectangle) -> Rectangle:
        """Return a rectangle of the picture in the sheet's pixels."""
        (x, y), factor = self._place, self.factor
        return (
            (place[0] - x) * factor,
            (place[1] - y) * factor,
            (place[2] - x) * factor,
            (place[3] - y) * factor,
        )

    def __enter__(self) -> _Layer:
        return self

    def __exit__(self, *error: object) -> None:
        if self.factor > 1:
            size = (self.sheet.width // self.factor, self.sheet.height // self.factor)
            self.sheet = self.sheet.resize(size, Image.Resampling.BOX)
        self._picture.paste(self.sheet, self._place, self.sheet)


def _paint_box(layer: _Layer, label: _Label) -> None:
    left, top, right, bottom = layer.rectangle(label.box)
    if right - left < 2 or bottom - top < 2:
        return
    factor = layer.factor
    width = max(2, round(0.11 * label.unit)) * factor
    radius = 0.09 * min(right - left, bottom - top)
    draw = ImageDraw.Draw(layer.sheet)
    # a dark rim keeps the line visible on a background of its own colour
    rim = (left - factor, top - factor, right + factor, bottom + factor)
    draw.rounded_rectangle(rim, radius + factor, outline=(0, 0, 0, 120), width=width + 2 * factor)
    colour = colour_of(label.face.emotion, tuple(label.face.probabilities))
    if not label.face.unsure:
        draw.rounded_rectangle((left, top, right, bottom), radius, outline=colour, width=width)
        return
    mask = Image.new("L", layer.sheet.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((left, top, right, bottom), radius, outline=255, width=width)
    layer.sheet.paste(
        colour, (0, 0), ImageChops.multiply(mask, _stripes(mask.size, 0.75 * label.unit * factor))
    )


def _stripes(size: tuple[int, int], period: float) -> Image.Image:
    """Diagonal stripes that cut an outline into dashes."""
    width, height = size
    diagonal = np.arange(height)[:, None] + np.arange(width)[None, :]
    return Image.fromarray(np.where(diagonal % (2 * period) < 1.3 * period, 255, 0).astype(np.uint8))


def _paint_pill(layer: _Layer, label: _Label, place: Rectangle) -> None:
    draw = ImageDraw.Draw(layer.sheet)
    colour = colour_of(label.face.emotion, tuple(label.face.probabilities))
    left, top, right, bottom = layer.rectangle(place)
    radius = 0.32 * (bottom - top)
    if label.face.unsure:
        draw.rounded_rectangle(
            (left, top, right, bottom), radius, fill=PANEL, outline=colour, width=layer.factor
        )
    else:
        draw.rounded_rectangle((left, top, right, bottom), radius, fill=colour)
    ink = colour if label.face.unsure else _ink_on(colour)
    middle = ((left + right) / 2, (top + bottom) / 2)
    draw.text(middle, label.text, fill=ink, font=_font(round(label.unit) * layer.factor), anchor="mm")


def _paint_chart(layer: _Layer, face: Face, place: Rectangle, size: float) -> None:
    draw = ImageDraw.Draw(layer.sheet)
    left, top, right, bottom = layer.rectangle(place)
    unit = size * layer.factor
    font = _font(round(size) * layer.factor)
    edge = colour_of(face.emotion, tuple(face.probabilities))
    draw.rounded_rectangle(
        (left, top, right, bottom), 0.5 * unit, fill=PANEL, outline=edge, width=layer.factor
    )
    rows = _rows(face)
    names = max(font.getlength(name) for name, *_ in rows)
    start, end = left + 0.6 * unit + names + 0.5 * unit, right - 2.8 * unit
    for i, (name, share, colour, number) in enumerate(rows):
        words = 0.6 if i >= len(rows) - min(BARS, len(face.words)) else 0.0
        middle = top + (1.0 + 1.45 * i + words) * unit
        draw.text((left + 0.6 * unit, middle), name, fill="#e8ecf0", font=font, anchor="lm")
        track = (start, middle - 0.26 * unit, end, middle + 0.26 * unit)
        draw.rounded_rectangle(track, 0.26 * unit, fill=TRACK)
        if share > 0.005:
            length = max(0.52 * unit, (end - start) * min(1.0, share))
            draw.rounded_rectangle((start, track[1], start + length, track[3]), 0.26 * unit, fill=colour)
        draw.text((right - 0.5 * unit, middle), number, fill="#e8ecf0", font=font, anchor="rm")


def _ink_on(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#14181d" if 0.299 * red + 0.587 * green + 0.114 * blue > 135 else "#ffffff"
