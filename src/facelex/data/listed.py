"""A CSV that lists image files with their class names, and perhaps their splits."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from facelex.data.dataset import FaceDataset
from facelex.data.fer2013 import Progress
from facelex.data.labelled_file import SPLIT_NAMES, LabelledFile
from facelex.data.labelled_images import read_files
from facelex.data.mapping import COLUMN_ROLES
from facelex.data.options import ReadOptions
from facelex.data.packed import text_encoding
from facelex.data.voting import vote_columns, with_votes
from facelex.errors import FacelexError, unknown_name
from facelex.recognize.detection import Box

IMAGE_COLUMNS = ("image", "path", "file", "filename", "filepath", "source")
LABEL_COLUMNS = ("label", "emotion", "class", "expression")
SPLIT_COLUMNS = ("split", "usage")
BOX_COLUMNS = ("x", "y", "width", "height")
"""Where in the picture a face is, in pixels, as ``facelex predict`` writes it; all four or none."""


def read_listing(
    path: Path, options: ReadOptions | None = None, progress: Progress | None = None
) -> tuple[FaceDataset, list[str]]:
    """Read the images that a CSV lists, as :func:`facelex.data.folder.read_folder` does those of a folder.

    Args:
        path: The table; see :func:`listed_files`.
        options: How to read.
        progress: Called now and then with images read and images in all.

    Raises:
        FacelexError: If the table or an image cannot be read, or a class is unknown.
    """
    options = options or ReadOptions()
    files, notes = listed_files(path, options)
    dataset, more = read_files(path, files, options, progress)
    return dataset, notes + more


def listed_files(path: Path, options: ReadOptions | None = None) -> tuple[list[LabelledFile], list[str]]:
    """Return the images that a CSV lists, in order, and notes on what was left out.

    Columns are known by their names, case ignored: ``image``, ``path``, ``file``, ``filename``, ``filepath``
    or ``source`` for image files; ``label``, ``emotion``, ``class`` or ``expression`` for class names;
    perhaps ``split`` or ``usage``; perhaps `BOX_COLUMNS`. They are parted by commas, semicolons or tabs.
    Files are relative to the CSV's folder; those of a column ``source``, which ``facelex predict`` writes as
    they were named to it, else to the current folder. A row without a class name that says in the column
    ``error`` why its picture could not be read is left out.

    Where several people judged the images, ``options.votes`` names columns of votes; without them, and
    without class names, those that are called like emotions, or classes that the options name. Numbers are
    votes for what the column is called; else each column holds class names, one vote each
    (:func:`facelex.data.vote_cells.read_cells`). The rows of one image, or one face where there are
    boxes, are added up; what else they say is that of the first. Rows without an image are left out.

    Args:
        path: The table.
        options: How to read: columns to keep or to keep ``together`` become the files' attributes, the boxes
            of faces are read with ``find_faces``.

    Raises:
        FacelexError: If the file is no such CSV, or a row of it has no image, class or split, or no box of
            numbers with positive sides although some of it is there, or votes that cannot be read; or rows of
            one image name different splits.
    """
    options = options or ReadOptions()
    columns, boxes = options.columns, options.find_faces
    with _open_csv(path, numbered=_are_numbers(columns)) as (header, lines):
        rows = list(lines)
    places = _Columns.find(path, header, options)
    if not rows:
        raise FacelexError(f"Expected at least one labelled image in {path}, but there is only a header.")
    for number, row in rows:
        if len(row) != len(header):
            raise FacelexError(
                f"Expected {len(header)} columns in every row of {path}, but line {number} differs."
            )
    labelled = [(number, row) for number, row in rows if not places.tells_error(row)]
    if not labelled:
        raise FacelexError(f"Expected at least one labelled image in {path}, but its rows only tell errors.")
    notes = []
    if failed := len(rows) - len(labelled):
        notes.append(f"Left out: {failed:,} row{'s' * (failed > 1)} without a class, with an error instead.")
    if places.box and not boxes:
        notes.append(
            f"The boxes of {path.name} ({', '.join(BOX_COLUMNS)}) are not used without --find-faces."
        )
    if boxes:
        notes += _box_notes(path, header, columns, places)
    if places.votes:
        notes.append(_vote_note(header, places))
        imageless = [number for number, row in labelled if not row[places.image].strip()]
        if imageless:
            notes.append(f"Left out: {len(imageless):,} row{'s' * (len(imageless) > 1)} without an image.")
            labelled = [(number, row) for number, row in labelled if row[places.image].strip()]
        if not labelled:
            raise FacelexError(f"Expected at least one image in {path}, but no row names one.")
    files = [_labelled_file(path, places, row, number, boxes) for number, row in labelled]
    cells = [(line, [row[place].strip() for place in places.votes.values()]) for line, row in labelled]
    if _are_numbers(columns):
        said = [texts for _, texts in cells] if places.votes else [[file.label] for file in files]
        _refuse_header(path, [file.path for file in files], said)
    if places.votes:
        files, more = with_votes(path, files, list(places.votes), cells, options)
        notes += more
    return files, notes


def _vote_note(header: Sequence[str], places: _Columns) -> str:
    unused = [name for name in LABEL_COLUMNS if name in header and name not in places.votes]
    instead = f"; the column {unused[0]} is not used" if unused else ""
    return f"The label is what most votes in the columns {', '.join(places.votes)} say{instead}."


def _box_notes(path: Path, header: Sequence[str], columns: Mapping[str, str], places: _Columns) -> list[str]:
    """Say that the columns there are do not make boxes; it is an error where some were named as such.

    A list may well have a width and a height alone, of its pictures.
    """
    there = [name for name in BOX_COLUMNS if name in _called(path, header, columns)]
    if places.box or not there:
        return []
    lacking = ", ".join(name for name in BOX_COLUMNS if name not in there)
    said = f"{path.name} has a column {', '.join(there)}, but none {lacking}"
    if {*there} & {*columns}:
        raise FacelexError(
            f"Expected all four columns of boxes, {', '.join(BOX_COLUMNS)}, or none of them, but {said}. "
            "Name the others with --columns as well."
        )
    if there == ["width", "height"]:
        return []
    return [f"{said}: no boxes are read, and the largest face of each picture is taken."]


def _refuse_header(path: Path, images: Sequence[Path], said: Sequence[Sequence[str]]) -> None:
    """Refuse a first line that is no image, and says of it what no other says, where numbers mean a row."""
    first, others = images[0], images[1:]
    if (
        any(os.path.exists(image) for image in others[:1])  # noqa: PTH110 - raises where a name is too long
        and not os.path.exists(first)  # noqa: PTH110
        and not {*said[0]} & {*chain.from_iterable(said[1:])}
    ):
        raise FacelexError(
            f"Expected an image and its class in the first line of {path}, since --columns has numbers, but "
            f"got {first.name!r} and {', '.join(map(repr, said[0]))}. If it is a header, give the columns' "
            "names in place of their numbers, else correct it."
        )


@dataclass(frozen=True)
class _Columns:
    """Where in a row is what; None, or empty, where the table does not have it."""

    image: int
    label: int | None
    votes: Mapping[str, int]
    split: int | None
    error: int | None
    box: Sequence[int]
    kept: Mapping[str, int]
    by_predict: bool
    """Whether files are in the column that ``facelex predict`` writes."""

    @classmethod
    def find(cls, path: Path, named: Sequence[str], options: ReadOptions) -> _Columns:
        """Look for the columns in the header as `_called` gives it, and for those to keep as ``named``."""
        header = _called(path, named, options.columns)
        image = _role(path, named, header, IMAGE_COLUMNS, "image files", "FER2013's column pixels")
        there = {*LABEL_COLUMNS} & {*header}
        votes = options.votes or (() if there else vote_columns(header, options))
        label = None if votes else _role(path, named, header, LABEL_COLUMNS, "class names", "votes (--votes)")
        together = [options.together] if options.together else []
        kept = {name: _kept(path, named, name) for name in (*options.keep, *together)}
        voted = {name: _kept(path, named, name) for name in votes}
        twice = [name for name in (*kept, *voted) if named.count(name) > 1]
        if twice:
            raise FacelexError(
                f"Expected one column {twice[0]!r} in {path}, but it has several. Rename the others."
            )
        return cls(
            image,
            label,
            voted,
            split=next((header.index(name) for name in SPLIT_COLUMNS if name in header), None),
            error=header.index("error") if "error" in header else None,
            box=[header.index(name) for name in BOX_COLUMNS] if {*BOX_COLUMNS} <= {*header} else (),
            kept=kept,
            by_predict=header[image] == "source",
        )

    def tells_error(self, row: Sequence[str]) -> bool:
        """Whether a row has no class, but says why its picture could not be read."""
        if self.error is None or not row[self.error].strip():
            return False
        said = self.votes.values() if self.label is None else [self.label]
        return not any(row[place].strip() for place in said)


def _labelled_file(path: Path, columns: _Columns, row: Sequence[str], line: int, boxes: bool) -> LabelledFile:
    image = row[columns.image].strip()
    label = "" if columns.label is None else row[columns.label].strip()
    if not (image and (label or columns.votes)):
        what = "a class name" if image else "an image file"
        raise FacelexError(f"Expected {what} in every row of {path}, but line {line} has none.")
    return LabelledFile(
        _place(path.parent, image, by_predict=columns.by_predict),
        label,
        None if columns.split is None else _split(path, row[columns.split], line),
        {name: row[column].strip() for name, column in columns.kept.items()},
        _box(path, [row[column] for column in columns.box], line) if boxes else None,
    )


def _box(path: Path, texts: Sequence[str], line: int) -> Box | None:
    """Read the box of a face; None where nothing is said of it."""
    if not any(map(str.strip, texts)):
        return None
    try:
        x, y, width, height = map(float, texts)
    except ValueError:
        x = y = width = height = math.nan
    if not (math.isfinite(x + y) and 0 < width < math.inf and 0 < height < math.inf):
        raise FacelexError(
            f"Expected the box of a face as four numbers {', '.join(BOX_COLUMNS)} with positive sides, or "
            f"nothing, in every row of {path}, but line {line} has {', '.join(texts)}."
        )
    return x, y, width, height


def _place(folder: Path, name: str, *, by_predict: bool) -> Path:
    """Where an image lies; backslashes of a list that Windows wrote are taken for what they mean there."""
    if by_predict and not os.path.exists(folder / name) and os.path.exists(name):  # noqa: PTH110
        return Path(name)
    if "\\" not in name or (folder / name).exists():
        return folder / name
    return folder / name.replace("\\", "/")


def _are_numbers(columns: Mapping[str, str]) -> bool:
    return bool(columns) and all(name.isdecimal() for name in columns.values())


def _called(path: Path, header: Sequence[str], columns: Mapping[str, str]) -> Sequence[str]:
    """The header with the columns called what they hold; another column of that name loses it."""
    held: dict[int, str] = {}
    for role, name in columns.items():
        if role not in COLUMN_ROLES:
            raise unknown_name("use of a column", role, COLUMN_ROLES)
        if name not in header:
            raise unknown_name(f"column in {path}:", name, filter(None, header))
        held[header.index(name)] = role
    return [held.get(place, "" if name in held.values() else name) for place, name in enumerate(header)]


@contextmanager
def _open_csv(
    path: Path, errors: str = "strict", *, numbered: bool = False
) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """Give the columns' names in lower case, and each row with its line; ``errors`` as `open` has it.

    With ``numbered`` there is no header line, and the names are 1, 2, ... . Rows without anything in them
    are passed over, before the header as well.
    """
    try:
        with path.open("rb") as start:
            encoding = text_encoding(start.read(2))
        with path.open(newline="", encoding=encoding, errors=errors) as file:
            first = next((line for line in iter(partial(file.readline, 1 << 16), "") if line.strip()), "")
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=first.count))
            rows: Iterator[tuple[int, list[str]]] = (
                (reader.line_num, row) for row in reader if any(map(str.strip, row))
            )
            number, row = next(rows, (0, []))
            header = [name.strip().lower() for name in row]
            if any("\0" in name for name in header):
                raise FacelexError(f"{path} looks like UTF-16 without its mark. Save it as UTF-8.")
            if numbered:
                header = [str(place) for place, _ in enumerate(row, start=1)]
                rows = chain([(number, row)] if row else [], rows)
            yield header, rows
    except (UnicodeError, csv.Error) as error:
        raise FacelexError(f"Expected {path} to be a CSV file in UTF-8, but it is not: {error}.") from error


def read_header(path: Path) -> list[str]:
    """Names of a CSV's columns in lower case.

    Those of a file in another encoding are read as well; reading its rows will refuse it.

    Raises:
        FacelexError: If the file is no CSV.
    """
    with _open_csv(path, errors="replace") as (header, _):
        return header


def _role(
    path: Path, named: Sequence[str], header: Sequence[str], names: Sequence[str], what: str, other: str
) -> int:
    """Find the column of one of the names in ``header``, as `_called` gives it; the rest is for messages."""
    for name in names:
        if name in header:
            return header.index(name)
    raise FacelexError(
        f"Expected a column of {what} ({', '.join(names)}), or {other}, in {path}, but its columns are: "
        f"{', '.join(named) or 'none'}. If it is called otherwise, say so with the option "
        f"--columns {names[0]}=NAME of 'facelex data prepare'."
    )


def _kept(path: Path, named: Sequence[str], name: str) -> int:
    if name not in named:
        raise unknown_name(f"column in {path}:", name, filter(None, named))
    return named.index(name)


def _split(path: Path, name: str, line: int) -> int:
    code = SPLIT_NAMES.get(name.strip().lower())
    if code is None:
        raise FacelexError(
            f"Expected train, val or test as the split in every row of {path}, but line {line} has {name!r}."
        )
    return code
