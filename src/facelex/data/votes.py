"""Votes: what several people took each picture for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelex.data.mapping import lowered
from facelex.emotions import FERPLUS_COLUMNS, classes_named
from facelex.errors import FacelexError


@dataclass(frozen=True, eq=False)
class Votes:
    """How many people chose what for each picture.

    Attributes:
        counts: ``(N, V)``, 0 or more; shares will do. Kept as uint8 where all are whole and small, else as
            float32.
        names: What was chosen, by column: classes in any spelling of ``facelex.emotions``, and what is none,
            such as FER+'s "unknown" and NF ("not a face").

    Raises:
        ValueError: If there is no column for each name, or a count is negative, no number or too large.
    """

    counts: NDArray[Any]
    names: tuple[str, ...] = FERPLUS_COLUMNS

    def __post_init__(self) -> None:
        counts = np.asarray(self.counts)
        if counts.dtype.kind not in "biuf":
            raise ValueError(f"expected votes as numbers, but got {counts.dtype}")
        if counts.ndim != 2 or counts.shape[1] != len(self.names):
            raise ValueError(f"expected votes of shape (N, {len(self.names)}), but got {counts.shape}")
        if not (counts >= 0).all():
            raise ValueError("expected votes of 0 or more")
        small = counts.max(initial=0) <= 255 and (counts % 1 == 0).all()
        with np.errstate(over="ignore"):  # told below
            counts = counts.astype(np.uint8 if small else np.float32, copy=False)
        if not np.isfinite(counts).all():
            raise ValueError("expected votes that float32 can hold")
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "names", tuple(map(str, self.names)))

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, rows: Any) -> Votes:
        """The votes on some of the pictures, picked as from an array."""
        return replace(self, counts=self.counts[rows])

    @property
    def of_ferplus(self) -> bool:
        """Whether these are the ten columns of FER+, which has rules of its own."""
        return self.names == FERPLUS_COLUMNS

    def renamed(self, mapping: Mapping[str, str] | None) -> Votes:
        """The same with some names, case ignored, called otherwise."""
        targets = lowered(mapping)
        return replace(self, names=tuple(targets.get(name.lower(), name) for name in self.names))

    def class_ids(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """Return the class id of each column, ``(V,)``, -1 where ``classes`` have none or several for it."""
        found = [classes_named(name, classes) for name in self.names]
        return np.array([ids[0] if len(ids) == 1 else -1 for ids in found], np.int64)

    def on(self, classes: Sequence[str]) -> NDArray[np.float64]:
        """Count the votes on each of K classes, ``(N, K)``; 0 for a class that nobody was asked about."""
        counts = np.zeros((len(self), len(classes)))
        for column, class_id in enumerate(self.class_ids(classes)):
            if class_id >= 0:
                counts[:, class_id] += self.counts[:, column]
        return counts

    def shares(self, classes: Sequence[str]) -> NDArray[np.float64]:
        """Turn votes into a distribution over ``classes``.

        Votes for anything else are left out and the rest is scaled to sum to one: with the seven emotions
        that drops FER+'s contempt, unknown and NF; with an eighth class named "contempt" its votes count. A
        row without any vote left becomes uniform: nobody named one of these classes.

        Args:
            classes: Class names in the order wanted, in any spelling of ``facelex.emotions``.

        Returns:
            Shares, ``(N, K)`` float64, non-negative, rows sum to 1.

        Raises:
            FacelexError: If there are no votes on any of ``classes``.
        """
        if (self.class_ids(classes) < 0).all():
            raise FacelexError(
                f"Expected votes on any of {', '.join(classes)}, but they are on {', '.join(self.names)}."
            )
        counts = self.on(classes)
        totals = counts.sum(axis=1, keepdims=True)
        return np.divide(counts, totals, out=np.full_like(counts, 1.0 / len(classes)), where=totals > 0)


def read_vote_arrays(arrays: Mapping[str, NDArray[Any]]) -> Votes | None:
    """Read the votes of an ``.npz``: ``votes``, those of FER+ unless ``vote_names`` says what they are for.

    Raises:
        ValueError: As :class:`Votes`.
    """
    if "votes" not in arrays:
        return None
    return Votes(arrays["votes"], tuple(arrays.get("vote_names", np.array(FERPLUS_COLUMNS)).tolist()))
