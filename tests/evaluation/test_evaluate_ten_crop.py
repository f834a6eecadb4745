import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from evaluation_fakes import make_predictions

from facelex.cli.main import main
from facelex.data.dataset import FaceDataset
from facelex.evaluation.evaluate import evaluate
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.views import WINDOW

pytestmark = pytest.mark.usefixtures("torch_side")

Made = tuple[FaceDataset, Path]
Maker = Callable[..., Path]
Captured = pytest.CaptureFixture[str]


def test_ten_crop_adds_a_third_view_official_and_deduplicated(make_run: Maker, capsys: Captured) -> None:
    run = make_run()
    assert main(["evaluate", str(run), "--ten-crop"]) == 0
    assert "on test, ten-crop (%)" in capsys.readouterr().out
    views = json.loads((run / "scores.json").read_text())["test"]["views"]
    assert list(views) == ["single", "flip", "ten_crop"]
    for name in ("official", "deduplicated"):
        accuracy = views["ten_crop"][name]["accuracy"]
        assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]


def test_the_ten_crop_view_of_a_run_is_the_mean_over_its_windows(make_run: Maker, faces: Made) -> None:
    preds = evaluate(make_run(), ten_crop=True).predictions
    side = round(16 * WINDOW)
    corner = faces[0].pixels[faces[0].indices("test")][:, :side, :side]
    gaps = np.abs(corner[:, :, :8].mean(axis=(1, 2))[:, None] - (np.arange(7) * 30 + 9.5))
    assert preds.crop_probs is not None
    np.testing.assert_array_equal(preds.crop_probs[0].argmax(axis=1), gaps.argmin(axis=1))
    np.testing.assert_allclose(preds.view_probs("ten_crop"), preds.crop_probs.mean(axis=0), rtol=1e-6)


def test_an_onnx_file_looks_at_windows_scaled_to_its_size(
    onnx_file: Path, faces: Made, tmp_path: Path
) -> None:
    dataset, side = faces[0], round(16 * WINDOW)
    preds = evaluate(onnx_file, data=faces[1], ten_crop=True).predictions
    windows = FaceDataset.create(
        dataset.pixels[:, -side:, :side].copy(), dataset.labels, dataset.splits, dataset.class_names, "x"
    )
    windows.save(tmp_path / "windows.npz")
    alone = evaluate(onnx_file, data=tmp_path / "windows.npz").predictions
    assert preds.crop_probs is not None
    np.testing.assert_array_equal(preds.crop_probs[4], alone.probs)
    np.testing.assert_array_equal(preds.crop_probs[5], alone.mirror_probs)


def test_ten_crop_without_the_mirror_view_is_allowed(make_run: Maker) -> None:
    assert evaluate(make_run(), flip=False, ten_crop=True).predictions.views == ("single", "ten_crop")


def test_the_report_shows_the_ten_crop_view(make_run: Maker) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    runs = [make_run(name) for name in ("first", "second")]
    for run in runs:
        assert main(["evaluate", str(run), "--ten-crop"]) == 0
    page = runs[0].parent / "page"
    assert main(["report", *map(str, runs), "-o", str(page)]) == 0
    html = (page / "report.html").read_text(encoding="utf-8")
    assert "<th>ten-crop, official</th><th>ten-crop, deduplicated</th>" in html
    assert "test, ten-crop" in html  # the paired comparison is of the last view both have


def test_a_second_evaluation_of_the_same_weights_loads_no_network(
    make_run: Maker, torch_side: list[Path], capsys: Captured
) -> None:
    run = make_run()
    first = evaluate(run, ten_crop=True)
    assert set(first.written) == {
        run / name for name in ("predictions-val.npz", "predictions-test.npz", "scores.json")
    }
    torch_side.clear()
    second = evaluate(run, ten_crop=True)
    assert torch_side == []
    assert second.scores == first.scores
    assert second.written == (run / "scores.json",)
    assert main(["evaluate", str(run)]) == 0
    assert "Not computed again" in " ".join(capsys.readouterr().err.split())


