"""Folders of images: split/class/image, class/split/image, class/image, and Kaggle's FER2013 folders."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelex.data.dataset import SPLITS, FaceDataset
from facelex.data.duplicates import conflicting_groups, duplicate_groups
from facelex.data.fer2013 import USAGES, Progress
from facelex.data.mapping import IGNORE, lowered
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
from facelex.data.whole_photos import LEAST_SIDE, whole_photo_note
from facelex.emotions import EMOTIONS, classes_named, merging_notes
from facelex.errors import FacelexError, did_you_mean, unknown_name
from facelex.recognize.detection import Box, Detector
from facelex.recognize.sources import IMAGE_SUFFIXES, annotated_copies

SPLIT_FOLDERS: dict[str, int] = {
    "train": 0, "training": 0,
    "val": 1, "valid": 1, "validation": 1, "dev": 1, "publictest": 1,
    "test": 2, "testing": 2, "privatetest": 2,
}  # fmt: skip
"""Folder names that say a split, case ignored."""

AUTO = ("auto",)
"""As ``classes``: take the names that the source gives, case ignored, in alphabetical order."""

_NAMED_AT_MOST = 10

_OF_THE_DISK = ("lost+found", "System Volume Information", "$RECYCLE.BIN")
"""Folders that a file system keeps in its root, where nobody may read."""


@dataclass(frozen=True)
class LabelledFile:
    """One image: where it is, the name of its class, and the code of its split, where that is said.

    ``attributes`` is what else a table says about it, by the name of the column, ``box`` where in it the face
    is.
    """

    path: Path
    label: str
    split: int | None
    attributes: Mapping[str, str] = field(default_factory=dict)
    box: Box | None = None


def read_folder(
    root: Path,
    size: int = 48,
    classes: Sequence[str] | None = None,
    split: Shares = DEFAULT_SHARES,
    seed: int = 0,
    skip_bad: bool = False,
    progress: Progress | None = None,
    *,
    find_faces: bool = False,
    mapping: Mapping[str, str] | None = None,
) -> tuple[FaceDataset, list[str]]:
    """Read a folder of labelled images, grey and ``size`` x ``size``.

    Args:
        root: Holds split/class/image, class/split/image or class/image; a single folder in between is
            stepped into.
        size: Height and width to store; another shape is cropped to its middle square.
        classes: Class folders in label order, or ``AUTO``; by default the seven emotions in any spelling.
        split: Shares of train, val and test where the folder gives no splits. Where it gives train but no
            val, the val share is taken from train. Each class is shared out alike; pixel-identical images
            and the faces of one picture stay together.
        seed: Seed of those splits.
        skip_bad: Leave out images that cannot be read.
        progress: Called now and then with images read and images in all.
        find_faces: Take the largest face of each image, or the one at its box where a table gives that, found
            and cut out as a recogniser does, and leave images without one out; by default the images are face
            crops.
        mapping: Class folders, case ignored, and what to call them, or ``ignore``.

    Returns:
        The dataset and notes for the user: what was decided or left out.

    Raises:
        FacelexError: If there is no image or no face, a class is unknown or an image cannot be read.
    """
    found, notes = labelled_files(root)
    dataset, more = read_files(
        root, found, size, classes, split, seed, skip_bad, progress, find_faces=find_faces,
        what="class folder", mapping=mapping,
    )  # fmt: skip
    return dataset, notes + more


def read_files(
    root: Path,
    files: Sequence[LabelledFile],
    size: int,
    classes: Sequence[str] | None,
    split: Shares,
    seed: int,
    skip_bad: bool,
    progress: Progress | None,
    *,
    find_faces: bool,
    what: str,
    mapping: Mapping[str, str] | None = None,
    together: str | None = None,
    forget: str | None = None,
) -> tuple[FaceDataset, list[str]]:
    """Read the images found in ``root``, a folder or a table; the rest is as in :func:`read_folder`.

    Args:
        root: What is named in messages.
        files: The images.
        what: What gives a class its name, for messages: ``class folder``.
        mapping: As in :func:`read_folder`.
        together: An attribute of the files; those with the same value are drawn into one split.
        forget: An attribute that the dataset is not to hold.
    """
    files, left_out = _renamed(root, files, mapping, what)
    class_names, labels = _classify(root, [file.label for file in files], classes, what)
    meant = dict.fromkeys((_composed(file.label), class_names[code]) for file, code in zip(files, labels))
    if find_faces:
        _check_faces_are_told_apart(root, files)
    read = _read_all(root, files, size, _detector() if find_faces else None, skip_bad, progress)
    notes = left_out + merging_notes(meant)
    if read.bad:
        notes.append(f"{_some(read.bad)} left out, since unreadable.")
    if read.faceless:
        notes.append(f"{_some(read.faceless)} left out, since no face was found.")
    if not find_faces:
        notes += whole_photo_note(read.large)
    files, labels, pixels = [files[row] for row in read.rows], labels[read.rows], read.pixels
    splits, split_notes = _splits(files, labels, pixels, split, seed, together)
    place = "of" if root.is_dir() else "listed in"
    attributes = {
        name: np.array([file.attributes[name] for file in files])
        for name in files[0].attributes
        if name != forget
    }
    dataset = FaceDataset.create(
        pixels, labels, splits, class_names, f"images {place} {root.name}", attributes=attributes
    )
    shown = None if together is None else _shown_by(files, labels, together)
    return dataset, notes + split_notes + _gaps(dataset, split, shown) + _copies(dataset)


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


def labelled_files(root: Path) -> tuple[list[LabelledFile], list[str]]:
    """Return the images of a folder, and notes on what was left out.

    Raises:
        FacelexError: If there are none in class folders.
    """
    top = _step_into(root)
    folders = _folders(top)
    by_split = any(folder.name.lower() in SPLIT_FOLDERS for folder in folders)
    found: list[LabelledFile] = []
    passed: Counter[str] = Counter()
    for folder in folders:
        if not by_split:
            found += [
                LabelledFile(path, folder.name, _split_below(folder, path))
                for path in _images_below(folder, passed)
            ]
        elif folder.name.lower() in SPLIT_FOLDERS:
            code = SPLIT_FOLDERS[folder.name.lower()]
            for class_folder in _folders(folder):
                found += [
                    LabelledFile(path, class_folder.name, code)
                    for path in _images_below(class_folder, passed)
                ]
            passed.update(f"images in {folder.name}/" for path in folder.iterdir() if _is_image(path))
        else:
            passed.update(f"images in {folder.name}/" for _ in _images_below(folder, Counter()))
    passed.update("images outside any class folder" for path in top.iterdir() if _is_image(path))
    if not found:
        raise FacelexError(
            f"There are no images in class folders in {root}; expected split/class/image such as "
            "train/happy/1.jpg, or class/image such as happy/1.jpg"
            + (f" (found: {_list_counts(passed)})." if passed else ".")
        )
    notes = [f"Left out: {_list_counts(passed)}."] if passed else []
    said = sum(file.split is not None for file in found)
    if not by_split and 0 < said < len(found):
        found = [replace(file, split=None) for file in found]
        notes.append(
            f"Only {said:,} of {len(found):,} images lie in folders such as train inside their class folder, "
            "so these are not taken for splits."
        )
    return found, notes


def _split_below(class_folder: Path, path: Path) -> int | None:
    """Return the split that the first folder inside a class folder says: happy/train/1.jpg."""
    inside = path.relative_to(class_folder).parts
    return SPLIT_FOLDERS.get(inside[0].lower()) if len(inside) > 1 else None


def _step_into(root: Path) -> Path:
    """Go down while there is nothing but one folder of folders, as archives often unpack."""
    while True:
        folders = _folders(root)
        if len(folders) != 1 or folders[0].name.lower() in SPLIT_FOLDERS or not _folders(folders[0]):
            return root
        if any(_is_image(path) for path in folders[0].iterdir()):
            return root
        root = folders[0]


def _folders(folder: Path) -> list[Path]:
    return sorted(
        p for p in folder.iterdir()
        if p.is_dir() and not p.name.startswith((".", "__")) and p.name not in _OF_THE_DISK
    )  # fmt: skip


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _images_below(folder: Path, passed: Counter[str]) -> list[Path]:
    images = []
    for place, folders, names in os.walk(folder, onerror=_raise):
        linked = sum(Path(place, name).is_symlink() for name in folders)  # could lead in a circle
        passed.update({"linked folders": linked} if linked else {})
        for name in names:
            path = Path(place, name)
            if _is_image(path):
                images.append(path)
            elif not name.startswith((".", "Thumbs.db", "desktop.ini")):
                passed[f"{path.suffix.lower() or 'nameless'} files"] += 1
    copies = annotated_copies(map(str, images))
    passed.update({"annotated copies (NAME-faces.jpg)": len(copies)} if copies else {})
    return sorted(path for path in images if str(path) not in copies)


def _raise(error: OSError) -> None:
    raise error


def _list_counts(passed: Counter[str]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(passed.items()))


def _renamed(
    root: Path, files: Sequence[LabelledFile], mapping: Mapping[str, str] | None, what: str
) -> tuple[Sequence[LabelledFile], list[str]]:
    """Call the files' classes what the mapping says, and leave those out that it ignores."""
    if not mapping:
        return files, []
    targets = lowered({_composed(name): target for name, target in mapping.items()})
    given = {_composed(file.label).lower(): file.label for file in files}
    for name in targets:
        if name not in given:
            raise unknown_name(f"{what} in --map", name, given.values())
    kept, ignored = [], Counter[str]()
    for file in files:
        target = targets.get(_composed(file.label).lower(), file.label)
        if target.lower() == IGNORE:
            ignored[file.label] += 1
        else:
            kept.append(replace(file, label=target))
    if not kept:
        raise FacelexError(f"--map leaves out every image in {root}. Keep a class.")
    counts = ", ".join(f"{count:,} of {name}" for name, count in sorted(ignored.items()))
    return kept, [f"Left out, as --map says: {counts}."] if ignored else []


