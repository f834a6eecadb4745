"""One self-contained page on one or more runs, and its figures as PNG."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facelex import __version__
from facelex.errors import FacelexError, require
from facelex.evaluation import figures
from facelex.evaluation.answers import stored_predictions
from facelex.evaluation.bootstrap import Interval
from facelex.evaluation.comparison import PairedExamples, compare_predictions, holm
from facelex.evaluation.metrics import confused_pairs
from facelex.evaluation.run_folder import RunFolder, load_run_folder
from facelex.evaluation.score_records import (
    CalibratedScores,
    SetScores,
    SplitScores,
    left_out_splits,
    read_split_scores,
)
from facelex.evaluation.score_tables import duration, number, percent, percent_interval, summary_rows
from facelex.evaluation.views import VIEW_LABELS, VIEWS
from facelex.files import replace_file, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).parent / "report.html.jinja"
SPLIT_ORDER = ("test", "val", "train")

_Scores = dict[str, SplitScores]
"""The scores of a run by split, in the order of ``SPLIT_ORDER``."""


@dataclass(frozen=True)
class Picture:
    """A figure of the page in both themes."""

    alt: str
    light: str
    dark: str
    wide: bool = False


@dataclass(frozen=True)
class SplitSection:
    """Scores of one split of one run, ready to print."""

    split: str
    view: str
    table: list[tuple[str, list[str]]]
    columns: list[str]
    per_class: list[dict[str, Any]]
    pairs: list[dict[str, str]]
    calibration: list[str]
    pictures: list[Picture]


@dataclass(frozen=True)
class RunSection:
    """One run, ready to print."""

    name: str
    finished: bool
    progress: str
    facts: list[tuple[str, str]]
    curves: list[Picture]
    splits: list[SplitSection]
    config: str
    environment: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)


class _Drawer:
    """Draws a figure for the page in both themes and writes the light one as PNG."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: list[Path] = []

    def __call__(self, name: str, alt: str, draw: Callable[..., Figure], wide: bool = False) -> Picture:
        uris = []
        for theme in figures.THEMES:
            with figures.figure_style(theme):
                figure = draw(theme=theme)
                figures.settle(figure)
                uris.append(figures.svg_uri(figure))
                if theme is figures.LIGHT:
                    path = self.folder / f"{name}.png"
                    replace_file(path, partial(figures.save_png, figure))
                    self.written.append(path)
        return Picture(alt, uris[0], uris[1], wide)


def write_report(paths: Sequence[str | Path], output: str | Path | None = None) -> list[Path]:
    """Write ``report.html`` and its figures.

    Args:
        paths: Run folders, finished or not.
        output: Folder to write into; ``RUN/report`` for one run, ``report`` for several by default.

    Returns:
        The files written, the page first.

    Raises:
        FacelexError: If a folder holds no run, or nothing to show yet.
        MissingExtraError: If matplotlib or jinja2 is not installed.
    """
    if not paths:
        raise FacelexError("Expected at least one run folder to report on, but got none.")
    jinja2 = require("jinja2", "report", "Writing a report")
    require("matplotlib", "report", "Writing a report")
    runs = [load_run_folder(path) for path in paths]
    empty = [str(run.path) for run in runs if not run.phases and not run.scores]
    if empty:
        raise FacelexError(
            f"Nothing to report yet in {', '.join(empty)}: no epoch has ended and no split was evaluated."
        )
    scored = [_scored(run) for run in runs]  # refused, if need be, before anything is drawn
    folder = Path(output) if output is not None else _default_folder(runs)
    draw = _Drawer(folder)
    names = unique_names(runs)
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    pairing = pair_runs(runs, names)
    html = page.render(
        title=names[0] if len(runs) == 1 else f"{len(runs)} runs",
        version=__version__,
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        overview=overview_rows(runs, names, scored),
        notes=_overview_notes(runs, pairing),
        forest=_forest(runs, names, scored, draw),
        comparisons=_comparison_rows(pairing),
        runs=[
            _run_section(run, name, scores, draw, len(runs) > 1)
            for run, name, scores in zip(runs, names, scored)
        ],
    )
    return [write_text(folder / "report.html", html), *draw.written]


