"""How far scores for arbitrary words can be trusted: pure functions of numpy arrays.

Three questions, each with an answer that needs no training on the word asked for:

* Does a word find the faces it names (`auc`), among them those of an emotion that training never saw
  (`held_out_scores`, generalised zero-shot recognition: Xian et al. 2018, https://arxiv.org/abs/1707.00600)?
* Does its score rise with the share of people who chose the word (`spearman`, `auc` with shares of votes)?
* Do pleasant words fit happy faces better than unhappy ones (`contrast_between`, `pearson`)?

A number alone says little, since *any* direction in a space of faces separates something from something. So
each stands beside the same number for words without meaning (`monte_carlo_p`).

Scores are ``(N, W)``, one row a face and one column a word; higher means a better fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facelex.errors import FacelexError
from facelex.evaluation.bootstrap import (
    RESAMPLES,
    Interval,
    percentile_interval,
    resample_blocks,
    resample_counts,
)

Floats = NDArray[np.float64]


def midranks(values: ArrayLike) -> Floats:
    """Rank each column from 1, equal values sharing the mean of their ranks, ``(N, ...)``."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 1:
        return _column_midranks(array)
    columns = array.reshape(len(array), -1)
    ranks = np.empty_like(columns)
    for column in range(columns.shape[1]):
        ranks[:, column] = _column_midranks(columns[:, column])
    return ranks.reshape(array.shape)


def auc(scores: ArrayLike, positive: ArrayLike) -> Floats:
    """Probability that a positive face scores above a negative one, ties counting half.

    The area under the ROC curve as Mann and Whitney's statistic (Hanley and McNeil 1982,
    https://doi.org/10.1148/radiology.143.1.7063747). With shares instead of marks, each face is positive with
    its share and negative with the rest, and the pairs are weighted accordingly.

    Args:
        scores: ``(N,)`` or ``(N, W)``.
        positive: Marks or shares in [0, 1], ``(N,)``.

    Returns:
        ``()`` or ``(W,)`` in [0, 1]; NaN where every face is positive or none is.
    """
    array = np.asarray(scores, dtype=np.float64)
    share = np.asarray(positive, dtype=np.float64)
    if share.shape != array.shape[:1]:
        raise FacelexError(f"Expected a mark for each of {len(array)} faces, but got shape {share.shape}.")
    if len(share) and not (share.min() >= 0 and share.max() <= 1):
        raise FacelexError(f"Expected shares in [0, 1], but got {share.min():g} to {share.max():g}.")
    columns = array.reshape(len(array), -1)
    areas = np.array([_weighted_auc(columns[:, i], share) for i in range(columns.shape[1])])
    return areas.reshape(array.shape[1:])


def rank_auc(ranks: ArrayLike, positive: ArrayLike) -> Floats:
    """The same from `midranks` of the scores, for many columns and classes at once.

    With R the sum of the ranks of the n positive faces of N, ``(R - n (n + 1) / 2) / (n (N - n))``.

    Args:
        ranks: ``(N, W)``.
        positive: Marks of C classes, ``(N, C)``.

    Returns:
        ``(W, C)``; NaN where every face is positive or none is.
    """
    marks = np.asarray(positive, dtype=np.float64)
    own = marks.sum(axis=0)
    pairs = own * (len(marks) - own)
    wins = np.asarray(ranks, dtype=np.float64).T @ marks - own * (own + 1) / 2
    return np.divide(wins, pairs, out=np.full(wins.shape, np.nan), where=pairs > 0)


