"""Results as files and screens: JSON, CSV, Parquet and a table, written while they come where possible."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Protocol

from facelex.errors import FacelexError, one_line, printable, require, unknown_name
from facelex.files import check_suffix, replacing
from facelex.recognize.earlier import EarlierRows
from facelex.recognize.layouts import Record, TableLayout
from facelex.recognize.results import Face, Result
from facelex.recognize.sources import IMAGE_SUFFIXES, is_video

SUFFIXES = {
    "json": (".json",),
    "jsonl": (".jsonl",),
    "csv": (".csv",),
    "parquet": (".parquet", ".pq"),
    "table": (".txt", ""),
}
"""Formats and the suffixes that name them."""
FORMATS = tuple(SUFFIXES)
ROW_FORMATS = FORMATS[:-1]
"""Those for programs; a table is for people."""
ROWS_PER_GROUP = 10_000
"""Rows held before a Parquet row group is written."""

_TYPES = {
    "source": "string",
    "emotion": "string",
    "error": "string",
    "face": "int32",
    "faces": "int32",
    "frame": "int64",
    "frames": "int64",
    "video_frames": "int64",
    "unsure": "bool_",
    "interrupted": "bool_",
}
"""Types of Parquet columns; all others are numbers."""


class Writer(Protocol):
    """Takes results, or summaries, one by one; `close` completes the output."""

    def write(self, result: Any) -> None:
        """Add one result."""
        ...

    def close(self) -> None:
        """Write what is still held."""
        ...


class JsonWriter:
    """A JSON list with one object an image, each on its own line as soon as it is known."""

    def __init__(self, stream: IO[str], layout: TableLayout) -> None:
        self._stream = stream
        self._layout = layout
        self._count = 0
        stream.write("[")

    def write(self, result: Record) -> None:
        """Add one object: ``{"source", "width", "height", "faces"}`` or ``{"source", "error"}``."""
        text = _to_json(self._layout.record(result), self._stream)
        self._stream.write(("," if self._count else "") + "\n" + text)
        self._count += 1

    def close(self) -> None:
        """End the list."""
        self._stream.write("\n]\n" if self._count else "]\n")


class JsonLinesWriter:
    """One JSON object a line, of which a half-written file can still be read."""

    def __init__(self, stream: IO[str], layout: TableLayout) -> None:
        self._stream = stream
        self._layout = layout

    def write(self, result: Record) -> None:
        """Add one line."""
        self._stream.write(_to_json(self._layout.record(result), self._stream) + "\n")

    def close(self) -> None:
        """Nothing is held back."""


class CsvWriter:
    """A row a face under one header line."""

    def __init__(self, stream: IO[str], layout: TableLayout) -> None:
        self._rows = csv.DictWriter(stream, layout.columns, lineterminator="\n")
        self._layout = layout
        self._rows.writeheader()

    def write(self, result: Record) -> None:
        """Add the rows of one image."""
        self._rows.writerows(self._layout.rows(result))

    def close(self) -> None:
        """Nothing is held back."""


class ParquetWriter:
    """A row a face with typed columns, in row groups."""

    def __init__(self, stream: IO[bytes], layout: TableLayout) -> None:
        self._layout = layout
        self._arrow = require("pyarrow", "table", "Parquet")
        parquet = require("pyarrow.parquet", "table", "Parquet")
        types = _TYPES | {"unsure": "float64"} if layout.summary else _TYPES  # of summaries the mean
        self._schema = self._arrow.schema(
            [(name, getattr(self._arrow, types.get(name, "float64"))()) for name in layout.columns]
        )
        self._file = parquet.ParquetWriter(stream, self._schema)
        self._held: list[dict[str, Any]] = []

    def write(self, result: Record) -> None:
        """Add the rows of one image."""
        self._held += self._layout.rows(result)
        if len(self._held) >= ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        """Write the last row group and the footer."""
        self._flush()
        self._file.close()

    def abandon(self) -> None:
        """Let go of the stream, to which it would else try to write when nobody expects it."""
        with suppress(Exception):  # the disk may be full; what was written is thrown away
            self._file.close()

    def _flush(self) -> None:
        if self._held:
            self._file.write_table(self._arrow.Table.from_pylist(self._held, schema=self._schema))
            self._held = []


class TableWriter:
    """A table for people: a line a face, the most probable emotions, the words from best to worst."""

    def __init__(self, stream: IO[str], layout: TableLayout) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table

        self._console = Console(file=stream, emoji=False)
        self._table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading, justify in (("source", "left"), ("face", "right"), ("box", "left"), ("emotion", "left")):
            self._table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
        self._table.add_column("also")
        self._has_words = bool(layout.words)
        if self._has_words:
            self._table.add_column("words")

    def write(self, result: Result) -> None:
        """Add the lines of one image."""
        from rich.markup import escape

        source = escape(one_line(result.source))
        if result.error is not None:
            self._table.add_row(source, "", "", f"[red]{escape(printable(result.error))}[/]")
        elif not result.faces:
            self._table.add_row(source, "", "", "[dim]no face found[/]")
        for index, face in enumerate(result.faces):
            self._table.add_row(source if index == 0 else "", str(index), *self._cells(face))

    def _cells(self, face: Face) -> list[str]:
        from rich.markup import escape

        ranked = sorted(face.probabilities.items(), key=lambda item: -item[1])
        (name, best), others = ranked[0], ranked[1:3]
        emotion = f"{escape(name)} {best:.0%}"
        cells = [
            " ".join(f"{value:.0f}" for value in face.box),
            f"[dim]{emotion}, unsure[/]" if face.unsure else f"[bold]{emotion}[/]",
            ", ".join(f"{escape(name)} {p:.0%}" for name, p in others),
        ]
        if self._has_words:
            words = sorted(face.words.items(), key=lambda item: -item[1])
            cells.append(", ".join(f"{escape(word)} {score:.2f}" for word, score in words))
        return cells

    def close(self) -> None:
        """Print the table: within the terminal, or as wide as it needs to be for a pipe or a file."""
        if not self._console.is_terminal:
            self._console.width = 10**5  # rich measures within the console's width
            self._console.width = self._console.measure(self._table).maximum + 1
        self._console.print(self._table)


def check_output(output: Path, inputs: Iterable[str], tools: Iterable[str | Path | None] = ()) -> None:
    """Refuse a file for the results that would replace an input, or be taken for a picture or a video.

    Args:
        output: The file to be written.
        inputs: What is read: paths, addresses, a camera.
        tools: Files that reading needs, such as a model.

    Raises:
        FacelexError: If it is one of these, or a folder.
    """
    kind = "video" if is_video(output) else "picture"
    given = {os.path.realpath(item) for item in inputs}
    if any(os.path.realpath(output) == os.path.realpath(item) for item in tools if item is not None):
        raise FacelexError(
            f"The results would replace {str(output)!r}, which they are made with. Name another file."
        )
    if kind == "video" or output.suffix.lower() in IMAGE_SUFFIXES or os.path.realpath(output) in given:
        raise FacelexError(
            f"Expected a file for the results such as faces.csv, but got the {kind} {str(output)!r}. For "
            "annotated pictures or videos use --annotate DIR, for emotions over time --timeline FILE."
        )
    if output.is_dir():
        raise FacelexError(
            f"Expected a file for the results such as faces.csv, but {str(output)!r} is a folder."
        )


def check_summary(summary: Path, output: Path | None) -> None:
    """Refuse a file that cannot take the summaries.

    Args:
        summary: The file to be written.
        output: That of the results.

    Raises:
        FacelexError: If its suffix names no format for programs, or it is the same file.
    """
    suffixes = tuple(suffix for kind in ("csv", "json", "jsonl", "parquet") for suffix in SUFFIXES[kind])
    check_suffix(summary, suffixes, "the summary")
    if output is not None and os.path.realpath(output) == os.path.realpath(summary):
        raise FacelexError(
            f"Expected a file of its own for the summary, but {str(summary)!r} takes the results. Name "
            "another."
        )


def format_of(path: Path, formats: Sequence[str] = FORMATS) -> str:
    """Return the one of ``formats`` that a file's suffix names.

    Raises:
        FacelexError: If it names none of them.
    """
    for kind in formats:
        if path.suffix.lower() in SUFFIXES[kind]:
            return kind
    *most, last = (SUFFIXES[kind][0] for kind in formats)
    raise FacelexError(
        f"Expected a file for the results named {', '.join(most)} or {last}, but got {str(path)!r}. Rename "
        "it, or say what it shall hold with --format (table_format=)."
    )


@contextmanager
def open_writer(
    kind: str, target: Path | IO[str], layout: TableLayout, *, earlier: EarlierRows | None = None
) -> Iterator[Writer]:
    """Open a writer of results.

    A file appears in its place only when all is written; if something goes wrong half-way there is none.

    Args:
        kind: ``table``, ``json``, ``jsonl``, ``csv`` or ``parquet``.
        target: File to write, or an open text stream such as ``sys.stdout`` (not for Parquet).
        layout: What it holds, from `Recognizer.table_layout`. A table for people never has features.
        earlier: Rows to begin with, of a file of this format and layout, which may be the target.

    Raises:
        FacelexError: If the format is not known or the file cannot be written.
    """
    if kind not in FORMATS:
        raise unknown_name("format", kind, FORMATS)
    if kind == "parquet" and not isinstance(target, Path):
        raise FacelexError("Parquet is no text for the screen. Name a file: --output faces.parquet")
    opened = (
        open_stream(target, binary=kind == "parquet") if isinstance(target, Path) else nullcontext(target)
    )
    with opened as stream, _closing(_WRITERS[kind](stream, layout)) as writer:
        if earlier is not None:
            earlier.copy_to(stream)
        yield writer


def open_summary(target: Path, layout: TableLayout) -> AbstractContextManager[Writer]:
    """Open a writer of summaries: a row a picture, or a row a face of each video.

    It takes `VideoResult` or `ImageSummary`, and `ImageResult` for what could not be read. The file appears
    in its place only when all is written; if something goes wrong half-way there is none.

    Args:
        target: File to write: .csv, .json, .jsonl or .parquet.
        layout: That of the results, from `Recognizer.table_layout`.

    Raises:
        FacelexError: If the suffix is another one, or the file cannot be written.
    """
    check_summary(target, None)
    return open_writer(
        format_of(target, ROW_FORMATS), target, replace(layout, embed_dim=0, landmarks=False, summary=True)
    )


_WRITERS: dict[str, Callable[[IO[Any], TableLayout], Writer]] = {
    "json": JsonWriter,
    "jsonl": JsonLinesWriter,
    "csv": CsvWriter,
    "parquet": ParquetWriter,
    "table": TableWriter,
}


def _to_json(record: dict[str, Any], stream: IO[str]) -> str:
    return json.dumps(record, ensure_ascii=not shows_all(stream), allow_nan=False)


def shows_all(stream: IO[str]) -> bool:
    """Whether a text stream can hold every letter; JSON has escapes of its own for those it cannot."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")


@contextmanager
def _closing(writer: Writer) -> Iterator[Writer]:
    try:
        yield writer
    except BaseException:
        if isinstance(writer, ParquetWriter):
            writer.abandon()
        raise
    writer.close()  # only when all went well: a half-written list is not completed


@contextmanager
def open_stream(target: Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a file beside ``target``, in a folder that exists, that takes its place at the end.

    Raises:
        FacelexError: If it cannot be written.
    """
    if not target.parent.is_dir():
        raise FacelexError(
            f"Could not write {str(target)!r}: there is no folder {str(target.parent)!r}. Make it, or choose "
            "another place."
        )
    # file names, which the text holds, need not be valid Unicode
    text: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    with replacing(target) as part, part.open("wb") if binary else part.open("w", **text) as stream:
        yield stream
