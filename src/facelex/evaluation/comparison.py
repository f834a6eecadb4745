"""Is one model better than another? Paired statistics over examples and over seeds.

Two models are tried on the same pictures, so what matters is the pictures on which they differ: pairing
takes away the difficulty that both share. Over examples the question is whether these two networks differ;
over seeds, whether the two ways of training do. A claim about a method needs the second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facelex.errors import FacelexError
from facelex.evaluation.bootstrap import RESAMPLES, Interval, percentile_interval
from facelex.evaluation.predictions import Predictions

_ROUNDING = 1e-12
"""Differences of accuracies that spread no further are equal: what spreads them is rounding."""


@dataclass(frozen=True)
class PairedExamples:
    """Accuracy of model B less that of model A on the same examples.

    Attributes:
        count: Examples compared.
        only_a: Examples that A alone names correctly.
        only_b: Examples that B alone names correctly.
        difference: Accuracy of B less accuracy of A, with its bootstrap interval; no interval where all
            examples say the same, as those of networks that never differ.
        p_value: Exact two-sided McNemar test.
    """

    count: int
    only_a: int
    only_b: int
    difference: Interval
    p_value: float


@dataclass(frozen=True)
class PairedSeeds:
    """Mean difference over paired seeds.

    Attributes:
        count: Number of pairs.
        difference: Mean of B less A, with its t interval; no interval from a single pair, or from equal
            differences other than zero.
        standard_deviation: Standard deviation of the differences; NaN for a single pair.
        p_value: Two-sided paired t test; NaN where there is no interval.
    """

    count: int
    difference: Interval
    standard_deviation: float
    p_value: float


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact McNemar test: were the discordant pairs split like fair coins?

    ``p = min(1, 2 P(X <= min(b, c)))`` with ``X ~ Binomial(b + c, 1/2)`` (McNemar 1947; the exact form in
    Fagerland et al. 2013, https://doi.org/10.1186/1471-2288-13-91). Integer arithmetic, so any count works.

    Args:
        only_a: Examples only A has right.
        only_b: Examples only B has right.

    Returns:
        The p-value; 1.0 when the models never differ.
    """
    total, fewer = only_a + only_b, min(only_a, only_b)
    term, tail = 1, 1  # C(total, 0)
    for k in range(1, fewer + 1):
        term = term * (total - k + 1) // k
        tail += term
    return min(1.0, 2 * tail / 2**total)  # Python divides whole numbers of any size correctly


