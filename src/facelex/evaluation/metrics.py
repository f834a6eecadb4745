"""Classification metrics as pure functions of numpy arrays.

Everything that depends only on which class was named is a function of the confusion matrix and works on a
stack of matrices ``(..., K, K)``, so that thousands of bootstrap resamples are scored at once. Everything
that depends on the probabilities is a function of ``probs (n, K)`` and ``labels (n,)``. With no example a
score is NaN: there is nothing to say. What happens to an absent class is written at each function.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facelex.data.ferplus import ferplus_majority
from facelex.data.votes import Votes
from facelex.errors import FacelexError

ECE_BINS = 15
"""Equal-width confidence bins, as in Guo et al. 2017."""


def _ratio(numerator: np.ndarray, denominator: np.ndarray, empty: float) -> np.ndarray:
    """Divide, with ``empty`` where the denominator is zero."""
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    )
    return np.divide(numerator, denominator, out=np.full(denominator.shape, empty), where=denominator > 0)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Count examples by true class (row) and predicted class (column), ``(K, K)`` int64."""
    cells = np.bincount(labels * num_classes + predicted, minlength=num_classes * num_classes)
    return cells.reshape(num_classes, num_classes)


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of examples named correctly, ``(...)``; NaN without examples."""
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)), np.nan)


def recall(confusion: np.ndarray) -> np.ndarray:
    """Share of each true class that was named so, ``(..., K)``; NaN for a class without examples."""
    return _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1), np.nan)


def precision(confusion: np.ndarray) -> np.ndarray:
    """Share of each named class that was so, ``(..., K)``; 0 for a class never named (sklearn's choice)."""
    return _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-2), 0.0)


