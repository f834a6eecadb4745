"""A CSV that lists image files with their class names, and perhaps their splits."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from facelex.data.dataset import FaceDataset
from facelex.data.fer2013 import Progress
from facelex.data.folder import SPLIT_FOLDERS, LabelledFile, read_files
from facelex.data.splits import DEFAULT_SHARES, Shares
from facelex.errors import FacelexError

IMAGE_COLUMNS = ("image", "path", "file", "filename", "filepath")
LABEL_COLUMNS = ("label", "emotion", "class", "expression")
SPLIT_COLUMNS = ("split", "usage")


def is_listing(path: Path) -> bool:
    """Return whether a file is a CSV that has a column of image files and none of pixels."""
    if path.suffix.lower() != ".csv":
        return False
    try:
        header = _read_header(path)
    except FacelexError:
        return False
    return "pixels" not in header and any(name in header for name in IMAGE_COLUMNS)


def holds_pixels(path: Path) -> bool:
    """Return whether a CSV has a column of pixels, as FER2013's does.

    Raises:
        FacelexError: If it is no CSV.
    """
    return "pixels" in _read_header(path)


def read_listing(
    path: Path,
    size: int = 48,
    classes: Sequence[str] | None = None,
    split: Shares = DEFAULT_SHARES,
    seed: int = 0,
    skip_bad: bool = False,
    progress: Progress | None = None,
    *,
    find_faces: bool = False,
    keep: Sequence[str] = (),
    mapping: Mapping[str, str] | None = None,
    together: str | None = None,
) -> tuple[FaceDataset, list[str]]:
    """Read the images that a CSV lists, as :func:`facelex.data.folder.read_folder` does those of a folder.

    Args:
        path: The table; see :func:`listed_files`.
        size: As for a folder, and so are the other arguments, with class names of the table for folders.
        classes: Class names in label order, or ``AUTO``; by default the seven emotions in any spelling.
        split: Shares of train, val and test where the table gives no splits.
        seed: Seed of those splits.
        skip_bad: Leave out images that cannot be read.
        progress: Called now and then with images read and images in all.
        find_faces: Take the largest face of each image and leave images without one out.
        keep: Further columns to keep beside the pictures, as ``FaceDataset.attributes``.
        mapping: Class names of the table, case ignored, and what to call them, or ``ignore``.
        together: A further column, such as ``subject``; images with the same value are drawn into one split.

    Raises:
        FacelexError: If the table or an image cannot be read, or a class is unknown.
    """
    forget = together if together not in keep else None
    columns = [*keep, *([forget] if forget else [])]
    return read_files(
        path, listed_files(path, columns), size, classes, split, seed, skip_bad, progress,
        find_faces=find_faces, what="class", mapping=mapping, together=together, forget=forget,
    )  # fmt: skip


def listed_files(path: Path, keep: Sequence[str] = ()) -> list[LabelledFile]:
    """Return the images that a CSV lists, in order, with what it says in the columns ``keep``.

    Columns are known by their names, case ignored: ``image``, ``path``, ``file``, ``filename`` or
    ``filepath`` for image files, relative to the CSV's folder; ``label``, ``emotion``, ``class`` or
    ``expression`` for class names; perhaps ``split`` or ``usage``. They are parted by commas, semicolons or
    tabs.

    Raises:
        FacelexError: If the file is no such CSV, or a row of it has no image, class or split.
    """
    with _open_csv(path) as (header, lines):
        rows = [(number, row) for number, row in lines if row]
    image_column = _column(path, header, IMAGE_COLUMNS, "image files")
    label_column = _column(path, header, LABEL_COLUMNS, "class names")
    split_column = next((header.index(name) for name in SPLIT_COLUMNS if name in header), None)
    kept = {name: _column(path, header, (name,), "that name") for name in map(str.lower, keep)}
    twice = [name for name in kept if header.count(name) > 1]
    if twice:
        raise FacelexError(
            f"Expected one column {twice[0]!r} in {path}, but it has several. Rename the others."
        )
    if not rows:
        raise FacelexError(f"Expected at least one labelled image in {path}, but there is only a header.")
    files = []
    for number, row in rows:
        if len(row) != len(header):
            raise FacelexError(
                f"Expected {len(header)} columns in every row of {path}, but line {number} differs."
            )
        image, label = row[image_column].strip(), row[label_column].strip()
        if not (image and label):
            what = "a class name" if image else "an image file"
            raise FacelexError(f"Expected {what} in every row of {path}, but line {number} has none.")
        split = None if split_column is None else _split(path, row[split_column], number)
        attributes = {name: row[column].strip() for name, column in kept.items()}
        files.append(LabelledFile(_place(path.parent, image), label, split, attributes))
    return files


def _place(folder: Path, name: str) -> Path:
    """Where an image lies; backslashes of a list that Windows wrote are taken for what they mean there."""
    if "\\" not in name or (folder / name).exists():
        return folder / name
    return folder / name.replace("\\", "/")


@contextmanager
def _open_csv(
    path: Path, errors: str = "strict"
) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """Give the columns' names in lower case, and each row with its line; ``errors`` as `open` has it."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors=errors) as file:
            first = file.readline(1 << 16)
            file.seek(0)
            rows = csv.reader(file, delimiter=max(",;\t", key=first.count))
            header = [name.strip().lower() for name in next(rows, [])]
            yield header, ((rows.line_num, row) for row in rows)
    except (UnicodeDecodeError, csv.Error) as error:
        raise FacelexError(f"Expected {path} to be a CSV file in UTF-8, but it is not: {error}.") from error


def _read_header(path: Path) -> list[str]:
    """Names of the columns, of a file in another encoding as well, which reading the rows will refuse."""
    with _open_csv(path, errors="replace") as (header, _):
        return header


def _column(path: Path, header: Sequence[str], names: Sequence[str], what: str) -> int:
    for name in names:
        if name in header:
            return header.index(name)
    raise FacelexError(
        f"Expected a column of {what} ({', '.join(names)}) in {path}, but its columns are: "
        f"{', '.join(header) or 'none'}."
    )


def _split(path: Path, name: str, line: int) -> int:
    code = SPLIT_FOLDERS.get(name.strip().lower())
    if code is None:
        raise FacelexError(
            f"Expected train, val or test as the split in every row of {path}, but line {line} has {name!r}."
        )
    return code
