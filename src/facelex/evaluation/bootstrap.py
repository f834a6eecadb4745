"""Bootstrap confidence intervals, all resamples at once.

A resample of n examples with replacement counts each example a multinomial number of times. A metric that
depends on the confusion matrix alone therefore needs only the resampled matrix, whose K^2 cells are
themselves multinomial: 2,000 resamples of 3,589 examples are 2,000 draws of 49 numbers. The result has the
same distribution as resampling the examples one by one (Efron and Tibshirani 1993, chapters 6 and 13).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from facelex.errors import FacelexError

RESAMPLES = 2000
_ROUNDING = 1e-12
_CHUNK_CELLS = 4_000_000  # keeps a block of resampled counts near 32 MB


@dataclass(frozen=True)
class Interval:
    """A statistic with its confidence interval.

    All NaN where there is nothing to measure; ends that are NaN where the examples show no spread.
    """

    value: float
    low: float
    high: float
    level: float = 0.95


def percentile_interval(value: float, resampled: np.ndarray, level: float = 0.95) -> Interval:
    """Return the central ``level`` of resampled statistics, ``(R,)``, leaving out undefined ones.

    Where all are equal there is no interval: a point would claim that nothing can vary.
    """
    if not 0 < level < 1:
        raise FacelexError(f"Expected a confidence level between 0 and 1, such as 0.95, but got {level}.")
    defined = resampled[np.isfinite(resampled)]
    if len(defined) == 0 or not np.isfinite(value) or np.ptp(defined) <= _ROUNDING:
        return Interval(float(value), float("nan"), float("nan"), level)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high), level)


def resample_confusion(
    confusion: np.ndarray, seed: int = 0, resamples: int = RESAMPLES, stratified: bool = False
) -> np.ndarray:
    """Draw bootstrap confusion matrices, ``(R, K, K)`` int64.

    Args:
        confusion: Counts by true and named class, ``(K, K)``.
        seed: Seed of the draws.
        resamples: Number R of draws.
        stratified: Keep the number of examples of each true class, as if the class shares of the split were
            given; plain resampling lets them vary, as they do between test sets drawn from one population.
    """
    if resamples < 1:
        raise FacelexError(f"Expected at least 1 bootstrap resample, but got {resamples}.")
    rng = np.random.default_rng(seed)
    size = confusion.shape[0]
    if stratified:
        drawn = np.zeros((resamples, size, size), dtype=np.int64)
        for row, counts in enumerate(confusion):
            if counts.sum():
                drawn[:, row] = rng.multinomial(counts.sum(), counts / counts.sum(), size=resamples)
        return drawn
    total = confusion.sum()
    if total == 0:
        return np.zeros((resamples, size, size), dtype=np.int64)
    return rng.multinomial(total, confusion.ravel() / total, size=resamples).reshape(resamples, size, size)


def confusion_interval(
    metric: Callable[[np.ndarray], np.ndarray],
    confusion: np.ndarray,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    stratified: bool = False,
) -> Interval:
    """Interval of a metric of the confusion matrix, such as ``metrics.macro_f1``.

    Args:
        metric: Takes ``(..., K, K)`` counts and returns ``(...)``.
        confusion: Counts by true and named class, ``(K, K)``.
        seed: Seed of the draws; the same seed gives the same interval.
        resamples: Number of draws.
        level: Confidence level.
        stratified: See ``resample_confusion``.
    """
    drawn = resample_confusion(confusion, seed, resamples, stratified)
    return percentile_interval(float(metric(confusion)), metric(drawn), level)


def exact_if_certain(accuracy: Interval, count: int) -> Interval:
    """Give an accuracy its exact interval where every answer is right or every answer wrong.

    All resamples are equal then, and the exact binomial interval steps in (Clopper and Pearson 1934,
    https://doi.org/10.1093/biomet/26.4.404). Of n right answers it begins at ``(alpha / 2) ** (1 / n)``; of n
    wrong ones it ends at 1 less that.

    Args:
        accuracy: With its interval from resamples.
        count: Number of answers.
    """
    if accuracy.value not in (0.0, 1.0):
        return accuracy
    margin = 1 - ((1 - accuracy.level) / 2) ** (1 / count)
    low, high = (1 - margin, 1.0) if accuracy.value else (0.0, margin)
    return replace(accuracy, low=low, high=high)


def resample_sums(values: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """Sum columns over bootstrap resamples of the rows.

    Args:
        values: One row an example, ``(n, m)``.
        seed: Seed of the draws.
        resamples: Number R of draws.

    Returns:
        Sums, ``(R, m)``, every column over the same resamples.
    """
    rng = np.random.default_rng(seed)
    count = len(values)
    if count == 0:
        return np.zeros((resamples, values.shape[1]))
    blocks = resample_blocks(count, resamples)
    return np.concatenate([resample_counts(rng, count, size) @ values for size in blocks])


def resample_blocks(count: int, resamples: int) -> list[int]:
    """Part resamples of ``count`` examples into blocks that fit in memory; their sizes."""
    chunk = max(1, _CHUNK_CELLS // count)
    return [min(chunk, resamples - start) for start in range(0, resamples, chunk)]


def resample_counts(rng: np.random.Generator, count: int, resamples: int) -> np.ndarray:
    """Draw how often each of ``count`` examples is in each resample, ``(R, count)`` int64."""
    draws = rng.integers(0, count, size=(resamples, count))
    offsets = np.arange(resamples)[:, None] * count
    return np.bincount((draws + offsets).ravel(), minlength=draws.size).reshape(draws.shape)


def mean_intervals(
    values: Mapping[str, np.ndarray], seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> dict[str, Interval]:
    """Intervals of the means of per-example values, ``(n,)`` each, over the same resamples.

    Args:
        values: For example ``{"nll": metrics.nll_per_example(probs, labels)}``; all of equal length.
        seed: Seed of the draws.
        resamples: Number of draws.
        level: Confidence level.
    """
    columns = np.stack([np.asarray(column, dtype=np.float64) for column in values.values()], axis=1)
    if len(columns) == 0:
        nan = float("nan")
        return {name: Interval(nan, nan, nan, level) for name in values}
    means = resample_sums(columns, seed, resamples) / len(columns)  # (R, m)
    return {
        name: percentile_interval(float(columns[:, i].mean()), means[:, i], level)
        for i, name in enumerate(values)
    }
