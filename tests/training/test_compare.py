"""The comparison table: which runs, which of them still to train, and what is written about them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tiny_training import FACES, tiny_config

from facelex.cli.main import main
from facelex.data.sketch import sketch_dataset
from facelex.errors import FacelexError
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.run_folder import weights_digest
from facelex.training import compare
from facelex.training.compare import (
    Cell,
    cell_config,
    check_cells,
    compare_cells,
    comparison_markdown,
    comparison_table,
    list_cells,
    note_replaced,
    train_cells,
    write_comparison,
)
from facelex.training.resume import changed_settings

QUICKLY = ("max_epochs_per_phase=1",)


def fake_cell(cell: Cell, right: int, *, split: str = "val", count: int = 20) -> None:
    """A finished run folder whose network names the first ``right`` of ``count`` faces rightly.

    The last four faces are copies of training faces.
    """
    labels = np.arange(count) % 7
    named = np.where(np.arange(count) < right, labels, (labels + 1) % 7)
    probs = np.eye(7, dtype=np.float32)[named]
    cell.folder.mkdir(parents=True)
    (cell.folder / "model.safetensors").touch()
    (cell.folder / "model.json").touch()
    classes = FACES.class_names
    seen = np.arange(count) >= count - 4
    digest = weights_digest(cell.folder)
    predictions = Predictions(probs, labels, seen, classes, mirror_probs=probs, split=split, weights=digest)
    predictions.save(cell.folder / f"predictions-{split}.npz")


def test_cells_come_seed_by_seed_then_encoder_by_encoder_and_only_once(tmp_path: Path) -> None:
    cells = list_cells(["vgg11", "timm:a"], ["baseline", "multimodal"], [3, 1, 3], tmp_path)
    assert [cell.folder.name for cell in cells] == [
        "vgg11-baseline-s3",
        "vgg11-multimodal-s3",
        "timm-a-baseline-s3",
        "timm-a-multimodal-s3",
        "vgg11-baseline-s1",
        "vgg11-multimodal-s1",
        "timm-a-baseline-s1",
        "timm-a-multimodal-s1",
    ]


def test_only_unfinished_cells_are_trained_and_begun_ones_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished, begun, new = cells = list_cells(["tiny_cnn"], ["multimodal"], [0, 1, 2], tmp_path)
    fake_cell(finished, 10)
    begun.folder.mkdir()
    (begun.folder / "checkpoint.pt").touch()
    trained: list[tuple[int, Path, bool]] = []

    def train_run(config: Any, dataset: Any, folder: Path, *, resume: bool, **where: Any) -> None:
        trained.append((config.seed, folder, resume))

    monkeypatch.setattr(compare, "train_run", train_run)
    said: list[str] = []
    train_cells(cells, tiny_config(), FACES, announce=said.append)
    assert trained == [(1, begun.folder, True), (2, new.folder, True)]
    assert said == ["[2/3] tiny_cnn-multimodal-s1 (continued)", "[3/3] tiny_cnn-multimodal-s2"]


def test_gains_are_over_the_seeds_that_both_methods_have(tmp_path: Path) -> None:
    cells = list_cells(["tiny_cnn"], ["baseline", "multimodal"], [0, 1, 2], tmp_path)
    for cell in cells:
        if (cell.method, cell.seed) != ("multimodal", 2):
            fake_cell(cell, {"baseline": 10, "multimodal": 12}[cell.method] + 2 * cell.seed)
    baseline, words = compare_cells(cells, "val")
    assert baseline.accuracies == {0: 0.5, 1: 0.6, 2: 0.7}
    assert baseline.gain is None
    assert baseline.deduplicated == pytest.approx({0: 10 / 16, 1: 12 / 16, 2: 14 / 16})
    assert words.accuracies == {0: 0.6, 1: 0.7}
    assert words.gain is not None
    assert words.gain.value == pytest.approx(0.1)
    assert np.isnan([words.gain.low, words.gain_p_value]).all()  # the same gain with each seed by chance
    assert sorted(words.pairs) == [0, 1]
    assert (words.pairs[0].only_a, words.pairs[0].only_b) == (0, 2)


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
    assert baseline["accuracies"] == {"4": 0.5, "7": 0.55}
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


def test_no_p_value_is_written_as_zero() -> None:
    texts = [compare._p_text(p) for p in (0.0, 4e-4, 0.001, 0.0512, 1.0, float("nan"))]
    assert texts == ["< 0.001", "< 0.001", "0.001", "0.051", "1.000", ""]


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


def test_the_single_view_can_be_scored(tmp_path: Path) -> None:
    (cell,) = cells = list_cells(["tiny_cnn"], ["baseline"], [0], tmp_path)
    fake_cell(cell, 10)
    path = cell.folder / "predictions-val.npz"
    before = Predictions.load(path)
    mirror = np.eye(7, dtype=np.float32)[before.labels]  # right on all
    replace(before, probs=before.probs * 0.6 + 0.4 / 7, mirror_probs=mirror).save(path)
    assert compare_cells(cells, "val", flip=False)[0].accuracies == {0: 0.5}
    assert compare_cells(cells, "val", flip=True)[0].accuracies == {0: 1.0}


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
    assert compare_cells(cells, "val")[0].accuracies == {0: 0.5}
    assert asked == [cell.folder]


def test_a_cell_that_died_between_its_description_and_its_weights_is_not_finished(tmp_path: Path) -> None:
    (cell,) = list_cells(["tiny_cnn"], ["baseline"], [0], tmp_path)
    fake_cell(cell, 10)
    assert cell.finished
    (cell.folder / "model.safetensors").unlink()
    assert not cell.finished


def test_a_cell_of_another_dataset_is_refused_finished_or_begun(tmp_path: Path) -> None:
    (cell,) = list_cells(["tiny_cnn"], ["multimodal"], [0], tmp_path)
    train_cells([cell], tiny_config(*QUICKLY), FACES)
    check_cells([cell], tiny_config(*QUICKLY), FACES)
    for state in ("is finished", "has begun"):
        with pytest.raises(FacelexError, match=rf"s0 {state}, but on another dataset"):
            check_cells([cell], tiny_config(*QUICKLY), sketch_dataset(150, seed=1))
        with pytest.raises(FacelexError, match=rf"s0 {state}, but with other settings of batch_size\."):
            check_cells([cell], tiny_config(*QUICKLY, "batch_size=8"), FACES)
        (cell.folder / "model.safetensors").unlink(missing_ok=True)


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


@pytest.mark.parametrize(
    ("encoder", "method", "message"),
    [
        ("tiny_cn", "baseline", "Unknown image encoder 'tiny_cn'. Did you mean 'tiny_cnn'?"),
        ("timm:resnt18", "baseline", "Unknown timm model 'resnt18'. Did you mean 'resnet18'?"),
        ("tiny_cnn", "basline", "Unknown method 'basline'. Did you mean 'baseline'?"),
    ],
)
def test_unknown_names_are_found_before_training(
    tmp_path: Path, encoder: str, method: str, message: str
) -> None:
    with pytest.raises(FacelexError, match=message.replace("?", r"\?")):
        check_cells(list_cells([encoder], [method], [0], tmp_path), tiny_config())


def test_a_method_that_cannot_be_trained_is_found_before_the_first_run(tmp_path: Path) -> None:
    taught = "methods.taught=[{name: t, epochs: 1, losses: {distillation: 1}}]"
    with pytest.raises(FacelexError, match=r"tiny_cnn-taught-s0.*no run or model is named in 'teachers'"):
        check_cells(list_cells(["tiny_cnn"], ["baseline", "taught"], [0], tmp_path), tiny_config(taught))


def test_controls_are_cells_that_differ_in_the_words_alone(tmp_path: Path) -> None:
    plain, control = cells = list_cells(["tiny_cnn"], ["multimodal", "multimodal:random"], [0], tmp_path)
    assert [cell.folder.name for cell in cells] == ["tiny_cnn-multimodal-s0", "tiny_cnn-multimodal-random-s0"]
    base = tiny_config(*QUICKLY)
    assert changed_settings(cell_config(base, plain), cell_config(base, control)) == ["model"]
    model = base.model.model_copy(update={"image_encoder": "tiny_cnn"})
    assert cell_config(base, plain).model == model
    assert cell_config(base, control).model == model.model_copy(update={"text_encoder": "random"})
    train_cells(cells, base, FACES)
    check_cells(cells, base, FACES)
    assert json.loads((control.folder / "model.json").read_text()) != json.loads(
        (plain.folder / "model.json").read_text()
    )
    assert [c.method for c in compare_cells(cells, "val")] == ["multimodal", "multimodal:random"]


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("multimodal:randm", (), "Unknown text encoder 'randm'. Did you mean 'random'?"),
        ("multimodel:random", (), "Unknown method 'multimodel'. Did you mean 'multimodal'?"),
        ("baseline:random", (), "before ':random', but 'baseline' has none"),
        ("multimodal:random", ("model.mix_words=true",), "--set model.mix_words=false"),
        ("multimodal:one_hot", ("model.text_fit=blend",), "--set model.text_fit=null"),
        ("multimodal:glove", ("model.mix_words=true",), "--set model.mix_words=false"),
    ],
)
def test_controls_that_cannot_be_compared_are_refused(
    tmp_path: Path, method: str, settings: tuple[str, ...], message: str
) -> None:
    with pytest.raises(FacelexError, match=re.escape(message)):
        check_cells(list_cells(["tiny_cnn"], [method], [0], tmp_path), tiny_config(*settings))


def test_two_cells_of_one_folder_are_refused(tmp_path: Path) -> None:
    method = "multimodal-random"
    base = tiny_config(f"methods.{method}=[{{name: a, epochs: 1, losses: {{cross_entropy: 1}}}}]")
    with pytest.raises(FacelexError, match=r"Expected a folder for each cell.*s0\. Rename"):
        check_cells(list_cells(["tiny_cnn"], [method, "multimodal:random"], [0], tmp_path), base)


def test_encoders_that_an_option_makes_the_same_are_refused(tmp_path: Path) -> None:
    wide = tiny_config("model.encoder_options={width: 0.5}")
    message = r"{'width': 0.5} the encoders slim_s and slim_l are the same network"
    with pytest.raises(FacelexError, match=message):
        check_cells(list_cells(["slim_s", "slim_l"], ["baseline"], [0], tmp_path), wide)
    check_cells(list_cells(["slim_s"], ["baseline", "multimodal"], [0, 1], tmp_path), wide)
    other = tiny_config("model.encoder_options={squeeze_excitation: true}")
    check_cells(list_cells(["slim_s", "slim_l"], ["baseline"], [0], tmp_path), other)


@pytest.mark.parametrize("seeds", ["0,a", "-1", "1.5", "²", ","])
def test_seeds_that_are_no_numbers_are_refused(
    tmp_path: Path, seeds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", "--config", "sketch", "--encoders", "tiny_cnn", f"--seeds={seeds}"]
    assert main([*command, "-o", str(tmp_path / "table")]) == 2
    assert repr(seeds) in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "table").exists()


def test_a_table_from_the_command_line_goes_on_with_more_seeds_but_not_with_other_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def table(seeds: str, *more: str) -> int:
        settings = ["data=sketch:150", "image_size=24", "precision=32-true", *QUICKLY]
        sets = [part for setting in settings for part in ("--set", setting)]
        names = ["--encoders", "tiny_cnn", "--methods", "baseline,multimodal", "--seeds", seeds]
        return main(["compare", "--config", "sketch", *names, *sets, "-o", str(tmp_path), *more])

    assert table("0") == 0
    weights = tmp_path / "tiny_cnn-baseline-s0" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    capsys.readouterr()
    assert table("0,1", "--format", "markdown") == 0
    said = capsys.readouterr().out
    assert "[3/4] tiny_cnn-baseline-s1" in said
    assert "tiny_cnn-baseline-s0" not in said
    assert said.count("| tiny_cnn |") == 2
    assert weights.stat().st_mtime_ns == before
    written = json.loads((tmp_path / "compare-val.json").read_text())
    assert [list(entry["accuracies"]) for entry in written] == [["0", "1"]] * 2

    assert table("0", "--no-train", "--no-flip") == 0
    assert "held a table of 4 cells" in " ".join(capsys.readouterr().err.split())
    first = (tmp_path / "compare-val.md").read_text().splitlines()[0]
    settings = "image_size=24 --set precision=32-true --set max_epochs_per_phase=1"
    assert first.startswith("split val; single view; dataset sketch: 150 drawn faces, seed 0 (fingerprint ")
    assert first.endswith(f"; configuration sketch --set {settings}; seeds 0")

    assert table("0,1", "--set", "optimizer.lr=0.5", "--set", "batch_size=7") == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "is finished, but with other settings of batch_size, optimizer" in message
    for other in (["--data", "sketch:160"], ["--set", "data=sketch:160"]):
        for more in ([], ["--no-train"]):
            assert table("0,1", *other, *more) == 2
            assert "is finished, but on another dataset" in " ".join(capsys.readouterr().err.split())
    assert table("0,1", "--data", "sketch:150", "--no-train") == 0
    assert table("0,1", "--set", "methods.multimodal.0.epochs=9", "--no-train") == 0  # cut to one as before
    capsys.readouterr()
    assert table("0,1", "--set", "methods.multimodal.0.lr_factor=0.5", "--no-train") == 2
    assert "multimodal-s0 is finished, but with other settings of phases" in " ".join(
        capsys.readouterr().err.split()
    )
