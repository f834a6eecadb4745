"""From predictions to one dictionary of scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from facelex.evaluation import metrics
from facelex.evaluation.bootstrap import RESAMPLES, Interval, confusion_interval, mean_intervals
from facelex.evaluation.calibration import fit_temperature, risk_coverage, suggest_unsure_below
from facelex.evaluation.predictions import Predictions

SETS: tuple[str, ...] = ("official", "deduplicated")
"""All examples of the split; those without a pixel-identical copy in the training split."""


def score_predictions(
    preds: Predictions,
    temperature: float | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    stratified: bool = False,
) -> dict[str, Any]:
    """Score predictions in every view, official and de-duplicated.

    Args:
        preds: What the model said.
        temperature: Calibration to score beside the raw probabilities; the model's own by default. Fit it on
            the validation split, never on the split that is scored.
        seed: Seed of the bootstrap.
        resamples: Bootstrap resamples.
        stratified: Keep the class counts in each resample.

    Returns:
        Plain values only, NaN as None: ``{"model", "split", "classes", "fingerprint", "seed", "resamples",
        "views": {"single" | "flip" | "ten_crop": {"official" | "deduplicated": scores}}}``. Keys of
        ``scores``: see ``score_view``. On the validation split each view also holds ``"calibration"``, the
        fitted temperature and a suggested ``unsure_below``.
    """
    temperature = preds.temperature if temperature is None else temperature
    views: dict[str, Any] = {}
    for view in preds.views:
        views[view] = {
            name: score_view(part, view, temperature, seed, resamples, stratified)
            for name, part in zip(SETS, (preds, preds.deduplicated()))
        }
        if preds.split == "val":
            views[view]["calibration"] = calibrate(preds, view)
    return {
        "model": preds.model,
        "split": preds.split,
        "classes": list(preds.classes),
        "fingerprint": preds.fingerprint,
        "seed": seed,
        "resamples": resamples,
        "views": json_values(views),
    }


def score_view(
    preds: Predictions, view: str, temperature: float, seed: int, resamples: int, stratified: bool
) -> dict[str, Any]:
    """Score one view of one set of examples.

    Returns:
        ``count``; ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``nll``, ``brier`` as
        ``{"value", "low", "high", "level"}``; ``ece`` and ``mce``; ``calibrated`` (the same at
        ``temperature``) where that is not 1; ``area_under_risk_coverage``; ``per_class``; ``confusion``;
        ``reliability``; ``ferplus`` where votes are known.
    """
    probs, labels = preds.view_probs(view), preds.labels
    confusion = metrics.confusion_matrix(labels, probs.argmax(axis=1), len(preds.classes))
    scores: dict[str, Any] = {"count": len(preds)}
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        metric = getattr(metrics, name)
        scores[name] = asdict(confusion_interval(metric, confusion, seed, resamples, stratified=stratified))
    calibrated = preds.view_probs(view, temperature)
    intervals = mean_intervals(
        {
            "nll": metrics.nll_per_example(probs, labels),
            "brier": metrics.brier_per_example(probs, labels),
            "calibrated nll": metrics.nll_per_example(calibrated, labels),
            "calibrated brier": metrics.brier_per_example(calibrated, labels),
        },
        seed,
        resamples,
    )
    scores |= {"nll": asdict(intervals["nll"]), "brier": asdict(intervals["brier"])}
    scores |= _reliability_scores(probs, labels)
    if temperature != 1:
        scores["calibrated"] = {
            "temperature": temperature,
            "nll": asdict(intervals["calibrated nll"]),
            "brier": asdict(intervals["calibrated brier"]),
            **_reliability_scores(calibrated, labels),
        }
    scores["area_under_risk_coverage"] = risk_coverage(probs, labels).area
    scores["per_class"] = {
        name: {
            "support": int(confusion[i].sum()),
            "precision": float(metrics.precision(confusion)[i]),
            "recall": float(metrics.recall(confusion)[i]),
            "f1": float(metrics.f1(confusion)[i]),
        }
        for i, name in enumerate(preds.classes)
    }
    scores["confusion"] = confusion.tolist()
    if preds.votes is not None:
        scores["ferplus"] = asdict(metrics.ferplus_scores(probs, preds.votes, preds.classes))
    return scores


def _reliability_scores(probs: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    bins = metrics.reliability(probs, labels)
    return {
        "ece": bins.ece,
        "mce": bins.mce,
        "reliability": {
            "edges": bins.edges.tolist(),
            "count": bins.count.tolist(),
            "confidence": bins.confidence.tolist(),
            "accuracy": bins.accuracy.tolist(),
        },
    }


def calibrate(preds: Predictions, view: str = "single", answered_accuracy: float = 0.8) -> dict[str, float]:
    """Fit the temperature of a view and suggest where to begin to say "unsure".

    Returns:
        ``temperature``, ``unsure_below``, and at that threshold ``coverage`` (share answered) and
        ``answered_accuracy``.
    """
    temperature = fit_temperature(preds.log_views(view), preds.labels)
    probs = preds.view_probs(view, temperature)
    threshold = suggest_unsure_below(probs, preds.labels, answered_accuracy)
    answered = probs.max(axis=1, initial=0) >= threshold
    right = (probs.argmax(axis=1) == preds.labels)[answered] if len(preds) else np.zeros(0)
    return {
        "temperature": temperature,
        "unsure_below": threshold,
        "coverage": float(answered.mean()) if len(preds) else math.nan,
        "answered_accuracy": float(right.mean()) if len(right) else math.nan,
    }


def json_values(value: Any) -> Any:
    """Turn NaN and infinity into None, since JSON has neither."""
    if isinstance(value, Mapping):
        return {str(key): json_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def interval_of(entry: Mapping[str, Any]) -> Interval:
    """Read back an interval from scores, None as NaN."""
    numbers = [math.nan if entry[key] is None else entry[key] for key in ("value", "low", "high")]
    return Interval(numbers[0], numbers[1], numbers[2], entry["level"])
