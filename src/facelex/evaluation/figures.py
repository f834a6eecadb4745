"""Figures of a report: curves, confusion matrices, reliability; each drawn once for light and once for dark.

Every ``draw_`` function takes plain numbers and returns a matplotlib ``Figure`` that no window or global
state knows of; matplotlib is imported when the first figure is drawn.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from facelex.errors import require
from facelex.evaluation.bootstrap import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from facelex.evaluation.run_folder import Phase
    from facelex.evaluation.score_records import CalibratedScores, SetScores


@dataclass(frozen=True)
class Theme:
    """Colours of a figure; train and val differ in lightness too, for eyes that do not tell hues apart."""

    name: str
    background: str
    text: str
    faint: str
    grid: str
    train: str
    val: str
    ramp: tuple[str, str, str]


LIGHT = Theme(
    name="light", background="#ffffff", text="#1d2430", faint="#6a7486", grid="#e3e7ee",
    train="#3f6fb5", val="#d9762b", ramp=("#ffffff", "#7fa6d9", "#1f4683"),
)  # fmt: skip
DARK = Theme(
    name="dark", background="#191e27", text="#e6eaf1", faint="#98a3b5", grid="#2c3441",
    train="#86b4f0", val="#f2a868", ramp=("#191e27", "#3b639c", "#b9d6ff"),
)  # fmt: skip
THEMES: tuple[Theme, ...] = (LIGHT, DARK)


@contextmanager
def figure_style(theme: Theme) -> Iterator[None]:
    """Set fonts, colours and line widths for figures drawn and saved inside."""
    matplotlib = require("matplotlib", "report", "Drawing figures")
    style = {
        "figure.facecolor": theme.background,
        "savefig.facecolor": theme.background,
        "axes.facecolor": theme.background,
        "axes.edgecolor": theme.grid,
        "axes.labelcolor": theme.faint,
        "axes.titlecolor": theme.text,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlepad": 10,
        "axes.labelsize": 9.5,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": theme.grid,
        "grid.linewidth": 0.8,
        "text.color": theme.text,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "lines.linewidth": 1.8,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "svg.hashsalt": "facelex",
        "svg.fonttype": "none",  # letters, not outlines: a page of many runs stays small
    }
    with matplotlib.rc_context(style):
        yield


def _new(width: float = 5.6, height: float = 3.4) -> tuple[Figure, Axes]:
    figure_module = require("matplotlib.figure", "report", "Drawing figures")
    figure = figure_module.Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def settle(figure: Figure) -> None:
    """Lay a figure out once, so that saving it in two formats does not do so again."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def save_png(figure: Figure, file: IO[bytes]) -> None:
    """Write a figure as PNG, 160 dots an inch."""
    figure.savefig(file, format="png", dpi=160)


def svg_uri(figure: Figure) -> str:
    """Return a figure as a ``data:`` address of an SVG, letters as text in the reader's own fonts."""
    text = io.BytesIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(text.getvalue()).decode("ascii")


