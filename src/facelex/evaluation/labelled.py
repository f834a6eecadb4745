"""Any labelled faces as a dataset to be scored, and their class names matched with a model's."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelex.data.dataset import SPLITS, FaceDataset
from facelex.emotions import classes_named
from facelex.errors import FacelexError, unknown_name

IGNORE = "ignore"
"""As a class of the mapping: leave the examples out."""

_IMAGE_COLUMNS = ("image", "path", "file", "filename", "filepath")
_LABEL_COLUMNS = ("label", "emotion", "class", "expression")
_SPLIT_COLUMNS = ("split", "usage")


def load_labelled(source: str | Path, size: int = 48) -> FaceDataset:
    """Read faces that are to be scored.

    Args:
        source: A file of ``facelex data prepare``; ``fer2013`` or ``sketch``; a folder of images by class,
            with or without split folders; FER2013's official CSV; or a CSV with a column of image files
            (``image``, ``path``, ``file``), relative to the CSV's folder, one of class names (``label``,
            ``emotion``, ``class``) and perhaps one of splits (``split``, ``usage``). Images are face crops:
            nothing is detected here.
        size: Side in pixels at which images are read.

    Returns:
        The dataset; examples that come without a split are all in ``test``.

    Raises:
        FacelexError: If the source cannot be read as labelled faces.
    """
    from facelex.data.load import load_dataset

    path = Path(source)
    if path.is_dir():
        from facelex.data.folder import AUTO, read_folder

        return read_folder(path, size=size, classes=AUTO, split=(0.0, 0.0, 1.0))[0]
    if path.suffix.lower() == ".csv" and path.is_file():
        return _read_csv(path, size)
    return load_dataset(source)


def _read_csv(path: Path, size: int) -> FaceDataset:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = [name.strip().lower() for name in next(csv.reader(file), [])]
            if "pixels" in header:
                return _read_official(path)
            image_column = _column(path, header, _IMAGE_COLUMNS, "image files")
            label_column = _column(path, header, _LABEL_COLUMNS, "class names")
            split_column = next((header.index(name) for name in _SPLIT_COLUMNS if name in header), None)
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise FacelexError(f"Expected {path} to be a CSV file in UTF-8, but it is not: {error}.") from error
    if not rows:
        raise FacelexError(f"Expected at least one labelled image in {path}, but there is only a header.")
    ragged = [number for number, row in enumerate(rows, start=2) if len(row) != len(header)]
    if ragged:
        raise FacelexError(
            f"Expected {len(header)} columns in every row of {path}, but row {ragged[0]} differs."
        )
    listed = [(row[image_column].strip(), row[label_column].strip()) for row in rows]
    for number, (image, label) in enumerate(listed, start=2):
        if not (image and label):
            what = "a class name" if image else "an image file"
            raise FacelexError(f"Expected {what} in every row of {path}, but row {number} has none.")
    splits = np.full(len(rows), SPLITS.index("test"), np.uint8)
    if split_column is not None:
        splits[:] = [_split(path, row[split_column], number) for number, row in enumerate(rows, start=2)]
    return _read_listed(path, listed, splits, size)


def _split(path: Path, name: str, row: int) -> int:
    from facelex.data.folder import SPLIT_FOLDERS

    code = SPLIT_FOLDERS.get(name.strip().lower())
    if code is None:
        raise FacelexError(
            f"Expected train, val or test as the split in every row of {path}, but row {row} has {name!r}."
        )
    return code


def _read_official(path: Path) -> FaceDataset:
    from facelex.data.fer2013 import read_fer2013
    from facelex.emotions import EMOTIONS

    faces = read_fer2013(path)
    return FaceDataset.create(faces.pixels, faces.labels, faces.splits, EMOTIONS, f"FER2013 from {path.name}")


def _read_listed(
    path: Path, listed: Sequence[tuple[str, str]], splits: NDArray[np.uint8], size: int
) -> FaceDataset:
    from facelex.data.pictures import UnreadableImageError, read_grey

    names = tuple(sorted({label for _, label in listed}))
    pixels = np.empty((len(listed), size, size), np.uint8)
    faults = []
    for row, (image, _) in enumerate(listed):
        try:
            pixels[row] = read_grey(path.parent / image, size)
        except UnreadableImageError as error:
            faults.append(f"{image} ({error})")
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise FacelexError(
            f"{len(faults)} of {len(listed)} images listed in {path} cannot be read: "
            f"{', '.join(faults[:5])}{more}. Mend or remove their rows."
        )
    labels = np.array([names.index(label) for _, label in listed], np.int64)
    return FaceDataset.create(pixels, labels, splits, names, f"images listed in {path.name}")


def _column(path: Path, header: Sequence[str], names: Sequence[str], what: str) -> int:
    for name in names:
        if name in header:
            return header.index(name)
    raise FacelexError(
        f"Expected a column of {what} ({', '.join(names)}) in {path}, but its columns are: "
        f"{', '.join(header) or 'none'}."
    )


def parse_mapping(text: str | None) -> dict[str, str]:
    """Read ``"joy=happy,contempt=ignore"``: the data's class names and the model's, or ``ignore``."""
    mapping: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in (text or "").split(","))):
        name, equals, target = (part.strip() for part in item.partition("="))
        if not (name and equals and target):
            raise FacelexError(
                f"Expected --map as name=class pairs such as 'joy=happy,contempt=ignore', but got {item!r}."
            )
        mapping[name] = target
    return mapping


def match_classes(
    names: Sequence[str], classes: Sequence[str], mapping: Mapping[str, str] | None = None
) -> np.ndarray:
    """Find the model's class for each class of the data.

    Names match in any spelling known to ``facelex.emotions``, case ignored, where that leads to one class; a
    class of the very same name goes first. ``mapping`` goes before both.

    Args:
        names: Class names of the data, M of them.
        classes: Class names of the model.
        mapping: The data's name to the model's, or to ``ignore``.

    Returns:
        Class ids of the model, ``(M,)`` int64; -1 for a class to leave out.

    Raises:
        FacelexError: If a name matches no class or several, or the mapping names what is not there.
    """
    wanted = {name.lower(): target for name, target in (mapping or {}).items()}
    for name in wanted:
        if name not in [own.lower() for own in names]:
            raise unknown_name("class of the data in --map", name, names)
    found = {name: _find(name, wanted.get(name.lower()), classes) for name in names}
    unclear = {name: len(ids) for name, ids in found.items() if len(ids) != 1}
    if unclear:
        raise _no_class(unclear, classes)
    return np.array([found[name][0] for name in names], np.int64)


def _find(name: str, target: str | None, classes: Sequence[str]) -> list[int]:
    """Return the ids that a class of the data may mean, -1 to leave it out."""
    if target is None:
        return classes_named(name, classes)
    if target.lower() == IGNORE:
        return [-1]
    ids = classes_named(target, classes)
    if len(ids) != 1:
        raise unknown_name("class of the model in --map", target, [*classes, IGNORE])
    return ids


def _no_class(matches: Mapping[str, int], classes: Sequence[str]) -> FacelexError:
    """Name the classes of the data that fit none or several of the model's, given how many each fits."""
    kinds = {
        "no class": [name for name, count in matches.items() if count == 0],
        "several classes": [name for name, count in matches.items() if count > 1],
    }
    has = " and ".join(f"{kind} for {', '.join(map(repr, names))}" for kind, names in kinds.items() if names)
    example = ",".join(f"{name}={IGNORE}" for name in matches)
    return FacelexError(
        f"The model has {has}; its classes are {', '.join(classes)}. Say which they are, or leave them out, "
        f"with --map, for example --map {example}"
    )
