from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from facelex.data.duplicates import conflicting_groups, duplicate_groups
from facelex.data.splits import joined_groups, random_splits


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12))
def test_ids_are_equal_exactly_where_pixels_are(kinds: list[tuple[int, int]]) -> None:
    pixels = np.zeros((len(kinds), 4, 4), np.uint8)
    for image, (place, value) in zip(pixels, kinds):
        image[place, place] = value
    groups = duplicate_groups(pixels)
    for i in range(len(kinds)):
        for j in range(len(kinds)):
            assert (groups[i] == groups[j]) == bool((pixels[i] == pixels[j]).all())


def test_conflicts_are_the_groups_with_two_labels() -> None:
    groups, labels = np.array([0, 1, 0, 2, 2, 1]), np.array([3, 1, 4, 5, 5, 1])
    assert conflicting_groups(groups, labels).tolist() == [0]


@given(st.integers(1, 60), st.integers(0, 5))
def test_drawn_splits_keep_identical_pictures_together_and_are_repeatable(count: int, seed: int) -> None:
    rng = np.random.default_rng(count)
    groups = rng.integers(0, max(1, count // 2), count)
    labels = groups % 3
    splits = random_splits(labels, groups, (0.6, 0.2, 0.2), seed)
    for group in np.unique(groups):
        assert len(np.unique(splits[groups == group])) == 1
    assert (splits == random_splits(labels, groups, (0.6, 0.2, 0.2), seed)).all()


def test_drawn_splits_share_out_each_class_alike() -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    splits = random_splits(labels, np.arange(160), (0.8, 0.1, 0.1), 1)
    counts = [[int(np.sum((labels == k) & (splits == s))) for s in range(3)] for k in range(3)]
    assert counts == [[80, 10, 10], [40, 5, 5], [8, 1, 1]]
    assert (splits != random_splits(labels, np.arange(160), (0.8, 0.1, 0.1), 2)).any()


def test_groups_are_joined_along_any_chain_of_links() -> None:
    people, copies = np.array([0, 0, 1, 1, 2, 3]), np.array([5, 6, 6, 7, 8, 8])
    joined = joined_groups(people, copies)
    assert joined.tolist() == [0, 0, 0, 0, 4, 4]
    assert joined_groups(np.empty(0, np.int64), np.empty(0, np.int64)).tolist() == []
