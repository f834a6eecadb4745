"""Any source of labelled faces into one cached file; the second time nothing is read."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelex.data.dataset import FaceDataset, is_dataset_file, read_signature
from facelex.data.fer2013 import CSV_NAMES, SIDE, Progress, completeness_notes, read_fer2013
from facelex.data.ferplus import read_votes
from facelex.data.folder import labelled_files, read_folder
from facelex.data.listed import is_listing, listed_files, read_listing, refuse_find_faces
from facelex.data.mapping import column_name
from facelex.data.splits import DEFAULT_SHARES, SPLIT_UNUSED, Shares
from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError
from facelex.recognize.sources import IMAGE_SUFFIXES

READERS_VERSION = 8
"""Raise this when a reader changes what it makes of a source, so that old caches are written again."""


LATER_OPTIONS = ("keep", "mapping", "together", "columns")
"""Options that came later: where they are not used, files that were made before them are up to date."""


@dataclass(frozen=True)
class PrepareOptions:
    """How a source is read; the names of columns in ``keep``, ``together`` and ``columns`` in any case."""

    ferplus: Path | None = None
    size: int = SIDE
    classes: tuple[str, ...] | None = None
    split: Shares = DEFAULT_SHARES
    seed: int = 0
    skip_bad: bool = False
    find_faces: bool = False
    keep: tuple[str, ...] = ()
    mapping: Mapping[str, str] = field(default_factory=dict)
    together: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """What ``prepare`` did: the dataset, whether it was already there, and notes for the user."""

    dataset: FaceDataset
    reused: bool
    notes: Sequence[str] = field(default_factory=tuple)


def prepare(
    source: str | Path,
    output: str | Path,
    options: PrepareOptions | None = None,
    force: bool = False,
    progress: Progress | None = None,
    *,
    replace: bool = True,
) -> Prepared:
    """Read ``source`` into a :class:`FaceDataset` and write it to ``output``, unless that is already there.

    Args:
        source: The official CSV (plain or packed), a folder that holds it, a folder of images, or a CSV
            that lists images.
        output: The ``.npz`` to write.
        options: How to read.
        force: Read again even if ``output`` was made from the same source with the same options, or is no
            dataset of facelex, which is lost then.
        progress: Called now and then with what has been read and what there is in all.
        replace: Whether ``output`` may hold a dataset made from another source, which is lost then.

    Raises:
        FacelexError: If the source cannot be used as it is; nothing is written then.
    """
    source, output, options = Path(source), Path(output), _settled(options or PrepareOptions())
    check_output(output)
    if not 16 <= options.size <= 512:
        raise FacelexError(f"Expected a size from 16 to 512 pixels, but got {options.size}.")
    if not source.exists():
        raise FacelexError(
            f"There is no file or folder {source}; give fer2013.csv, icml_face_data.csv, a folder of images "
            "or a CSV that lists them, or fetch FER2013 with: facelex data download"
        )
    if source.suffix.lower() in IMAGE_SUFFIXES and source.is_file():
        raise FacelexError(f"{source} is one picture; give the folder that holds the folders of the classes.")
    if source.suffix.lower() == ".npz" and source.is_file():
        raise FacelexError(
            f"{source} is an .npz file; look at a prepared dataset with: facelex data info {source}"
        )
    if options.ferplus is not None and not options.ferplus.is_file():
        raise FacelexError(f"There is no file {options.ferplus}; give FER+'s fer2013new.csv with --ferplus.")
    if options.seed < 0:
        raise FacelexError(f"Expected a seed of 0 or more, but got {options.seed}.")
    source = _csv_inside(source) or source
    listed = is_listing(source, options.columns)
    for name, given in (
        ("--keep", options.keep),
        ("--together", options.together),
        ("--columns", options.columns),
    ):
        if given and not listed:
            raise FacelexError(
                f"{name} is for a CSV that lists images, with a column of files such as image, and {source} "
                "is none. Leave it out."
            )
    if options.mapping and not (source.is_dir() or listed):
        raise FacelexError(
            f"--map is for folders and lists of images, and the classes of {source} are the seven emotions. "
            "Leave it out."
        )
    signature = source_signature(source, options)
    if not force and read_signature(output) == signature and (held := _held(output)) is not None:
        return Prepared(held, reused=True)
    replaced = replacing_notes(output, signature, source.resolve().name, force=force, replace=replace)
    if source.is_dir() or listed:
        if options.ferplus is not None:
            raise FacelexError(
                "FER+ votes are joined to the official CSV row by row, and the pictures of "
                f"{source} are not its rows; give fer2013.csv or icml_face_data.csv with --ferplus, or leave "
                "--ferplus out."
            )
        listing = partial(read_listing, keep=options.keep, together=options.together, columns=options.columns)
        read = read_folder if source.is_dir() else listing
        dataset, notes = read(
            source, options.size, options.classes, options.split, options.seed, options.skip_bad, progress,
            find_faces=options.find_faces, mapping=options.mapping,
        )  # fmt: skip
    else:
        dataset, notes = _from_csv(source, options, progress)
    dataset.save(output, signature)
    return Prepared(dataset, reused=False, notes=[*notes, *replaced])


def _settled(options: PrepareOptions) -> PrepareOptions:
    """Options that mean the same, spelled alike, as signatures compare them."""
    return replace(
        options,
        ferplus=None if options.ferplus is None else Path(options.ferplus),
        keep=tuple(map(column_name, options.keep)),
        together=column_name(options.together or "") or None,
        columns={role: column_name(name) for role, name in options.columns.items()},
    )


def replacing_notes(output: Path, signature: str, name: str, *, force: bool, replace: bool) -> list[str]:
    """Say what writing a dataset to ``output`` will lose, or refuse it, before any work is done.

    Args:
        output: The ``.npz`` to write.
        signature: Of the dataset to come; what stands before its hyphen is its source (`source_signature`).
        name: After which to name another file in its place.
        force: Whether whatever is there may go.
        replace: Whether a dataset made from another source may go.

    Returns:
        A note on a dataset that is lost; nothing where there is none, or it was made in the same way.

    Raises:
        FacelexError: If something is there that may not go.
    """
    if not output.exists():
        return []
    elsewhere = (
        f"Name another file, such as -o {shlex.quote(str(_another_name(name, output)))}, or add --force to "
        "replace it."
    )
    held, held_signature = _held(output), read_signature(output)
    if held is None:
        if not force and not is_dataset_file(output):
            raise FacelexError(f"{output} is no dataset of facelex, and would be lost. {elsewhere}")
        return []
    if held_signature == signature:
        return []
    if not replace and not force and _is_of_another(signature, held_signature):
        raise FacelexError(f"{output} holds a dataset made from another source ({held.source}). {elsewhere}")
    return [
        f"{output} replaces a dataset made from another source, with other options or before a change: "
        f"{held.source}."
    ]


def _is_of_another(signature: str, held: str) -> bool:
    """Whether two signatures say that their sources lie in different places; older ones do not say it."""
    place, _, rest = held.partition("-")
    return bool(rest) and place != signature.partition("-")[0]


def _another_name(name: str, output: Path) -> Path:
    """A name beside ``output`` after the source's name, and not ``output`` itself."""
    stem = name.partition(".")[0] or "mine"
    other = output.with_name(f"{stem}.npz")
    return other if other != output else output.with_name(f"{stem}-2.npz")


