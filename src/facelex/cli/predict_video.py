"""What ``facelex predict`` does with a video file or a camera."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from facelex.cli.options import STOPPED
from facelex.cli.screen import tell

if TYPE_CHECKING:
    from facelex.recognize.recognizer import Recognizer
    from facelex.recognize.video import FrameResult, VideoResult

MOST_LINES = 20
"""Faces shown in the table for people."""


def predict_video(
    source: str,
    recognizer: Recognizer,
    *,
    words: str | None,
    format: str,
    output: Path | None,
    annotate: Path | None,
    redact: str | None,
    **options: Any,
) -> int:
    """Analyse one video, show its progress and write its table; returns the exit code."""
    from facelex.recognize import video

    on_screen = format != "table" and output is None
    crossed = on_screen and sys.stdout.isatty()  # rows on the same screen would cross the bar
    with _summary_stream(format, output) as summary:
        with _shown(bar=not crossed, rows=on_screen) as progress:
            result = video.predict_video(
                source,
                recognizer,
                words=words,
                table=None if format == "table" else output or sys.stdout,
                table_format=None if format == "table" else format,
                annotate=annotate,
                redact=redact,
                progress=progress,
                **options,
            )
        if summary is not None:
            _print_summary(result, summary)
    if result.error is not None:
        tell(f"{source}: {result.error}")
    if result.interrupted:
        tell(f"stopped at {result.seconds:.1f} s; what was done is kept.")
        return STOPPED
    return 0 if result.error is None else 1


@contextmanager
def _shown(*, bar: bool, rows: bool) -> Iterator[Callable[[FrameResult, float | None], None]]:
    """Give the callback that sends rows off and shows, to a person, how far it is and who is in sight."""

    def send(*_: object) -> None:
        if rows:
            sys.stdout.flush()  # whoever reads a camera's rows wants them now

    if not bar or not sys.stderr.isatty():
        yield send
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[place]}"), BarColumn(bar_width=24), TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=None, place="Reading")

        def progress(result: FrameResult, total: float | None) -> None:
            send()
            place = _clock(result.time) + (f" of {_clock(total)}" if total else "")
            shown.update(
                task, total=total, completed=result.time, place=place, description=escape(_sight(result))
            )

        yield progress


def _sight(result: FrameResult) -> str:
    """Return the faces in sight, in words: ``#1 happy 93%, #2 neutral 71%``."""
    faces = [f"#{id_} {face.emotion} {face.probability:.0%}" for id_, face in zip(result.ids, result.faces)]
    more = f" and {len(faces) - 3} more" if len(faces) > 3 else ""
    return ", ".join(faces[:3]) + more


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def _summary_stream(format: str, output: Path | None) -> Iterator[IO[str] | None]:
    """Open where the summary goes, before the video is read; None where rows are asked for."""
    if format != "table":
        yield None
    elif output is None:
        yield sys.stdout
    else:
        from facelex.recognize.writers import open_stream

        with open_stream(output) as stream:
            yield stream


def _print_summary(result: VideoResult, stream: IO[str]) -> None:
    """Show each face over the whole video."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    words = any(track.words for track in result.tracks)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("face", "from", "to", "frames"):
        table.add_column(heading, justify="right")
    for heading in ("emotion on average", "also", *(["words on average"] if words else [])):
        table.add_column(heading)
    longest = sorted(result.tracks, key=lambda track: -track.frames)[:MOST_LINES]
    for track in sorted(longest, key=lambda track: track.id):
        (name, best), *others = sorted(track.probabilities.items(), key=lambda item: -item[1])
        cells = [
            str(track.id), f"{track.first:.1f} s", f"{track.last:.1f} s", str(track.frames),
            f"[bold]{escape(name)} {best:.0%}[/]",
            ", ".join(f"{escape(other)} {p:.0%}" for other, p in others[:2]),
        ]  # fmt: skip
        if words:
            ranked = sorted(track.words.items(), key=lambda item: -item[1])
            cells.append(", ".join(f"{escape(word)} {score:.2f}" for word, score in ranked))
        table.add_row(*cells)
    console = Console(file=stream, width=None if stream.isatty() else 200, emoji=False)
    if result.tracks:
        console.print(table)
    more = len(result.tracks) - len(longest)
    console.print(
        f"{result.frames} frames analysed over {result.seconds:.1f} s, "
        + (f"{len(result.tracks)} faces" if len(result.tracks) != 1 else "1 face")
        + (f"; {more} seen more briefly are not listed" if more else ""),
        highlight=False,
    )