def _default_folder(runs: Sequence[RunFolder]) -> Path:
    return runs[0].path / "report" if len(runs) == 1 else Path("report")


def unique_names(runs: Sequence[RunFolder]) -> list[str]:
    """Return the runs' folder names, with the parent's before them where two are equal."""
    names = [run.name for run in runs]
    longer = [
        f"{run.path.resolve().parent.name}-{name}" if names.count(name) > 1 else name
        for run, name in zip(runs, names)
    ]
    return [f"{name}-{i}" if longer.count(name) > 1 else name for i, name in enumerate(longer, start=1)]


def _scored(run: RunFolder) -> _Scores:
    found = read_split_scores(run)
    return {split: found[split] for split in SPLIT_ORDER if split in found}


def overview_rows(
    runs: Sequence[RunFolder], names: Sequence[str], scored: Sequence[_Scores]
) -> list[dict[str, Any]]:
    """One row for each run, split and view: accuracy with its interval, official and de-duplicated.

    The beginning of the dataset's fingerprint stands in it only where the runs have several datasets.
    """
    rows: list[dict[str, Any]] = []
    several = len(_datasets(runs)) > 1
    for run, name, scores in zip(runs, names, scored):
        data = {"data": run.fingerprint[:12] or "unknown"} if several else {}
        if not scores:
            rows.append({"run": name, "pending": _last_val(run)} | data)
        for split, entry in scores.items():
            for view, found in entry.views.items():
                rows.append(
                    {
                        "run": name,
                        "split": split,
                        "view": VIEW_LABELS[view],
                        "official": percent_interval(found.official.accuracy),
                        "deduplicated": percent_interval(found.deduplicated.accuracy)
                        if found.deduplicated
                        else "–",
                        "balanced": percent(found.official.balanced_accuracy.value),
                        "macro_f1": percent(found.official.macro_f1.value),
                        "nll": number(found.official.nll.value),
                        "ece": percent(found.official.ece),
                    }
                    | data
                )
    return rows


def _datasets(runs: Sequence[RunFolder]) -> dict[str, str]:
    """Return where the datasets of the runs came from, by fingerprint; those that are known."""
    return {run.fingerprint: run.trained_on.source for run in runs if run.fingerprint}


def _overview_notes(runs: Sequence[RunFolder], pairing: Pairing) -> list[str]:
    """Say what sets the runs apart before their scores are set side by side."""
    notes = []
    datasets = _datasets(runs)
    if len(datasets) > 1:
        listed = ", ".join(f"{key[:12]} ({source or 'unknown'})" for key, source in datasets.items())
        notes.append(
            f"These runs have different datasets: {listed}. Scores on different faces do not say which run "
            "is better."
        )
    if len(runs) > 1 and pairing.left_out:
        which = f"with {pairing.base}" if pairing.base else "over examples"
        notes.append(
            f"Not compared {which}: {', '.join(pairing.left_out)}. It takes two finished runs that have "
            "answered one split of the same dataset; 'facelex evaluate RUN' stores answers."
        )
    return notes


def _last_val(run: RunFolder) -> str:
    values = [v for phase in run.phases for v in phase.columns.get("val_accuracy", []) if not math.isnan(v)]
    if not values:
        return ""
    return f"not evaluated yet; validation accuracy after the last epoch {percent(values[-1])} %"


def _forest(
    runs: Sequence[RunFolder], names: Sequence[str], scored: Sequence[_Scores], draw: _Drawer
) -> Picture | None:
    if len(_datasets(runs)) > 1:
        names = [f"{name} ({run.fingerprint[:12] or 'unknown'})" for run, name in zip(runs, names)]
    for split in SPLIT_ORDER:
        views = [(name, scores[split].views) for name, scores in zip(names, scored) if split in scores]
        if len(views) < 2:
            continue
        view = [view for view in VIEW_LABELS if all(view in held for _, held in views)][-1]
        rows = [(name, held[view].official.accuracy) for name, held in views]
        label = f"accuracy on {split} (%, {VIEW_LABELS[view]}, 95 % bootstrap interval)"
        return draw("accuracy", label, partial(figures.draw_forest, rows, xlabel=label), wide=True)
    return None


