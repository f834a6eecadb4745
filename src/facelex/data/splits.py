"""Drawing at random: splits for pictures that come without any, and a share of a split."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Shares = tuple[float, float, float]
"""Shares of train, val and test; they sum to 1."""

DEFAULT_SHARES: Shares = (0.8, 0.1, 0.1)

DRAWS = 1000
"""Draws of whole people among which the one with the most even classes is chosen."""

SPLIT_UNUSED = "The images have splits, so --split is not used."


def random_splits(
    labels: NDArray[np.int64], groups: NDArray[np.int64], shares: Shares, seed: int
) -> NDArray[np.uint8]:
    """Draw splits so that each class is shared out alike and identical pictures stay together.

    Args:
        labels: Class ids, ``(N,)``.
        groups: What is to stay together, such as identical pictures, ``(N,)``; a group counts to the class
            of its first picture.
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


def even_splits(
    labels: NDArray[np.int64], groups: NDArray[np.int64], shares: Shares, seed: int, draws: int = DRAWS
) -> NDArray[np.uint8]:
    """Draw splits of whole groups, such as people, whose classes come as they are, several times.

    Of the draws the one is kept in which the fewest classes are missing from a split, then the one in which
    the classes are shared out most evenly: the sum of squared differences, over classes and splits, between
    the share of a class's pictures that a split holds and the share that was asked for.

    Args:
        labels: Class ids, ``(N,)``.
        groups: Group ids, ``(N,)``; what shares one stays together.
        shares: Shares of train, val and test, counted in groups.
        seed: Equal seeds give equal splits.
        draws: How often to draw.

    Returns:
        Split codes ``(N,)``.
    """
    rng = np.random.default_rng(seed)
    group_of, class_of = (np.unique(ids, return_inverse=True)[1] for ids in (groups, labels))
    shown = np.zeros((group_of.max() + 1, class_of.max() + 1))  # pictures by group and class
    np.add.at(shown, (group_of, class_of), 1)
    ends = np.round(np.cumsum(shares) * len(shown)).astype(int)[:2]
    wanted = np.array(shares)
    best, best_code = (np.inf, np.inf), np.empty(0, np.uint8)
    for _ in range(draws):
        parts = np.split(rng.permutation(len(shown)), ends)
        counts = np.stack([shown[part].sum(axis=0) for part in parts])
        missing = float(np.sum(counts[wanted > 0] == 0))
        unevenness = float(np.sum((counts / counts.sum(axis=0) - wanted[:, None]) ** 2))
        if (missing, unevenness) < best:
            best, best_code = (missing, unevenness), np.empty(len(shown), np.uint8)
            for code, part in enumerate(parts):
                best_code[part] = code
    return best_code[group_of]


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
