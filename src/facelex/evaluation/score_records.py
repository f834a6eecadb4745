"""The scores of a split as one record, and that record as JSON: an entry of a run's ``scores.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facelex.data.dataset import SPLITS
from facelex.errors import FacelexError
from facelex.evaluation.bootstrap import Interval
from facelex.evaluation.metrics import FerplusScores, VoteScores
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.run_folder import RENEW_SCORES, RunFolder, weights_digest
from facelex.evaluation.views import VIEW_LABELS
from facelex.records import json_values, read_record
from facelex.run_files import SCORES, predictions_file


@dataclass(frozen=True)
class ReliabilityBins:
    """What ``metrics.Reliability`` holds, as lists: B bins between B + 1 edges."""

    edges: list[float]
    count: list[int]
    confidence: list[float]
    accuracy: list[float]


@dataclass(frozen=True)
class CalibratedScores:
    """How good the probabilities are once ``temperature`` has divided the logits."""

    temperature: float
    nll: Interval
    brier: Interval
    ece: float
    mce: float
    reliability: ReliabilityBins


@dataclass(frozen=True)
class ClassScores:
    """How one class is recognised; ``support`` counts its examples."""

    support: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, kw_only=True)
class SetScores:
    """The scores of one set of examples in one view.

    Attributes:
        calibrated: The same probabilities at a temperature; None where that is 1.
        area_under_risk_coverage: See ``calibration.RiskCoverage``.
        per_class: By class name.
        confusion: Counts, ``(K, K)``, one list a true class.
        ferplus: Agreement with FER+'s taggers; None where the votes are not FER+'s.
        votes: Agreement with other people who voted; None where there are no such votes.
    """

    count: int
    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    nll: Interval
    brier: Interval
    ece: float
    mce: float
    reliability: ReliabilityBins
    calibrated: CalibratedScores | None = None
    area_under_risk_coverage: float
    per_class: dict[str, ClassScores]
    confusion: list[list[int]]
    ferplus: FerplusScores | None = None
    votes: VoteScores | None = None


@dataclass(frozen=True)
class Calibration:
    """What a validation split says about one view.

    Attributes:
        temperature: The temperature of least negative log-likelihood.
        unsure_below: Confidence under which an answer should read "unsure".
        coverage: Share of the examples answered at that threshold.
        answered_accuracy: Share of right answers among those.
    """

    temperature: float
    unsure_below: float
    coverage: float
    answered_accuracy: float


@dataclass(frozen=True)
class ViewScores:
    """One view, scored on both sets of examples as far as they are known.

    Attributes:
        official: All examples of the split.
        deduplicated: Those without a pixel-identical copy among the pictures that the model was trained on;
            None where these are not known.
        calibration: Known on the validation split only.
    """

    official: SetScores
    deduplicated: SetScores | None = None
    calibration: Calibration | None = None

    @property
    def sets(self) -> tuple[tuple[str, SetScores], ...]:
        """Name and scores of the sets that are known."""
        official = ("official", self.official)
        return (official, ("deduplicated", self.deduplicated)) if self.deduplicated else (official,)


@dataclass(frozen=True)
class DifferenceScore:
    """How a member does beside the first, on the same examples: see ``comparison.PairedExamples``.

    Attributes:
        difference: Accuracy of the member less that of the first.
        only_first: Examples that the first alone names correctly.
        only_own: Examples that the member alone names correctly.
        p_value: Exact two-sided McNemar test.
        adjusted_p_value: The same for the number of members compared with the first (Holm).
    """

    difference: Interval
    only_first: int
    only_own: int
    p_value: float
    adjusted_p_value: float


@dataclass(frozen=True)
class AccuracyScore:
    """The accuracy alone, of one set of examples in one view; ``to_first`` is None for the first member."""

    accuracy: Interval
    to_first: DifferenceScore | None = None


@dataclass(frozen=True)
class MemberView:
    """One view of a member of an ensemble, scored on both sets of examples as far as they are known."""

    official: AccuracyScore
    deduplicated: AccuracyScore | None = None

    @property
    def sets(self) -> tuple[tuple[str, AccuracyScore], ...]:
        """Name and score of the sets that are known."""
        official = ("official", self.official)
        return (official, ("deduplicated", self.deduplicated)) if self.deduplicated else (official,)


@dataclass(frozen=True)
class MemberScores:
    """A member of an ensemble alone, by view."""

    name: str
    views: dict[str, MemberView]


@dataclass(frozen=True)
class GroupClassScores:
    """How one class is recognised within a group.

    Attributes:
        support: The group's examples of the class.
        recall: Share of them that were named so.
        named_wrongly: Share of the group's other examples that were named so.
    """

    support: int
    recall: float
    named_wrongly: float


@dataclass(frozen=True, kw_only=True)
class GroupScores:
    """A group of examples alone, and beside all others.

    Attributes:
        difference: Accuracy less that of all other examples, at equal classes (`groups`).
        p_value: Of that difference; NaN where nothing could be tested.
        adjusted_p_value: The same for the number of groups (Holm).
        per_class: By class name.
        confusion: Counts, ``(K, K)``, one list a true class.
    """

    name: str
    count: int
    accuracy: Interval
    difference: Interval
    p_value: float
    adjusted_p_value: float
    per_class: dict[str, GroupClassScores]
    confusion: list[list[int]]


@dataclass(frozen=True)
class GroupingScores:
    """The groups of one grouping in one view; ``by`` is what parts them, as it was asked for."""

    by: str
    view: str
    groups: list[GroupScores]


@dataclass(frozen=True)
class SplitScores:
    """Everything that is known about a model's answers to one split.

    Attributes:
        model: Name of the run or model.
        split: ``train``, ``val`` or ``test``.
        classes: Class names in label order.
        fingerprint: Fingerprint of the dataset; empty when unknown.
        seed: Seed of the bootstrap.
        resamples: Bootstrap resamples.
        views: By name of the view, in the order of ``views.VIEW_LABELS``; at least one.
        members: Each network alone where the model is the mean of several.
        weights: Digest of the weights that answered; None when unknown.
        groups: By group, where that was asked for.
    """

    model: str
    split: str
    classes: list[str]
    fingerprint: str
    seed: int
    resamples: int
    views: dict[str, ViewScores]
    members: list[MemberScores] | None = None
    weights: str | None = None
    groups: list[GroupingScores] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain: dict[str, Any] = json_values(self)
        return plain

    @classmethod
    def from_json(cls, entry: object) -> SplitScores:
        """Read back what ``to_json`` returned; keys of later versions are passed over.

        Raises:
            FacelexError: If a score is missing or of another kind, or they do not fit together.
        """
        scores: SplitScores = read_record(cls, entry)
        if not scores.views or not set(scores.views) <= set(VIEW_LABELS):
            raise FacelexError(
                f"Expected views among {', '.join(VIEW_LABELS)}, but got {', '.join(scores.views) or 'none'}."
            )
        for name, view in scores.views.items():
            for part, found in view.sets:
                _check_lengths(found, scores.classes, f"views.{name}.{part}")
        return scores


def read_split_scores(run: RunFolder) -> dict[str, SplitScores]:
    """Read the scores of every split that a run's present weights were evaluated on.

    Raises:
        FacelexError: If ``scores.json`` lacks what this version writes into it.
    """
    scores = {}
    outdated = outdated_splits(run)
    for split, entry in run.scores.items():
        if "views" not in entry or split in outdated:
            continue
        try:
            scores[split] = SplitScores.from_json(entry)
        except FacelexError as error:
            raise FacelexError(
                f"The scores of the split {split!r} in {run.path / SCORES} are damaged or not those of this "
                f"version. {error} {RENEW_SCORES}"
            ) from error
    return scores


def left_out_splits(run: RunFolder, scores: Mapping[str, SplitScores]) -> list[str]:
    """Name the splits of ``scores.json`` that :func:`read_split_scores` left out, for other weights' sake."""
    return [split for split, entry in run.scores.items() if "views" in entry and split not in scores]