def auc_interval(
    scores: ArrayLike, positive: ArrayLike, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> Interval:
    """Return `auc` of one word with its bootstrap interval.

    Faces with the property and faces without are resampled separately: how many there are of each was
    somebody's choice. Where the two do not overlap, all resamples are equal, and there is no interval.

    Args:
        scores: ``(N,)``.
        positive: Marks, ``(N,)`` bool.
        seed: Seed of the draws.
        resamples: Number of draws.
        level: Confidence level.
    """
    array, marks = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    value = float(auc(array, marks))
    own, others = array[marks], np.sort(array[~marks])
    if not len(own) or not len(others):
        return Interval(value, float("nan"), float("nan"), level)
    below, up_to = (np.searchsorted(others, own, side) for side in ("left", "right"))
    rng = np.random.default_rng(seed)
    areas = []
    for size in resample_blocks(max(len(own), len(others)), resamples):
        drawn = resample_counts(rng, len(own), size)
        lower = np.cumsum(resample_counts(rng, len(others), size), axis=1)
        lower = np.concatenate([np.zeros((size, 1)), lower], axis=1)  # drawn among the k lowest others
        wins = (lower[:, below] + lower[:, up_to]) / 2
        areas.append((wins * drawn).sum(axis=1) / (len(own) * len(others)))
    return percentile_interval(value, np.concatenate(areas), level)


def pearson(a: ArrayLike, b: ArrayLike) -> float:
    """Pearson's correlation of two lists of numbers; NaN where one of them does not vary."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise FacelexError(f"Expected two lists of equal length, but got shapes {x.shape} and {y.shape}.")
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Pearson's correlation of the ranks, ties sharing theirs (Spearman 1904)."""
    return pearson(midranks(a), midranks(b))


def harmonic_mean(seen: float, unseen: float) -> float:
    """``2 s u / (s + u)``: high only if both are (Xian et al. 2018, Eq. 16); 0 if both are 0."""
    return 2 * seen * unseen / (seen + unseen) if seen + unseen > 0 else 0.0


@dataclass(frozen=True)
class HeldOutScores:
    """How a class that training never saw is recognised by its word.

    Attributes:
        auc: Probability that one of its faces fits the word better than another face does.
        recall: Share of its faces for which its word wins among all words.
        seen_recall: Mean recall of the other classes in the same choice.
        harmonic: Harmonic mean of the two.
        pairwise: Share right when a face of the class or of another, drawn with equal chance, is to be told
            by the two words alone: the mean over the other classes.
    """

    auc: float
    recall: float
    seen_recall: float
    harmonic: float
    pairwise: float


def held_out_scores(
    scores: NDArray[np.floating], labels: NDArray[np.integer], held_out: int
) -> HeldOutScores:
    """Score the recognition of a class that was left out of training.

    Args:
        scores: Fit of each face with each class's word, ``(N, K)``, comparable between words.
        labels: Class ids, ``(N,)``, the held-out class among them.
        held_out: Id of the held-out class.
    """
    own = labels == held_out
    if not own.any() or own.all():
        raise FacelexError("Expected faces of the held-out class and of others, but got only one of the two.")
    chosen = scores.argmax(axis=1)
    others = [c for c in range(scores.shape[1]) if c != held_out and (labels == c).any()]
    recalls = [float((chosen[labels == c] == c).mean()) for c in others]
    preferred = scores > scores[:, [held_out]]  # (N, K): the other word fits better
    pairs = [(1 - preferred[own, c].mean() + preferred[labels == c, c].mean()) / 2 for c in others]
    recall, seen = float((chosen[own] == held_out).mean()), float(np.mean(recalls))
    return HeldOutScores(
        float(auc(scores[:, held_out], own)), recall, seen, harmonic_mean(seen, recall), float(np.mean(pairs))
    )


def contrast_between(
    scores: NDArray[np.floating], first: NDArray[np.bool_], second: NDArray[np.bool_]
) -> Floats:
    """Mean score of the first faces less that of the second, word by word, ``(W,)``."""
    if not first.any() or not second.any():
        raise FacelexError("Expected faces on both sides of the contrast, but one side is empty.")
    return scores[first].mean(axis=0, dtype=np.float64) - scores[second].mean(axis=0, dtype=np.float64)


def monte_carlo_p(value: float, controls: ArrayLike) -> float:
    """Monte Carlo p-value of a value among its controls: ``(1 + as good or better) / (1 + all)``.

    The one is the observation itself (Phipson and Smyth 2010, https://arxiv.org/abs/1603.05766).
    """
    others = np.asarray(controls, dtype=np.float64)
    return float((1 + (others >= value).sum()) / (1 + others.size))


def _column_midranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse].astype(np.float64)


def _weighted_auc(scores: Floats, share: Floats) -> float:
    _, inverse = np.unique(scores, return_inverse=True)
    positive = np.bincount(inverse, weights=share)
    negative = np.bincount(inverse, weights=1 - share)
    below = np.cumsum(negative) - negative
    pairs = share.sum() * (1 - share).sum()
    return float((positive * (below + negative / 2)).sum() / pairs) if pairs > 0 else float("nan")
