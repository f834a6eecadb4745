"""Annotated pictures: a rounded box a face, its emotion, and a small chart where there is room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from facelex.errors import FacelexError
from facelex.recognize.chart_layout import (
    CHART_SCALES,
    Label,
    Placed,
    Rectangle,
    arrange,
    chart_bars,
    chart_size,
    grow,
    plan_label,
    text_font,
)
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
SMALLEST_SIDE = 480
"""Smaller pictures are enlarged first: text needs its pixels."""
SMOOTH_UP_TO = 2000
"""Longer side up to which shapes are drawn at twice the size and reduced, for smooth edges."""


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
        plan_label(face, zoom, picture.size, caption)
        for face, caption in zip(faces, [""] * len(faces) if captions is None else captions)
    ]
    if not keep_size and len(labels) == 1:
        picture = _widen(picture, labels[0])
    layout = arrange(labels, picture.size)
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


def colour_of(emotion: str, classes: Sequence[str] = ()) -> str:
    """Return an emotion's colour as ``#rrggbb``, the same in every picture."""
    if emotion in COLOURS:
        return COLOURS[emotion]
    others = [name for name in classes if name not in COLOURS]
    place = others.index(emotion) if emotion in others else sum(map(ord, emotion))
    return OTHER_COLOURS[place % len(OTHER_COLOURS)]


def _widen(picture: Image.Image, label: Label) -> Image.Image:
    """Add a strip on the right for the chart of a face that leaves no room for it."""
    left, top, right, bottom = label.box
    gap = 0.5 * label.unit
    width, height = (side + 2 * gap for side in chart_size(label.face, CHART_SCALES[0] * label.unit))
    if max(left, picture.width - right) >= width:
        return picture
    if max(top, picture.height - bottom) >= height + label.pill[1]:
        return picture
    wide = Image.new("RGB", (picture.width + round(width), max(picture.height, round(height))), (32, 37, 44))
    wide.paste(picture)
    return wide


def _paint(picture: Image.Image, layout: Sequence[Placed]) -> Image.Image:
    picture = picture.convert("RGB")
    for placed in layout:
        with _Layer(picture, grow(placed.label.box, placed.label.unit)) as layer:
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


def _paint_box(layer: _Layer, label: Label) -> None:
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


def _paint_pill(layer: _Layer, label: Label, place: Rectangle) -> None:
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
    draw.text(middle, label.text, fill=ink, font=text_font(round(label.unit) * layer.factor), anchor="mm")


def _paint_chart(layer: _Layer, face: Face, place: Rectangle, size: float) -> None:
    draw = ImageDraw.Draw(layer.sheet)
    left, top, right, bottom = layer.rectangle(place)
    unit = size * layer.factor
    font = text_font(round(size) * layer.factor)
    edge = colour_of(face.emotion, tuple(face.probabilities))
    draw.rounded_rectangle(
        (left, top, right, bottom), 0.5 * unit, fill=PANEL, outline=edge, width=layer.factor
    )
    rows = chart_bars(face)
    names = max(font.getlength(bar.name) for bar in rows)
    classes = tuple(face.probabilities)
    start, end = left + names + 1.2 * unit, right - 3.6 * unit
    for i, (name, share, number, emotion) in enumerate(rows):
        colour = WORD_COLOUR if emotion is None else colour_of(emotion, classes)
        words = 0.6 if emotion is None else 0.0  # a gap between emotions and words
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