def outdated_splits(run: RunFolder) -> list[str]:
    """Name the splits whose scores in ``scores.json`` are of other weights than the run's present ones.

    Scores of older versions do not name their weights: they are outdated where the folder keeps answers of
    others. Where the weights have been removed nothing is.
    """
    if not run.finished or not run.scores:
        return []
    today = weights_digest(run.path)
    known = "" if _keeps_answers_of_others(run.path, today) else today
    return [split for split, entry in run.scores.items() if entry.get("weights", known) != today]


def _keeps_answers_of_others(folder: Path, today: str) -> bool:
    for split in SPLITS:
        try:
            if Predictions.load(predictions_file(folder, split)).weights not in ("", today):
                return True
        except FacelexError:
            continue
    return False


def _check_lengths(scores: SetScores, classes: list[str], place: str) -> None:
    """Refuse lists that cannot be shown together."""
    size = len(classes)
    if [len(row) for row in scores.confusion] != [size] * size:
        raise FacelexError(f"Expected {size} x {size} counts at {place}.confusion, but got another shape.")
    for bins in (scores.reliability, *([scores.calibrated.reliability] if scores.calibrated else [])):
        if not len(bins.count) == len(bins.confidence) == len(bins.accuracy) == len(bins.edges) - 1:
            raise FacelexError(
                f"Expected bins between all edges at {place}.reliability, but got another number."
            )