def _held(output: Path) -> FaceDataset | None:
    """Return the dataset that ``output`` holds if it can be read; a damaged file is written again."""
    try:
        return FaceDataset.load(output)
    except FacelexError:
        return None


def check_output(output: Path) -> None:
    """Refuse a name that could not be read back later, before any work is done."""
    if output.suffix.lower() != ".npz" or output.is_dir():
        raise FacelexError(f"Expected an output file that ends in .npz, but got {output}.")


def source_signature(source: Path, options: PrepareOptions) -> str:
    """Describe a source and how it is read: equal strings mean that reading again would change nothing.

    What stands before the hyphen is the source's place alone (`_is_of_another`).

    A file counts by path, size and time of change; a folder by those of its images, also behind links that
    the reader follows, a CSV that lists images by its own and theirs.
    """
    described = {
        "version": READERS_VERSION,
        "options": {key: value for key, value in asdict(options).items() if key not in LATER_OPTIONS or value}
        | {"ferplus": None},
        "source": _file_signature(source, options.columns),
        "ferplus": options.ferplus and _file_signature(options.ferplus),
    }
    place = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:16]
    return f"{place}-{hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()}"


def _file_signature(path: Path, columns: Mapping[str, str] | None = None) -> list[str]:
    if path.is_dir():
        return [str(path.resolve()), _digest(file.path for file in labelled_files(path)[0])]
    if is_listing(path, columns):
        return [
            str(path.resolve()),
            _size_and_time(path),
            _digest(file.path for file in listed_files(path, columns=columns)[0]),
        ]
    return [str(path.resolve()), _size_and_time(path)]


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file}\0{_size_and_time(file)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _size_and_time(file: Path) -> str:
    try:
        status = file.stat()
    except (OSError, ValueError):  # a link to nowhere, or a name that no file can have: reading will say so
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def _csv_inside(source: Path) -> Path | None:
    """Find the official CSV in a folder that was downloaded as a whole."""
    if not source.is_dir():
        return None
    for name in CSV_NAMES:
        for place in (source / name, source / "fer2013" / name):
            if place.is_file():
                return place
    return None


def _from_csv(
    source: Path, options: PrepareOptions, progress: Progress | None
) -> tuple[FaceDataset, list[str]]:
    if options.classes is not None:
        raise FacelexError(f"--classes is for folders of images; the classes of {source} are fixed.")
    if options.find_faces:
        refuse_find_faces(source)
    faces = read_fer2013(source, progress)
    votes = None if options.ferplus is None else read_votes(options.ferplus, faces.splits)
    notes = [SPLIT_UNUSED] if options.split != DEFAULT_SHARES else []
    notes += completeness_notes(faces.splits)
    dataset = FaceDataset.create(
        resize_all(faces.pixels, options.size),
        faces.labels,
        faces.splits,
        EMOTIONS,
        f"FER2013 from {source.name}" + (f", FER+ from {options.ferplus.name}" if options.ferplus else ""),
        votes,
    )
    return dataset, notes


def resize_all(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Scale square grey images ``(N, H, H)`` to ``(N, size, size)``."""
    if pixels.shape[1] == size:
        return pixels
    scaled = np.empty((len(pixels), size, size), np.uint8)
    for row, image in enumerate(pixels):
        scaled[row] = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    return scaled
