"""Scores as people read them: numbers as text, tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from facelex.evaluation.metrics import confused_pairs
from facelex.evaluation.scores import SETS, interval_of
from facelex.evaluation.views import VIEW_LABELS


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
    pairs = confused_pairs(np.array(headline["confusion"]))[:5]
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
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(escape("[95 % bootstrap interval]"))
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
            escape(name),
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
        table.add_column(escape(name), justify="right")
    for i, (name, counts) in enumerate(zip(classes, entry["confusion"])):
        table.add_row(
            escape(name), *(Text(str(c), style="bold" if i == j else "") for j, c in enumerate(counts))
        )
    return table
