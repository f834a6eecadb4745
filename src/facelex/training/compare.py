"""Scoring the cells of a comparison: each method against the first one, encoder by encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError
from facelex.evaluation import metrics
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
from facelex.evaluation.run_folder import read_trained_on
from facelex.training.cells import Cell

METRICS: dict[str, Callable[[NDArray[np.int64]], NDArray[np.float64]]] = {
    "accuracy": metrics.accuracy,
    "macro-f1": metrics.macro_f1,
    "balanced-accuracy": metrics.balanced_accuracy,
}
"""What can be compared, from a confusion matrix ``(K, K)``; all are shares in [0, 1]."""


@dataclass(frozen=True)
class Comparison:
    """One method against the reference method on one encoder.

    Attributes:
        encoder: Image encoder.
        method: The method.
        scores: The metric of each seed in [0, 1], by seed.
        deduplicated: The same without examples that have a copy in the training split, of the seeds whose
            training pictures are known.
        mean: Mean over seeds with its t interval.
        gain: Mean difference to the reference over the seeds both have, with its t interval; None for the
            reference itself.
        gain_p_value: Paired t test over seeds; NaN with fewer than two seeds, or equal gains.
        pairs: Accuracy, example by example against the reference, one entry a common seed (McNemar, paired
            bootstrap).
        split: What was scored.
        reference: The method that gains are over.
        view: ``flip`` or ``single``, see ``facelex.evaluation.views``.
        metric: One of ``METRICS``.
        dataset: Where the dataset came from, empty where no cell says.
        fingerprint: Fingerprint of that dataset, empty where no cell says.
        configuration: What the table calls the settings of its cells.
        deduplicated_gain: Like ``gain``, without examples that have a copy in the training split.
        gain_p_holm: ``gain_p_value`` adjusted for the number of comparisons in the table (Holm); NaN where
            that is.
    """

    encoder: str
    method: str
    scores: dict[int, float]
    deduplicated: dict[int, float]
    mean: Interval
    gain: Interval | None
    gain_p_value: float
    pairs: dict[int, PairedExamples]
    split: str = ""
    reference: str = ""
    view: str = ""
    metric: str = "accuracy"
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
    metric: str = "accuracy",
    data: str | None = None,
    configuration: str = "",
) -> list[Comparison]:
    """Score the finished cells and compare each method with the first one, encoder by encoder.

    Args:
        cells: Some of them finished.
        split: ``val`` while choosing, ``test`` once at the end.
        flip: Score the mean of each image and its mirror image, else the single view.
        metric: One of ``METRICS``.
        data: Dataset, if it has moved since training.
        configuration: What to call the settings of the cells.

    Raises:
        FacelexError: If no cell is finished, or not all were scored on the same dataset.
    """
    view = "flip" if flip else "single"
    reference = cells[0].method
    answers = {cell: _predictions(cell, split, view, data) for cell in cells if cell.finished}
    if not answers:
        raise FacelexError("No cell of the table is finished yet. Run the same command without --no-train.")
    about: dict[str, Any] = {
        "split": split,
        "reference": reference,
        "view": view,
        "metric": metric,
        "dataset": _dataset_source(answers),
        "fingerprint": _one_fingerprint(answers),
        "configuration": configuration,
    }
    comparisons = []
    for encoder in dict.fromkeys(cell.encoder for cell in cells):
        for method in dict.fromkeys(cell.method for cell in cells):
            runs, base = (
                {c.seed: preds for c, preds in answers.items() if (c.encoder, c.method) == (encoder, name)}
                for name in (method, reference)
            )
            if runs:
                found = _compare(encoder, method, runs, base if method != reference else {}, view, metric)
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
    return next(filter(None, (read_trained_on(cell.folder).source for cell in cells)), "")


def _predictions(cell: Cell, split: str, view: str, data: str | None) -> Predictions:
    """What the cell's weights answer: as stored, which needs no dataset, or computed if not all is there."""
    held = stored_predictions(cell.folder, split, read_trained_on(cell.folder).fingerprint)
    if held is not None and view in held.views:
        return held
    return evaluate(cell.folder, split, data).predictions


def _compare(
    encoder: str,
    method: str,
    runs: dict[int, Predictions],
    base: dict[int, Predictions],
    view: str,
    metric: str,
) -> Comparison:
    scores, base_scores = (_scores(answers, view, metric) for answers in (runs, base))
    fresh, base_fresh = (_scores(_deduplicated(answers), view, metric) for answers in (runs, base))
    common = sorted(set(runs) & set(base))
    gain, p_value = _gain(scores, base_scores)
    return Comparison(
        encoder=encoder,
        method=method,
        scores=scores,
        deduplicated=fresh,
        mean=mean_over_seeds(np.array(list(scores.values()))),
        gain=gain,
        gain_p_value=p_value,
        pairs={seed: compare_predictions(base[seed], runs[seed], view) for seed in common},
        deduplicated_gain=_gain(fresh, base_fresh)[0],
    )


def _deduplicated(answers: Mapping[int, Predictions]) -> dict[int, Predictions]:
    """The examples without a copy in the training split, of the seeds whose training pictures are known."""
    return {seed: preds.deduplicated() for seed, preds in answers.items() if preds.seen is not None}


def _scores(answers: Mapping[int, Predictions], view: str, metric: str) -> dict[int, float]:
    """The metric of a view by seed."""
    found = {}
    for seed, preds in answers.items():
        probs = preds.view_probs(view)
        confusion = metrics.confusion_matrix(preds.labels, probs.argmax(1), probs.shape[1])
        found[seed] = float(METRICS[metric](confusion))
    return found


def _gain(scores: Mapping[int, float], base: Mapping[int, float]) -> tuple[Interval | None, float]:
    """Mean difference over the seeds that both have, with its interval and p-value; None and NaN without."""
    common = sorted(set(scores) & set(base))
    if not common:
        return None, float("nan")
    before, now = (np.array([found[seed] for seed in common]) for found in (base, scores))
    paired = paired_seeds(before, now)
    return paired.difference, paired.p_value


def _adjust(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Adjust the p-values that there are for their number."""
    adjusted = holm([c.gain_p_value for c in comparisons])
    return [replace(c, gain_p_holm=p_value) for c, p_value in zip(comparisons, adjusted)]
