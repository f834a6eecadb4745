"""The table of a comparison, for a terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from facelex.evaluation import figures
from facelex.evaluation.bootstrap import Interval
from facelex.evaluation.views import VIEW_LABELS
from facelex.files import replace_file, write_text
from facelex.records import json_values
from facelex.training.compare import Comparison

METRIC_LABELS = {
    "accuracy": "accuracy", "macro-f1": "macro-F1", "balanced-accuracy": "balanced accuracy",
}  # fmt: skip
SCORE, FRESH, FRESH_GAIN = "score", "de-duplicated, %", "de-duplicated gain"
"""Columns of the written table that a terminal shows under another name, or not."""


def comparison_table(comparisons: Sequence[Comparison], split: str) -> Table:
    """Lay the comparison out for a terminal."""
    label = METRIC_LABELS[comparisons[0].metric]
    table = Table(
        title=f"{label[0].upper()}{label[1:]} on {split}, %",
        caption=escape(_head(comparisons, split)),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    rows = _text_rows(comparisons)
    short = {SCORE: label, FRESH: "de-dup.", FRESH_GAIN: ""}  # the last is too wide for a terminal
    columns = [column for column in rows[0] if short.get(column, column)]
    for column in columns:
        side: Literal["left", "right"] = "left" if column in {"encoder", "method"} else "right"
        table.add_column(short.get(column, column), justify=side, overflow="fold")
    for row in rows:
        table.add_row(*(escape(row[column]) for column in columns))
    return table


def comparison_markdown(comparisons: Sequence[Comparison], split: str) -> str:
    """Lay the comparison out as a Markdown table, every seed listed, below a line on what was scored."""
    rows = _text_rows(comparisons)
    label = METRIC_LABELS[comparisons[0].metric]
    heads = [f"{label} on {split}, %" if column == SCORE else column for column in rows[0]]
    lines = [
        _head(comparisons, split),
        "",
        f"| {' | '.join([*heads, 'each seed'])} |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for row, comparison in zip(rows, comparisons):
        each = ", ".join(f"{seed}: {100 * value:.2f}" for seed, value in comparison.scores.items())
        lines.append(f"| {' | '.join([*row.values(), each])} |")
    return "\n".join(lines) + "\n"


def _head(comparisons: Sequence[Comparison], split: str) -> str:
    """Name split, view, dataset, configuration and seeds, as far as they are known."""
    first = comparisons[0]
    seeds = sorted({seed for comparison in comparisons for seed in comparison.scores})
    dataset = f"dataset {first.dataset or 'unnamed'} (fingerprint {first.fingerprint[:12] or 'unknown'})"
    known = [f"split {split}", VIEW_LABELS.get(first.view, first.view), dataset]
    if first.configuration:
        known.append(f"configuration {first.configuration}")
    return "; ".join([*known, f"seeds {', '.join(map(str, seeds))}"])


def note_replaced(comparisons: Sequence[Comparison], split: str, folder: Path) -> str:
    """Say what is lost when a table takes the place of the written one; empty if the new one has it all."""
    name = _name(comparisons, split)
    now = {(c.encoder, c.method, str(seed)) for c in comparisons for seed in c.scores}
    view = comparisons[0].view
    try:
        records = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        before = {(r["encoder"], r["method"], seed) for r in records for seed in r["scores"]}
        old_view = str(records[0].get("view", view))  # which older files do not say
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return ""
    if before <= now and old_view == view:
        return ""
    old, new = (
        f"{len(cells)} cell{'s' * (len(cells) != 1)} ({VIEW_LABELS.get(shown, shown)})"
        for cells, shown in ((before, old_view), (now, view))
    )
    return (
        f"{name}.json and {name}.md in {folder} held a table of {old} and now hold one of {new}. "
        "The former command with --no-train writes the former table again."
    )


def write_comparison(comparisons: Sequence[Comparison], split: str, folder: Path) -> None:
    """Write the table into its folder, as .json and .md, and as .png if matplotlib is installed."""
    name = _name(comparisons, split)
    records = json_values([asdict(comparison) for comparison in comparisons])
    text = json.dumps(records, indent=2, allow_nan=False) + "\n"
    write_text(folder / f"{name}.json", text)
    write_text(folder / f"{name}.md", comparison_markdown(comparisons, split))
    if find_spec("matplotlib"):
        replace_file(folder / f"{name}.png", partial(_save_figure, comparisons, split))


def _name(comparisons: Sequence[Comparison], split: str) -> str:
    """What the files of a table are called: ``compare-SPLIT``, then the metric if that is not accuracy."""
    metric = comparisons[0].metric
    return f"compare-{split}" if metric == "accuracy" else f"compare-{split}-{metric}"


def _save_figure(comparisons: Sequence[Comparison], split: str, file: IO[bytes]) -> None:
    rows = [
        figures.MethodScores(c.encoder, c.method, list(c.scores.values()), c.mean, c.gain)
        for c in comparisons
    ]
    view = comparisons[0].view
    encoders = {c.encoder for c in comparisons}
    alone = f", {encoders.pop()}" if len(encoders) == 1 else ""
    with figures.figure_style(figures.LIGHT):
        title = f"{split}{alone}, {VIEW_LABELS.get(view, view)}"
        label = METRIC_LABELS[comparisons[0].metric]
        reference = comparisons[0].reference
        figure = figures.draw_comparison(rows, figures.LIGHT, title, label, reference=reference)
        figures.save_png(figure, file)


def _text_rows(comparisons: Sequence[Comparison]) -> list[dict[str, str]]:
    """The cells of the table by column; the adjusted p where there is more than one to adjust."""
    rows = []
    several = sum(np.isfinite(c.gain_p_value) for c in comparisons) > 1
    for c in comparisons:
        values = np.array(list(c.scores.values()))
        spread = f" ± {100 * values.std(ddof=1):.2f}" if len(values) > 1 else ""
        gain, interval = _gain_text(c.gain)
        row = {
            "encoder": c.encoder,
            "method": c.method,
            "seeds": str(len(values)),
            SCORE: f"{100 * values.mean():.2f}{spread}",
            FRESH: f"{100 * float(np.mean(list(c.deduplicated.values()))):.2f}" if c.deduplicated else "",
            "gain": gain,
            "95 % interval": interval,
            "p": _p_text(c.gain_p_value),
        }
        if several:
            row["p (Holm)"] = _p_text(c.gain_p_holm)
        rows.append(row | {FRESH_GAIN: " ".join(_gain_text(c.deduplicated_gain)).strip()})
    return rows


def _gain_text(gain: Interval | None) -> tuple[str, str]:
    """The gain in points and its interval, each empty where it is not known."""
    if gain is None:
        return "", ""
    interval = f"[{100 * gain.low:+.2f}, {100 * gain.high:+.2f}]" if np.isfinite(gain.low) else ""
    return f"{100 * gain.value:+.2f}", interval


def _p_text(p_value: float) -> str:
    if not np.isfinite(p_value):
        return ""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
