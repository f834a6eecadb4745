"""The comparison table: encoders x methods x seeds, each cell a run folder, resumable cell by cell."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from rich import box
from rich.markup import escape
from rich.table import Table

from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError, unknown_name
from facelex.evaluation.answers import stored_predictions
from facelex.evaluation.bootstrap import Interval
from facelex.evaluation.comparison import (
    PairedExamples,
    compare_predictions,
    holm,
    mean_over_seeds,
    paired_seeds,
)
from facelex.evaluation.evaluate import evaluate
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.run_folder import load_run_folder
from facelex.evaluation.score_records import json_values
from facelex.evaluation.views import VIEW_LABELS
from facelex.files import write_text
from facelex.models.registry import check_image_encoder, create_image_encoder
from facelex.models.spec import MEANINGFUL
from facelex.run_files import CHECKPOINT, CONFIG, SPEC, WEIGHTS
from facelex.training.config import ModelConfig, RunConfig, load_config, validate_config
from facelex.training.lock import RunInUseError
from facelex.training.progress import Reporter
from facelex.training.resume import changed_settings
from facelex.training.run import train_run
from facelex.training.starting_point import open_starting_point

ACCURACY, FRESH, FRESH_GAIN = "accuracy", "de-duplicated, %", "de-duplicated gain"
"""Columns of the written table that a terminal shows under another name, or not."""


@dataclass(frozen=True)
class Cell:
    """One run of the table; the method may be ``METHOD:TEXT_ENCODER``."""

    encoder: str
    method: str
    seed: int
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether the run's final weights lie in its folder, with what they need."""
        return all((self.folder / name).is_file() for name in (WEIGHTS, SPEC))

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to continue from."""
        return (self.folder / CHECKPOINT).is_file()


@dataclass(frozen=True)
class Comparison:
    """One method against the reference method on one encoder.

    Attributes:
        encoder: Image encoder.
        method: The method.
        accuracies: Accuracy of each seed in [0, 1], by seed.
        deduplicated: The same without examples that have a copy in the training split.
        mean: Mean over seeds with its t interval.
        gain: Mean difference to the reference over the seeds both have, with its t interval; None for the
            reference itself.
        gain_p_value: Paired t test over seeds; NaN with fewer than two seeds, or equal gains.
        pairs: Example by example against the reference, one entry a common seed (McNemar, paired bootstrap).
        split: What was scored.
        view: ``flip`` or ``single``, see ``facelex.evaluation.views``.
        dataset: Where the dataset came from, empty where no cell says.
        fingerprint: Fingerprint of that dataset, empty where no cell says.
        configuration: What the table calls the settings of its cells.
        deduplicated_gain: Like ``gain``, without examples that have a copy in the training split.
        gain_p_holm: ``gain_p_value`` adjusted for the number of comparisons in the table (Holm); NaN where
            that is.
    """

    encoder: str
    method: str
    accuracies: dict[int, float]
    deduplicated: dict[int, float]
    mean: Interval
    gain: Interval | None
    gain_p_value: float
    pairs: dict[int, PairedExamples]
    split: str = ""
    view: str = ""
    dataset: str = ""
    fingerprint: str = ""
    configuration: str = ""
    deduplicated_gain: Interval | None = None
    gain_p_holm: float = float("nan")


def list_cells(
    encoders: Sequence[str], methods: Sequence[str], seeds: Sequence[int], folder: Path
) -> list[Cell]:
    """Name every run once, seeds outermost, so that an interrupted table has all cells of its first seeds."""
    cells = (
        Cell(encoder, method, seed, folder / f"{encoder}-{method}-s{seed}".replace(":", "-"))
        for seed, encoder, method in product(seeds, encoders, methods)
    )
    return list(dict.fromkeys(cells))


def check_cells(cells: Sequence[Cell], base: RunConfig, dataset: FaceDataset | None = None) -> None:
    """Find before hours of training what would spoil the table.

    Args:
        cells: All cells of the table.
        base: Configuration of every cell.
        dataset: What every cell is to have learned from, None if it is not named and none will be trained.

    Raises:
        FacelexError: If an encoder, method or text encoder is unknown or does not fit, two cells have one
            folder, or a cell was trained with other settings or on another dataset than the table's, which
            would compare what is not alike, or two encoders are one.
    """
    owners: dict[Path, Cell] = {}
    for cell in cells:
        config = cell_config(base, cell)
        owner = owners.setdefault(cell.folder, cell)
        if owner != cell:
            raise FacelexError(
                f"Expected a folder for each cell, but {owner.encoder} with {owner.method} and "
                f"{cell.encoder} with {cell.method} both have {cell.folder}. Rename one of the methods."
            )
        if not (cell.finished or cell.begun):
            continue
        state = "is finished" if cell.finished else "has begun"
        changed = changed_settings(load_config(cell.folder / CONFIG), config)
        if changed:
            raise FacelexError(
                f"{cell.folder} {state}, but with other settings of {', '.join(changed)}. Give the "
                "table those settings or another --output, or delete that folder to train it anew."
            )
        run = load_run_folder(cell.folder)
        if dataset is not None and not run.was_trained_on(dataset):
            raise FacelexError(
                f"{cell.folder} {state}, but on another dataset (fingerprint {run.fingerprint[:12]}, this "
                f"one has {dataset.fingerprint[:12]}). Give the table that dataset or another --output, or "
                "delete that folder to train it anew."
            )
    _check_encoders(cells, base)


def _check_encoders(cells: Sequence[Cell], base: RunConfig) -> None:
    """Refuse options that make one network of two names, and networks that cannot start where they are to."""
    options: dict[str, Any] = base.model.encoder_options
    start = None
    if base.start_from and not all(cell.finished for cell in cells):
        start = open_starting_point(base.start_from)
    if not options and not start:
        return
    names: dict[tuple[torch.Size, ...], str] = {}
    for encoder in dict.fromkeys(cell.encoder for cell in cells):
        with torch.device("meta"):
            network = create_image_encoder(encoder, **options)
        if start:
            start.check_encoder(network)
        first = names.setdefault(tuple(parameter.shape for parameter in network.parameters()), encoder)
        if first != encoder:
            raise FacelexError(
                f"With model.encoder_options={options} the encoders {first} and {encoder} are the same "
                "network, which would be trained twice. Name one of them, or set model.encoder_options={}."
            )


def train_cells(
    cells: Sequence[Cell],
    base: RunConfig,
    dataset: FaceDataset,
    *,
    reporter: Reporter | None = None,
    announce: Callable[[str], None] = lambda line: None,
    **where: Any,
) -> None:
    """Train the cells that are not finished; a cell that was interrupted continues from its checkpoint.

    Several processes may work on one table: a cell that another one is training is left to it.

    Args:
        cells: What to train.
        base: Configuration of every cell; encoder, method and seed are replaced.
        dataset: What to learn from.
        reporter: Hears about each run's progress.
        announce: Told which cell begins.
        where: ``accelerator``, ``devices`` and ``num_nodes`` of :func:`train_run`.
    """
    for number, cell in enumerate(cells, start=1):
        if cell.finished:
            continue
        config = cell_config(base, cell)
        place = f"[{number}/{len(cells)}] {cell.folder.name}"
        announce(f"{place}{' (continued)' if cell.begun else ''}")
        try:
            train_run(config, dataset, cell.folder, resume=True, reporter=reporter, **where)
        except RunInUseError:
            announce(f"{place} is left to the process that is training it")


def cell_config(base: RunConfig, cell: Cell) -> RunConfig:
    """The configuration of one cell, checked like any other."""
    method, text_encoder = cell.method, ""
    if method not in base.methods:
        method, _, text_encoder = method.partition(":")
    if method not in base.methods:
        raise unknown_name("method", method, base.methods)
    check_image_encoder(cell.encoder)
    settings = base.model_dump()
    settings["model"]["image_encoder"] = cell.encoder
    if text_encoder:
        _check_text_encoder(text_encoder, method, base)
        settings["model"]["text_encoder"] = text_encoder
    return validate_config(settings | {"seed": cell.seed, "method": method}, f"cell {cell.folder.name}")


def _check_text_encoder(text_encoder: str, method: str, base: RunConfig) -> None:
    """Refuse a text encoder that is unknown, changes nothing or cannot have what the other cells have."""
    known = get_args(ModelConfig.model_fields["text_encoder"].annotation)
    if text_encoder not in known:
        raise unknown_name("text encoder", text_encoder, known)
    if not base.model_copy(update={"method": method}).has_words:
        raise FacelexError(
            f"Expected a method that aligns faces with words before ':{text_encoder}', but {method!r} has "
            "none. Name it without a text encoder."
        )
    able = {"mix_words": ("synonyms",), "text_fit": MEANINGFUL}
    unfit = [name for name, encoders in able.items() if text_encoder not in encoders]
    if any(getattr(base.model, name) for name in unfit):
        raise FacelexError(
            f"The words of '{method}:{text_encoder}' cannot be mixed or fitted as the configuration says. "
            "Set that off for the whole table, so that its cells differ in the words alone: "
            "--set model.mix_words=false --set model.text_fit=null."
        )


def compare_cells(
    cells: Sequence[Cell],
    split: str,
    *,
    flip: bool = True,
    data: str | None = None,
    configuration: str = "",
) -> list[Comparison]:
    """Score the finished cells and compare each method with the first one, encoder by encoder.

    Args:
        cells: Some of them finished.
        split: ``val`` while choosing, ``test`` once at the end.
        flip: Score the mean of each image and its mirror image, else the single view.
        data: Dataset, if it has moved since training.
        configuration: What to call the settings of the cells.

    Raises:
        FacelexError: If no cell is finished, or not all were scored on the same dataset.
    """
    view = "flip" if flip else "single"
    done = {(c.encoder, c.method, c.seed): _predictions(c, split, view, data) for c in cells if c.finished}
    if not done:
        raise FacelexError("No cell of the table is finished yet. Run the same command without --no-train.")
    fingerprints = {preds.fingerprint for preds in done.values()} - {""}
    if len(fingerprints) > 1:
        folders = ", ".join(
            f"{c.folder.name} ({done[c.encoder, c.method, c.seed].fingerprint[:12]})"
            for c in cells
            if c.finished
        )
        raise FacelexError(
            f"The cells were scored on different datasets: {folders}. Train them all on one, with --data."
        )
    about: dict[str, Any] = {
        "split": split,
        "view": view,
        "dataset": _dataset_source(cells),
        "fingerprint": next(iter(fingerprints), ""),
        "configuration": configuration,
    }
    comparisons = []
    reference = cells[0].method
    for encoder in dict.fromkeys(c.encoder for c in cells):
        for method in dict.fromkeys(c.method for c in cells):
            runs = {seed: p for (e, m, seed), p in done.items() if (e, m) == (encoder, method)}
            if not runs:
                continue
            base = {seed: p for (e, m, seed), p in done.items() if (e, m) == (encoder, reference)}
            found = _compare(encoder, method, runs, base if method != reference else {}, view)
            comparisons.append(replace(found, **about))
    return _adjust(comparisons)


def _adjust(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Adjust the p-values that there are for their number."""
    known = [number for number, c in enumerate(comparisons) if np.isfinite(c.gain_p_value)]
    adjusted = dict(zip(known, holm([comparisons[number].gain_p_value for number in known])))
    return [
        replace(c, gain_p_holm=adjusted.get(number, float("nan"))) for number, c in enumerate(comparisons)
    ]


