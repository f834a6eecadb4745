"""Pixel-identical images: grouping them, and finding those that cross splits or carry other labels."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def duplicate_groups(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Number the images so that two share an id exactly where all their pixels are equal.

    Args:
        pixels: Grey images, ``(N, H, W)`` uint8.

    Returns:
        Group ids ``(N,)``, numbered by first appearance from 0.
    """
    ids: dict[bytes, int] = {}
    groups = np.empty(len(pixels), np.int64)
    for row, image in enumerate(np.ascontiguousarray(pixels)):
        digest = hashlib.blake2b(image.data, digest_size=20).digest()
        groups[row] = ids.setdefault(digest, len(ids))
    return groups


def conflicting_groups(groups: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ids of groups whose identical pictures carry different labels, ascending."""
    pairs = np.unique(np.stack([groups, labels], axis=1), axis=0)  # (P, 2), one row for each (group, label)
    ids, labels_of_group = np.unique(pairs[:, 0], return_counts=True)
    return ids[labels_of_group > 1]
