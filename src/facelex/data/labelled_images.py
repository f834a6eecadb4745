"""Image files whose classes are said by folders or a table, read into a dataset."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelex.data.class_names import called, class_names, composed, meanings
from facelex.data.dataset import SPLITS, FaceDataset
from facelex.data.duplicates import conflicting_groups, duplicate_groups
from facelex.data.fer2013 import USAGES, Progress
from facelex.data.labelled_file import LabelledFile
from facelex.data.mapping import IGNORE
from facelex.data.options import AUTO, ReadOptions
from facelex.data.pictures import NoFaceError, UnreadableImageError, open_picture
from facelex.data.splits import (
    DEFAULT_SHARES,
    DRAWS,
    SPLIT_UNUSED,
    Shares,
    even_splits,
    joined_groups,
    random_splits,
)
from facelex.data.voting import elected, votes_on
from facelex.data.whole_photos import LEAST_SIDE, whole_photo_note
from facelex.emotions import merging_notes
from facelex.errors import FacelexError
from facelex.recognize.detection import Detector

_NAMED_AT_MOST = 10


def read_files(
    root: Path, files: Sequence[LabelledFile], options: ReadOptions, progress: Progress | None
) -> tuple[FaceDataset, list[str]]:
    """Read the images found in ``root``, a folder or a table.

    Args:
        root: What is named in messages.
        files: The images; of them ``options.together`` is an attribute.
        options: How to read.
        progress: Called now and then with images read and images in all.

    Returns:
        The dataset and notes for the user: what was decided or left out.

    Raises:
        FacelexError: If there is no face, a class is unknown or an image cannot be read.
    """
    voted = files[0].votes is not None
    if voted:
        files, names, notes = elected(root, files, options)
        labels = np.array([names.index(file.label) for file in files], np.int64)
    else:
        files, notes = _renamed(root, files, {} if options.for_model else options.mapping)
        names, labels = _classify(root, [file.label for file in files], options.classes)
        meant = dict.fromkeys((composed(file.label), names[code]) for file, code in zip(files, labels))
        notes += merging_notes(meant)
    if options.classes not in (None, AUTO):
        _refuse_empty(root, names, labels, files)
    if options.find_faces:
        _check_faces_are_told_apart(root, files)
    read = _read_all(root, files, options, progress)
    if read.bad:
        notes.append(f"{_some(read.bad)} left out, since unreadable.")
    if read.faceless:
        notes.append(f"{_some(read.faceless)} left out, since no face was found.")
    if not options.find_faces:
        notes += whole_photo_note(read.large)
    files, labels, pixels = [files[row] for row in read.rows], labels[read.rows], read.pixels
    splits, split_notes = _splits(files, labels, pixels, options)
    forgotten = {options.together} - {*options.keep}
    attributes = {
        name: np.array([file.attributes[name] for file in files])
        for name in files[0].attributes
        if name not in forgotten
    }
    source = f"images {'of' if root.is_dir() else 'listed in'} {root.name}"
    votes = votes_on(files, names) if voted else None
    dataset = FaceDataset.create(pixels, labels, splits, names, source, votes, attributes)
    shown = None if options.together is None else _shown_by(files, labels, options.together)
    return dataset, notes + split_notes + _gaps(dataset, options.split, shown) + _copies(dataset)


def _renamed(
    root: Path, files: Sequence[LabelledFile], mapping: Mapping[str, str]
) -> tuple[Sequence[LabelledFile], list[str]]:
    """Call the files' classes what the mapping says, and leave those out that it ignores."""
    if not mapping:
        return files, []
    targets = called(root, {file.label for file in files}, mapping)
    ignored = Counter(file.label for file in files if targets[file.label].lower() == IGNORE)
    kept = [replace(file, label=targets[file.label]) for file in files if file.label not in ignored]
    if not kept:
        raise FacelexError(f"--map leaves out every image in {root}. Keep a class.")
    counts = ", ".join(f"{count:,} of {name}" for name, count in sorted(ignored.items()))
    return kept, [f"Left out, as --map says: {counts}."] if ignored else []