def f1(confusion: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall, ``2 TP / (support + named)``, ``(..., K)``.

    NaN for a class that neither occurs nor is named; 0 for one that is named without occurring.
    """
    true_positives = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _ratio(2 * true_positives, confusion.sum(axis=-1) + confusion.sum(axis=-2), np.nan)


def _mean_over_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without the NaNs; NaN where nothing is defined."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1), np.nan)


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that occur, ``(...)`` (Brodersen et al. 2010; as in sklearn)."""
    return _mean_over_defined(recall(confusion))


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that occur or are named, ``(...)`` (as in sklearn's ``average="macro"``)."""
    return _mean_over_defined(f1(confusion))


def nll_per_example(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Negative log-probability of the true class in nats, ``(n,)``; zero counts as float32's least number."""
    true = probs[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.maximum(true, np.finfo(np.float32).tiny))


def brier_per_example(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Squared distance between probabilities and the one-hot truth, ``(n,)`` in [0, 2] (Brier 1950)."""
    truth = np.zeros(probs.shape)
    truth[np.arange(len(labels)), labels] = 1
    return np.square(probs.astype(np.float64) - truth).sum(axis=1)


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy by equal-width bins of confidence.

    Bin b of B holds confidences in ``(b / B, (b + 1) / B]``; the first also holds 0.

    Attributes:
        edges: Bin edges, ``(B + 1,)``.
        count: Examples in each bin, ``(B,)``.
        confidence: Mean highest probability, ``(B,)``; NaN in an empty bin.
        accuracy: Share named correctly, ``(B,)``; NaN in an empty bin.
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean of ``|accuracy - confidence|`` weighted by count."""
        if self.count.sum() == 0:
            return float("nan")
        gap = np.where(self.count > 0, np.abs(self.accuracy - self.confidence), 0)
        return float((gap * self.count).sum() / self.count.sum())

    @property
    def mce(self) -> float:
        """Maximum calibration error: the largest gap of a bin that holds an example."""
        if self.count.sum() == 0:
            return float("nan")
        return float(np.abs(self.accuracy - self.confidence)[self.count > 0].max())


def reliability(probs: np.ndarray, labels: np.ndarray, bins: int = ECE_BINS) -> Reliability:
    """Bin examples by highest probability (Guo et al. 2017, https://arxiv.org/abs/1706.04599, Eq. 2-5)."""
    if bins < 1:
        raise FacelexError(f"Expected at least 1 confidence bin, but got {bins}.")
    confidence = probs.max(axis=1).astype(np.float64) if len(labels) else np.zeros(0)
    right = probs.argmax(axis=1) == labels
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    return Reliability(
        np.linspace(0, 1, bins + 1),
        count,
        _ratio(np.bincount(index, weights=confidence, minlength=bins), count, np.nan),
        _ratio(np.bincount(index, weights=right, minlength=bins), count, np.nan),
    )


def confused_pairs(confusion: np.ndarray) -> list[tuple[int, int, int, float]]:
    """List mistakes from the most frequent on: ``(true, named, count, share of the true class)``."""
    support = confusion.sum(axis=1)
    pairs = [
        (int(i), int(j), int(confusion[i, j]), float(confusion[i, j] / support[i]))
        for i, j in zip(*np.nonzero(confusion))
        if i != j
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], -pair[3], pair[0], pair[1]))


@dataclass(frozen=True)
class FerplusScores:
    """Agreement with the FER+ taggers.

    Attributes:
        majority_count: Images with a majority for one of the eight FER+ emotions.
        majority_accuracy: Share of them named so; an emotion that the model lacks, as the seven classes lack
            contempt, counts as wrong.
        known_count: Those whose majority is one of the model's classes.
        known_accuracy: Share of these named so.
        votes_count: Images with at least one vote for a class of the model.
        cross_entropy: Mean of ``-sum_k q_k log p_k`` in nats, q the shares of votes among its classes.
        kl: Mean of ``sum_k q_k log(q_k / p_k)``: the cross-entropy less the entropy of the votes.
    """

    majority_count: int
    majority_accuracy: float
    known_count: int
    known_accuracy: float
    votes_count: int
    cross_entropy: float
    kl: float


@dataclass(frozen=True)
class VoteScores:
    """Agreement with the people who voted.

    Attributes:
        count: Images with at least one vote for a class of the model.
        agreement: Mean share of an image's votes among the model's classes that are for the class it names.
        best_agreement: The same of the class that most people chose: nobody can have more.
        cross_entropy: Mean of ``-sum_k q_k log p_k`` in nats, q the shares of votes among its classes.
        kl: Mean of ``sum_k q_k log(q_k / p_k)``: the cross-entropy less the entropy of the votes.
    """

    count: int
    agreement: float
    best_agreement: float
    cross_entropy: float
    kl: float


def vote_scores(probs: np.ndarray, votes: Votes, classes: tuple[str, ...]) -> VoteScores:
    """Compare predictions with the distribution of votes.

    Args:
        probs: Class probabilities, ``(n, K)``.
        votes: What people chose, n rows.
        classes: Class names, K of them.
    """
    counts = votes.on(classes)
    voted = counts.sum(axis=1) > 0
    if not voted.any():
        return VoteScores(0, *[float("nan")] * 4)
    shares = counts[voted] / counts[voted].sum(axis=1, keepdims=True)
    log_probs = np.log(np.maximum(probs[voted].astype(np.float64), np.finfo(np.float32).tiny))
    cross_entropy = -(shares * log_probs).sum(axis=1)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)
    return VoteScores(
        int(voted.sum()),
        float(np.take_along_axis(shares, probs[voted].argmax(axis=1)[:, None], axis=1).mean()),
        float(shares.max(axis=1).mean()),
        float(cross_entropy.mean()),
        float((cross_entropy - entropy).mean()),
    )


def ferplus_scores(probs: np.ndarray, votes: Votes, classes: tuple[str, ...]) -> FerplusScores:
    """Compare predictions with FER+ votes: the majority's emotion and the distribution of votes.

    Args:
        probs: Class probabilities, ``(n, K)``.
        votes: FER+'s, n rows.
        classes: Class names, K of them.
    """
    majority = ferplus_majority(votes.counts)
    decided = majority >= 0
    truth = np.where(decided, votes.class_ids(classes)[majority], -1)
    right = probs.argmax(axis=1) == truth
    known = truth >= 0
    distribution = vote_scores(probs, votes, classes)
    return FerplusScores(
        int(decided.sum()),
        float(right[decided].mean()) if decided.any() else float("nan"),
        int(known.sum()),
        float(right[known].mean()) if known.any() else float("nan"),
        distribution.count,
        distribution.cross_entropy,
        distribution.kl,
    )
