"""``facelex predict``: emotions of the faces in photos, folders, videos or a webcam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from facelex.cli.options import RecognizerOptions, flag, recursive_flag, redaction_asked
from facelex.cli.screen import outliving_the_reader, tell
from facelex.errors import FacelexError, shorten
from facelex.recognize.sources import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    check_there,
    find_media,
    is_camera,
    is_data_url,
    names_video,
)

if TYPE_CHECKING:
    from facelex.recognize.earlier import EarlierRows

app = App(name="predict")

Format = Literal["table", "json", "jsonl", "csv", "parquet"]


@app.default
def predict(
    *inputs: str,
    words: str | None = None,
    format: Format | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    resume: Annotated[bool, flag] = False,
    summary: Path | None = None,
    embedding: Annotated[bool, flag] = False,
    landmarks: Annotated[bool, flag] = False,
    annotate: Path | None = None,
    detect: Annotated[bool, Parameter(negative="--no-detect", show_default=False)] = True,
    redact: Annotated[bool, flag] = False,
    redact_style: Literal["blur", "pixelate"] | None = None,
    options: RecognizerOptions = RecognizerOptions(),
    recursive: Annotated[bool, recursive_flag] = False,
    every: float | None = None,
    smooth: float | None = None,
    timeline: Path | None = None,
    seconds: float | None = None,
) -> int:
    """Find faces and say which emotion each shows.

    A file that cannot be read is reported beside the results of the others, and the exit code is 1.

    Parameters
    ----------
    inputs
        Pictures, folders, globs in quotes, http(s):// addresses; or videos, or webcam:0.
    words
        Words and phrases to score as well: "bored, proud, barely hidden anger".
    format
        table, json, jsonl (an object a line), csv or parquet; by default as the output's suffix
        says, else a table.
    output
        Write to this file instead of the screen.
    resume
        Go on with the output, a .jsonl or .csv, where an earlier call was stopped: its rows are kept, and
        only what it has not read yet is read.
    summary
        Write the means of each face of each video, or of each picture, to this file as well: .csv, .json,
        .jsonl or .parquet. Videos and pictures without a face have a row, too.
    embedding
        Write each face's features too, numbers that place it among the words' meanings (not in a table).
    landmarks
        Write where each face's eyes, nose and mouth are into csv and parquet, too; json and jsonl always say.
    annotate
        Write each picture with its faces marked into this folder, as NAME-faces.jpg, .png or .mp4.
    detect
        --no-detect: the pictures are face crops already.
    redact
        Make the faces in every picture written unrecognisable.
    redact_style
        How: blurred, as by default, or in large squares.
    recursive
        Look into the folders' folders too.
    every
        Videos: seconds between analysed frames, 0.2 by default; 0 for each frame.
    smooth
        Videos: seconds over which each face's numbers are smoothed, 0.4 by default; 0 switches it off.
    timeline
        One video: write a picture of each face's emotions over time (.png, .svg, .pdf; needs matplotlib).
    seconds
        Videos: stop after so many seconds of each.
    """
    if not inputs:
        raise FacelexError("Expected pictures, a folder, a video or webcam:0, but got nothing. See --help.")
    style = redaction_asked(redact, redact_style, annotate, "--annotate DIR")
    kind = format or _format_of(output)
    if embedding and kind == "table":
        raise FacelexError(
            "Expected a format that holds features with --embedding, but got a table. Add --format json, "
            "jsonl, csv or parquet, or name a file with --output."
        )
    if landmarks and kind == "table":
        raise FacelexError(
            "Expected a format that holds landmarks with --landmarks, but got a table. Add --format csv or "
            "parquet, or name a file with --output."
        )
    from facelex.recognize.earlier import EarlierRows
    from facelex.recognize.writers import check_output, check_summary, open_summary

    if summary is not None:
        check_summary(summary, output)
    film: dict[str, Any] = {"every": every, "smooth": smooth, "timeline": timeline, "max_seconds": seconds}
    film = {name: value for name, value in film.items() if value is not None}
    pictures, videos = find_media(inputs, recursive=recursive, videos_alone=True)
    of_videos = bool(videos and not pictures)
    if resume:
        copies = None if of_videos else annotate
        _check_resume(inputs, output, kind, summary=summary, timeline=timeline, copies=copies)
    if not of_videos:
        _check_pictures(inputs, pictures, videos, film)
    sources = videos if of_videos else pictures
    written = [path for path in (output, summary) if path is not None]
    for path in written:
        check_output(path, sources, options.files)
    if annotate in [path.parent for path in written] and annotate is not None and not annotate.suffix:
        annotate.mkdir(parents=True, exist_ok=True)  # which annotating does, but after the output is opened
    recognizer = options.create_recognizer(detect=detect)
    layout = recognizer.table_layout(words, embedding=embedding, landmarks=landmarks, video=of_videos)
    earlier = EarlierRows(output, kind, layout, sources) if resume and output is not None else None
    _tell_of_earlier(earlier, sources, "video" if of_videos else "picture")
    with (
        outliving_the_reader(any((annotate, timeline, summary))),
        open_summary(summary, layout) if summary is not None else nullcontext() as totals,
    ):
        common: dict[str, Any] = {"format": kind, "output": output, "earlier": earlier, "summary": totals}
        common |= {"annotate": annotate, "redact": style}
        if of_videos:
            from facelex.cli.predict_video import predict_videos

            return predict_videos(videos, recognizer, layout, **common, **film)
        from facelex.cli.predict_pictures import predict_pictures

        return predict_pictures(pictures, recognizer, layout, **common, detect=detect)


def _check_pictures(
    inputs: Sequence[str], pictures: list[str], videos: list[str], film: Mapping[str, object]
) -> None:
    """Refuse what does not go with pictures, and tell of the videos beside them."""
    if film:
        name = next(iter(film)).removeprefix("max_")
        if videos:
            raise FacelexError(
                f"Expected videos alone with --{name}, but got {_counted(pictures, 'picture')}, such as "
                f"{shorten(pictures[0])!r}, beside {_counted(videos, 'video')}. Name the videos, such as "
                f"'{_pattern(videos)}'."
            )
        raise FacelexError(f"Expected a video or webcam:0 with --{name}, but got pictures. Leave it out.")
    if any(map(names_video, inputs)):
        raise FacelexError("Expected pictures or videos, but got both. Give them a call each.")
    check_there(pictures)
    if videos:
        tell(
            f"{_counted(videos, 'video')} skipped: give videos a call of their own, such as facelex predict "
            f"'{_pattern(videos)}'."
        )


def _check_resume(
    inputs: Sequence[str],
    output: Path | None,
    kind: str,
    *,
    summary: Path | None,
    timeline: Path | None,
    copies: Path | None,
) -> None:
    """Refuse what an unfinished file cannot be gone on with; ``copies`` is where annotated pictures go."""
    from facelex.recognize.earlier import RESUMABLE

    if output is None or kind not in RESUMABLE:
        came = "no --output" if output is None else f"{str(output)!r}, in the format {kind}"
        raise FacelexError(
            f"Expected an output that can be gone on with, .jsonl or .csv, with --resume, but got {came}. "
            "Name such a file with --output, or leave --resume out."
        )
    for option, path in (("--summary", summary), ("--timeline", timeline)):
        if path is not None:
            raise FacelexError(
                f"Expected --resume without {option}, which needs all faces from one call. Leave one out."
            )
    if copies is not None and kind == "csv":
        raise FacelexError(
            "Expected a .jsonl file with --resume and --annotate, but got a CSV, which does not hold the "
            "pictures without a face, so that annotated ones may take each other's names. Write .jsonl."
        )
    for item in inputs:
        if is_data_url(item) or is_camera(item):
            raise FacelexError(
                f"Expected files or addresses with --resume, but got {shorten(item)!r}, which is not known "
                "again by its name. Leave --resume out."
            )


def _tell_of_earlier(earlier: EarlierRows | None, sources: list[str], kind: str) -> None:
    """Say how many of the sources an unfinished file has already."""
    if earlier is not None and len(earlier.left) < len(sources):
        tell(
            f"{_counted(sources[len(earlier.left) :], kind)} taken over, {len(earlier.left):,} left to read."
        )


def _counted(files: list[str], kind: str) -> str:
    return f"1 {kind}" if len(files) == 1 else f"{len(files):,} {kind}s"


def _pattern(videos: list[str]) -> Path:
    """Return a glob that names the first of some videos and others like it."""
    first = Path(videos[0])
    return first.parent / f"*{first.suffix}"


def _format_of(output: Path | None) -> str:
    """Return the format that a file's suffix names; a table for the screen."""
    from facelex.recognize.writers import format_of

    if output is None or output.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        return "table"  # a picture's name is refused with advice once the input is known
    return format_of(output)
