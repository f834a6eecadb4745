"""A contact sheet: the faces found, best first, as a picture a person enjoys looking at.

Of a video it shows the frames of its moments, read once more.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from facelex.errors import FacelexError
from facelex.files import check_suffix, replacing
from facelex.recognize.album_index import file_status
from facelex.recognize.chart_layout import drawable, text_font
from facelex.recognize.drawing import WORD_COLOUR, colour_of
from facelex.recognize.images import load_image
from facelex.recognize.matches import Match
from facelex.recognize.moments import clock
from facelex.recognize.redaction import redact_faces, redaction_style

TILE = 220
"""Side of a face's square in pixels."""
GAP = 20
CAPTION = 66
"""Height of the lines below it."""
HEADER = 96
USUAL_COLUMNS = 5
LONGEST = 16_383
"""Side of the largest picture that a .webp file may hold; the other formats take more."""
MOST_ROWS = (LONGEST - HEADER - GAP) // (TILE + CAPTION + GAP)
MOST_FACES = 1000
"""On one sheet, which then takes a quarter of a gigabyte to draw."""
BACKGROUND, CARD, TRACK = "#14181d", "#1d232b", "#39424e"
BRIGHT, DIM = "#eef1f5", "#98a3b0"
SHEET_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
SAME_FRAME = 1e-4
"""Seconds by which the time of a frame may differ from the one that is looked for."""
CONTEXT = 1.7
"""Side of what is shown, in sides of the face's box."""