def draw_curves(phase: Phase, quantity: str, theme: Theme, title: str) -> Figure:
    """Draw train and val ``loss`` or ``accuracy`` of one phase by epoch.

    Args:
        phase: The epochs.
        quantity: ``loss`` or ``accuracy``.
        theme: Colours.
        title: Title of the figure.
    """
    figure, axes = _new()
    epochs = np.array(phase.columns["epoch"])
    scale = 100 if quantity == "accuracy" else 1
    parts = phase.losses if quantity == "loss" and len(phase.losses) > 1 else {}
    for part in parts.values():
        axes.plot(epochs, part, color=theme.train, alpha=0.4, linewidth=1, linestyle=(0, (3, 2)))
    for split, color in (("train", theme.train), ("val", theme.val)):
        values = scale * np.array(phase.columns.get(f"{split}_{quantity}", [math.nan] * len(epochs)))
        if np.isnan(values).all():
            continue
        axes.plot(epochs, values, color=color, label=split, marker=_marker(epochs), markersize=3.5)
        if split == "val":
            best = int(np.nanargmax(values) if quantity == "accuracy" else np.nanargmin(values))
            axes.plot(epochs[best], values[best], marker="o", color=color, markersize=6.5)
            axes.annotate(
                f"{values[best]:.2f}",
                (epochs[best], values[best]),
                xytext=(0, -15 if quantity == "accuracy" else 8),  # away from train, late in training
                textcoords="offset points",
                ha="center",
                color=color,
                fontsize=9,
                fontweight="bold",
            )
    axes.set(title=title, xlabel="epoch", ylabel="accuracy (%)" if quantity == "accuracy" else "loss")
    axes.margins(y=0.14)
    _end_labels(axes, {name.replace("_", " "): part for name, part in parts.items()}, theme.faint)
    _whole_epochs(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right" if quantity == "accuracy" else "upper right", ncols=2)
    return figure


def _marker(epochs: np.ndarray) -> str:
    """Mark each epoch while there are few."""
    return "o" if len(epochs) < 15 else ""


def _end_labels(axes: Axes, curves: Mapping[str, Sequence[float]], color: str) -> None:
    """Name curves beside their last values, names of close ones above each other."""
    low, high = axes.get_ylim()
    line = 0.06 * (high - low)
    place = -math.inf
    ends = {name: values[-1] for name, part in curves.items() if (values := _defined(part)).size}
    for name, end in sorted(ends.items(), key=lambda item: item[1]):
        place = max(end, place + line)
        axes.annotate(
            name, (1, place), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
            va="center", color=color, fontsize=8,
        )  # fmt: skip


def _defined(values: Sequence[float]) -> np.ndarray:
    array = np.array(values, float)
    return array[~np.isnan(array)]


def _whole_epochs(axes: Axes) -> None:
    ticker = require("matplotlib.ticker", "report", "Drawing figures")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))


def draw_learning_rate(phases: Sequence[Phase], theme: Theme) -> Figure:
    """Draw the learning rate at the end of each epoch over all phases."""
    figure, axes = _new(9.0, 2.4)
    start = 0
    for phase in phases:
        rates = np.array(phase.columns.get("lr", []))
        epochs = start + 1 + np.arange(len(phase.columns["epoch"]))
        if len(rates):
            axes.plot(epochs, rates, color=theme.train, marker=_marker(epochs), markersize=3.5)
        if start:
            axes.axvline(start + 0.5, color=theme.faint, linewidth=1, linestyle=":")
        if len(phases) > 1:
            axes.text(
                start + 0.5, 1.0, f" {phase.name}", transform=axes.get_xaxis_transform(), va="top", ha="left",
                color=theme.faint, fontsize=8.5,
            )  # fmt: skip
        start += len(phase.columns["epoch"])
    axes.set(
        title="Learning rate", xlabel="epoch, all phases", ylabel="learning rate", xlim=(0.5, start + 0.5)
    )
    axes.margins(y=0.2)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
    _whole_epochs(axes)
    return figure


def draw_confusion(confusion: np.ndarray, classes: Sequence[str], theme: Theme, normalise: bool) -> Figure:
    """Draw a confusion matrix, rows the truth.

    Args:
        confusion: Counts, ``(K, K)``.
        classes: Class names.
        theme: Colours.
        normalise: Show percentages of each true class rather than counts.
    """
    colors = require("matplotlib.colors", "report", "Drawing figures")
    size = max(4.6, 0.62 * len(classes) + 1.2)
    figure, axes = _new(size, size * 0.92)
    support = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, support, out=np.zeros(confusion.shape), where=support > 0)
    ramp = colors.LinearSegmentedColormap.from_list("ramp", theme.ramp)
    axes.imshow(shares, cmap=ramp, vmin=0, vmax=1, aspect="equal")
    for i, j in np.ndindex(confusion.shape):
        text = f"{100 * shares[i, j]:.0f}" if normalise else f"{confusion[i, j]}"
        color = _ink(ramp(shares[i, j]), theme) if confusion[i, j] else theme.faint
        weight = "bold" if i == j else "normal"
        axes.text(j, i, text, ha="center", va="center", color=color, fontsize=9, fontweight=weight)
    axes.set_xticks(range(len(classes)), classes, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), classes)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for edge in np.arange(0.5, len(classes) - 1):
        axes.axhline(edge, color=theme.background, linewidth=1.5)
        axes.axvline(edge, color=theme.background, linewidth=1.5)
    what = "% of each true class" if normalise else "counts"
    axes.set(title=f"Confusion, {what}", xlabel="named", ylabel="truth")
    return figure