def _classify(
    root: Path, given: Sequence[str], classes: Sequence[str] | None, what: str
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the class names and the label of each image, given the name of the class of each."""
    names: tuple[str, ...]
    if classes is None:
        names = EMOTIONS
    elif tuple(classes) == AUTO:
        spellings: dict[str, str] = {}  # names that differ only in case are one class
        for name in sorted({_composed(name) for name in given}):
            spellings.setdefault(name.lower(), name)
        names = tuple(spellings.values())
    else:
        names = tuple(map(_composed, classes))
        if len(set(names)) != len(names) or not all(names):
            raise FacelexError(f"Expected different class names in --classes, but got {','.join(names)!r}.")
    meant = {name: classes_named(_composed(name), names) for name in dict.fromkeys(given)}
    unknown = sorted(name for name, ids in meant.items() if not ids)
    if unknown:
        near = did_you_mean(unknown[0].lower(), map(str.lower, names)) if len(unknown) == 1 else ""
        raise FacelexError(
            f"Unknown {what} {', '.join(map(repr, unknown))} in {root}.{near} "
            f"Known: {', '.join(names)}. For classes of your own give --classes a,b,c, or --classes auto to "
            "take the names as they are."
        )
    for name, ids in meant.items():
        if len(ids) > 1:
            raise FacelexError(
                f"The {what} {name!r} in {root} may mean {' or '.join(repr(names[i]) for i in ids)}. "
                "Rename it to the class that it holds."
            )
    labels = np.array([meant[name][0] for name in given], np.int64)
    if classes is not None:
        empty = [name for code, name in enumerate(names) if not np.any(labels == code)]
        if empty:
            raise FacelexError(f"No image in {root} is of the class {', '.join(map(repr, empty))}.")
    return names, labels


def _composed(name: str) -> str:
    """Return a class name as people type it: macOS writes an umlaut in a folder's name as two letters."""
    return unicodedata.normalize("NFC", name.strip())


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
    root: Path,
    files: Sequence[LabelledFile],
    size: int,
    detector: Detector | None,
    skip_bad: bool,
    progress: Progress | None,
) -> _Read:
    """Read each image once, for all the rows that name it, and cut their faces out."""
    rows_of: dict[Path, list[int]] = {}
    for row, file in enumerate(files):
        rows_of.setdefault(file.path, []).append(row)
    read = _Read(np.empty((len(files), size, size), np.uint8))
    for number, (path, rows) in enumerate(rows_of.items()):
        _read_one(root, path, rows, files, detector, read)
        if progress and number % 100 == 0:
            progress(number, len(rows_of))
    if progress:
        progress(len(rows_of), len(rows_of))
    _check_read(root, read, len(rows_of), skip_bad)
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
    shares: Shares,
    seed: int,
    together: str | None = None,
) -> tuple[NDArray[np.uint8], list[str]]:
    """Take the splits that folders, tables or FER2013's file names say, and draw the others."""

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
