"""From predictions to one dictionary of scores, and from the dictionary to a table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from facelex.errors import FacelexError
from facelex.evaluation import metrics
from facelex.evaluation.bootstrap import RESAMPLES, Interval, confusion_interval, mean_intervals
from facelex.evaluation.calibration import fit_temperature, risk_coverage, suggest_unsure_below
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.views import VIEW_LABELS
from facelex.files import write_text

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


def read_scores(path: str | Path) -> dict[str, Any]:
    """Read ``scores.json`` of a run, an empty dictionary where there is none.

    Raises:
        FacelexError: If the file is no JSON object.
    """
    path = Path(path)
    if not path.exists():
        return {}
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FacelexError(
            f"Expected {path} to hold JSON, but it cannot be read: {error}. Remove it."
        ) from error
    if not isinstance(scores, dict):
        raise FacelexError(
            f"Expected {path} to hold a JSON object, but got {type(scores).__name__}. Remove it."
        )
    return scores


def merge_scores(path: str | Path, name: str, scores: Mapping[str, Any]) -> Path:
    """Put ``scores`` under ``name`` (a split) into ``scores.json``, keeping what else it holds."""
    merged = read_scores(path) | {name: dict(scores)}
    return write_text(Path(path), json.dumps(merged, indent=1) + "\n")


def interval_of(entry: Mapping[str, Any]) -> Interval:
    """Read back an interval from scores, None as NaN."""
    numbers = [math.nan if entry[key] is None else entry[key] for key in ("value", "low", "high")]
    return Interval(numbers[0], numbers[1], numbers[2], entry["level"])


def percent(value: float | None, digits: int = 2) -> str:
    """Write a share as a percentage, a dash where it is undefined."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.{digits}f}"


def number(value: float | None, digits: int = 3) -> str:
    """Write a number, a dash where it is undefined."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def percent_interval(entry: Mapping[str, Any]) -> str:
    """Write ``72.03 [70.56, 73.47]`` for an interval of shares."""
    interval = interval_of(entry)
    if math.isnan(interval.low):
        return percent(interval.value)
    return f"{percent(interval.value)} [{percent(interval.low)}, {percent(interval.high)}]"


def render_scores(scores: Mapping[str, Any]) -> RenderableType:
    """Render what ``score_predictions`` returned for a terminal."""
    views = scores["views"]
    parts: list[RenderableType] = [_summary_table(scores, view) for view in views]
    if "members" in scores:
        parts.append(_member_table(scores))
    headline = views[list(views)[-1]]["official"]
    parts.append(_class_table(headline, list(views)[-1]))
    parts.append(_confusion_table(headline, scores["classes"]))
    pairs = metrics.confused_pairs(np.array(headline["confusion"]))[:5]
    if pairs:
        text = ", ".join(
            f"{scores['classes'][i]} named {scores['classes'][j]} {count}x ({percent(share, 0)} %)"
            for i, j, count, share in pairs
        )
        parts.append(Text(f"Most confused: {text}."))
    for view in views:
        if "calibration" in views[view]:
            fit = views[view]["calibration"]
            parts.append(
                Text(
                    f"Calibration, {VIEW_LABELS[view]}: temperature {number(fit['temperature'])}; unsure "
                    f"below {number(fit['unsure_below'])} answers {percent(fit['coverage'], 1)} % of the "
                    f"faces with {percent(fit['answered_accuracy'], 1)} % right."
                )
            )
    return Group(*parts)


def _summary_table(scores: Mapping[str, Any], view: str) -> Table:
    title = f"{scores['model'] or 'model'} on {scores['split']}, {VIEW_LABELS[view]} (%)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("[95 % bootstrap interval]")
    columns = [summary_rows(scores["views"][view][name]) for name in SETS]
    for name in SETS:
        table.add_column(name, justify="right")
    for cells in zip(*columns):
        table.add_row(cells[0][0], *(text for _, text in cells))
    return table


def _member_table(scores: Mapping[str, Any]) -> Table:
    table = Table(title="Accuracy of each network alone (%)", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    columns = [(view, name) for view in scores["views"] for name in SETS]
    for view, name in columns:
        table.add_column(f"{VIEW_LABELS[view]}, {name}", justify="right")
    for row in (*scores["members"], {"name": scores["model"], "views": scores["views"]}):
        values = [row["views"][view][name]["accuracy"]["value"] for view, name in columns]
        table.add_row(escape(row["name"]), *(percent(value) for value in values))
    return table


def summary_rows(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and write the scores of one set of examples, as tables show them."""
    rows = [
        ("examples", f"{entry['count']:,}"),
        ("accuracy", percent_interval(entry["accuracy"])),
        ("balanced accuracy", percent_interval(entry["balanced_accuracy"])),
        ("macro-F1", percent_interval(entry["macro_f1"])),
        ("NLL (nats)", number(entry["nll"]["value"])),
        ("Brier score", number(entry["brier"]["value"])),
        ("ECE", percent(entry["ece"])),
    ]
    if "calibrated" in entry:
        calibrated = entry["calibrated"]
        at = f"at temperature {number(calibrated['temperature'])}"
        rows += [(f"NLL {at}", number(calibrated["nll"]["value"])), (f"ECE {at}", percent(calibrated["ece"]))]
    if "ferplus" in entry:
        ferplus = entry["ferplus"]
        rows += [
            ("FER+ majority", f"{percent(ferplus['majority_accuracy'])} of {ferplus['majority_count']:,}"),
            ("FER+ classes it knows", f"{percent(ferplus['known_accuracy'])} of {ferplus['known_count']:,}"),
            ("FER+ cross-entropy", number(ferplus["cross_entropy"])),
            ("FER+ KL divergence", number(ferplus["kl"])),
        ]
    return rows


def _class_table(entry: Mapping[str, Any], view: str) -> Table:
    title = f"By class ({VIEW_LABELS[view]}, official, %)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("class")
    for name in ("precision", "recall", "F1", "support"):
        table.add_column(name, justify="right")
    for name, row in entry["per_class"].items():
        table.add_row(
            name,
            percent(row["precision"], 1),
            percent(row["recall"], 1),
            percent(row["f1"], 1),
            f"{row['support']:,}",
        )
    return table


def _confusion_table(entry: Mapping[str, Any], classes: list[str]) -> Table:
    title = "Confusion (rows: truth, columns: named)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in classes:
        table.add_column(name, justify="right")
    for i, (name, counts) in enumerate(zip(classes, entry["confusion"])):
        table.add_row(name, *(Text(str(c), style="bold" if i == j else "") for j, c in enumerate(counts)))
    return table
