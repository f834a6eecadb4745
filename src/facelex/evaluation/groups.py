"""Scores by group: does a network read everybody alike, or every camera, or every place?

Groups differ in what they show, and classes in how easily they are read: who smiles more is read better by
any network. So groups are compared class by class, and the differences then averaged.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError
from facelex.evaluation import metrics
from facelex.evaluation.bootstrap import RESAMPLES, Interval, confusion_interval, exact_if_certain
from facelex.evaluation.comparison import holm
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.score_records import GroupClassScores, GroupingScores, GroupScores

MOST_GROUPS = 40
UNKNOWN = "(empty)"
"""The group of examples for which a column is empty."""


@dataclass(frozen=True)
class Column:
    """A column of the data, and the edges between which its numbers form groups; none for its own values."""

    name: str
    edges: tuple[float, ...] = ()

    def parts(self, values: NDArray[np.str_]) -> tuple[NDArray[np.int64], list[str]]:
        """Part examples by their values, which are the same whatever their case.

        Returns:
            A number for each example, ``(n,)``, and the names that the numbers stand for, in their order.

        Raises:
            FacelexError: If there are edges and a value is no number.
        """
        if not self.edges:
            keys = [unicodedata.normalize("NFC", value).lower() for value in values.tolist()]
            spelt = dict(sorted(zip(keys, values.tolist()), reverse=True))  # of several spellings the first
            names = sorted(set(keys) - {""}, key=_numbers_in_order)
            places = {name: place for place, name in enumerate(names)} | {"": len(names)}
            shown = [spelt[name] for name in names]
            return np.array([places[key] for key in keys], np.int64), [*shown, UNKNOWN]
        numbers = np.array([self._number(value) for value in values.tolist()], np.float64)
        places_of = np.where(np.isnan(numbers), len(self.edges) + 1, np.digitize(numbers, self.edges))
        shown = [f"{edge:.15g}" for edge in self.edges]
        between = [f"{low} to {high}" for low, high in pairwise(shown)]
        return places_of.astype(np.int64), [f"under {shown[0]}", *between, f"{shown[-1]} and over", UNKNOWN]

    def _number(self, value: str) -> float:
        if not value:
            return math.nan
        try:
            return float(value)
        except ValueError as error:
            raise FacelexError(
                f"Expected numbers such as 17.5 in the column {self.name!r}, which --by gives edges, but got "
                f"{value!r}. Mend it, or leave it empty."
            ) from error


@dataclass(frozen=True)
class Grouping:
    """One way to part examples: by a column, or by several at once.

    Attributes:
        text: As it was asked for.
        columns: At least one.
    """

    text: str
    columns: tuple[Column, ...]

    @classmethod
    def parse(cls, text: str) -> Grouping:
        """Read ``age``, ``age:18,40,65`` (under 18, 18 to 40, ...) or ``gender*age:40`` (each with each).

        Raises:
            FacelexError: If it is none of these.
        """
        return cls(text, tuple(_column(part.strip(), text) for part in text.split("*")))

    def parts(
        self, attributes: Mapping[str, NDArray[np.str_]], rows: NDArray[np.int64]
    ) -> list[tuple[str, NDArray[np.bool_]]]:
        """Part examples.

        Args:
            attributes: Of a dataset.
            rows: Its examples that are scored, ``(n,)``.

        Returns:
            The groups that have an example: name and marks of the examples, ``(n,)``.

        Raises:
            FacelexError: If a column is not known, or there are too many groups.
        """
        for column in self.columns:
            if column.name not in attributes:
                raise _no_column(column.name, attributes)
        found = [column.parts(np.asarray(attributes[column.name])[rows]) for column in self.columns]
        codes = np.stack([numbers for numbers, _ in found])  # (columns, n)
        groups = sorted(set(map(tuple, codes.T.tolist())))
        if len(groups) > MOST_GROUPS:
            plain = [column.name for column in self.columns if not column.edges]
            remedy = f"Give numbers edges, such as {plain[0]}:18,40,65" if plain else "Give fewer edges"
            raise FacelexError(
                f"Expected at most {MOST_GROUPS} groups with --by {self.text}, but got {len(groups):,}. "
                f"{remedy}, or take another column."
            )
        return [
            (
                ", ".join(names[code] for code, (_, names) in zip(group, found)),
                (codes == np.array(group)[:, None]).all(axis=0),
            )
            for group in groups
        ]


def score_groups(
    preds: Predictions,
    groups: Sequence[tuple[str, NDArray[np.bool_]]],
    by: str,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> GroupingScores:
    """Score each group, and compare it with all other examples.

    Args:
        preds: What the model said; the last view known is scored, all examples of it.
        groups: Name and marks, ``(n,)`` bool, of groups that do not overlap.
        by: What parts them.
        seed: Seed of the bootstrap.
        resamples: Bootstrap resamples.
    """
    view = preds.views[-1]
    named = preds.view_probs(view).argmax(axis=1)
    size = len(preds.classes)
    together = metrics.confusion_matrix(preds.labels, named, size)
    parts = [metrics.confusion_matrix(preds.labels[marks], named[marks], size) for _, marks in groups]
    p_values = [cochran_mantel_haenszel(part, together - part) for part in parts]
    scored = []
    for (name, marks), part, p_value, adjusted in zip(groups, parts, p_values, _adjusted(p_values)):
        count = int(marks.sum())
        accuracy = confusion_interval(metrics.accuracy, part, seed, resamples)
        scored.append(
            GroupScores(
                name=name,
                count=count,
                accuracy=exact_if_certain(accuracy, count),
                difference=stratified_difference(part, together - part),
                p_value=p_value,
                adjusted_p_value=adjusted,
                per_class=_by_class(part, preds.classes),
                confusion=part.tolist(),
            )
        )
    return GroupingScores(by, view, scored)


def stratified_difference(group: np.ndarray, others: np.ndarray, level: float = 0.95) -> Interval:
    """How much more often a group is read rightly than the others, at equal classes.

    The Mantel-Haenszel difference: differences of recall, class by class, averaged with weights
    ``n m / (n + m)`` of the numbers in the group and outside it. Its interval is Newcombe's (1998),
    stratified (Yan and Su 2010, https://doi.org/10.1198/sbr.2009.0049): made of the Wilson intervals of both
    sides, so that it has a width for few examples as well, and where all are read rightly.

    Args:
        group: Confusion counts of the group, ``(K, K)``.
        others: Those of all other examples, ``(K, K)``.
        level: Confidence level.

    Returns:
        NaN where no class has examples both in the group and outside it.
    """
    counts = _counts(group, others)
    n, m, x, y = counts[:, (counts[:2] > 0).all(axis=0)]
    if not len(n):
        return Interval(math.nan, math.nan, math.nan, level)
    weights = n * m / (n + m)
    weights /= weights.sum()
    ours, theirs = _stratified_wilson(x, n, weights, level), _stratified_wilson(y, m, weights, level)
    difference = ours.value - theirs.value
    low = difference - math.hypot(ours.value - ours.low, theirs.high - theirs.value)
    high = difference + math.hypot(ours.high - ours.value, theirs.value - theirs.low)
    return Interval(difference, low, high, level)


def _stratified_wilson(right: np.ndarray, count: np.ndarray, weights: np.ndarray, level: float) -> Interval:
    """A weighted mean of shares with its interval: the weighted means of the ends of Wilson's (1927).

    Each is made for fewer standard errors z than one share alone would have: shares err independently.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    center = (right + z**2 / 2) / (count + z**2)  # never 0 or 1, where no share would seem to err
    errors = weights * np.sqrt(center * (1 - center) / count)
    z *= math.sqrt((errors**2).sum()) / errors.sum()
    middle = (right + z**2 / 2) / (count + z**2)
    reach = z / (count + z**2) * np.sqrt(right * (count - right) / count + z**2 / 4)
    value, low, high = (float(weights @ ends) for ends in (right / count, middle - reach, middle + reach))
    return Interval(value, low, high, level)


def _counts(group: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Examples in the group and outside it, then right answers, of the C classes that occur, ``(4, C)``."""
    counts = [group.sum(axis=1), others.sum(axis=1), np.diagonal(group), np.diagonal(others)]
    return np.stack(counts)[:, (counts[0] + counts[1]) > 0].astype(float)


def cochran_mantel_haenszel(group: np.ndarray, others: np.ndarray) -> float:
    """Test whether, among faces of one class, a group is read rightly as often as the others.

    Mantel and Haenszel 1959 (https://doi.org/10.1093/jnci/22.4.719), two-sided, without continuity
    correction; an approximation that wants more than a few answers of both kinds.

    Args:
        group: Confusion counts of the group, ``(K, K)``.
        others: Those of all other examples, ``(K, K)``.

    Returns:
        The p-value; NaN where the counts leave nothing open: no class has faces on both sides of which some
        were read rightly and some were not.
    """
    n, m, hits, others_right = _counts(group, others)
    total, right = n + m, hits + others_right
    variance = (n * m * right * (total - right) / (total**2 * np.maximum(total - 1, 1))).sum()
    if variance <= 0:
        return math.nan
    excess = (hits - n * right / total).sum()
    return math.erfc(abs(excess) / math.sqrt(2 * variance))


def _by_class(confusion: np.ndarray, classes: Sequence[str]) -> dict[str, GroupClassScores]:
    recall, support, count = metrics.recall(confusion), confusion.sum(axis=1), confusion.sum()
    wrongly = confusion.sum(axis=0) - np.diagonal(confusion)
    return {
        name: GroupClassScores(
            int(support[i]),
            float(recall[i]),
            float(wrongly[i] / (count - support[i])) if count > support[i] else math.nan,
        )
        for i, name in enumerate(classes)
    }


def _adjusted(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for the number of groups tested; of two groups there is but one test."""
    return list(p_values) if len(p_values) == 2 else holm(list(p_values))


def _column(text: str, grouping: str) -> Column:
    name, colon, edges = (part.strip() for part in text.partition(":"))
    try:
        numbers = tuple(float(edge) for edge in edges.split(",")) if colon else ()
    except ValueError:
        numbers = (math.nan,)
    if not name or not all(map(math.isfinite, numbers)) or list(numbers) != sorted(set(numbers)):
        raise FacelexError(
            "Expected a column for --by, such as gender, with rising numbers as edges if it holds numbers, "
            f"such as age:18,40,65, or several joined as gender*age:40, but got {grouping!r}."
        )
    return Column(name.lower(), numbers)


def _no_column(name: str, attributes: Mapping[str, NDArray[np.str_]]) -> FacelexError:
    kept = ",".join([*attributes, name])
    return FacelexError(
        f"Expected data with the column {name!r} for --by, but these have {', '.join(attributes) or 'none'}. "
        "Give a CSV that lists images and has it with --data, or a file made of one with: "
        f"facelex data prepare LIST.csv --keep {kept}"
    )


def _numbers_in_order(value: str) -> tuple[float, str]:
    """Sort 9 before 10, and both before words."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    return math.inf if math.isnan(number) else number, value