def draw_contact_sheet(
    matches: Sequence[Match], title: str, *, redact: str | bool | None = None
) -> Image.Image:
    """Draw each match as a card: the face, its score as a bar, the file's name, the emotion.

    A file that has changed since it was searched is not shown, redacted or not: the faces in it may be
    others, in other places. Its card says that the photo or the moment is gone.

    Args:
        matches: Best first; what comes after the first ``MOST_FACES`` has no place on a sheet.
        title: The words searched for.
        redact: ``"blur"`` (or True) or ``"pixelate"`` makes the faces unrecognisable, also those beside the
            one found.

    Returns:
        An RGB picture.

    Raises:
        FacelexError: If the style of redaction is not known.
    """
    style = redaction_style(redact)
    found, matches = len(matches), matches[:MOST_FACES]
    columns = min(USUAL_COLUMNS, max(3, math.ceil(math.sqrt(len(matches)))))
    columns = max(columns, math.ceil(len(matches) / MOST_ROWS))
    rows = max(1, math.ceil(len(matches) / columns))
    width = GAP + columns * (TILE + GAP)
    sheet = Image.new("RGB", (width, HEADER + rows * (TILE + CAPTION + GAP) + GAP // 2), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 24), _fit(f"“{title}”", 30, width - 2 * GAP), fill=BRIGHT, font=text_font(30))
    draw.text((GAP, 58), _counted(matches, found), fill=DIM, font=text_font(15))
    for place, tile in _face_tiles(matches, style):
        match = matches[place]
        left = GAP + place % columns * (TILE + GAP)
        top = HEADER + place // columns * (TILE + CAPTION + GAP)
        _draw_card(sheet, (left, top), match, tile)
    return sheet


def save_contact_sheet(
    path: str | os.PathLike[str], matches: Sequence[Match], title: str, *, redact: str | bool | None = None
) -> None:
    """Draw a contact sheet into a .png, .jpg or .webp file.

    Raises:
        FacelexError: If it cannot be written, or the style of redaction is not known.
    """
    path = Path(path)
    check_suffix(path, SHEET_SUFFIXES, "a contact sheet")
    sheet = draw_contact_sheet(matches, title, redact=redact)
    with replacing(path) as part:
        sheet.save(part, quality=92)


def _counted(matches: Sequence[Match], found: int) -> str:
    """Return what a sheet shows, in words; a face of a video may have several moments on it."""
    if not matches:
        return "no face found"
    moments = sum(match.time is not None for match in matches)
    kinds = [kind for kind, count in (("face", len(matches) - moments), ("moment", moments)) if count]
    if len(matches) == 1:
        return f"the best {kinds[0]}"
    rest = f" of {found}" if found > len(matches) else ""
    return f"the best {len(matches)} {' and '.join(f'{kind}s' for kind in kinds)}{rest}"


def _draw_card(sheet: Image.Image, corner: tuple[int, int], match: Match, tile: Image.Image | None) -> None:
    left, top = corner
    draw = ImageDraw.Draw(sheet)
    draw.rounded_rectangle((left - 6, top - 6, left + TILE + 6, top + TILE + CAPTION), 12, fill=CARD)
    if tile is None:
        gone = f"the {'photo' if match.time is None else 'moment'} is gone"
        draw.text((left + TILE / 2, top + TILE / 2), gone, fill=DIM, font=text_font(15), anchor="mm")
    else:
        sheet.paste(tile, corner, _rounded(tile.size, 8))
    _draw_rank(draw, (left + 8, top + 8), match.rank)
    score = f"{match.score:.3f}"
    line = top + TILE + 15
    draw.text((left + TILE - 2, line), score, fill=BRIGHT, font=text_font(15), anchor="rm")
    end = left + TILE - text_font(15).getlength(score) - 12
    draw.rounded_rectangle((left + 2, line - 4, end, line + 4), 4, fill=TRACK)
    filled = left + 2 + max(8.0, (end - left - 2) * min(1.0, max(0.0, match.score)))
    draw.rounded_rectangle((left + 2, line - 4, filled, line + 4), 4, fill=WORD_COLOUR)
    room = TILE - 4.0
    if match.time is not None:
        time = clock(match.time)
        draw.text((left + TILE - 2, line + 20), time, fill=DIM, font=text_font(14), anchor="rm")
        room -= text_font(14).getlength(time) + 10
    name = _fit(Path(match.source).name, 14, room)
    draw.text((left + 2, line + 20), name, fill=BRIGHT, font=text_font(14), anchor="lm")
    emotion = match.face.emotion
    draw.ellipse(
        (left + 3, line + 35, left + 11, line + 43), fill=colour_of(emotion, tuple(match.face.probabilities))
    )
    details = f"{emotion}{'?' if match.face.unsure else ''} {match.face.probability:.0%}"
    if len(match.face.words) > 1:  # what the mean is made of says more
        details = "   ".join(f"{word} {score:.2f}" for word, score in match.face.words.items())
    draw.text((left + 17, line + 39), _fit(details, 13, TILE - 20), fill=DIM, font=text_font(13), anchor="lm")


def _draw_rank(draw: ImageDraw.ImageDraw, corner: tuple[int, int], rank: int) -> None:
    text = str(rank)
    width = max(26.0, text_font(15).getlength(text) + 14)
    draw.rounded_rectangle((corner[0], corner[1], corner[0] + width, corner[1] + 26), 9, fill=BACKGROUND)
    draw.text((corner[0] + width / 2, corner[1] + 13), text, fill=BRIGHT, font=text_font(15), anchor="mm")


def _face_tiles(matches: Sequence[Match], redact: str | None) -> Iterator[tuple[int, Image.Image | None]]:
    """Yield each match's place and its face with what is around it, None where that cannot be read any more.

    Photos come one by one, then each video, which is gone through once; one frame at a time is in memory.
    """
    videos: dict[str, dict[float, list[int]]] = {}
    for place, match in enumerate(matches):
        if match.time is not None:
            videos.setdefault(match.source, {}).setdefault(match.time, []).append(place)
            continue
        try:
            pixels = load_image(match.source)
        except FacelexError:
            yield place, None
        else:
            yield place, _tile_as_read(pixels, match, redact)
    for source, places in videos.items():
        for time, pixels in _frames_at(source, list(places)):
            for place in places.pop(time):
                yield place, _tile_as_read(pixels, matches[place], redact)
        for gone in places.values():
            yield from ((place, None) for place in gone)


def _frames_at(source: str, times: Sequence[float]) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yield those of some moments of a video that are there still, and their pixels ``(H, W, 3)``."""
    from facelex.recognize.frames import FrameReader

    left = sorted(times)
    with suppress(FacelexError), FrameReader(source) as reader:
        for frame in reader.frames_at(times):
            # of a frame beside it the boxes would hide nothing
            close = [time for time in left if abs(time - frame.time) < SAME_FRAME]
            left = [time for time in left if time not in close]
            for time in close:
                yield time, frame.pixels()


def _tile_as_read(pixels: NDArray[np.uint8], match: Match, redact: str | None) -> Image.Image | None:
    """Return the face, or None if these are the pixels of another file than the one that was searched.

    It is asked once they are read: a file that took its place before that is noticed now.
    """
    if match.file is not None and match.file != file_status(match.source):
        return None
    return _face_tile(pixels, match, redact)


def _face_tile(pixels: NDArray[np.uint8], match: Match, redact: str | None) -> Image.Image:
    """Return the face with what is around it."""
    if redact is not None:
        pixels = redact_faces(pixels, {match.face.box, *match.boxes}, redact)
    x, y, width, height = match.face.box
    side = CONTEXT * max(width, height)
    side = max(8.0, min(side, max(pixels.shape[:2])))
    centre = (x + width / 2, y + height / 2)
    start = [_slide(c - side / 2, side, length) for c, length in zip(centre, pixels.shape[1::-1])]
    box = (start[0], start[1], start[0] + side, start[1] + side)
    # beyond the picture's edge the card's colour shows
    picture = Image.new("RGB", (round(side), round(side)), CARD)
    inside = [max(0, math.floor(box[0])), max(0, math.floor(box[1]))]
    part = pixels[inside[1] : math.ceil(box[3]), inside[0] : math.ceil(box[2])]
    picture.paste(
        Image.fromarray(np.ascontiguousarray(part)), (round(inside[0] - box[0]), round(inside[1] - box[1]))
    )
    return picture.resize((TILE, TILE), Image.Resampling.LANCZOS)


def _slide(start: float, side: float, length: int) -> float:
    """Move a window into the picture where it fits, else centre it."""
    return (length - side) / 2 if side > length else min(max(0.0, start), length - side)


def _rounded(size: tuple[int, int], radius: int) -> Image.Image:
    mask = Image.new("L", (2 * size[0], 2 * size[1]), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, 2 * size[0] - 1, 2 * size[1] - 1), 2 * radius, fill=255)
    return mask.resize(size, Image.Resampling.BOX)


def _fit(text: str, size: int, width: float) -> str:
    """Shorten text in the middle until it fits: a photo's number stands at its name's end."""
    text = drawable(text)
    font = text_font(size)
    if font.getlength(text) <= width:
        return text
    keep = len(text)
    while keep > 4 and font.getlength(_shortened(text, keep)) > width:
        keep -= 1
    return _shortened(text, keep)


def _shortened(text: str, keep: int) -> str:
    head = keep // 2
    return f"{text[:head]}…{text[len(text) - (keep - head - 1) :]}"