@dataclass(frozen=True)
class Pairing:
    """Runs compared with one of them on the same examples.

    Attributes:
        base: Name of the first run that has answered the split; empty where no two runs have answered one.
        found: Name of the other run, split, view and what came of it.
        left_out: Name of each run that is not compared, and why.
    """

    base: str = ""
    found: tuple[tuple[str, str, str, PairedExamples], ...] = ()
    left_out: tuple[str, ...] = ()


def pair_runs(runs: Sequence[RunFolder], names: Sequence[str]) -> Pairing:
    """Compare every run with the first one that has answered a split, on the same examples of that split.

    Only answers of a run's present weights about its own dataset count, see ``stored_predictions``.
    """
    for split in SPLIT_ORDER:
        held = [
            (name, stored_predictions(run.path, split, run.fingerprint)) for run, name in zip(runs, names)
        ]
        stored = [(name, preds) for name, preds in held if preds is not None]
        if len(stored) < 2:
            continue
        found = []
        left_out = [f"{name} (no answers of its present weights)" for name, preds in held if preds is None]
        (base, first), *others = stored
        view = [view for view in VIEWS if all(view in preds.views for _, preds in stored)][-1]
        for name, preds in others:
            try:
                found.append((name, split, view, compare_predictions(first, preds, view)))
            except FacelexError:
                left_out.append(f"{name} (other faces or classes than {base})")
        return Pairing(base, tuple(found), tuple(left_out))
    return Pairing(left_out=tuple(names))


def compare_runs(runs: Sequence[RunFolder], names: Sequence[str]) -> list[dict[str, str]]:
    """Write what ``pair_runs`` finds as rows of a table."""
    return _comparison_rows(pair_runs(runs, names))


def _comparison_rows(pairing: Pairing) -> list[dict[str, str]]:
    found = pairing.found
    adjusted = holm([result.p_value for *_, result in found])
    return [
        {
            "run": name,
            "base": pairing.base,
            "split": split,
            "view": VIEW_LABELS[view],
            "difference": _difference_text(result.difference),
            "only_a": str(result.only_a),
            "only_b": str(result.only_b),
            "p_value": _p_text(result.p_value),
            "adjusted": _p_text(p) if len(found) > 1 else "",
        }
        for (name, split, view, result), p in zip(found, adjusted)
    ]


def _difference_text(difference: Interval) -> str:
    if math.isnan(difference.low):
        return _points(difference.value)
    return f"{_points(difference.value)} [{_points(difference.low)}, {_points(difference.high)}]"


def _points(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", "−")


def _p_text(p_value: float) -> str:
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.4f}"


def _run_section(run: RunFolder, name: str, scores: _Scores, draw: _Drawer, several: bool) -> RunSection:
    prefix = f"{name}/" if several else ""
    planned = planned_epochs(run)
    progress = f"{run.epochs} of {planned} epochs" if planned else f"{run.epochs} epochs"
    notes = []
    if not run.finished:
        notes.append(f"This run has not finished: {progress} done. What follows is what there is so far.")
    outdated = left_out_splits(run, scores)
    if outdated:
        notes.append(
            f"The scores of {', '.join(outdated)} are of other weights than these and left out. "
            f"Run: facelex evaluate {run.path}"
        )
    elif run.finished and not scores:
        notes.append(f"No split has been evaluated yet. Run: facelex evaluate {run.path}")
    return RunSection(
        name=name,
        finished=run.finished,
        progress=progress,
        facts=_facts(run),
        curves=_curves(run, prefix, draw),
        splits=[_split_section(split, entry, prefix, draw) for split, entry in scores.items()],
        config=_config_text(run),
        environment=_flat(run.environment),
        notes=notes,
    )


def planned_epochs(run: RunFolder) -> int | None:
    """Epochs of the run's phases as configured, None when the configuration does not say."""
    try:
        phases = run.config["methods"][run.config["method"]]
        limit = run.config.get("max_epochs_per_phase")
        return sum(min(int(p["epochs"]), int(limit or p["epochs"])) for p in phases)
    except (KeyError, TypeError, ValueError):
        return None


