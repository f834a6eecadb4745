"""The one dataset every other room reads: grey faces with labels, splits, votes and duplicate groups."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facelex.data.duplicates import duplicate_groups
from facelex.data.votes import Votes, read_vote_arrays
from facelex.errors import FacelexError, unknown_name
from facelex.files import replace_file
from facelex.npz import read_npz

SPLITS: tuple[str, ...] = ("train", "val", "test")
"""Names of the split codes 0, 1, 2; FER2013's Training, PublicTest and PrivateTest."""

BLANK_BELOW = 5.0
"""A picture whose pixel standard deviation is below this shows nothing that a person could name."""

FORMAT = 1
"""Raise this when the cached file's arrays change, so that files of another version are not misread."""

NAMED_VOTES = 2
"""Format of a file whose votes are not FER+'s: it names what was voted for, which 1 does not know."""


@dataclass(frozen=True, eq=False)
class FaceDataset:
    """Grey faces and what is known about each; build one with :meth:`create`.

    Attributes:
        pixels: ``(N, H, W)`` uint8.
        labels: ``(N,)`` int64, class ids in ``class_names`` order.
        splits: ``(N,)`` uint8, 0 train, 1 val, 2 test.
        votes: What several people took each face for, or None where nobody was asked.
        groups: ``(N,)`` int64, equal ids exactly where pixels are equal.
        class_names: Class names in label order.
        source: One line on where the pictures came from.
        fingerprint: SHA-256 over pixels, labels, splits, votes and class names.
        attributes: What else is known about each example, by the name of its column in lower case: ``(N,)``
            text, empty where it is not said; numbers and None are made such. Nothing is learned from it;
            scores can be parted by it.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    splits: NDArray[np.uint8]
    votes: Votes | None
    groups: NDArray[np.int64]
    class_names: tuple[str, ...]
    source: str
    fingerprint: str
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = {name.lower(): _as_text(values) for name, values in self.attributes.items()}
        object.__setattr__(self, "attributes", named)
        if self.votes is not None and len(self.votes) != len(self):
            raise ValueError(f"Expected votes on {len(self)} faces, but got them on {len(self.votes)}.")
        uneven = [name for name, values in named.items() if values.shape != self.labels.shape]
        uneven += [name for name in ("pixels", "splits", "groups") if len(getattr(self, name)) != len(self)]
        if uneven:
            raise ValueError(f"Expected {len(self)} values of {', '.join(uneven)}, but got another number.")

    @classmethod
    def create(
        cls,
        pixels: NDArray[np.uint8],
        labels: NDArray[np.int64],
        splits: NDArray[np.uint8],
        class_names: tuple[str, ...],
        source: str,
        votes: Votes | None = None,
        attributes: Mapping[str, ArrayLike] | None = None,
    ) -> FaceDataset:
        """Build a dataset, working out duplicate groups and fingerprint.

        Raises:
            ValueError: If the arrays disagree in length, or a label or split code is out of range.
        """
        count = len(pixels)
        if pixels.ndim != 3 or pixels.dtype != np.uint8:
            raise ValueError(f"Expected pixels (N, H, W) uint8, but got {pixels.shape} {pixels.dtype}.")
        if labels.shape != (count,) or splits.shape != (count,):
            raise ValueError(
                f"Expected {count} labels and splits, but got {labels.shape} and {splits.shape}."
            )
        if count and not (
            labels.min() >= 0 and labels.max() < len(class_names) and splits.max() < len(SPLITS)
        ):
            raise ValueError(f"Expected labels below {len(class_names)} and splits below {len(SPLITS)}.")
        labels, splits = labels.astype(np.int64), splits.astype(np.uint8)
        return cls(
            pixels=pixels,
            labels=labels,
            splits=splits,
            votes=votes,
            groups=duplicate_groups(pixels),
            class_names=tuple(class_names),
            source=source,
            fingerprint=_fingerprint(pixels, labels, splits, votes, class_names),
            attributes=attributes or {},
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self.indices(split)):,} {split}" for split in SPLITS)
        return f"FaceDataset({counts}; {len(self.class_names)} classes; {self.source})"

    def indices(self, split: str) -> NDArray[np.int64]:
        """Return the rows of one split, ascending, ``(n,)``."""
        return np.flatnonzero(self.splits == _split_code(split))

    def seen_in(self, split: str, other: str = "train") -> NDArray[np.bool_]:
        """Mark the examples of ``split`` that have a pixel-identical copy in ``other``, ``(n,)``.

        The order is that of :meth:`indices`; scores "de-duplicated" leave the marked ones out.
        """
        return np.isin(self.groups[self.indices(split)], self.groups[self.indices(other)])

    def blank(self) -> NDArray[np.bool_]:
        """Mark pictures that show (almost) nothing: pixel standard deviation below 5, ``(N,)``."""
        marks = np.zeros(len(self), bool)
        for start in range(0, len(self), 4096):  # in parts: the deviation of all at once takes 660 MB
            part = self.pixels[start : start + 4096]
            marks[start : start + len(part)] = part.std(axis=(1, 2), dtype=np.float32) < BLANK_BELOW
        return marks

    def save(self, path: Path | str, signature: str = "") -> None:
        """Write the cached file, whole or not at all.

        Args:
            path: Where to write the ``.npz``; its folder is made if missing.
            signature: What the file was made from; ``facelex data prepare`` compares it.

        Raises:
            FacelexError: If it cannot be written, for example because the disk is full.
        """
        arrays = {
            "facelex_dataset": np.array(FORMAT),
            "pixels": self.pixels,
            "labels": self.labels,
            "splits": self.splits,
            "groups": self.groups,
            "class_names": np.array(self.class_names),
            "source": np.array(self.source),
            "fingerprint": np.array(self.fingerprint),
            "signature": np.array(signature),
        }
        if self.votes is not None:
            arrays["votes"] = self.votes.counts
            if not self.votes.of_ferplus:
                arrays |= {"vote_names": np.array(self.votes.names), "facelex_dataset": np.array(NAMED_VOTES)}
        if self.attributes:
            arrays["attribute_names"] = np.array(list(self.attributes))
            arrays |= {f"attribute_{i}": values for i, values in enumerate(self.attributes.values())}

        def write(file: IO[bytes]) -> None:
            np.savez(file, **arrays)  # type: ignore[arg-type]

        replace_file(Path(path), write)

    @classmethod
    def load(cls, path: Path | str) -> FaceDataset:
        """Read a file written by :meth:`save`.

        Raises:
            FacelexError: If the file is missing, is something else, is cut short or is of another format.
        """
        path = Path(path)
        arrays = _read_cache(path)
        _check_format(path, arrays["facelex_dataset"])
        try:
            return cls(
                pixels=arrays["pixels"],
                labels=arrays["labels"],
                splits=arrays["splits"],
                votes=read_vote_arrays(arrays),
                groups=arrays["groups"],
                class_names=tuple(str(name) for name in arrays["class_names"]),
                source=str(arrays["source"]),
                fingerprint=str(arrays["fingerprint"]),
                attributes={
                    str(name): arrays[f"attribute_{i}"]
                    for i, name in enumerate(arrays.get("attribute_names", ()))
                },
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(path, error) from error


def read_signature(path: Path) -> str:
    """Return the signature stored by :meth:`FaceDataset.save`, or ``""`` if there is none to read."""
    try:
        return str(_read_cache(path, ("facelex_dataset", "signature"))["signature"])
    except (FacelexError, KeyError):
        return ""


def is_dataset_file(path: Path) -> bool:
    """Whether a file begins as those of :meth:`FaceDataset.save` do; it may be cut short or damaged."""
    with path.open("rb") as file:
        return b"facelex_dataset.npy" in file.read(1 << 16)


def _read_cache(path: Path, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    if not path.exists():
        raise FacelexError(
            f"There is no dataset at {path}; make it with: "
            f"facelex data prepare SOURCE --output {path.with_suffix('.npz')}"
        )
    if path.is_dir() or path.suffix.lower() != ".npz":
        raise FacelexError(
            f"{path} is not a prepared dataset (.npz); make one with: facelex data prepare {path}"
        )
    try:
        arrays = read_npz(path, names)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if "facelex_dataset" not in arrays:
        raise FacelexError(
            f"{path} is an .npz file, but not a dataset written by facelex (no 'facelex_dataset' inside); "
            "make one with: facelex data prepare SOURCE"
        )
    return arrays


def _unreadable(path: Path, error: Exception) -> FacelexError:
    return FacelexError(
        f"{path} is cut short, damaged or not a dataset written by facelex ({error}); write it again with: "
        f"facelex data prepare SOURCE --output {path}"
    )


def _check_format(path: Path, found: NDArray[np.int64]) -> None:
    if found.tolist() not in (FORMAT, NAMED_VOTES):
        raise FacelexError(
            f"The dataset {path} was written by another version of facelex (format {found}, this one reads "
            f"{FORMAT} and {NAMED_VOTES}); prepare it again with: facelex data prepare SOURCE --output {path}"
        )


def _as_text(values: ArrayLike) -> NDArray[np.str_]:
    """Return values as text, None and NaN as nothing."""
    array = np.asarray(values)
    if array.dtype.kind == "U":
        return array
    return np.array(["" if value is None or value != value else str(value) for value in array.tolist()])


def _split_code(split: str) -> int:
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    return SPLITS.index(split)


def _fingerprint(
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    splits: NDArray[np.uint8],
    votes: Votes | None,
    class_names: tuple[str, ...],
) -> str:
    digest = hashlib.sha256()
    for array in (pixels, labels.astype("<i8"), splits, None if votes is None else votes.counts):
        if array is not None:
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
    named = votes.names if votes is not None and not votes.of_ferplus else ()
    digest.update("\n".join([*class_names, *named]).encode())
    return digest.hexdigest()
