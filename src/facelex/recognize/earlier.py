"""The rows that an earlier call has written before it was stopped, with which another one goes on."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, NamedTuple

from facelex.errors import FacelexError, shorten
from facelex.recognize.layouts import TableLayout, table_source

RESUMABLE = ("jsonl", "csv")
"""Formats that can be gone on with: what was written of them can be read line by line."""
NAMED = 3
"""Columns named in a message."""


class _Row(NamedTuple):
    source: str
    failed: bool
    """Whether it says that something could not be read."""
    seconds: float
    """Its time in a video; 0 of a picture and where something failed."""
    held: Any
    """The line of a JSON lines file, the cells of a CSV."""


class EarlierRows:
    """What a file holds already, of which all is kept but what is read again.

    Read again is what could not be read, and the last source where nothing tells that it is complete: the
    last video, and in CSV the last picture. Sources are the same where they are called the same.
    """

    def __init__(self, path: Path, kind: str, layout: TableLayout, sources: Sequence[str]) -> None:
        """Look through the file, which is not held in memory.

        Args:
            path: The file; one that is not there has no rows.
            kind: ``jsonl`` or ``csv``.
            layout: What the new rows hold.
            sources: The pictures or the videos that are asked for.

        Raises:
            FacelexError: If the file cannot be read, is none of `predict`, or holds something else.
        """
        if path.exists() and not path.is_file():
            raise FacelexError(f"Expected a file to go on with, but {str(path)!r} is none. Name another one.")
        self._path, self._kind, self._layout = path, kind, layout
        seen: dict[str, str] = {}
        failed: set[str] = set()
        unsure: set[str] = set()
        self.reached = 0.0
        """Seconds up to which the file holds its last video."""
        for row in self._rows():
            name, self.reached = table_source(row.source), row.seconds
            seen.setdefault(name, row.source)
            if row.failed:
                failed.add(name)
            if layout.video or kind == "csv":
                unsure = {name}
        again = failed | unsure
        self._again = again & set(map(table_source, sources))
        self.complete = [source for name, source in seen.items() if name not in again]
        """Sources that need not be read again, also those that are not asked for, in the file's order."""
        left = [source for source in sources if (name := table_source(source)) not in seen or name in again]
        self.begun = next((source for source in left if table_source(source) in unsure), None)
        """The one of them that is perhaps not complete in the file."""
        first = 0 if self.begun is None else left.index(self.begun)
        self.left = left[first:] + left[:first]
        """Those of the sources that are still to be read: the one begun, those after it, the rest."""

    def copy_to(self, stream: IO[str]) -> None:
        """Write the rows that are kept, without a header, as they stand in the file."""
        cells = csv.writer(stream, lineterminator="\n")
        for row in self._rows():
            if table_source(row.source) not in self._again:
                _ = stream.write(f"{row.held}\n") if self._kind == "jsonl" else cells.writerow(row.held)

    def _rows(self) -> Iterator[_Row]:
        if not self._path.exists():
            return
        try:
            # what is no valid Unicode is written in the end as names that are none: \udcff
            with self._path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
                yield from self._lines(stream) if self._kind == "jsonl" else self._cells(stream)
        except OSError as error:
            raise FacelexError(
                f"Could not open {str(self._path)!r}: {error.strerror}. Check its permissions."
            ) from error
        except csv.Error as error:
            raise self._strange("it") from error

    def _lines(self, stream: IO[str]) -> Iterator[_Row]:
        for number, line in enumerate(stream, start=1):
            try:
                record = json.loads(line)
                seconds = float(record.get("time_s", 0.0))
                row = _Row(str(record["source"]), "error" in record, seconds, line.rstrip("\r\n"))
                layouts = [] if row.failed else _layouts(record, self._layout)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                if not line.endswith("\n"):  # the last one, if a process was killed while it wrote
                    return
                raise self._strange(f"its line {number:,}") from error
            for layout in layouts:
                if layout != self._layout:
                    raise self._unfit(layout.columns)
            yield row

    def _cells(self, stream: IO[str]) -> Iterator[_Row]:
        rows = csv.reader(stream)
        columns = self._layout.columns
        header = tuple(next(rows, columns))
        if header != columns:
            raise self._unfit(header)
        time = columns.index("time_s") if self._layout.video else None
        for cells in rows:
            if len(cells) != len(columns):
                number = rows.line_num
                if next(rows, None) is None:  # as above
                    return
                raise self._strange(f"its line {number:,}")
            failed = bool(cells[-1])
            try:
                seconds = 0.0 if time is None or failed else float(cells[time])
            except ValueError as error:
                raise self._strange(f"its line {rows.line_num:,}") from error
            yield _Row(cells[0], failed, seconds, cells)

    def _strange(self, place: str) -> FacelexError:
        return FacelexError(
            f"Expected {str(self._path)!r} to be what an earlier call has written, but {place} is something "
            "else. Correct it, or name another file."
        )

    def _unfit(self, columns: Sequence[str]) -> FacelexError:
        """Say what a file holds too much or too little of."""
        ours = self._layout.columns
        faults = [
            f"{verb} {shorten(', '.join(names[:NAMED]))}{', ...' if len(names) > NAMED else ''}"
            for verb, names in (
                ("lacks", [name for name in ours if name not in columns]),
                ("holds", [name for name in columns if name not in ours]),
            )
            if names
        ]
        return FacelexError(
            f"Expected {str(self._path)!r} to hold what this call writes, but it "
            f"{' and '.join(faults) or 'has the columns in another order'}. Give the same words and options "
            "as before, or name another file."
        )


def _layouts(record: dict[str, Any], ours: TableLayout) -> list[TableLayout]:
    """Return what the faces of a JSON object hold, which without a face is no more than its kind."""
    video = "time_s" in record
    return [
        TableLayout(
            tuple(face["probabilities"]),
            tuple(face["words"]),
            len(face.get("embedding") or ()),
            video,
            landmarks=ours.landmarks and "landmarks" in face,
        )
        for face in record["faces"]
    ] or [replace(ours, video=video)]