def test_only_what_is_missing_is_computed_and_nothing_known_is_lost(
    make_run: Maker, torch_side: list[Path]
) -> None:
    run = make_run()
    single = evaluate(run, flip=False)
    assert list(single.scores["views"]) == ["single"]
    evaluate(run, ten_crop=True)
    torch_side.clear()
    again = evaluate(run, flip=False)
    assert again.scores == single.scores  # what is printed is what was asked for
    assert again.predictions.views == ("single",)
    assert Predictions.load(run / "predictions-test.npz").views == ("single", "flip", "ten_crop")
    views = json.loads((run / "scores.json").read_text())["test"]["views"]
    assert list(views) == ["single", "flip", "ten_crop"]
    assert torch_side == []


def spoil(run: Path, **changes: object) -> None:
    """Replace the stored predictions by wrong ones that differ in one respect from fitting ones."""
    from dataclasses import replace

    held = Predictions.load(run / "predictions-test.npz")
    wrong = np.roll(held.probs, 1, axis=1)
    replace(held, **({"probs": wrong, "mirror_probs": wrong} | changes)).save(run / "predictions-test.npz")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes", [{"weights": ""}, {"weights": "0" * 64}, {"fingerprint": "0" * 64}, {"fingerprint": ""}]
)
def test_predictions_of_unknown_or_other_weights_or_data_are_computed_again(
    make_run: Maker, changes: dict[str, object]
) -> None:
    run = make_run()
    evaluate(run)
    spoil(run, **changes)
    assert evaluate(run).scores["views"]["single"]["official"]["accuracy"]["value"] == 1.0
    spoil(run)  # fitting in every respect: this is what a reused file looks like
    assert evaluate(run).scores["views"]["single"]["official"]["accuracy"]["value"] == 0.0


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_changed_weights_are_asked_again(make_run: Maker, torch_side: list[Path], name: str) -> None:
    run = make_run()
    evaluate(run)
    torch_side.clear()
    (run / name).write_bytes((run / name).read_bytes() + b" ")
    evaluate(run)
    assert torch_side == [run, run]  # for test, and for val to calibrate on


def test_windows_of_another_size_are_looked_at_again(make_run: Maker) -> None:
    run = make_run()
    evaluate(run, ten_crop=True)
    held = Predictions.load(run / "predictions-test.npz")
    assert held.crop_probs is not None
    spoil(
        run, probs=held.probs, mirror_probs=held.mirror_probs, crop_probs=held.crop_probs[:, ::-1], window=0.5
    )
    np.testing.assert_array_equal(evaluate(run, ten_crop=True).predictions.crop_probs, held.crop_probs)


def test_a_damaged_predictions_file_is_replaced(make_run: Maker) -> None:
    run = make_run()
    (run / "predictions-test.npz").write_bytes(b"not a zip")
    evaluate(run)
    assert len(Predictions.load(run / "predictions-test.npz")) == 70


def test_a_mapping_neither_reads_nor_writes_the_folder(make_run: Maker) -> None:
    run = make_run()
    evaluate(run)
    before = {path: path.read_bytes() for path in run.iterdir()}
    part = evaluate(run, mapping={"fear": "ignore"})
    assert len(part.predictions) == 60
    assert part.written == ()
    assert any("--map" in note for note in part.notes)
    assert {path: path.read_bytes() for path in run.iterdir()} == before
    whole = evaluate(run)
    assert len(whole.predictions) == 70
    assert whole.scores["views"]["single"]["official"]["accuracy"]["value"] == 1.0


def test_other_data_neither_reads_nor_writes_the_folder(make_run: Maker, tmp_path: Path) -> None:
    from evaluation_fakes import make_faces

    run = make_run()
    make_faces(seed=5).save(tmp_path / "other.npz")
    make_predictions(70).save(run / "predictions-test.npz")
    before = (run / "predictions-test.npz").read_bytes()
    found = evaluate(run, data=tmp_path / "other.npz", other_data=True, ten_crop=True)
    assert found.scores["views"]["single"]["official"]["accuracy"]["value"] == 1.0
    assert (run / "predictions-test.npz").read_bytes() == before
    assert not (run / "scores.json").exists()