def _dataset_source(cells: Sequence[Cell]) -> str:
    """What the first finished cell that knows says about where its dataset came from."""
    sources = (load_run_folder(cell.folder).source for cell in cells if cell.finished)
    return next(filter(None, sources), "")


def _predictions(cell: Cell, split: str, view: str, data: str | None) -> Predictions:
    """What the cell's weights answer: as stored, which needs no dataset, or computed if not all is there."""
    held = stored_predictions(cell.folder, split, load_run_folder(cell.folder).fingerprint)
    if held is not None and view in held.views:
        return held
    return evaluate(cell.folder, split, data).predictions


def _compare(
    encoder: str, method: str, runs: dict[int, Predictions], base: dict[int, Predictions], view: str
) -> Comparison:
    right = {seed: _right(preds, view) for seed, preds in runs.items()}
    accuracies = {seed: float(hits.mean()) for seed, hits in right.items()}
    fresh = {seed: float(hits[~runs[seed].seen].mean()) for seed, hits in right.items()}
    common = sorted(set(runs) & set(base))
    gain, fresh_gain, p_value = None, None, float("nan")
    if common:
        before = np.array([_right(base[seed], view).mean() for seed in common])
        paired = paired_seeds(before, np.array([accuracies[seed] for seed in common]))
        gain, p_value = paired.difference, paired.p_value
        before = np.array([_right(base[seed], view)[~base[seed].seen].mean() for seed in common])
        fresh_gain = paired_seeds(before, np.array([fresh[seed] for seed in common])).difference
    return Comparison(
        encoder=encoder,
        method=method,
        accuracies=accuracies,
        deduplicated=fresh,
        mean=mean_over_seeds(np.array(list(accuracies.values()))),
        gain=gain,
        gain_p_value=p_value,
        pairs={seed: compare_predictions(base[seed], runs[seed], view) for seed in common},
        deduplicated_gain=fresh_gain,
    )