def _ink(color: tuple[float, ...], theme: Theme) -> str:
    """Choose dark or light letters for a cell."""
    luminance = 0.2126 * color[0] + 0.7152 * color[1] + 0.0722 * color[2]
    dark, light = (theme.text, theme.background) if theme.name == "light" else (theme.background, theme.text)
    return dark if luminance > 0.48 else light


def draw_reliability(scores: Mapping[str, SetScores | CalibratedScores], theme: Theme) -> Figure:
    """Draw accuracy against confidence, with the number of answers by confidence below.

    Args:
        scores: By label, such as "as trained"; the first one's counts are shown.
        theme: Colours.
    """
    figure_module = require("matplotlib.figure", "report", "Drawing figures")
    figure = figure_module.Figure(figsize=(4.9, 4.6), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    axes.plot([0, 1], [0, 1], color=theme.faint, linewidth=1, linestyle=":", label="perfect")
    for (label, found), color, marker in zip(scores.items(), (theme.train, theme.val), "os"):
        bins = found.reliability
        confidence, accuracy = np.array(bins.confidence), np.array(bins.accuracy)
        count = np.array(bins.count)
        some = count > 0
        size = 12 + 70 * count[some] / max(count.max(), 1)
        axes.plot(confidence[some], accuracy[some], color=color, linewidth=1.3)
        axes.scatter(
            confidence[some], accuracy[some], s=size, color=color, marker=marker, zorder=3,
            label=f"{label}: ECE {100 * found.ece:.1f} %",
        )  # fmt: skip
    first = next(iter(scores.values())).reliability
    edges = np.array(first.edges)
    below.bar(edges[:-1], first.count, width=np.diff(edges), align="edge", color=theme.train, alpha=0.6)
    axes.set(title="Reliability", ylabel="share right", ylim=(0, 1.03), xlim=(0, 1))
    below.set(xlabel="confidence (highest probability)", ylabel="answers")
    handles, labels = axes.get_legend_handles_labels()
    legend = axes.legend(handles, labels, loc="upper left")
    for handle in legend.legend_handles[1:]:
        handle.set_sizes([30])
    return figure


def draw_forest(rows: Sequence[tuple[str, Interval]], theme: Theme, xlabel: str) -> Figure:
    """Draw one interval a run, best on top."""
    ordered = sorted(rows, key=lambda row: row[1].value)
    figure, axes = _new(7.2, 1.1 + 0.34 * len(rows))
    for y, (_, interval) in enumerate(ordered):
        axes.plot(
            [100 * interval.low, 100 * interval.high], [y, y], color=theme.train, alpha=0.45, linewidth=5
        )
        axes.plot(100 * interval.value, y, marker="o", color=theme.train, markersize=6)
        axes.annotate(
            f"{100 * interval.value:.2f}", (100 * interval.value, y), xytext=(0, 6),
            textcoords="offset points", ha="center", fontsize=8.5, color=theme.text,
        )  # fmt: skip
    axes.set_yticks(range(len(ordered)), [name for name, _ in ordered])
    axes.set(xlabel=xlabel, ylim=(-0.6, len(ordered) - 0.2))
    axes.grid(False, axis="y")
    return figure


class MethodScores(NamedTuple):
    """One method on one encoder, as a row of a comparison."""

    encoder: str
    method: str
    scores: Sequence[float]
    """Of each seed, in [0, 1]."""
    mean: Interval
    """Over the seeds."""
    gain: Interval | None
    """Over the reference method; None for that itself."""


def draw_comparison(
    rows: Sequence[MethodScores], theme: Theme, title: str, metric: str = "accuracy", *, reference: str
) -> Figure:
    """Draw methods below each other, encoder by encoder: every seed with the mean, and the gain.

    The axes show all seeds and gains, and intervals as long as they are not much longer than these spread, as
    those from two seeds are.

    Args:
        rows: The methods of each encoder together.
        theme: Colours.
        title: What is compared.
        metric: What the scores are.
        reference: The method that gains are over.
    """
    figure_module = require("matplotlib.figure", "report", "Drawing figures")
    encoders = list(dict.fromkeys(row.encoder for row in rows))
    places = [place + 0.9 * encoders.index(row.encoder) for place, row in enumerate(rows)]
    figure = figure_module.Figure(figsize=(9.2, 1.7 + 0.36 * places[-1]), layout="constrained")
    seeds, gains = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    for place, row in zip(places, rows):
        _interval_line(seeds, place, row.mean, theme.train)
        points = 100 * np.array(row.scores)
        seeds.scatter(
            points, [place] * len(points), s=20, color=theme.train, alpha=0.55, linewidth=0, zorder=3
        )
        if row.gain is None:
            gains.plot(0, place, marker="|", color=theme.faint, markersize=9)
            continue
        _interval_line(gains, place, row.gain, theme.val)
        interval = row.gain
        bounds = (
            "" if math.isnan(interval.low) else f"  [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
        )
        gains.annotate(
            f"{100 * interval.value:+.2f}{bounds}", (1, place), xycoords=("axes fraction", "data"),
            xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5, color=theme.text,
        )  # fmt: skip
    for encoder in encoders if len(encoders) > 1 else ():
        first = next(place for place, row in zip(places, rows) if row.encoder == encoder)
        seeds.annotate(
            encoder, (0, first - 0.62), xycoords=("axes fraction", "data"), xytext=(2, 0),
            textcoords="offset points", va="center", fontsize=8.5, fontweight="bold", color=theme.faint,
        )  # fmt: skip
    seeds.set_yticks(places, [row.method for row in rows])
    seeds.set_ylim(places[-1] + 0.6, -1 if len(encoders) > 1 else -0.6)
    found = [row.gain for row in rows if row.gain]
    _reach(seeds, [value for row in rows for value in row.scores], [row.mean for row in rows])
    _reach(gains, [0.0, *(gain.value for gain in found)], found)
    gains.axvline(0, color=theme.faint, linewidth=1)
    for axes in (seeds, gains):
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
    seeds.set(xlabel=f"{metric} (%): each seed, mean, 95 % interval")
    gains.set(xlabel=f"gain over {reference} (points)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", color=theme.text)
    return figure


def _interval_line(axes: Axes, y: float, interval: Interval, color: str) -> None:
    if not math.isnan(interval.low):
        axes.plot([100 * interval.low, 100 * interval.high], [y, y], color=color, alpha=0.35, linewidth=5)
    axes.plot(100 * interval.value, y, marker="D", color=color, markersize=5.5, zorder=4)


def _reach(axes: Axes, values: Sequence[float], intervals: Sequence[Interval]) -> None:
    low, high = min(values), max(values)
    spare = max(high - low, 0.006) / 2
    ends = [end for interval in intervals for end in (interval.low, interval.high) if not math.isnan(end)]
    left = max(min([low - spare, *ends]), low - 3 * spare)
    right = min(max([high + spare, *ends]), high + 3 * spare)
    axes.set_xlim(100 * left, 100 * right)
