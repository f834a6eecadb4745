"""Folders of images: split/class/image, class/split/image, class/image, and Kaggle's FER2013 folders."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from facelex.data.dataset import FaceDataset
from facelex.data.fer2013 import Progress
from facelex.data.labelled_file import SPLIT_NAMES, LabelledFile
from facelex.data.labelled_images import read_files
from facelex.data.options import ReadOptions
from facelex.errors import FacelexError
from facelex.recognize.sources import IMAGE_SUFFIXES, annotated_copies

_OF_THE_DISK = ("lost+found", "System Volume Information", "$RECYCLE.BIN")
"""Folders that a file system keeps in its root, where nobody may read."""


def read_folder(
    root: Path, options: ReadOptions | None = None, progress: Progress | None = None
) -> tuple[FaceDataset, list[str]]:
    """Read a folder of labelled images.

    Args:
        root: Holds split/class/image, class/split/image or class/image; a single folder in between is
            stepped into.
        options: How to read.
        progress: Called now and then with images read and images in all.

    Returns:
        The dataset and notes for the user: what was decided or left out.

    Raises:
        FacelexError: If there is no image or no face, a class is unknown or an image cannot be read.
    """
    found, notes = labelled_files(root)
    dataset, more = read_files(root, found, options or ReadOptions(), progress)
    return dataset, notes + more


def labelled_files(root: Path) -> tuple[list[LabelledFile], list[str]]:
    """Return the images of a folder, and notes on what was left out.

    Raises:
        FacelexError: If there are none in class folders.
    """
    top = _step_into(root)
    folders = _folders(top)
    by_split = any(folder.name.lower() in SPLIT_NAMES for folder in folders)
    found: list[LabelledFile] = []
    passed: Counter[str] = Counter()
    for folder in folders:
        if not by_split:
            found += [
                LabelledFile(path, folder.name, _split_below(folder, path))
                for path in _images_below(folder, passed)
            ]
        elif folder.name.lower() in SPLIT_NAMES:
            code = SPLIT_NAMES[folder.name.lower()]
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
    return SPLIT_NAMES.get(inside[0].lower()) if len(inside) > 1 else None


def _step_into(root: Path) -> Path:
    """Go down while there is nothing but one folder of folders, as archives often unpack."""
    while True:
        folders = _folders(root)
        if len(folders) != 1 or folders[0].name.lower() in SPLIT_NAMES or not _folders(folders[0]):
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