def _right(preds: Predictions, view: str) -> NDArray[np.bool_]:
    return np.asarray(preds.view_probs(view).argmax(1) == preds.labels)


def comparison_table(comparisons: Sequence[Comparison], split: str) -> Table:
    """Lay the comparison out for a terminal."""
    table = Table(
        title=f"Accuracy on {split}, %",
        caption=escape(_head(comparisons, split)),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    rows = _text_rows(comparisons)
    short = {ACCURACY: "accuracy", FRESH: "de-dup.", FRESH_GAIN: ""}  # the last is too wide for a terminal
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
    heads = [f"accuracy on {split}, %" if column == ACCURACY else column for column in rows[0]]
    lines = [
        _head(comparisons, split),
        "",
        f"| {' | '.join([*heads, 'each seed'])} |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for row, comparison in zip(rows, comparisons):
        each = ", ".join(f"{seed}: {100 * value:.2f}" for seed, value in comparison.accuracies.items())
        lines.append(f"| {' | '.join([*row.values(), each])} |")
    return "\n".join(lines) + "\n"


def _head(comparisons: Sequence[Comparison], split: str) -> str:
    """Name split, view, dataset, configuration and seeds, as far as they are known."""
    first = comparisons[0]
    seeds = sorted({seed for comparison in comparisons for seed in comparison.accuracies})
    dataset = f"dataset {first.dataset or 'unnamed'} (fingerprint {first.fingerprint[:12] or 'unknown'})"
    known = [f"split {split}", VIEW_LABELS.get(first.view, first.view), dataset]
    if first.configuration:
        known.append(f"configuration {first.configuration}")
    return "; ".join([*known, f"seeds {', '.join(map(str, seeds))}"])


def note_replaced(comparisons: Sequence[Comparison], split: str, folder: Path) -> str:
    """Say what is lost when a table takes the place of the written one; empty if the new one has it all."""
    name = f"compare-{split}"
    now = {(c.encoder, c.method, str(seed)) for c in comparisons for seed in c.accuracies}
    view = comparisons[0].view
    try:
        records = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        before = {(r["encoder"], r["method"], seed) for r in records for seed in r["accuracies"]}
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
    """Write ``compare-SPLIT.json`` and ``compare-SPLIT.md`` into the table's folder."""
    records = json_values([asdict(comparison) for comparison in comparisons])
    text = json.dumps(records, indent=2, allow_nan=False) + "\n"
    write_text(folder / f"compare-{split}.json", text)
    write_text(folder / f"compare-{split}.md", comparison_markdown(comparisons, split))


def _text_rows(comparisons: Sequence[Comparison]) -> list[dict[str, str]]:
    """The cells of the table by column; the adjusted p where there is more than one to adjust."""
    rows = []
    several = sum(np.isfinite(c.gain_p_value) for c in comparisons) > 1
    for c in comparisons:
        values = np.array(list(c.accuracies.values()))
        spread = f" ± {100 * values.std(ddof=1):.2f}" if len(values) > 1 else ""
        gain, interval = _gain_text(c.gain)
        row = {
            "encoder": c.encoder,
            "method": c.method,
            "seeds": str(len(values)),
            ACCURACY: f"{100 * values.mean():.2f}{spread}",
            FRESH: f"{100 * float(np.mean(list(c.deduplicated.values()))):.2f}",
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
