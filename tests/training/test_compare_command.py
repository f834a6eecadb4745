"""``facelex compare`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from facelex.cli.main import main

QUICKLY = ("max_epochs_per_phase=1",)


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
    assert [list(entry["scores"]) for entry in written] == [["0", "1"]] * 2

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


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_accelerator_reaches_every_cell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], jobs: str
) -> None:
    command = ["compare", "--config", "sketch", "--encoders", "tiny_cnn", "--seeds", "0", "--jobs", jobs]
    small = ["--set", "data=sketch:70", "--accelerator", "cuda", "-o", str(tmp_path)]
    assert main([*command, *small]) == 2
    assert "Training on accelerator 'cuda' with devices 1 is not possible here" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_cell_that_diverges_is_named_and_the_others_make_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phase = "[{name: b, epochs: 2, losses: {cross_entropy: 1}, lr_factor: 1.0e+30}]"
    sets = ["data=sketch:150", "image_size=24", "precision=32-true", *QUICKLY, f"methods.bad={phase}"]
    names = ["--encoders", "tiny_cnn", "--methods", "baseline,bad", "--seeds", "0"]
    command = ["compare", "--config", "sketch", *names, *(part for one in sets for part in ("--set", one))]
    assert main([*command, "-o", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "tiny_cnn-bad-s0 failed: " in " ".join(said.out.split())
    assert "Not in the table, since training failed: tiny_cnn-bad-s0." in " ".join(said.err.split())
    assert [entry["method"] for entry in json.loads((tmp_path / "compare-val.json").read_text())] == [
        "baseline"
    ]
    alone = [part if part != "baseline,bad" else "bad" for part in command]
    assert main([*alone, "-o", str(tmp_path / "other")]) == 2