def _classify(
    root: Path, given: Sequence[str], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the class names and the label of each image, given the name of the class of each."""
    names = class_names(classes, given)
    meant = meanings(root, given, names)
    return names, np.array([meant[name] for name in given], np.int64)


def _refuse_empty(
    root: Path, names: Sequence[str], labels: NDArray[np.int64], files: Sequence[LabelledFile]
) -> None:
    """Refuse classes that no image is of and nobody has voted for."""
    voted = {name for file in files for name, count in (file.votes or {}).items() if count}
    empty = [name for code, name in enumerate(names) if name not in voted and not np.any(labels == code)]
    if empty:
        raise FacelexError(f"No image in {root} is of the class {', '.join(map(repr, empty))}.")


def _shown_by(files: Sequence[LabelledFile], labels: NDArray[np.int64], together: str) -> dict[int, str]:
    """Say of each class how many values of an attribute there are among its images."""
    people = _grouped(files, np.arange(len(files)), together)
    counts = {code: len(np.unique(people[labels == code])) for code in np.unique(labels).tolist()}
    return {code: f" ({count:,} value{'s' * (count != 1)} of {together})" for code, count in counts.items()}


def _gaps(dataset: FaceDataset, shares: Shares, shown: Mapping[int, str] | None = None) -> list[str]:
    """Say which splits of some share and which classes have no image, and which classes a split lacks.

    ``shown`` is what to add to the name of such a class, by its id.
    """
    notes = []
    filled = [split for split in SPLITS if len(dataset.indices(split))]
    empty = [split for split, share in zip(SPLITS, shares) if share > 0 and split not in filled]
    if empty:
        notes.append(f"No image for the split {' and '.join(empty)}.")
    absent = set(range(len(dataset.class_names))) - set(dataset.labels.tolist())
    if absent:
        notes.append(f"No image of: {_listed([dataset.class_names[code] for code in sorted(absent)])}.")
    for split in filled:
        here = set(dataset.labels[dataset.indices(split)].tolist())
        missing = [
            name + (shown or {}).get(code, "")
            for code, name in enumerate(dataset.class_names)
            if code not in absent | here
        ]
        if missing:
            notes.append(f"No {split} image of: {_listed(missing)}.")
    return notes


def _copies(dataset: FaceDataset) -> list[str]:
    """Say how many images of val and test a network will have learned by heart, or nobody can get right."""
    notes = []
    for split in SPLITS[1:]:
        copies = dataset.seen_in(split)
        if copies.any():
            notes.append(
                f"{copies.sum():,} of {len(copies):,} {split} images have a pixel-identical copy in train; "
                "facelex evaluate scores with and without them."
            )
    conflicting = len(conflicting_groups(dataset.groups, dataset.labels))
    if conflicting:
        notes.append(f"Pictures that occur in several classes: {conflicting:,}.")
    return notes


def _detector() -> Detector:
    from facelex.recognize.faces import create_detector

    return create_detector()


def _check_faces_are_told_apart(root: Path, files: Sequence[LabelledFile]) -> None:
    """Refuse a picture that is listed several times without saying which of its faces is meant."""
    times = Counter(file.path for file in files)
    unclear = {file.path: None for file in files if times[file.path] > 1 and file.box is None}
    if unclear:
        raise FacelexError(
            f"Listed more than once in {root}, without the box of the face in each row: "
            f"{_listed([_inside(root, path) for path in unclear])}. For --find-faces give the columns "
            "x, y, width and height, as 'facelex predict -o faces.csv' writes them, or list each picture "
            "once."
        )


@dataclass(frozen=True)
class _Read:
    """Faces ``(n, size, size)``, their rows among the files, and the images that gave none, by name.

    ``large`` are the images that are large enough for a photo.
    """

    pixels: NDArray[np.uint8]
    rows: list[int] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    faceless: list[str] = field(default_factory=list)
    large: list[Path] = field(default_factory=list)


def _read_all(
    root: Path, files: Sequence[LabelledFile], options: ReadOptions, progress: Progress | None
) -> _Read:
    """Read each image once, for all the rows that name it, and cut their faces out."""
    detector = _detector() if options.find_faces else None
    rows_of: dict[Path, list[int]] = {}
    for row, file in enumerate(files):
        rows_of.setdefault(file.path, []).append(row)
    read = _Read(np.empty((len(files), options.size, options.size), np.uint8))
    for number, (path, rows) in enumerate(rows_of.items()):
        _read_one(root, path, rows, files, detector, read)
        if progress and number % 100 == 0:
            progress(number, len(rows_of))
    if progress:
        progress(len(rows_of), len(rows_of))
    _check_read(root, read, len(rows_of), options.skip_bad)
    read.rows.sort()
    for place, row in enumerate(read.rows):  # in their own memory: they may be all that fits
        read.pixels[place] = read.pixels[row]
    return replace(read, pixels=read.pixels[: len(read.rows)])


def _read_one(
    root: Path,
    path: Path,
    rows: Sequence[int],
    files: Sequence[LabelledFile],
    detector: Detector | None,
    read: _Read,
) -> None:
    """Put the faces that ``rows`` name in one image where they belong in ``read``."""
    try:
        picture = open_picture(path, detector)
    except UnreadableImageError as error:
        read.bad.append(f"{_inside(root, path)} ({error})")
        return
    if picture.short_side >= LEAST_SIDE:
        read.large.append(path)
    for row in rows:
        try:
            read.pixels[row] = picture.cut(read.pixels.shape[1], files[row].box)
            read.rows.append(row)
        except UnreadableImageError as error:
            read.bad.append(f"{_inside(root, path)} ({error})")
        except NoFaceError:
            read.faceless.append(_inside(root, path))


def _check_read(root: Path, read: _Read, count: int, skip_bad: bool) -> None:
    """Stop where images of ``count`` could not be read and are not to be skipped, or none gave a face."""
    if read.bad and not skip_bad:
        raise FacelexError(
            f"{_some(read.bad)} in {root} cannot be read; mend or remove them, or leave them out with the "
            "option --skip-bad of 'facelex data prepare'."
        )
    if not read.rows and read.faceless:
        raise FacelexError(
            f"No face was found in any of the {count:,} images in {root}; leave --find-faces out if they are "
            "face crops already."
        )
    if not read.rows:
        raise FacelexError(f"None of the {count:,} images in {root} can be read.")


def _inside(root: Path, path: Path) -> str:
    """Name a file from the folder, or the folder of the table, that it was found by."""
    return os.path.relpath(path, root if root.is_dir() else root.parent)


def _some(bad: Sequence[str]) -> str:
    return f"{len(bad):,} image{'s' * (len(bad) > 1)}: {_listed(bad)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED_AT_MOST:,} more" if len(names) > _NAMED_AT_MOST else ""
    return ", ".join(names[:_NAMED_AT_MOST]) + more


def _splits(
    files: Sequence[LabelledFile],
    labels: NDArray[np.int64],
    pixels: NDArray[np.uint8],
    options: ReadOptions,
) -> tuple[NDArray[np.uint8], list[str]]:
    """Take the splits that folders, tables or FER2013's file names say, and draw the others."""
    shares, seed, together = options.split, options.seed, options.together

    def draw(rows: NDArray[np.int64], shares: Shares) -> NDArray[np.uint8]:
        groups = joined_groups(duplicate_groups(pixels[rows]), _by_picture(files, rows))
        if together is None:
            return random_splits(labels[rows], groups, shares, seed)
        groups = joined_groups(groups, _grouped(files, rows, together))
        return even_splits(labels[rows], groups, shares, seed)  # a person shows many classes

    usages = [USAGES.get(file.path.name.partition("_")[0]) for file in files]  # Kaggle: PublicTest_123.jpg
    given = [file.split for file in files]
    kept = [SPLIT_UNUSED] if shares != DEFAULT_SHARES else []
    if None in given:
        if None not in usages:
            return np.array(usages, np.uint8), ["The splits are those of FER2013's file names.", *kept]
        if 1.0 in shares:
            whole = shares.index(1.0)
            return np.full(len(files), whole, np.uint8), [
                f"The images have no splits, so all are {SPLITS[whole]}."
            ]
        splits = draw(np.arange(len(files)), shares)
        counts = ", ".join(f"{int(np.sum(splits == code)):,} {name}" for code, name in enumerate(SPLITS))
        notes = [f"The images have no splits, so they were drawn with seed {seed}: {counts}."]
        several = sum(count > 1 for count in Counter(file.path for file in files).values())
        if several:
            notes.append(
                f"The faces of one picture are in one split ({several:,} picture{'s' * (several > 1)})."
            )
        if together is not None:
            notes.append(
                f"Images with the same {together} are in one split; of {DRAWS:,} draws the one with the most "
                "even classes was taken."
            )
        if any(share > 0 and not np.any(splits == code) for code, share in enumerate(shares)):
            few = "classes are so small" if together is None else f"there are so few values of {together}"
            notes.append(f"A split got none, since {few}; give it a larger share with --split.")
        return splits, notes
    splits = np.array(given, np.uint8)
    kept += _shared_by_splits(files, splits, together)
    if 1 in given:
        return splits, kept
    mixed = [row for row, (code, usage) in enumerate(zip(given, usages)) if code == 2 and usage == 1]
    if mixed:  # Kaggle's layout mixes PublicTest and PrivateTest in test/
        splits[mixed] = 1
        return splits, kept
    if 0 not in given or shares[1] == 0:
        return splits, kept
    train = np.flatnonzero(splits == 0)
    rest = 1.0 - shares[1] / (shares[0] + shares[1])
    splits[train] = draw(train, (rest, 1.0 - rest, 0.0))
    count = int(np.sum(splits == 1))
    aside = f"There is no val, so {count:,} of train were set aside as val with seed {seed}."
    return splits, [aside, *_shared_by_splits(files, splits, together)]


def _by_picture(files: Sequence[LabelledFile], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the files by their path: a list may name several faces of one picture."""
    ids: dict[Path, int] = {}
    return np.array([ids.setdefault(files[row].path, len(ids)) for row in rows], np.int64)


def _grouped(files: Sequence[LabelledFile], rows: NDArray[np.int64], together: str) -> NDArray[np.int64]:
    """Number the files by their value of an attribute; each without one is a group of its own."""
    ids: dict[str, int] = {}
    values = (files[row].attributes[together] or f"\0{row}" for row in rows)
    return np.array([ids.setdefault(value, len(ids)) for value in values], np.int64)


def _shared_by_splits(
    files: Sequence[LabelledFile], splits: NDArray[np.uint8], together: str | None
) -> list[str]:
    """Say how many values of an attribute occur in more than one of the splits that there are."""
    if together is None:
        return []
    pairs = {(file.attributes[together], code) for file, code in zip(files, splits.tolist())}
    counts = Counter(value for value, _ in pairs if value)
    several = sum(count > 1 for count in counts.values())
    return [
        f"The images have splits; {several:,} of {len(counts):,} values of {together} occur in more than one."
    ]
