"""Scoring the cells of a comparison: each method against the first one, encoder by encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError
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
from facelex.training.cells import Cell


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
    answers = {cell: _predictions(cell, split, view, data) for cell in cells if cell.finished}
    if not answers:
        raise FacelexError("No cell of the table is finished yet. Run the same command without --no-train.")
    about: dict[str, Any] = {
        "split": split,
        "view": view,
        "dataset": _dataset_source(answers),
        "fingerprint": _one_fingerprint(answers),
        "configuration": configuration,
    }
    comparisons = []
    reference = cells[0].method
    for encoder in dict.fromkeys(cell.encoder for cell in cells):
        for method in dict.fromkeys(cell.method for cell in cells):
            runs, base = (
                {c.seed: preds for c, preds in answers.items() if (c.encoder, c.method) == (encoder, name)}
                for name in (method, reference)
            )
            if runs:
                found = _compare(encoder, method, runs, base if method != reference else {}, view)
                comparisons.append(replace(found, **about))
    return _adjust(comparisons)


def _one_fingerprint(answers: Mapping[Cell, Predictions]) -> str:
    """The fingerprint of the dataset that all cells were scored on, empty where none says."""
    known = {preds.fingerprint for preds in answers.values()} - {""}
    if len(known) > 1:
        folders = ", ".join(
            f"{cell.folder.name} ({preds.fingerprint[:12]})" for cell, preds in answers.items()
        )
        raise FacelexError(
            f"The cells were scored on different datasets: {folders}. Train them all on one, with --data."
        )
    return next(iter(known), "")


def _dataset_source(cells: Iterable[Cell]) -> str:
    """What the first cell that knows says about where its dataset came from."""
    return next(filter(None, (load_run_folder(cell.folder).source for cell in cells)), "")


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


def _adjust(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Adjust the p-values that there are for their number."""
    known = [number for number, c in enumerate(comparisons) if np.isfinite(c.gain_p_value)]
    adjusted = dict(zip(known, holm([comparisons[number].gain_p_value for number in known])))
    return [
        replace(c, gain_p_holm=adjusted.get(number, float("nan"))) for number, c in enumerate(comparisons)
    ]
