"""What ``facelex predict`` does with video files or a camera."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from facelex.cli.options import DONE, FAILED, STOPPED
from facelex.cli.screen import tell
from facelex.errors import FacelexError, one_line
from facelex.recognize.sources import check_there, is_camera

if TYPE_CHECKING:
    from facelex.recognize.earlier import EarlierRows
    from facelex.recognize.face_tracker import FrameResult
    from facelex.recognize.layouts import TableLayout
    from facelex.recognize.recognizer import Recognizer
    from facelex.recognize.video import VideoResult
    from facelex.recognize.writers import Writer

MOST_LINES = 20
"""Faces shown in the table for people."""


def predict_videos(
    sources: Sequence[str],
    recognizer: Recognizer,
    layout: TableLayout,
    *,
    format: str,
    output: Path | None,
    earlier: EarlierRows | None,
    summary: Writer | None,
    annotate: Path | None,
    redact: str | None,
    timeline: Path | None = None,
    **options: Any,
) -> int:
    """Analyse videos one after the other, show their progress and write one table; returns the exit code.

    One that cannot be read is told, has a row with an error, also in the summary, and the others go on.
    Videos that the rows of an earlier call have whole are left out.
    """
    from facelex.recognize.frames import UnreadableVideoError
    from facelex.recognize.writers import open_writer

    several = len(sources) > 1
    if several:
        _check_several(sources, annotate, timeline)
    rows, target = format != "table", output or sys.stdout
    shared = rows and (several or earlier is not None)  # else `predict_video` opens and closes the table
    left = sources if earlier is None else earlier.left
    with (
        _screen_table(format, output) as shown,
        open_writer(format, target, layout, earlier=earlier) if shared else nullcontext() as writer,
    ):
        options |= {
            "words": layout.words or None,
            "table": target if rows and not shared else None,
            "table_format": format,
            "writer": writer,
            "embedding": layout.embed_dim > 0,
            "landmarks": layout.landmarks,
            "redact": redact,
            "timeline": timeline,
        }
        call = _Call(
            recognizer,
            options,
            annotated=dict(_annotated_paths(sources, annotate)),
            earlier=earlier,
            summary=summary,
            shown=shown,
            several=several,
            rows_on_screen=rows and output is None,
        )
        for number, source in enumerate(left, start=1):
            try:
                result = call.read(source, f"Reading {number} of {len(left)}" if several else "Reading")
            except UnreadableVideoError as error:
                if not several:
                    raise
                call.leave_out(source, error)
                continue
            except KeyboardInterrupt:  # before its first frame or after its last
                if number == 1:
                    raise
                tell(f"stopped at {source}; what was done is kept.")
                return STOPPED
            call.keep(source, result)
            if result.interrupted:
                where = f"in {source} at" if several else "at"
                tell(f"stopped {where} {result.seconds:.1f} s; what was done is kept.")
                return STOPPED
    return FAILED if call.failed else DONE


@dataclass
class _Call:
    """One call's videos: how each is read, and where its results go beside the table."""

    recognizer: Recognizer
    options: Mapping[str, Any]
    """Of `facelex.recognize.video.predict_video`, the same for all."""
    annotated: Mapping[str, Path | None]
    """Where the annotated copy of each goes."""
    earlier: EarlierRows | None
    summary: Writer | None
    shown: IO[str] | None
    """Where the table for people goes."""
    several: bool
    rows_on_screen: bool
    failed: bool = False
    """Whether a video could not be read to its end."""

    def read(self, source: str, place: str) -> VideoResult:
        """Analyse a video, its progress on the screen; ``place`` says which of how many it is."""
        from facelex.recognize.video import predict_video

        crossed = self.rows_on_screen and sys.stdout.isatty()  # rows on the same screen would cross the bar
        with _shown(bar=not crossed, rows=self.rows_on_screen, place=place) as progress:
            annotate = self.annotated[source]
            return predict_video(
                source, self.recognizer, annotate=annotate, progress=progress, **self.options
            )

    def leave_out(self, source: str, error: Exception) -> None:
        """Tell of a video that cannot be read at all, in the tables too."""
        from facelex.recognize.results import ImageResult

        self.failed = True
        tell(str(error))
        for table in (self.options["writer"], self.summary):
            if table is not None:
                table.write(ImageResult(source, error=str(error)))

    def keep(self, source: str, result: VideoResult) -> None:
        """Write and show what came of a video.

        Raises:
            KeyboardInterrupt: If it was stopped before it was further than the earlier call.
        """
        earlier = self.earlier
        further = earlier is None or source != earlier.begun or result.seconds >= earlier.reached
        if result.interrupted and not further:  # what lies in the output's place holds more of it
            raise KeyboardInterrupt
        if self.summary is not None:
            self.summary.write(result)
            if result.forgotten:
                tell(f"{source}: {result.forgotten:,} faces, seen most briefly, are not in the summary.")
        if self.shown is not None:
            if self.several:
                print(one_line(source), file=self.shown)
            _print_table(result, self.shown)
        if result.error is not None:
            self.failed = True
            tell(f"{source}: {result.error}")


def _check_several(sources: Sequence[str], annotate: Path | None, timeline: Path | None) -> None:
    """Refuse what goes with one video alone."""
    if any(is_camera(source) for source in sources):
        raise FacelexError(
            f"Expected one camera, or videos, but got {len(sources)} inputs. Give a camera its own call."
        )
    if timeline is not None:
        raise FacelexError(
            f"Expected one video with --timeline, but got {len(sources)}. Give each its own call."
        )
    if annotate is not None and annotate.suffix and not annotate.is_dir():
        raise FacelexError(
            f"Expected a folder for {len(sources)} annotated videos, but got {str(annotate)!r}. Name it "
            f"{annotate.stem!r}, or make the folder first."
        )
    check_there(sources)


def _annotated_paths(sources: Sequence[str], annotate: Path | None) -> list[tuple[str, Path | None]]:
    """Give each video the file for its annotated one; of several, names that meet no other and no input."""
    if annotate is None or len(sources) == 1:
        return [(source, annotate) for source in sources]
    from facelex.recognize.annotated import FreeNames

    names = FreeNames(annotate, sources)
    return [(source, names.take(Path(source).stem, ".mp4")) for source in sources]


@contextmanager
def _shown(*, bar: bool, rows: bool, place: str) -> Iterator[Callable[[FrameResult, float | None], None]]:
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
        task = shown.add_task("", total=None, place=place)

        def progress(result: FrameResult, total: float | None) -> None:
            send()
            time = _clock(result.time) + (f" of {_clock(total)}" if total else "")
            at = f"{place}, {time}" if place != "Reading" else time
            shown.update(
                task, total=total, completed=result.time, place=at, description=escape(_sight(result))
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
def _screen_table(format: str, output: Path | None) -> Iterator[IO[str] | None]:
    """Open where the table for people goes, before the video is read; None where rows are asked for."""
    if format != "table":
        yield None
    elif output is None:
        yield sys.stdout
    else:
        from facelex.recognize.writers import open_stream

        with open_stream(output) as stream:
            yield stream


def _print_table(result: VideoResult, stream: IO[str]) -> None:
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
    faces = len(result.tracks) + result.forgotten
    more = faces - len(longest)
    console.print(
        f"{result.frames} frames analysed over {result.seconds:.1f} s, "
        + (f"{faces} faces" if faces != 1 else "1 face")
        + (f", somebody in sight in {result.in_sight:.0%} of them" if faces else "")
        + (f"; {more} seen more briefly are not listed" if more else ""),
        highlight=False,
    )