def paired_examples(
    right_a: np.ndarray, right_b: np.ndarray, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> PairedExamples:
    """Compare two models on the same examples.

    Resampling examples resamples their three outcomes (A alone right, B alone right, no difference), so the
    paired bootstrap is one multinomial draw of three numbers a resample.

    Args:
        right_a: Where A names the class correctly, ``(n,)`` bool.
        right_b: Where B does, ``(n,)`` bool, in the same order.
        seed: Seed of the bootstrap.
        resamples: Number of resamples.
        level: Confidence level.
    """
    if right_a.shape != right_b.shape:
        raise FacelexError(
            f"Expected predictions on the same examples, but got {len(right_a)} and {len(right_b)} of them."
        )
    count = len(right_a)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if count == 0:
        nothing = Interval(float("nan"), float("nan"), float("nan"), level)
        return PairedExamples(0, 0, 0, nothing, float("nan"))
    shares = np.array([only_a, only_b, count - only_a - only_b]) / count
    drawn = np.random.default_rng(seed).multinomial(count, shares, size=resamples)
    differences = (drawn[:, 1] - drawn[:, 0]) / count
    interval = percentile_interval((only_b - only_a) / count, differences, level)
    return PairedExamples(count, only_a, only_b, interval, mcnemar_exact(only_a, only_b))


def check_same_examples(several: Sequence[Predictions]) -> None:
    """Refuse predictions that are not about the same examples in the same order.

    Raises:
        FacelexError: If they cannot be; see ``predictions.Examples``.
    """
    for other in several[1:]:
        fault = several[0].examples.fault_beside(other.examples)
        if fault:
            raise FacelexError(
                f"Expected answers about the same examples in the same order, but {fault}. Evaluate all on "
                "the same data."
            )


def compare_predictions(
    a: Predictions,
    b: Predictions,
    view: str = "single",
    deduplicated: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> PairedExamples:
    """Compare two models' predictions on one split.

    ``deduplicated`` leaves out the examples that either model has seen a copy of.

    Raises:
        FacelexError: If the two are not about the same examples, or copies of training pictures are to be
            left out and not known.
    """
    check_same_examples([a, b])
    if deduplicated:
        unseen = a.unseen() & b.unseen()
        a, b = a.subset(unseen), b.subset(unseen)
    right = [preds.view_probs(view).argmax(axis=1) == preds.labels for preds in (a, b)]
    return paired_examples(right[0], right[1], seed=seed, resamples=resamples)


def paired_seeds(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> PairedSeeds:
    """Compare two methods by their scores over seeds, pair by pair.

    The interval is ``mean(d) +- t(1 - alpha/2, n - 1) sd(d) / sqrt(n)`` of the differences d (Student 1908).
    It takes in the noise of training, which a test of two single networks leaves out.

    Accuracies are counts over one set of examples, so a few differences are equal by chance now and then. The
    interval would then be a point and p zero, which so few seeds cannot show: both are NaN, unless no pair
    differs at all.

    Args:
        a: Scores of method A, one a seed, ``(n,)``.
        b: Scores of method B with the same seeds in the same order, ``(n,)``.
        level: Confidence level.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise FacelexError(f"Expected one score a seed for both methods, but got {a.shape} and {b.shape}.")
    count = len(a)
    nan = float("nan")
    if count == 0:
        return PairedSeeds(0, Interval(nan, nan, nan, level), nan, nan)
    differences = b - a
    mean = float(differences.mean())
    if count == 1:
        return PairedSeeds(1, Interval(mean, nan, nan, level), nan, nan)
    deviation = float(differences.std(ddof=1))
    if deviation <= _ROUNDING:
        if (differences == 0).all():
            return PairedSeeds(count, Interval(0.0, 0.0, 0.0, level), 0.0, 1.0)
        return PairedSeeds(count, Interval(mean, nan, nan, level), deviation, nan)
    error = deviation / math.sqrt(count)
    margin = t_quantile((1 + level) / 2, count - 1) * error
    p_value = 2 * t_tail(abs(mean) / error, count - 1)
    return PairedSeeds(count, Interval(mean, mean - margin, mean + margin, level), deviation, p_value)


def mean_over_seeds(scores: np.ndarray, level: float = 0.95) -> Interval:
    """Mean of one method's scores over seeds with its t interval; no interval from a single seed."""
    scores = np.asarray(scores, dtype=np.float64)
    return paired_seeds(np.zeros(scores.shape), scores, level).difference


def t_tail(t: float, degrees: float) -> float:
    """Upper tail ``P(T > t)`` of Student's t for ``t >= 0``, from the incomplete beta function."""
    return 0.5 * incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def t_quantile(probability: float, degrees: float) -> float:
    """The t below which a share ``probability`` in [0.5, 1) lies, by bisection on ``t_tail``."""
    tail = 1 - probability
    high = 1.0
    while t_tail(high, degrees) > tail:
        high *= 2
    low = 0.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_tail(middle, degrees) > tail else (low, middle)
    return (low + high) / 2


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function ``I_x(a, b)`` by Lentz's continued fraction.

    Press et al., Numerical Recipes, section 6.4. SciPy has it too; the light install does without SciPy.
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    tiny = 1e-300
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1), tiny)
    fraction = d
    for m in range(1, 500):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away_from_zero(1 + numerator * d, tiny)
            c = _away_from_zero(1 + numerator / c, tiny)
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return math.exp(log_front) * fraction / a


def _away_from_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


def holm(p_values: list[float]) -> list[float]:
    """Adjust p-values of several comparisons for their number (Holm 1979), in the order given.

    NaN stays NaN: what could not be tested is no comparison.
    """
    adjusted = list(p_values)
    tested = [index for index, p_value in enumerate(p_values) if not math.isnan(p_value)]
    worst = 0.0
    for rank, index in enumerate(sorted(tested, key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(tested) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted
