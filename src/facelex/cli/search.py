"""``facelex search``: the faces of an album, and the moments of its videos, that words fit best."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from facelex.cli.options import STOPPED, NetworkOptions, flag, recursive_flag, redaction_asked
from facelex.cli.progress import progress_bar
from facelex.cli.screen import outliving_the_reader, tell
from facelex.errors import FacelexError, one_line

if TYPE_CHECKING:
    from facelex.recognize.album import Album, AlbumChanges
    from facelex.recognize.matches import Match

app = App(name="search")

FAILURES_SHOWN = 10
WORTH_AN_INDEX = 200
"""Photos from which the index is mentioned; a video takes as long as many."""


@app.default
def search(
    words: str,
    *album: str,
    top: int = 20,
    min_size: float = 24.0,
    sheet: Path | None = None,
    format: Literal["table", "json", "csv"] = "table",
    redact: Annotated[bool, flag] = False,
    redact_style: Literal["blur", "pixelate"] | None = None,
    index: Path | None = None,
    rebuild: Annotated[bool, flag] = False,
    recursive: Annotated[bool, recursive_flag] = False,
    detect: Annotated[bool, Parameter(negative="--no-detect", show_default=False)] = True,
    videos: Annotated[bool, Parameter(negative="--no-videos", show_default=False)] = True,
    every: float | None = None,
    options: NetworkOptions = NetworkOptions(),
) -> int:
    """Rank the faces of an album by how well words fit them.

    The model must know words, as those of the package do. Nothing is stored unless --index names a file.
    What cannot be read is reported, and the exit code is 1.

    Parameters
    ----------
    words
        A word or phrase: "delighted", "barely hidden anger". Several, separated by commas, are averaged.
    album
        Folders, globs in quotes, photos, videos; folders are searched for both.
    top
        Faces, and moments of videos, shown.
    min_size
        Pixels that the shorter side of a face must have.
    sheet
        Write a contact sheet of the faces into this file (.png, .jpg or .webp).
    format
        table, json or csv.
    redact
        Make the faces on the contact sheet unrecognisable.
    redact_style
        How: blurred, as by default, or in large squares.
    index
        Keep what was found in this file; the next search reads only what is new or changed.
    rebuild
        Read all of the album anew.
    recursive
        Look into the folders' folders too.
    detect
        --no-detect: the photos, and the frames of videos, are face crops already.
    videos
        --no-videos: leave videos out. They are searched after the photos and answer with their moments; a
        minute of video takes about as long as a hundred photos, but with --index only once.
    every
        Videos: seconds between the frames that are looked at, 0.5 by default; 0 for each frame. Unless given,
        what an index holds of a video is taken as it is.
    """
    if not album:
        raise FacelexError(
            f"Expected an album to search for {words!r}, but got none. Name a folder of photos or videos."
        )
    if not videos and every is not None:
        raise FacelexError("Expected --every without --no-videos, since it concerns videos. Leave one out.")
    if top < 1:
        raise FacelexError(f"Expected --top to be 1 or more, but got {top}.")
    style = redaction_asked(redact, redact_style, sheet, "--sheet FILE")
    if rebuild and index is None:
        raise FacelexError("Expected --index FILE with --rebuild: without one, everything is read anyway.")
    from facelex.recognize.album import Album

    recognizer = options.create_recognizer(detect=detect)
    found = Album(
        album,
        recognizer,
        index,
        recursive=recursive,
        detect=detect,
        rebuild=rebuild,
        videos=videos,
        every=every,
    )
    found.check_words(words)
    _check_sheet(sheet, [*found.sources, *map(str, options.files), *([str(index)] if index else [])])
    with progress_bar(f"Reading {_counted(found)}", percent=bool(found.videos)) as progress:
        changes = found.update(progress)
    matches = found.search(words, top, min_size=min_size)
    with outliving_the_reader():
        _print(format, matches, words, changes)
    if sheet is not None:
        from facelex.recognize.contact_sheet import save_contact_sheet

        save_contact_sheet(sheet, matches, words, redact=style)
    return _report(changes, found, format, index)


def _check_sheet(sheet: Path | None, sources: Sequence[str]) -> None:
    if sheet is None:
        return
    from facelex.files import check_suffix
    from facelex.recognize.contact_sheet import SHEET_SUFFIXES

    check_suffix(sheet, SHEET_SUFFIXES, "a contact sheet")
    if os.path.realpath(sheet) in {os.path.realpath(source) for source in sources}:
        raise FacelexError(
            f"The contact sheet {str(sheet)!r} would replace a file that the search needs. Name another one."
        )


def _print(format: str, matches: Sequence[Match], words: str, changes: AlbumChanges) -> None:
    if format == "json":
        failed = [{"source": source, "error": error} for source, error in changes.failed.items()]
        from facelex.recognize.writers import shows_all

        records = [match.to_dict() for match in matches] + failed
        print(json.dumps(records, ensure_ascii=not shows_all(sys.stdout), indent=2, allow_nan=False))
    elif format == "csv":
        from facelex.recognize.matches import match_columns
        from facelex.recognize.words import parse_words

        rows = csv.DictWriter(sys.stdout, match_columns(parse_words(words)), lineterminator="\n")
        rows.writeheader()
        rows.writerows(match.to_row() for match in matches)
    else:
        _print_table(matches)


def _print_table(matches: Sequence[Match]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("score", justify="right")
    moments = any(match.time is not None for match in matches)
    table.add_column("file" if moments else "photo", overflow="fold")
    for heading in ("time", "lasts") if moments else ():
        table.add_column(heading, justify="right")
    table.add_column("face", justify="right")
    table.add_column("emotion")
    several = bool(matches) and len(matches[0].face.words) > 1
    for word in matches[0].face.words if several else ():
        table.add_column(escape(word), justify="right")
    for match in matches:
        words = [f"{score:.2f}" for score in match.face.words.values()] if several else []
        face = match.face
        emotion = f"{escape(face.emotion)}{'?' if face.unsure else ''} {face.probability:.0%}"
        table.add_row(
            str(match.rank),
            f"[bold]{match.score:.3f}[/]",
            escape(one_line(match.source)),
            *(_times(match) if moments else ()),
            str(match.number),
            emotion,
            *words,
        )
    console = Console(width=None if sys.stdout.isatty() else 200, emoji=False)
    console.print(table if matches else "No face found.")


def _times(match: Match) -> tuple[str, str]:
    """Return when a moment is and how long it lasts, for people; nothing of a photo."""
    from facelex.recognize.moments import clock

    if match.time is None or match.start is None or match.end is None:
        return "", ""
    lasts = f"{match.end - match.start:.1f} s" if match.end > match.start else "one look"
    return clock(match.time), lasts


def _counted(album: Album) -> str:
    """Return what an album has, in words: ``512 photos and 1 video``."""
    numbers = {"photo": len(album.sources) - len(album.videos), "video": len(album.videos)}
    counted = [f"{count:,} {kind}{'' if count == 1 else 's'}" for kind, count in numbers.items() if count]
    return " and ".join(counted)


def _report(changes: AlbumChanges, album: Album, format: str, index: Path | None) -> int:
    """Say what was read and what could not be; returns the exit code."""
    if changes.dropped:
        others = "1 other file" if changes.dropped == 1 else f"{changes.dropped} other files"
        tell(f"{others} dropped from the index: it was made with another model or other settings.")
    for source, error in list(changes.failed.items())[:FAILURES_SHOWN]:
        tell(error if source in error else f"{source}: {error}")
    if len(changes.failed) > FAILURES_SHOWN:
        tell(f"and {len(changes.failed) - FAILURES_SHOWN} more that cannot be read")
    read = changes.added + changes.changed
    if changes.interrupted:
        kept = "; the index keeps it" if index is not None else ""
        tell(f"stopped; only what was read so far was searched{kept}.")
        return STOPPED
    if format == "table" and sys.stderr.isatty():
        note = f"{_counted(album)}, {album.num_faces} faces"
        if album.videos:
            from facelex.recognize.moments import clock

            note += f", {clock(album.video_seconds)} of video"
        if index is not None:
            note += f"; read {read}, known {changes.unchanged}, gone {changes.removed}"
        elif read >= WORTH_AN_INDEX or album.videos:
            note += ". For a quick next search, keep an index: --index FILE"
        print(note, file=sys.stderr)
    return 1 if changes.failed else 0
