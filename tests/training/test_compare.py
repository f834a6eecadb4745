"""Scoring the cells of a comparison and comparing the methods."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tiny_training import fake_cell

from facelex.errors import FacelexError
from facelex.evaluation.predictions import Predictions
from facelex.training import compare
from facelex.training.cells import list_cells
from facelex.training.compare import compare_cells
from facelex.training.comparison_tables import (
    comparison_markdown,
    comparison_table,
    write_comparison,
)


def test_gains_are_over_the_seeds_that_both_methods_have(tmp_path: Path) -> None:
    cells = list_cells(["tiny_cnn"], ["baseline", "multimodal"], [0, 1, 2], tmp_path)
    for cell in cells:
        if (cell.method, cell.seed) != ("multimodal", 2):
            fake_cell(cell, {"baseline": 10, "multimodal": 12}[cell.method] + 2 * cell.seed)
    baseline, words = compare_cells(cells, "val")
    assert baseline.scores == {0: 0.5, 1: 0.6, 2: 0.7}
    assert baseline.gain is None
    assert baseline.deduplicated == pytest.approx({0: 10 / 16, 1: 12 / 16, 2: 14 / 16})
    assert words.scores == {0: 0.6, 1: 0.7}
    assert words.gain is not None
    assert words.gain.value == pytest.approx(0.1)
    assert np.isnan([words.gain.low, words.gain_p_value]).all()  # the same gain with each seed by chance
    assert sorted(words.pairs) == [0, 1]
    assert (words.pairs[0].only_a, words.pairs[0].only_b) == (0, 2)


def test_scores_without_copies_are_left_out_where_the_training_pictures_are_not_known(tmp_path: Path) -> None:
    cells = list_cells(["tiny_cnn"], ["baseline", "multimodal"], [0, 1], tmp_path)
    for cell in cells:
        fake_cell(cell, 10 + 2 * cell.seed)
    for unknown in (
        cells[:1],
        cells[:3],
    ):  # baseline of seed 0; then words of seed 0 and baseline of seed 1 too
        for cell in unknown:
            path = cell.folder / "predictions-val.npz"
            replace(Predictions.load(path), seen=None).save(path)
        baseline, words = compare_cells(cells, "val")
        assert baseline.scores == words.scores == {0: 0.5, 1: 0.6}
        if len(unknown) == 1:
            assert (list(baseline.deduplicated), list(words.deduplicated)) == ([1], [0, 1])
            assert words.deduplicated_gain is not None
            assert words.deduplicated_gain.value == 0
    assert (baseline.deduplicated, words.deduplicated) == ({}, {1: pytest.approx(12 / 16)})
    assert words.deduplicated_gain is None
    assert "| 55.00 ± 7.07 |  |" in comparison_markdown([baseline, words], "val")
    write_comparison([baseline, words], "val", tmp_path)


def test_other_metrics_than_accuracy_are_compared_and_written_beside_it(tmp_path: Path) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    cells = list_cells(["tiny_cnn"], ["baseline", "multimodal"], [0, 1], tmp_path)
    for cell, right in zip(cells, (10, 12, 11, 15)):
        fake_cell(cell, right)
    held = [Predictions.load(cell.folder / "predictions-val.npz") for cell in cells]
    found = [(preds.labels, preds.view_probs("flip").argmax(1)) for preds in held]
    by_name = {
        "macro-f1": [sklearn.f1_score(*pair, average="macro") for pair in found],
        "balanced-accuracy": [sklearn.balanced_accuracy_score(*pair) for pair in found],
    }
    for name, (first, words, second, more_words) in by_name.items():
        comparisons = compare_cells(cells, "val", metric=name)
        baseline, multimodal = comparisons
        assert baseline.scores == pytest.approx({0: first, 1: second})
        assert multimodal.scores == pytest.approx({0: words, 1: more_words})
        assert multimodal.gain is not None
        assert multimodal.gain.value == pytest.approx((words - first + more_words - second) / 2)
        fresh = ~held[0].seen
        without = compare_cells(cells, "val", metric="balanced-accuracy")[0].deduplicated[0]
        labels, named = found[0]
        assert without == pytest.approx(sklearn.balanced_accuracy_score(labels[fresh], named[fresh]))
        write_comparison(comparisons, "val", tmp_path)
        assert json.loads((tmp_path / f"compare-val-{name}.json").read_text())[0]["metric"] == name
    assert "| balanced accuracy on val, % |" in (tmp_path / "compare-val-balanced-accuracy.md").read_text()
    assert not (tmp_path / "compare-val.json").exists()


def test_p_values_of_several_comparisons_are_adjusted_over_the_whole_table(tmp_path: Path) -> None:
    cells = list_cells(["tiny_cnn", "vgg11"], ["baseline", "multimodal"], [0, 1], tmp_path)
    for cell, right in zip(cells, (8, 12, 8, 11, 8, 13, 8, 12)):
        fake_cell(cell, right)
    comparisons = compare_cells(cells, "val")
    first, second = (c for c in comparisons if c.gain)
    low, high = sorted((first, second), key=lambda c: c.gain_p_value)
    assert low.gain_p_holm == pytest.approx(2 * low.gain_p_value)
    assert high.gain_p_holm == pytest.approx(max(high.gain_p_value, 2 * low.gain_p_value))
    head, rule, *_, last = comparison_markdown(comparisons, "val").splitlines()[2:]
    assert "| p | p (Holm) | de-duplicated gain | each seed |" in head
    assert head.count("|") == rule.count("|") == last.count("|")
    assert f"| {second.gain_p_value:.3f} | {second.gain_p_holm:.3f} |" in last
    console = Console(width=120)
    with console.capture() as shown:
        console.print(comparison_table(comparisons, "val"))
    assert "p (Holm)" in shown.get()


def test_the_single_view_can_be_scored(tmp_path: Path) -> None:
    (cell,) = cells = list_cells(["tiny_cnn"], ["baseline"], [0], tmp_path)
    fake_cell(cell, 10)
    path = cell.folder / "predictions-val.npz"
    before = Predictions.load(path)
    mirror = np.eye(7, dtype=np.float32)[before.labels]  # right on all
    replace(before, probs=before.probs * 0.6 + 0.4 / 7, mirror_probs=mirror).save(path)
    assert compare_cells(cells, "val", flip=False)[0].scores == {0: 0.5}
    assert compare_cells(cells, "val", flip=True)[0].scores == {0: 1.0}


@pytest.mark.parametrize(
    "changes", [{"weights": "0" * 64}, {"weights": ""}, {"fingerprint": "other"}, {"mirror_probs": None}]
)
def test_stored_predictions_that_do_not_fit_the_cell_are_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    (cell,) = cells = list_cells(["tiny_cnn"], ["baseline"], [0], tmp_path)
    fake_cell(cell, 10)
    (cell.folder / "environment.json").write_text(json.dumps({"dataset": {"fingerprint": "own"}}))
    path = cell.folder / "predictions-val.npz"
    fitting = replace(Predictions.load(path), fingerprint="own")
    replace(fitting, probs=np.roll(fitting.probs, 3, axis=1), **changes).save(path)
    asked: list[Path] = []

    def evaluate(folder: Path, split: str, data: str | None) -> SimpleNamespace:
        asked.append(folder)
        return SimpleNamespace(predictions=fitting)

    monkeypatch.setattr(compare, "evaluate", evaluate)
    assert compare_cells(cells, "val")[0].scores == {0: 0.5}
    assert asked == [cell.folder]


def test_cells_scored_on_different_datasets_are_not_averaged(tmp_path: Path) -> None:
    cells = list_cells(["tiny_cnn"], ["baseline"], [0, 1], tmp_path)
    for cell in cells:
        fake_cell(cell, 10)
        path, fingerprint = cell.folder / "predictions-val.npz", f"data{cell.seed}"
        replace(Predictions.load(path), fingerprint=fingerprint).save(path)
        (cell.folder / "environment.json").write_text(json.dumps({"dataset": {"fingerprint": fingerprint}}))
    with pytest.raises(FacelexError, match=r"different datasets: .*s0 \(data0\), .*s1 \(data1\)\."):
        compare_cells(cells, "val")


def test_a_table_without_a_finished_cell_says_so(tmp_path: Path) -> None:
    with pytest.raises(FacelexError, match="No cell of the table is finished yet"):
        compare_cells(list_cells(["tiny_cnn"], ["baseline"], [0], tmp_path), "val")
