"""What is shown and written of a comparison."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from tiny_training import fake_cell

from facelex.evaluation.figures import LIGHT, MethodScores, draw_comparison
from facelex.evaluation.predictions import Predictions
from facelex.training import comparison_tables
from facelex.training.cells import list_cells
from facelex.training.compare import compare_cells
from facelex.training.comparison_tables import (
    comparison_markdown,
    comparison_table,
    note_replaced,
    write_comparison,
)


def test_markdown_and_json_hold_every_seed(tmp_path: Path) -> None:
    cells = list_cells(["tiny_cnn"], ["baseline", "multimodal"], [4, 7], tmp_path)
    for cell, right in zip(cells, (10, 12, 11, 12)):
        fake_cell(cell, right)
    comparisons = compare_cells(cells, "val")
    write_comparison(comparisons, "val", tmp_path)
    assert "| tiny_cnn | multimodal | 2 | 60.00 ± 0.00 |" in comparison_markdown(comparisons, "val")
    text = (tmp_path / "compare-val.md").read_text()
    assert "| 4: 50.00, 7: 55.00 |" in text
    assert "| +7.50 | [-24.27, +39.27] | 0.205 |" in text
    baseline, words = json.loads((tmp_path / "compare-val.json").read_text())
    assert baseline["scores"] == {"4": 0.5, "7": 0.55}
    assert words["pairs"].keys() == {"4", "7"}
    assert words["gain"]["value"] == pytest.approx(0.075)
    assert baseline["deduplicated_gain"] is None
    fresh = words["deduplicated_gain"]  # 10 and 11 of 16 against 12 and 12
    assert (fresh["value"], fresh["low"], fresh["high"]) == pytest.approx(
        (0.09375, -0.3033, 0.4908), abs=1e-4
    )
    assert "| +9.38 [-30.33, +49.08] | 4: 60.00, 7: 60.00 |" in text
    assert "Holm" not in text  # a single comparison needs no adjusting
    assert words["gain_p_holm"] == words["gain_p_value"]
    assert baseline["gain_p_holm"] is None


def test_the_figure_shows_every_seed_and_of_intervals_what_leaves_them_readable(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    cells = list_cells(["tiny_cnn", "slim_s"], ["baseline", "multimodal"], [4, 7], tmp_path)
    for cell, right in zip(cells, (10, 12, 8, 9, 11, 12, 9, 9)):
        fake_cell(cell, right)
    comparisons = compare_cells(cells, "val")
    rows = [MethodScores(c.encoder, c.method, list(c.scores.values()), c.mean, c.gain) for c in comparisons]
    figure = draw_comparison(rows, LIGHT, "a title", reference=comparisons[0].reference)
    seeds, gains = figure.axes
    drawn = [points.get_offsets()[:, 0].round(6).tolist() for points in seeds.collections]
    assert drawn == [[50.0, 55.0], [60.0, 60.0], [40.0, 45.0], [45.0, 45.0]]
    assert [label.get_text() for label in seeds.get_yticklabels()] == ["baseline", "multimodal"] * 2
    assert [text.get_text() for text in seeds.texts] == ["tiny_cnn", "slim_s"]
    assert [text.get_text() for text in gains.texts] == ["+7.50  [-24.3, +39.3]", "+2.50  [-29.3, +34.3]"]
    assert gains.get_xlabel() == "gain over baseline (points)"
    assert seeds.get_xlim() == pytest.approx((10.73, 84.27), abs=0.01)  # the ends of the means' intervals
    assert gains.get_xlim() == pytest.approx((-11.25, 18.75))  # not as far as intervals from two seeds
    write_comparison(comparisons, "val", tmp_path)
    assert (tmp_path / "compare-val.png").read_bytes().startswith(b"\x89PNG")


def test_one_seed_is_drawn_without_an_interval_and_without_matplotlib_nothing_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = list_cells(["tiny_cnn"], ["baseline", "multimodal"], [4], tmp_path)
    for cell in cells:
        fake_cell(cell, 10)
    comparisons = compare_cells(cells, "val")
    with monkeypatch.context() as patch:
        patch.setattr(comparison_tables, "find_spec", lambda name: None)
        write_comparison(comparisons, "val", tmp_path)
    assert (tmp_path / "compare-val.md").is_file()
    assert not (tmp_path / "compare-val.png").exists()
    pytest.importorskip("matplotlib")
    write_comparison(comparisons, "val", tmp_path)
    assert (tmp_path / "compare-val.png").is_file()


@pytest.mark.parametrize(
    ("flip", "view", "label"), [(True, "flip", "with mirror image"), (False, "single", "single view")]
)
def test_both_files_say_what_was_scored(tmp_path: Path, flip: bool, view: str, label: str) -> None:
    cells = list_cells(["tiny_cnn"], ["baseline", "multimodal"], [4, 7], tmp_path)
    for cell in cells:
        fake_cell(cell, 10)
        path = cell.folder / "predictions-val.npz"
        replace(Predictions.load(path), fingerprint="0123456789abcdef").save(path)
        dataset = {"source": "drawn [faces]", "fingerprint": "0123456789abcdef"}
        (cell.folder / "environment.json").write_text(json.dumps({"dataset": dataset}))
    comparisons = compare_cells(cells, "val", flip=flip, configuration="sketch --set a=1")
    write_comparison(comparisons, "val", tmp_path)
    head = f"split val; {label}; dataset drawn [faces] (fingerprint 0123456789ab); "
    head += "configuration sketch --set a=1; seeds 4, 7"
    assert (tmp_path / "compare-val.md").read_text().splitlines()[:2] == [head, ""]
    about = {
        "split": "val",
        "view": view,
        "dataset": "drawn [faces]",
        "fingerprint": "0123456789abcdef",
        "configuration": "sketch --set a=1",
    }
    for record in json.loads((tmp_path / "compare-val.json").read_text()):
        assert about.items() <= record.items()
    console = Console(width=200)
    with console.capture() as shown:
        console.print(comparison_table(comparisons, "val"))
    assert head in " ".join(shown.get().split())


def test_no_p_value_is_written_as_zero() -> None:
    texts = [comparison_tables._p_text(p) for p in (0.0, 4e-4, 0.001, 0.0512, 1.0, float("nan"))]
    assert texts == ["< 0.001", "< 0.001", "0.001", "0.051", "1.000", ""]


def test_a_table_that_loses_cells_or_another_view_is_not_replaced_unsaid(tmp_path: Path) -> None:
    cells = list_cells(["tiny_cnn"], ["baseline"], [0, 1, 2], tmp_path)
    for cell in cells:
        fake_cell(cell, 10)
    whole, one = compare_cells(cells, "val"), compare_cells(cells[:1], "val")
    assert note_replaced(whole, "val", tmp_path) == ""
    write_comparison(one, "val", tmp_path)
    assert note_replaced(one, "val", tmp_path) == note_replaced(whole, "val", tmp_path) == ""
    write_comparison(whole, "val", tmp_path)
    table = "held a table of 3 cells (with mirror image) and now hold one of"
    assert f"{table} 1 cell (with mirror image)." in note_replaced(one, "val", tmp_path)
    single = compare_cells(cells, "val", flip=False)
    assert f"{table} 3 cells (single view)." in note_replaced(single, "val", tmp_path)
    assert note_replaced(one, "test", tmp_path) == ""
    (tmp_path / "compare-val.json").write_text("[{}]")
    assert note_replaced(one, "val", tmp_path) == ""


def test_json_of_a_single_seed_has_null_where_nothing_is_known(tmp_path: Path) -> None:
    cells = list_cells(["tiny_cnn"], ["baseline", "multimodal"], [0], tmp_path)
    for cell, right in zip(cells, (10, 12)):
        fake_cell(cell, right)
    write_comparison(compare_cells(cells, "val"), "val", tmp_path)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    _, words = json.loads((tmp_path / "compare-val.json").read_text(), parse_constant=refuse)
    assert words["gain"] == {"value": pytest.approx(0.1), "low": None, "high": None, "level": 0.95}
    assert words["gain_p_value"] is None
