"""What kind of labelled faces lie in a place: decided here, for all who read any."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from facelex.data.dataset import FaceDataset
from facelex.data.fer2013 import CSV_NAMES, Progress
from facelex.data.folder import labelled_files, read_folder
from facelex.data.listed import listed_files, read_header, read_listing
from facelex.data.load import is_dataset_name, load_dataset
from facelex.data.official import read_official
from facelex.data.options import ReadOptions
from facelex.data.packed import PACKED_SUFFIXES
from facelex.errors import FacelexError
from facelex.recognize.sources import IMAGE_SUFFIXES


@dataclass(frozen=True)
class Kind:
    """A kind of labelled faces; another belongs into `KINDS`, and `find_source` tells it from the rest.

    Attributes:
        name: In words, for messages.
        read: Gives the dataset, and notes for the user.
        options: Fields of `ReadOptions` that mean something to it.
        images: The image files that it is made of beside what lies in its place itself.
    """

    name: str
    read: Callable[[Path, ReadOptions, Progress | None], tuple[FaceDataset, list[str]]]
    options: frozenset[str]
    images: Callable[[Path, ReadOptions], Iterable[Path]] | None = None


_OF_IMAGES = frozenset({"size", "classes", "split", "seed", "skip_bad", "find_faces", "mapping", "for_model"})

_OF_FER2013 = frozenset({"ferplus", "ferplus_labels", "classes", "size", "split", "seed", "skip_bad"})

PREPARED = Kind("a prepared dataset", lambda path, *_: (load_dataset(path), []), frozenset())
OFFICIAL = Kind("FER2013's CSV", read_official, _OF_FER2013)
FOLDER = Kind(
    "a folder of images",
    read_folder,
    _OF_IMAGES,
    lambda path, _: (file.path for file in labelled_files(path)[0]),
)
LISTING = Kind(
    "a CSV that lists images",
    read_listing,
    _OF_IMAGES | {"keep", "together", "columns", "votes"},
    lambda path, options: (file.path for file in listed_files(path, options)[0]),
)
KINDS = (PREPARED, OFFICIAL, FOLDER, LISTING)


@dataclass(frozen=True)
class Source:
    """Labelled faces where they lie; ``path`` may be the name of a dataset."""

    path: Path
    kind: Kind

    def read(self, options: ReadOptions, progress: Progress | None = None) -> tuple[FaceDataset, list[str]]:
        """Read the faces.

        Returns:
            The dataset and notes for the user: what was decided or left out.

        Raises:
            FacelexError: If the source cannot be read as it is, or as the options say.
        """
        self.check(options)
        return self.kind.read(self.path, options, progress)

    def check(self, options: ReadOptions) -> None:
        """Refuse options that mean nothing to a source of this kind.

        Raises:
            FacelexError: If there is one; the message says what it is for, or that there is no source.
        """
        usual = ReadOptions()
        absent = not self.path.exists() and not is_dataset_name(str(self.path))
        for name in (field.name for field in fields(options)):
            if name not in self.kind.options and getattr(options, name) != getattr(usual, name):
                if absent:
                    raise FacelexError(
                        f"There is no file or folder {self.path}. Name the faces that are to be read."
                    )
                takers = " or ".join(kind.name for kind in KINDS if name in kind.options)
                flag = "--map" if name == "mapping" else f"--{name.replace('_', '-')}"
                raise FacelexError(
                    f"{flag} is for {takers}, and {self.path} is {self.kind.name}. Leave it out."
                )


def find_source(place: str | Path) -> Source:
    """Say what lies in a place.

    Args:
        place: A file of ``facelex data prepare``; a folder of images, or one that holds FER2013's CSV; that
            CSV, also packed; a CSV that lists image files; or, as a string, the name of a dataset, whatever
            else is called the same.

    Returns:
        The source, one of a prepared dataset where there is nothing: reading it says so.

    Raises:
        FacelexError: If it is a file of another kind.
    """
    path = Path(place)
    if isinstance(place, str) and is_dataset_name(place):
        return Source(path, PREPARED)
    if path.is_dir():
        official = _official_inside(path)
        return Source(official, OFFICIAL) if official else Source(path, FOLDER)
    suffix = path.suffix.lower()
    if suffix == ".npz" or not path.exists():
        return Source(path, PREPARED)
    if suffix == ".csv":
        return Source(path, OFFICIAL if _holds_pixels(path) else LISTING)
    if suffix in PACKED_SUFFIXES:
        return Source(path, OFFICIAL)
    if suffix in IMAGE_SUFFIXES:
        raise FacelexError(f"{path} is one picture; give the folder that holds the folders of the classes.")
    raise FacelexError(
        f"Expected {path} to be a prepared dataset (.npz), fer2013.csv or icml_face_data.csv (also packed), "
        "a folder of images or a CSV that lists them (.csv), but it is none of these."
    )


def _official_inside(folder: Path) -> Path | None:
    """Find the official CSV in a folder that was downloaded as a whole."""
    places = (place / name for name in CSV_NAMES for place in (folder, folder / "fer2013"))
    return next(filter(Path.is_file, places), None)


def _holds_pixels(path: Path) -> bool:
    """Whether a CSV has a column of pixels, as FER2013's does; what is no CSV has none."""
    try:
        return "pixels" in read_header(path)
    except FacelexError:
        return False
