import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facelex.errors import FacelexError
from facelex.evaluation import metrics
from facelex.evaluation.bootstrap import (
    Interval,
    confusion_interval,
    exact_if_certain,
    mean_intervals,
    percentile_interval,
    resample_confusion,
    resample_sums,
)

CONFUSION = np.array([[40, 5, 5], [10, 60, 2], [3, 3, 14]])


def accuracy_interval(confusion: np.ndarray, seed: int = 0, level: float = 0.95) -> Interval:
    interval = confusion_interval(metrics.accuracy, confusion, seed, level=level)
    return exact_if_certain(interval, int(confusion.sum()))


def test_resampling_the_matrix_is_resampling_the_examples() -> None:
    labels = np.repeat(np.arange(3), CONFUSION.sum(axis=1))
    predicted = np.concatenate([np.repeat(np.arange(3), row) for row in CONFUSION])
    rng = np.random.default_rng(1)
    by_example = []
    for _ in range(3000):
        rows = rng.integers(0, len(labels), len(labels))
        by_example.append(metrics.macro_f1(metrics.confusion_matrix(labels[rows], predicted[rows], 3)))
    by_matrix = metrics.macro_f1(resample_confusion(CONFUSION, resamples=3000))
    assert np.mean(by_matrix) == pytest.approx(np.mean(by_example), abs=0.003)
    assert np.std(by_matrix) == pytest.approx(np.std(by_example), rel=0.06)
    for q in (0.025, 0.975):
        assert np.quantile(by_matrix, q) == pytest.approx(np.quantile(by_example, q), abs=0.01)


def test_the_accuracy_interval_is_that_of_the_binomial() -> None:
    stats = pytest.importorskip("scipy.stats")
    right, total = 2585, 3589
    interval = confusion_interval(
        metrics.accuracy, np.array([[right, total - right], [0, 0]]), resamples=20000
    )
    expected = stats.binom.ppf([0.025, 0.975], total, right / total) / total
    assert interval.value == pytest.approx(right / total)
    assert [interval.low, interval.high] == pytest.approx(expected, abs=6e-4)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    truth = np.array([[0.3, 0.1, 0.0], [0.05, 0.25, 0.05], [0.02, 0.03, 0.2]])
    covered = 0
    for trial in range(200):
        drawn = rng.multinomial(400, truth.ravel()).reshape(3, 3)
        interval = confusion_interval(metrics.macro_f1, drawn, seed=trial, resamples=300)
        covered += interval.low <= metrics.macro_f1(truth) <= interval.high
    assert 0.90 <= covered / 200 <= 0.99


def test_stratified_resamples_keep_the_class_counts_and_plain_ones_the_total() -> None:
    stratified = resample_confusion(CONFUSION, resamples=50, stratified=True)
    assert (stratified.sum(axis=2) == CONFUSION.sum(axis=1)).all()
    plain = resample_confusion(CONFUSION, resamples=50)
    assert (plain.sum(axis=(1, 2)) == CONFUSION.sum()).all()
    assert (plain.sum(axis=2) != CONFUSION.sum(axis=1)).any()


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    first, again, other = (confusion_interval(metrics.macro_f1, CONFUSION, seed=s) for s in (4, 4, 5))
    assert first == again
    assert first != other


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_an_interval_holds_its_value_and_widens_with_the_level(seed: int) -> None:
    confusion = np.random.default_rng(seed).integers(1, 30, (4, 4))
    narrow, wide = (confusion_interval(metrics.accuracy, confusion, level=level) for level in (0.8, 0.99))
    assert wide.low <= narrow.low <= narrow.value <= narrow.high <= wide.high


def test_means_are_resampled_together_and_match_the_normal_approximation() -> None:
    values = np.random.default_rng(0).exponential(size=2000)
    found = mean_intervals({"a": values, "twice": 2 * values})
    assert found["a"].value == pytest.approx(values.mean())
    assert found["twice"].low == pytest.approx(2 * found["a"].low)
    half = 1.96 * values.std() / math.sqrt(2000)
    assert [found["a"].low, found["a"].high] == pytest.approx(
        [values.mean() - half, values.mean() + half], abs=0.008
    )


def test_resampled_sums_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    whole = resample_sums(values, seed=1, resamples=40)
    monkeypatch.setattr("facelex.evaluation.bootstrap._CHUNK_CELLS", 90)
    np.testing.assert_allclose(resample_sums(values, seed=1, resamples=40), whole)


def test_nothing_to_measure_gives_nan() -> None:
    empty = confusion_interval(metrics.accuracy, np.zeros((3, 3), np.int64))
    assert math.isnan(empty.value)
    assert math.isnan(empty.low)
    assert math.isnan(mean_intervals({"nll": np.zeros(0)})["nll"].value)


def test_undefined_resamples_are_left_out() -> None:
    assert percentile_interval(1.0, np.array([np.nan, 1.0, 1.0, 3.0]), 0.5) == Interval(1.0, 1.0, 2.0, 0.5)


@pytest.mark.parametrize("count", [1, 11])
def test_equal_resamples_give_no_interval(count: int) -> None:
    right = np.diag([count, 0, 0])
    for metric in (metrics.accuracy, metrics.macro_f1):
        interval = confusion_interval(metric, right)
        assert interval.value == 1
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)
    same = mean_intervals({"nll": np.full(count, 0.1)})["nll"]
    assert same.value == pytest.approx(0.1)
    assert math.isnan(same.low)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("count", [1, 11, 3589])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_accuracy_without_spread_has_the_exact_binomial_interval(
    right: bool, count: int, level: float
) -> None:
    stats = pytest.importorskip("scipy.stats")
    confusion = np.array([[count, 0], [0, 0]]) if right else np.array([[0, count], [0, 0]])
    interval = accuracy_interval(confusion, level=level)
    expected = stats.binomtest(count if right else 0, count).proportion_ci(level, method="exact")
    assert (interval.value, interval.level) == (float(right), level)
    assert [interval.low, interval.high] == pytest.approx([expected.low, expected.high], abs=1e-12)


def test_accuracy_with_spread_has_the_bootstrap_interval() -> None:
    assert accuracy_interval(CONFUSION, seed=3) == confusion_interval(metrics.accuracy, CONFUSION, seed=3)
    assert math.isnan(accuracy_interval(np.zeros((3, 3), np.int64)).low)


def test_levels_and_counts_that_mean_nothing_are_refused() -> None:
    with pytest.raises(FacelexError, match="level between 0 and 1"):
        percentile_interval(0.5, np.ones(3), level=95)
    with pytest.raises(FacelexError, match="at least 1 bootstrap resample, but got 0"):
        resample_confusion(CONFUSION, resamples=0)
