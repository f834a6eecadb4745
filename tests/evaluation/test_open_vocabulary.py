"""The measures of an open vocabulary, against scipy, scikit-learn and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from facelex.errors import FacelexError
from facelex.evaluation.open_vocabulary import (
    auc,
    auc_interval,
    contrast_between,
    harmonic_mean,
    held_out_scores,
    midranks,
    monte_carlo_p,
    pearson,
    rank_auc,
    spearman,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_auc_equals_sklearn_with_ties(rng):
    scores, marks = rng.integers(0, 20, (300, 4)), rng.random(300) < 0.3
    expected = [roc_auc_score(marks, scores[:, i]) for i in range(4)]
    np.testing.assert_allclose(auc(scores, marks), expected)
    np.testing.assert_allclose(auc(scores[:, 0], marks), expected[0])


def test_auc_with_shares_counts_every_pair_by_its_weights(rng):
    scores, share = rng.integers(0, 5, 30).astype(float), rng.random(30)
    wins = (scores[:, None] > scores[None]) + 0.5 * (scores[:, None] == scores[None])
    weights = share[:, None] * (1 - share)[None]
    expected = (wins * weights).sum() / (share.sum() * (1 - share).sum())
    assert auc(scores, share) == pytest.approx(expected)


def test_auc_from_ranks_equals_auc_word_by_word_and_class_by_class(rng):
    scores, labels = rng.integers(0, 20, (80, 5)), rng.integers(0, 3, 80)
    marks = np.stack([labels == c for c in range(4)], axis=1)  # the last class has no face
    expected = np.stack([auc(scores, marks[:, c]) for c in range(4)], axis=1)
    np.testing.assert_allclose(rank_auc(midranks(scores), marks), expected)


def test_the_interval_of_auc_equals_resampling_both_sides_one_by_one(rng):
    scores, marks = rng.integers(0, 12, 90).astype(float), rng.random(90) < 0.3
    scores[marks] += 2
    found = auc_interval(scores, marks, resamples=4000)
    own, others = scores[marks], scores[~marks]
    areas = []
    for _ in range(1500):
        a, b = rng.choice(own, len(own)), rng.choice(others, len(others))
        areas.append(((a[:, None] > b) + 0.5 * (a[:, None] == b)).mean())
    assert found.value == pytest.approx(auc(scores, marks))
    assert [found.low, found.high] == pytest.approx(np.quantile(areas, [0.025, 0.975]), abs=0.015)


def test_auc_has_no_interval_where_faces_do_not_overlap_or_are_of_one_kind():
    apart = auc_interval([1.0, 2.0, 3.0, 4.0], [False, False, True, True])
    assert apart.value == 1
    assert np.isnan([apart.low, apart.high]).all()
    assert np.isnan(auc_interval([1.0, 2.0], [True, True]).value)


def test_auc_of_one_class_alone_is_nan():
    assert np.isnan(auc([1.0, 2.0], [1, 1]))


def test_auc_refuses_marks_that_do_not_fit():
    with pytest.raises(FacelexError, match="mark for each of 2 faces"):
        auc([1.0, 2.0], [1])
    with pytest.raises(FacelexError, match=r"shares in \[0, 1\]"):
        auc([1.0, 2.0], [0, 3])


def test_midranks_equal_scipys_column_by_column(rng):
    values = rng.integers(0, 6, (50, 3))
    np.testing.assert_array_equal(midranks(values), stats.rankdata(values, axis=0))


def test_correlations_equal_scipys(rng):
    a, b = rng.integers(0, 9, 80), rng.random(80)
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


def test_correlation_with_a_constant_is_nan():
    assert np.isnan(spearman([1, 1, 1], [1, 2, 3]))


def test_correlation_refuses_lists_of_different_length():
    with pytest.raises(FacelexError, match="equal length"):
        pearson([1, 2], [1, 2, 3])


def test_a_perfect_word_recognises_its_class_and_spares_the_others():
    labels = np.repeat([0, 1, 2], 4)
    result = held_out_scores(np.eye(3)[labels], labels, held_out=2)
    assert (result.auc, result.recall, result.seen_recall, result.harmonic) == (1, 1, 1, 1)
    assert result.pairwise == 1


def test_a_word_that_always_wins_finds_its_class_but_ruins_the_others():
    labels = np.repeat([0, 1, 2], 4)
    result = held_out_scores(np.tile([0.0, 0.0, 1.0], (12, 1)), labels, held_out=2)
    assert (result.auc, result.recall, result.seen_recall, result.harmonic) == (0.5, 1, 0, 0)
    assert result.pairwise == 0.5


def test_held_out_pairs_equal_a_plain_loop(rng):
    scores, labels = rng.random((60, 4)), rng.integers(0, 4, 60)
    shares = []
    for other in (0, 2, 3):
        own = np.mean([s[1] >= s[other] for s, y in zip(scores, labels) if y == 1])
        theirs = np.mean([s[other] > s[1] for s, y in zip(scores, labels) if y == other])
        shares.append((own + theirs) / 2)
    assert held_out_scores(scores, labels, 1).pairwise == pytest.approx(np.mean(shares))


def test_held_out_class_without_faces_is_refused():
    with pytest.raises(FacelexError, match="held-out class"):
        held_out_scores(np.zeros((3, 2)), np.zeros(3, int), 1)


def test_contrast_is_the_difference_of_means():
    scores = np.array([[1.0, 5.0], [3.0, 5.0], [0.0, 2.0]])
    first = np.array([True, True, False])
    np.testing.assert_allclose(contrast_between(scores, first, ~first), [2.0, 3.0])
    with pytest.raises(FacelexError, match="one side is empty"):
        contrast_between(scores, first, np.zeros(3, bool))


def test_harmonic_mean_is_low_when_one_side_fails():
    assert harmonic_mean(0.8, 0.0) == 0
    assert harmonic_mean(0.0, 0.0) == 0
    assert harmonic_mean(0.5, 0.5) == pytest.approx(0.5)


def test_monte_carlo_p_counts_the_observation_itself():
    assert monte_carlo_p(2.0, [0, 1, 2, 3]) == pytest.approx(3 / 5)
    assert monte_carlo_p(9.0, np.zeros(99)) == pytest.approx(0.01)
