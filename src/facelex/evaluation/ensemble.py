"""Several networks that answer together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from facelex.errors import FacelexError
from facelex.evaluation.bootstrap import RESAMPLES, confusion_interval, exact_if_certain
from facelex.evaluation.comparison import check_same_examples, compare_predictions, holm
from facelex.evaluation.metrics import accuracy, confusion_matrix
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.score_records import AccuracyScore, DifferenceScore, MemberScores, MemberView
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
                f"{', '.join(classes)} and {other} knows {', '.join(theirs)}. Leave one of them "
                "out; the columns of a file of answers can be written in the other's order."
            )


def mean_predictions(members: Sequence[Predictions]) -> Predictions:
    """Return the plain mean of the members' probabilities, variant by variant.

    This is what the field reports for FER2013: softmax probabilities are summed with equal weights. Each
    member answers as it was trained, uncalibrated: a temperature of its own would weigh the members by how
    sure they are. The mean holds the views that all of them hold, and has seen what any of them has, where
    all of them know that.

    Args:
        members: What each network said about the same examples, two or more.

    Raises:
        FacelexError: If examples or classes differ.
    """
    check_same_classes([(member.model, member.classes) for member in members])
    first = members[0]
    check_same_examples(members)
    means: dict[str, Any] = {}
    for name, view in VIEWS.items():
        held = [member.answers[name] for member in members if name in member.answers]
        means[view.array] = np.mean(held, axis=0, dtype=np.float64) if len(held) == len(members) else None
    if len({member.window for member in members}) > 1:
        means[VIEWS["ten_crop"].array] = None  # windows of different sizes are different questions
    seen = [member.seen for member in members if member.seen is not None]
    return replace(
        first,
        **means,
        model=f"mean of {len(members)} networks",
        fingerprint=next((one.fingerprint for one in members if one.fingerprint), ""),
        votes=next((one.votes for one in members if one.votes is not None), None),
        members=tuple(member.model for member in members),
        temperature=1.0,
        weights="",
        seen=np.any(seen, axis=0) if len(seen) == len(members) else None,
    )


def member_scores(
    members: Sequence[Predictions], seed: int = 0, resamples: int = RESAMPLES
) -> list[MemberScores]:
    """Score the accuracy of each member alone, and beside that of the first on the same examples.

    Args:
        members: What each network said about the same examples; the first is what the others are compared
            with.
        seed: Seed of the bootstrap.
        resamples: Bootstrap resamples.

    Returns:
        In every view that a member holds, official and, where known, de-duplicated.
    """
    found: list[dict[str, MemberView]] = [{} for _ in members]
    for view in VIEWS:
        official, kept = (_accuracies(members, view, part, seed, resamples) for part in (False, True))
        for views, alone, without_copies in zip(found, official, kept):
            if alone is not None:
                views[view] = MemberView(alone, without_copies)
    return [MemberScores(member.model, views) for member, views in zip(members, found)]


def _accuracies(
    members: Sequence[Predictions], view: str, deduplicated: bool, seed: int, resamples: int
) -> list[AccuracyScore | None]:
    """Score one view of each member on one set; None where it lacks the view, or its copies are not known."""
    known = [view in one.views and (one.seen is not None or not deduplicated) for one in members]
    pairs = {
        place: compare_predictions(members[0], one, view, deduplicated, seed, resamples)
        for place, one in enumerate(members)
        if place and known[0] and known[place]
    }
    adjusted = dict(zip(pairs, holm([pair.p_value for pair in pairs.values()])))
    scores: list[AccuracyScore | None] = []
    for place, one in enumerate(members):
        if not known[place]:
            scores.append(None)
            continue
        alone = one.deduplicated() if deduplicated else one
        named = alone.view_probs(view).argmax(axis=1)
        confusion = confusion_matrix(alone.labels, named, len(alone.classes))
        interval = exact_if_certain(confusion_interval(accuracy, confusion, seed, resamples), len(alone))
        pair, to_first = pairs.get(place), None
        if pair is not None:
            to_first = DifferenceScore(
                pair.difference, pair.only_a, pair.only_b, pair.p_value, adjusted[place]
            )
        scores.append(AccuracyScore(interval, to_first))
    return scores
