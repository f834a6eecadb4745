"""From predictions to their scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from facelex.evaluation import metrics
from facelex.evaluation.bootstrap import (
    RESAMPLES,
    Interval,
    confusion_interval,
    exact_if_certain,
    mean_intervals,
)
from facelex.evaluation.calibration import fit_temperature, risk_coverage, suggest_unsure_below
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.score_records import (
    CalibratedScores,
    Calibration,
    ClassScores,
    ReliabilityBins,
    SetScores,
    SplitScores,
    ViewScores,
)


def score_predictions(
    preds: Predictions,
    temperature: float | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    stratified: bool = False,
) -> dict[str, Any]:
    """Return the scores of ``score_split`` as plain values for JSON, NaN as None.

    Returns:
        An entry of ``scores.json``: ``{"model", "split", "classes", "fingerprint", "seed", "resamples",
        "views": {"single" | "flip" | "ten_crop": {"official" | "deduplicated": scores}}}``; the other keys
        are the fields of ``score_records``.
    """
    return score_split(preds, temperature, seed, resamples, stratified).to_json()


def score_split(
    preds: Predictions,
    temperature: float | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    stratified: bool = False,
) -> SplitScores:
    """Score predictions in every view, official and, where copies are known, de-duplicated.

    Args:
        preds: What the model said.
        temperature: Calibration to score beside the raw probabilities; the model's own by default. Fit it on
            the validation split, never on the split that is scored.
        seed: Seed of the bootstrap.
        resamples: Bootstrap resamples.
        stratified: Keep the class counts in each resample.

    Returns:
        The scores; on the validation split each view also holds its ``calibration``.
    """
    temperature = preds.temperature if temperature is None else temperature
    kept = None if preds.seen is None else preds.deduplicated()
    views = {
        view: ViewScores(
            official=score_view(preds, view, temperature, seed, resamples, stratified),
            deduplicated=None
            if kept is None
            else score_view(kept, view, temperature, seed, resamples, stratified),
            calibration=calibrate(preds, view) if preds.split == "val" else None,
        )
        for view in preds.views
    }
    return SplitScores(
        preds.model, preds.split, list(preds.classes), preds.fingerprint, seed, resamples, views,
        weights=preds.weights or None,
    )  # fmt: skip


def score_view(
    preds: Predictions, view: str, temperature: float, seed: int, resamples: int, stratified: bool
) -> SetScores:
    """Score one view of one set of examples; see ``score_split`` for the arguments."""
    probs, labels = preds.view_probs(view), preds.labels
    calibrated = preds.view_probs(view, temperature)
    confusion = metrics.confusion_matrix(labels, probs.argmax(axis=1), len(preds.classes))

    def interval(metric: Callable[[np.ndarray], np.ndarray]) -> Interval:
        return confusion_interval(metric, confusion, seed, resamples, stratified=stratified)

    means = mean_intervals(
        {
            "nll": metrics.nll_per_example(probs, labels),
            "brier": metrics.brier_per_example(probs, labels),
            "calibrated nll": metrics.nll_per_example(calibrated, labels),
            "calibrated brier": metrics.brier_per_example(calibrated, labels),
        },
        seed,
        resamples,
    )
    bins, calibrated_bins = metrics.reliability(probs, labels), metrics.reliability(calibrated, labels)
    precision, recall, f1 = metrics.precision(confusion), metrics.recall(confusion), metrics.f1(confusion)
    return SetScores(
        count=len(preds),
        accuracy=exact_if_certain(interval(metrics.accuracy), len(preds)),
        balanced_accuracy=interval(metrics.balanced_accuracy),
        macro_f1=interval(metrics.macro_f1),
        nll=means["nll"],
        brier=means["brier"],
        ece=bins.ece,
        mce=bins.mce,
        reliability=_bins(bins),
        calibrated=None
        if temperature == 1
        else CalibratedScores(
            temperature=temperature,
            nll=means["calibrated nll"],
            brier=means["calibrated brier"],
            ece=calibrated_bins.ece,
            mce=calibrated_bins.mce,
            reliability=_bins(calibrated_bins),
        ),
        area_under_risk_coverage=risk_coverage(probs, labels).area,
        per_class={
            name: ClassScores(int(confusion[i].sum()), float(precision[i]), float(recall[i]), float(f1[i]))
            for i, name in enumerate(preds.classes)
        },
        confusion=confusion.tolist(),
        **_against_votes(probs, preds),
    )


def _against_votes(probs: np.ndarray, preds: Predictions) -> dict[str, Any]:
    """Compare with the votes, if there are any; those of FER+ by its own rules as well."""
    if preds.votes is None:
        return {}
    if preds.votes.of_ferplus:
        return {"ferplus": metrics.ferplus_scores(probs, preds.votes, preds.classes)}
    return {"votes": metrics.vote_scores(probs, preds.votes, preds.classes)}


def _bins(bins: metrics.Reliability) -> ReliabilityBins:
    return ReliabilityBins(
        bins.edges.tolist(), bins.count.tolist(), bins.confidence.tolist(), bins.accuracy.tolist()
    )


def calibrate(preds: Predictions, view: str = "single", answered_accuracy: float = 0.8) -> Calibration:
    """Fit the temperature of a view and suggest where to begin to say "unsure".

    Args:
        preds: What the model said about the validation split.
        view: The view to calibrate.
        answered_accuracy: Accuracy wanted among the answers given, in [0, 1].
    """
    temperature = fit_temperature(preds.log_views(view), preds.labels)
    probs = preds.view_probs(view, temperature)
    threshold = suggest_unsure_below(probs, preds.labels, answered_accuracy)
    answered = probs.max(axis=1, initial=0) >= threshold
    right = (probs.argmax(axis=1) == preds.labels)[answered] if len(preds) else np.zeros(0)
    return Calibration(
        temperature,
        threshold,
        coverage=float(answered.mean()) if len(preds) else math.nan,
        answered_accuracy=float(right.mean()) if len(right) else math.nan,
    )
