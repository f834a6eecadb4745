"""Drawing at random: splits for pictures that come without any, and a share of a split."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Shares = tuple[float, float, float]
"""Shares of train, val and test; they sum to 1."""

DEFAULT_SHARES: Shares = (0.8, 0.1, 0.1)

SPLIT_UNUSED = "The images have splits, so --split is not used."


def random_splits(
    labels: NDArray[np.int64], groups: NDArray[np.int64], shares: Shares, seed: int
) -> NDArray[np.uint8]:
    """Draw splits so that each class is shared out alike and identical pictures stay together.

    Args:
        labels: Class ids, ``(N,)``.
        groups: Duplicate groups, ``(N,)``; a group counts to the class of its first picture.
        shares: Shares of train, val and test.
        seed: Equal seeds give equal splits.

    Returns:
        Split codes ``(N,)``.
    """
    rng = np.random.default_rng(seed)
    ids, first = np.unique(groups, return_index=True)
    code_of_group = np.empty(len(ids), np.uint8)
    for label in np.unique(labels[first]):
        members = rng.permutation(np.flatnonzero(labels[first] == label))
        ends = np.round(np.cumsum(shares) * len(members)).astype(int)
        for code, part in enumerate(np.split(members, ends[:2])):
            code_of_group[part] = code
    return code_of_group[np.searchsorted(ids, groups)]


def joined_groups(*groupings: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the examples so that all those share an id that are linked by a group of any of the groupings.

    Args:
        groupings: Group ids, each ``(N,)``.

    Returns:
        Ids ``(N,)``.
    """
    found = np.arange(len(groupings[0]))
    while True:
        before = found
        for groups in groupings:
            _, inverse = np.unique(groups, return_inverse=True)
            least = np.full(inverse.max(initial=-1) + 1, len(found))
            np.minimum.at(least, inverse, found)
            found = least[inverse]
        if np.array_equal(found, before):
            return found


def draw_share(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Draw the same share of each class, at least one example of it.

    With one seed a smaller share is part of a larger one, so that a learning curve only ever adds examples.

    Args:
        labels: Class ids, ``(N,)``.
        share: In (0, 1].
        seed: Equal seeds draw equally.

    Returns:
        Positions among the labels, ``(M,)``, in rising order.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        drawn.append(members[: max(1, round(share * len(members)))])
    return np.sort(np.concatenate(drawn)) if drawn else np.empty(0, np.int64)
