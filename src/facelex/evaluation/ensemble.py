"""Several networks that answer together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from facelex.errors import FacelexError
from facelex.evaluation.bootstrap import RESAMPLES, confusion_interval, exact_if_certain
from facelex.evaluation.metrics import accuracy, confusion_matrix
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.score_records import AccuracyScore, MemberScores, MemberView
from facelex.evaluation.views import VIEWS


def check_same_classes(networks: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    """Refuse networks, given as name and classes, whose answers cannot be averaged.

    Raises:
        FacelexError: If the classes or their order differ.
    """
    name, classes = networks[0]
    for other, theirs in networks[1:]:
        if theirs != classes:
            raise FacelexError(
                f"Expected networks with the same classes in the same order, but {name} knows "
                f"{', '.join(classes)} and {other} knows {', '.join(theirs)}. Leave one of them out."
            )


def mean_predictions(members: Sequence[Predictions]) -> Predictions:
    """Return the plain mean of the members' probabilities, variant by variant.

    This is what the field reports for FER2013: softmax probabilities are summed with equal weights. Each
    member answers as it was trained, uncalibrated: a temperature of its own would weigh the members by how
    sure they are. The mean holds the views that all of them hold, and has seen what any of them has.

    Args:
        members: What each network said about the same examples, two or more.

    Raises:
        FacelexError: If examples or classes differ.
    """
    check_same_classes([(member.model, member.classes) for member in members])
    first = members[0]
    for other in members[1:]:
        if (other.fingerprint, other.split) != (first.fingerprint, first.split) or not np.array_equal(
            other.labels, first.labels
        ):
            raise FacelexError(
                f"Expected answers about the same examples, but {first.model} and {other.model} answered "
                "about different ones. Evaluate them on one dataset and split."
            )
    means: dict[str, Any] = {}
    for name, view in VIEWS.items():
        held = [member.answers[name] for member in members if name in member.answers]
        means[view.array] = np.mean(held, axis=0, dtype=np.float64) if len(held) == len(members) else None
    if len({member.window for member in members}) > 1:
        means[VIEWS["ten_crop"].array] = None  # windows of different sizes are different questions
    return replace(
        first,
        **means,
        model=f"mean of {len(members)} networks",
        members=tuple(member.model for member in members),
        temperature=1.0,
        weights="",
        seen=np.any([member.seen for member in members], axis=0),
        seen_known=all(member.seen_known for member in members),
    )


def member_scores(
    members: Sequence[Predictions], seed: int = 0, resamples: int = RESAMPLES
) -> list[MemberScores]:
    """Score the accuracy of each member alone, in every view, official and, where known, de-duplicated."""

    def score(preds: Predictions, view: str) -> AccuracyScore:
        named = preds.view_probs(view).argmax(axis=1)
        confusion = confusion_matrix(preds.labels, named, len(preds.classes))
        interval = confusion_interval(accuracy, confusion, seed, resamples)
        return AccuracyScore(exact_if_certain(interval, len(preds)))

    scores = []
    for member in members:
        kept = member.deduplicated() if member.seen_known else None
        views = {
            view: MemberView(score(member, view), None if kept is None else score(kept, view))
            for view in member.views
        }
        scores.append(MemberScores(member.model, views))
    return scores
