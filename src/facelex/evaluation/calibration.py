"""Calibration: one temperature fitted on the validation split, and where to begin to say "unsure"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_GOLDEN = (5**0.5 - 1) / 2


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True, initial=-np.inf)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def apply_temperature(probs: np.ndarray, temperature: float) -> np.ndarray:
    """Return ``softmax(log(probs) / temperature)``, ``(..., K)``: what dividing the logits would give.

    Temperature scaling of Guo et al. 2017 (https://arxiv.org/abs/1706.04599). Log-probabilities differ from
    logits by a constant per row, which the softmax takes away, so the logits need not be kept.
    """
    return softmax(np.log(np.maximum(probs.astype(np.float64), np.finfo(np.float32).tiny)) / temperature)


def temperature_nll(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Mean negative log-likelihood of ``labels`` when logits are divided by ``temperature``.

    Args:
        logits: Logits or log-probabilities, ``(n, K)``, or ``(V, n, K)`` for V views of each example whose
            probabilities are averaged after the division.
        labels: True class ids, ``(n,)``.
        temperature: Positive scalar.
    """
    views = logits if logits.ndim == 3 else logits[None]
    probs = softmax(views / temperature).mean(axis=0)  # (n, K)
    true = probs[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(true, np.finfo(np.float64).tiny)).mean())


def fit_temperature(
    logits: np.ndarray, labels: np.ndarray, low: float = 0.05, high: float = 20.0, tolerance: float = 1e-5
) -> float:
    """Find the temperature of least negative log-likelihood by golden-section search on its logarithm.

    One scalar cannot change which class is highest in a single view, so accuracy stays as it is (Guo et al.
    2017, section 4.2). With one view the likelihood is convex in ``1 / temperature``, so the search finds the
    minimum; with several views it need not be, so a coarse grid first brackets the least of 25 points.

    Args:
        logits: As in ``temperature_nll``, of the validation split.
        labels: True class ids, ``(n,)``.
        low: Smallest temperature considered.
        high: Largest temperature considered; a model whose errors are all near-ties may end here.
        tolerance: Width of the last bracket, in log-temperature.

    Returns:
        The temperature, or 1.0 when there is no example to fit it on.
    """
    if len(labels) == 0:
        return 1.0

    def nll(log_temperature: float) -> float:
        return temperature_nll(logits, labels, float(np.exp(log_temperature)))

    grid = np.linspace(np.log(low), np.log(high), 25)
    best = int(np.argmin([nll(point) for point in grid]))
    left, right = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])
    inner_left, inner_right = right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)
    nll_left, nll_right = nll(inner_left), nll(inner_right)
    while right - left > tolerance:
        if nll_left <= nll_right:
            right, inner_right, nll_right = inner_right, inner_left, nll_left
            inner_left = right - _GOLDEN * (right - left)
            nll_left = nll(inner_left)
        else:
            left, inner_left, nll_left = inner_left, inner_right, nll_right
            inner_right = left + _GOLDEN * (right - left)
            nll_right = nll(inner_right)
    return float(np.exp((left + right) / 2))


@dataclass(frozen=True)
class RiskCoverage:
    """Error among the answered examples when only the most confident are answered.

    Attributes:
        threshold: Lowest confidence answered, ``(m,)``, falling.
        coverage: Share of examples answered, ``(m,)``, rising to 1.
        risk: Share of wrong answers among them, ``(m,)``.
        area: Mean risk over the examples ranked by confidence (AURC); less is better.
    """

    threshold: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray
    area: float


def risk_coverage(probs: np.ndarray, labels: np.ndarray) -> RiskCoverage:
    """Trace risk against coverage (Geifman and El-Yaniv 2017, https://arxiv.org/abs/1705.08500).

    Examples of equal confidence enter together, so the curve does not depend on their order.

    Args:
        probs: Calibrated probabilities, ``(n, K)``.
        labels: True class ids, ``(n,)``.
    """
    if len(labels) == 0:
        empty = np.zeros(0)
        return RiskCoverage(empty, empty, empty, float("nan"))
    confidence = probs.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = (probs.argmax(axis=1) != labels)[order]
    confidence = confidence[order]
    last = np.append(confidence[1:] < confidence[:-1], True)  # last example of each confidence
    answered = np.arange(1, len(labels) + 1)[last]
    risk = np.cumsum(wrong)[last] / answered
    weights = np.diff(answered, prepend=0)
    return RiskCoverage(
        confidence[last], answered / len(labels), risk, float((risk * weights).sum() / weights.sum())
    )


def suggest_unsure_below(probs: np.ndarray, labels: np.ndarray, answered_accuracy: float = 0.8) -> float:
    """Suggest the confidence under which an answer should read "unsure".

    It is the lowest confidence at which the answers given, all those at least as confident, are still right
    with ``answered_accuracy``: the largest coverage within the risk that one is ready to take.

    Args:
        probs: Calibrated probabilities of the validation split, ``(n, K)``.
        labels: True class ids, ``(n,)``.
        answered_accuracy: Accuracy wanted among the answered examples, in [0, 1].

    Returns:
        A threshold in [0, 1]: 0.0 when every answer may be given, 1.0 when no group is right often enough.
    """
    curve = risk_coverage(probs, labels)
    good = np.flatnonzero(curve.risk <= 1 - answered_accuracy + 1e-12)
    if len(good) == 0:
        return 0.0 if len(labels) == 0 else 1.0
    last = int(good[-1])
    return 0.0 if last == len(curve.risk) - 1 else float(curve.threshold[last])
