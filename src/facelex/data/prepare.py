"""Any source of labelled faces into one cached file; the second time nothing is read."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from facelex.data.dataset import FaceDataset, is_dataset_file, read_signature
from facelex.data.fer2013 import Progress
from facelex.data.options import ReadOptions
from facelex.data.source import PREPARED, Source, find_source
from facelex.errors import FacelexError

READERS_VERSION = 9
"""Raise this when a reader changes what it makes of a source, so that old caches are written again."""


LATER_OPTIONS = ("ferplus_labels", "keep", "mapping", "together", "columns", "votes", "for_model")
"""Options that came later: where they are not used, files that were made before them are up to date."""


@dataclass(frozen=True)
class Prepared:
    """What ``prepare`` did: the dataset, whether it was already there, and notes for the user."""

    dataset: FaceDataset
    reused: bool
    notes: Sequence[str] = field(default_factory=tuple)


def prepare(
    source: str | Path,
    output: str | Path,
    options: ReadOptions | None = None,
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
    path, output, options = Path(source), Path(output), options or ReadOptions()
    check_output(output)
    if not 16 <= options.size <= 512:
        raise FacelexError(f"Expected a size from 16 to 512 pixels, but got {options.size}.")
    if not path.exists():
        raise FacelexError(
            f"There is no file or folder {path}; give fer2013.csv, icml_face_data.csv, a folder of images "
            "or a CSV that lists them, or fetch FER2013 with: facelex data download"
        )
    found = find_source(path)
    if found.kind is PREPARED:
        raise FacelexError(
            f"{path} is an .npz file; look at a prepared dataset with: facelex data info {path}"
        )
    if options.ferplus is not None and not options.ferplus.is_file():
        raise FacelexError(f"There is no file {options.ferplus}; give FER+'s fer2013new.csv with --ferplus.")
    if options.seed < 0:
        raise FacelexError(f"Expected a seed of 0 or more, but got {options.seed}.")
    found.check(options)
    signature = source_signature(found, options)
    if not force and read_signature(output) == signature and (held := _held(output)) is not None:
        return Prepared(held, reused=True)
    replaced = replacing_notes(output, signature, found.path.resolve().name, force=force, replace=replace)
    dataset, notes = found.read(options, progress)
    dataset.save(output, signature)
    return Prepared(dataset, reused=False, notes=[*notes, *replaced])


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


def source_signature(source: Source, options: ReadOptions) -> str:
    """Describe a source and how it is read: equal strings mean that reading again would change nothing.

    What stands before the hyphen is the source's place alone (`_is_of_another`).

    A file counts by path, size and time of change; a folder by those of its images, also behind links that
    the reader follows, a CSV that lists images by its own and theirs.
    """
    images = source.kind.images
    described = {
        "version": READERS_VERSION,
        "options": {key: value for key, value in asdict(options).items() if key not in LATER_OPTIONS or value}
        | {"ferplus": None},
        "source": _file_signature(source.path) + ([_digest(images(source.path, options))] if images else []),
        "ferplus": options.ferplus and _file_signature(options.ferplus),
    }
    where = hashlib.sha256(os.fsencode(source.path.resolve())).hexdigest()[:16]
    return f"{where}-{hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()}"


def _file_signature(path: Path) -> list[str]:
    """A folder's own time of change says nothing of what is in the folders below."""
    return [str(path.resolve()), *([] if path.is_dir() else [_size_and_time(path)])]


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
