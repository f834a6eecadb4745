"""Any labelled faces as a dataset to be scored, and their class names matched with a model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from facelex.data.dataset import FaceDataset
from facelex.data.mapping import IGNORE, lowered
from facelex.emotions import classes_named, merging_notes
from facelex.errors import FacelexError, unknown_name

_ALL_TEST = (0.0, 0.0, 1.0)


def load_labelled(
    source: str | Path, size: int = 48, keep: Sequence[str] = (), *, find_faces: bool = False
) -> tuple[FaceDataset, list[str]]:
    """Read faces that are to be scored.

    Args:
        source: A file of ``facelex data prepare``; ``fer2013`` or ``sketch``; a folder of images by class,
            with or without split folders; FER2013's official CSV; or a CSV that lists image files, see
            :func:`facelex.data.listed.listed_files`.
        size: Side in pixels at which images are read.
        keep: Further columns to read of a CSV that lists image files.
        find_faces: The images of a folder or list are photos, whose faces are cut out as by
            :func:`facelex.data.folder.read_folder`; by default they are face crops.

    Returns:
        The dataset, in which examples that come without a split are all in ``test``, and notes for the user:
        what was decided or left out.

    Raises:
        FacelexError: If the source cannot be read as labelled faces.
    """
    from facelex.data.folder import AUTO, read_folder
    from facelex.data.listed import holds_pixels, read_listing, refuse_find_faces
    from facelex.data.load import is_dataset_name, load_dataset
    from facelex.data.splits import SPLIT_UNUSED

    path = Path(source)
    is_csv = path.suffix.lower() == ".csv" and path.is_file()
    if is_dataset_name(str(source)) or not (is_csv or path.is_dir()):
        dataset = load_dataset(source)
        if find_faces:
            refuse_find_faces(path)
        return dataset, []
    if is_csv and holds_pixels(path):
        if find_faces:
            refuse_find_faces(path)
        return _official(path)
    read = partial(read_listing, keep=keep) if is_csv else read_folder
    dataset, notes = read(path, size=size, classes=AUTO, split=_ALL_TEST, find_faces=find_faces)
    return dataset, [note for note in notes if note != SPLIT_UNUSED]  # nobody asked for other ones


def _official(path: Path) -> tuple[FaceDataset, list[str]]:
    from facelex.data.fer2013 import completeness_notes, read_fer2013
    from facelex.emotions import EMOTIONS

    faces = read_fer2013(path)
    source = f"FER2013 from {path.name}"
    dataset = FaceDataset.create(faces.pixels, faces.labels, faces.splits, EMOTIONS, source)
    return dataset, completeness_notes(faces.splits)


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
    wanted = lowered(mapping)
    for name in wanted:
        if name not in [own.lower() for own in names]:
            raise unknown_name("class of the data in --map", name, names)
    found = {name: _find(name, wanted.get(name.lower()), classes) for name in names}
    unclear = {name: len(ids) for name, ids in found.items() if len(ids) != 1}
    if unclear:
        raise _no_class(unclear, classes)
    return np.array([found[name][0] for name in names], np.int64)


def merged_classes(
    names: Sequence[str], classes: Sequence[str], mapping: Mapping[str, str] | None = None
) -> list[str]:
    """Say which classes of the data, matched as in :func:`match_classes`, are one to the model unasked."""
    asked = {name.lower() for name in mapping or {}}
    ids = match_classes(names, classes, mapping)
    return merging_notes((name, classes[i]) for name, i in zip(names, ids) if name.lower() not in asked)


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
        f"with --map, for example --map {example}. If they are words to ask the model for, measure how well "
        "it finds them with --words names."
    )