def _has_words(run: RunFolder) -> bool:
    """Whether a phase of the run aligns faces with words, which is known before it has finished."""
    try:
        return any(phase["losses"].get("alignment") for phase in run.config["methods"][run.config["method"]])
    except (AttributeError, KeyError, TypeError):
        return False


def _facts(run: RunFolder) -> list[tuple[str, str]]:
    model = run.config.get("model")
    model = model if isinstance(model, dict) else {}
    parameters = run.environment.get("parameters")
    facts = [
        ("method", run.config.get("method")),
        ("network", model.get("image_encoder")),
        ("words", model.get("text_encoder") if _has_words(run) else None),
        ("seed", run.config.get("seed")),
        ("weights", f"{parameters:,}" if isinstance(parameters, int) else None),
        ("training", duration(run.seconds) if run.seconds > 0 else None),
        ("device", run.environment.get("device")),
        ("data", run.trained_on.source or run.data),
    ]
    return [(label, str(value)) for label, value in facts if value not in (None, "")]


def _curves(run: RunFolder, prefix: str, draw: _Drawer) -> list[Picture]:
    pictures = []
    names = [phase.name for phase in run.phases]
    for index, phase in enumerate(run.phases, start=1):
        part = phase.name if names.count(phase.name) == 1 else f"{phase.name}-{index}"
        for quantity in ("loss", "accuracy"):
            title = f"{phase.name}: train and val {quantity}"
            figure = partial(figures.draw_curves, phase, quantity, title=title)
            pictures.append(draw(f"{prefix}{quantity}-{part}", title, figure))
    if run.phases:
        figure = partial(figures.draw_learning_rate, run.phases)
        pictures.append(draw(f"{prefix}lr", "Learning rate", figure, wide=True))
    return pictures


def _split_section(split: str, scores: SplitScores, prefix: str, draw: _Drawer) -> SplitSection:
    views, classes = scores.views, scores.classes
    view = list(views)[-1]
    headline = views[view].official
    confusion = np.array(headline.confusion)
    columns = []
    rows: dict[str, list[str]] = {}
    for v, held in views.items():
        for name, part in held.sets:
            columns.append(f"{VIEW_LABELS[v]}, {name}")
            for label, text in summary_rows(part):
                rows.setdefault(label, []).append(text)
    reliability: dict[str, SetScores | CalibratedScores] = {"as trained": headline}
    if headline.calibrated:
        label = f"temperature {number(headline.calibrated.temperature, 2)}"
        reliability[label] = headline.calibrated
    pictures = [
        draw(
            f"{prefix}confusion-{split}-{what}",
            f"Confusion matrix on {split}, {what}",
            partial(figures.draw_confusion, confusion, classes, normalise=normalise),
        )
        for what, normalise in (("counts", False), ("percent", True))
    ]
    pictures.append(
        draw(
            f"{prefix}reliability-{split}",
            f"Reliability on {split}: accuracy against confidence",
            partial(figures.draw_reliability, reliability),
        )
    )
    return SplitSection(
        split=split,
        view=VIEW_LABELS[view],
        table=list(rows.items()),
        columns=columns,
        per_class=[
            {
                "name": name,
                "support": f"{row.support:,}",
                "precision": percent(row.precision, 1),
                "recall": percent(row.recall, 1),
                "f1": percent(row.f1, 1),
                "bar": 0 if math.isnan(row.f1) else 100 * row.f1,
            }
            for name, row in headline.per_class.items()
        ],
        pairs=[
            {"true": classes[i], "named": classes[j], "count": str(count), "share": percent(share, 1)}
            for i, j, count, share in confused_pairs(confusion)[:8]
        ],
        calibration=[
            f"{VIEW_LABELS[v]}: temperature {number(fit.temperature)}; saying “unsure” below "
            f"{number(fit.unsure_below)} answers {percent(fit.coverage, 1)} % of the faces, of which "
            f"{percent(fit.answered_accuracy, 1)} % right"
            for v in views
            if (fit := views[v].calibration)
        ],
        pictures=pictures,
    )


def _config_text(run: RunFolder) -> str:
    if not run.config:
        return ""
    yaml = require("yaml", "report", "Showing config.yaml")
    return str(yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True))


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)))
    return rows
