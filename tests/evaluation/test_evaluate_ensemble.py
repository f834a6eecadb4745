import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from evaluation_fakes import SPEC, make_faces, make_run_folder

from facelex.cli.main import main
from facelex.data.dataset import FaceDataset
from facelex.emotions import EMOTIONS
from facelex.evaluation.evaluate import evaluate
from facelex.evaluation.predictions import Predictions

pytestmark = pytest.mark.usefixtures("torch_side")

Made = tuple[FaceDataset, Path]
Maker = Callable[..., Path]
Captured = pytest.CaptureFixture[str]


def error_of(capsys: Captured, *argv: object) -> str:
    assert main([str(arg) for arg in argv]) == 2
    return " ".join(capsys.readouterr().err.split())


def test_the_mean_of_runs_and_onnx_files_is_scored_beside_its_members(
    make_run: Maker, onnx_file: Path, capsys: Captured
) -> None:
    runs = [make_run("first"), make_run("second")]
    argv = ["evaluate", *map(str, runs), str(onnx_file)]
    assert main([*argv, "--format", "json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["model"] == "mean of 3 networks"
    assert [member["name"] for member in scores["members"]] == ["first", "second", "nearest"]
    alone = [evaluate(run).scores for run in runs]
    for member, own in zip(scores["members"], alone):
        for view in ("single", "flip"):
            for name in ("official", "deduplicated"):
                expected = own["views"][view][name]["accuracy"]
                assert member["views"][view][name]["accuracy"] == expected
    pair = scores["members"][1]["views"]["single"]["official"]["to_first"]
    assert (pair["difference"]["value"], pair["only_own"], pair["p_value"]) == (0, 0, 1)  # the same network
    assert main(argv) == 0
    table = capsys.readouterr().out
    for text in ("mean of 3 networks on test", "Accuracy less that of first", "second", "nearest"):
        assert text in table


def test_the_probabilities_are_averaged_uncalibrated(make_run: Maker, onnx_file: Path, faces: Made) -> None:
    run = make_run()
    found = evaluate([run, onnx_file], ten_crop=True)
    pair = [evaluate(run, ten_crop=True), evaluate(onnx_file, data=faces[1], ten_crop=True)]
    for view in ("single", "flip", "ten_crop"):
        expected = np.mean([one.predictions.view_probs(view) for one in pair], axis=0)
        np.testing.assert_allclose(found.predictions.view_probs(view), expected, atol=1e-6)
    assert [member.model for member in found.members] == ["fake-run", "nearest"]


def test_the_mean_is_calibrated_on_val(make_run: Maker) -> None:
    scores = evaluate([make_run("a"), make_run("b")]).scores
    assert scores["views"]["flip"]["official"]["calibrated"]["temperature"] != 1
    assert "calibration" in evaluate([make_run("c"), make_run("d")], "val").scores["views"]["flip"]


def test_the_predictions_written_name_their_members(make_run: Maker, tmp_path: Path) -> None:
    runs = [str(make_run(name)) for name in ("a", "b")]
    assert main(["evaluate", *runs, "-o", str(tmp_path / "mean.npz")]) == 0
    held = Predictions.load(tmp_path / "mean.npz")
    assert (held.members, held.views) == (("a", "b"), ("single", "flip"))


def test_members_keep_their_answers_but_not_the_scores_of_the_mean(
    make_run: Maker, torch_side: list[Path]
) -> None:
    runs = [make_run("a"), make_run("b"), make_run("c")]
    evaluate(runs[:2])
    assert all((run / "predictions-test.npz").exists() for run in runs[:2])
    assert not any((run / "scores.json").exists() for run in runs)
    torch_side.clear()
    evaluate(runs)
    assert set(torch_side) == {runs[2]}  # the others have answered already


def test_networks_of_equal_name_are_told_apart(make_run: Maker, faces: Made, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    twin = make_run_folder(tmp_path / "more" / "fake-run", *faces)
    first = make_run()
    assert evaluate([first, twin]).predictions.members == (str(first), str(twin))


def test_pictures_of_a_folder_are_read_at_the_largest_size(
    onnx_file: Path, make_run: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    text = (run / "model.json").read_text()
    (run / "model.json").write_text(text.replace('"image_size": 16', '"image_size": 40'))
    sizes: list[int] = []

    def load_labelled(
        place: str, size: int, *others: object, **named: object
    ) -> tuple[FaceDataset, list[str]]:
        sizes.append(size)
        return make_faces(), ["Left out: one."]

    monkeypatch.setattr("facelex.evaluation.evaluate.load_labelled", load_labelled)
    found = evaluate([onnx_file, run])
    assert sizes == [40]
    assert found.notes[0] == "Left out: one."


def test_networks_that_do_not_belong_together_are_refused_before_they_are_asked(
    make_run: Maker, onnx_file: Path, tmp_path: Path, capsys: Captured, torch_side: list[Path]
) -> None:
    run, other = make_run("a"), make_run("b")
    for again in (f"{run}/", os.path.relpath(run), other / ".." / run.name):
        assert "given more than once" in error_of(capsys, "evaluate", run, again)
    (other / "model.json").write_text(json.dumps(SPEC | {"classes": [*EMOTIONS[1:], EMOTIONS[0]]}))
    sentence = error_of(capsys, "evaluate", run, other)
    assert "same classes in the same order" in sentence
    assert "Leave one of them out" in sentence
    elsewhere = make_faces(seed=9)
    elsewhere.save(tmp_path / "elsewhere.npz")
    foreign = make_run_folder(tmp_path / "foreign", elsewhere, tmp_path / "elsewhere.npz")
    assert f"{foreign} is a run folder from another dataset" in error_of(capsys, "evaluate", run, foreign)
    assert "model.safetensors and model.json are not there. The run has not finished" in error_of(
        capsys, "evaluate", run, make_run("half", finished=False)
    )
    assert "got none" in error_of(capsys, "evaluate")
    assert torch_side == []
    assert not (run / "predictions-test.npz").exists()
