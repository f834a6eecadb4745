from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from facelex.data.splits import draw_share

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [400, 200, 39, 1]))


def test_each_class_gives_the_same_share_and_at_least_one() -> None:
    drawn = draw_share(LABELS, 0.1, seed=3)
    assert np.bincount(LABELS[drawn]).tolist() == [40, 20, 4, 1]
    assert_array_equal(drawn, np.unique(drawn))


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    shares = [draw_share(LABELS, share, seed=3) for share in (0.01, 0.1, 0.5, 1)]
    for smaller, larger in pairwise(shares):
        assert set(smaller) < set(larger)
    assert_array_equal(shares[-1], np.arange(len(LABELS)))


def test_the_seed_decides_who_is_drawn() -> None:
    first = draw_share(LABELS, 0.5, seed=0)
    assert_array_equal(first, draw_share(LABELS, 0.5, seed=0))
    shared = len(np.intersect1d(first, draw_share(LABELS, 0.5, seed=1))) / len(first)
    assert shared == pytest.approx(0.5, abs=0.1)


def test_nothing_is_drawn_of_nothing() -> None:
    assert len(draw_share(np.empty(0, np.int64), 0.5, seed=0)) == 0
