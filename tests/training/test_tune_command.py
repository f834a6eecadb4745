"""``facelex tune`` from the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from facelex.cli.main import main
from facelex.training import jobs
from facelex.training.config import load_config

QUICKLY = (
    "--config", "sketch", "--threads", "1", "--set", "data=sketch:150", "--set", "image_size=24",
    "--set", "precision=32-true", "--set", "method=baseline", "--set", "max_epochs_per_phase=2",
    "--set", "model.image_encoder=tiny_cnn",
)  # fmt: skip
RATES = ("--vary", "optimizer.lr=[0.000001, 0.05, 0.02, 0.01]", "--sampler", "random")


def tune(folder: Path, *more: str) -> int:
    return main(["tune", *QUICKLY, "-o", str(folder), *more])


def test_a_search_goes_on_with_more_trials_and_its_best_can_be_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = tmp_path / "search"
    assert tune(search, *RATES, "--trials", "2", "--quiet") == 0
    assert "px" not in capsys.readouterr().out  # no epochs
    assert tune(search, *RATES, "--trials", "4") == 0
    said = capsys.readouterr().out
    assert "[2/4]" not in said
    assert "[3/4] trial-00" in said
    assert "(4 trials: " in said
    assert "validation accuracy" in said.splitlines()[-1]
    assert f"train {search / 'best.yaml'} with several seeds" in said
    assert len((search / "trials.csv").read_text().splitlines()) == 5
    assert load_config(search / "best.yaml").optimizer.lr > 0.005

    assert tune(search, *RATES, "--trials", "4", "--set", "batch_size=8") == 2
    assert "began with other values of batch_size" in " ".join(capsys.readouterr().err.split())
    again = ["--config", str(search / "best.yaml"), "--set", "seed=1", "-o", str(tmp_path / "again")]
    assert main(["train", *again, "--threads", "1", "--quiet"]) == 0


def test_two_jobs_share_the_trials_of_a_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")  # a job would compile for longer than it trains
    assert tune(tmp_path, *RATES, "--trials", "3", "--jobs", "2") == 0
    said = capsys.readouterr().out
    assert "(3 trials: " in said
    begun = sorted(line[3:8] for line in said.splitlines() if "optimizer.lr=" in line)
    assert begun == ["[1/3]", "[2/3]", "[3/3]"]
    assert {line[:3] for line in said.splitlines() if " px " in line} <= {"1| ", "2| "}
    assert (tmp_path / "best.yaml").is_file()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_search_whose_job_is_lost_is_brought_to_its_end_by_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    hear, killed = jobs._Worker.hear, []

    def kill_the_first_at_its_first_epoch(self: Any) -> Any:
        if not killed and any(tmp_path.glob("trial-*/metrics.csv")):
            killed.append(self.process.pid)
            self.process.kill()
        return hear(self)

    monkeypatch.setattr(jobs._Worker, "hear", kill_the_first_at_its_first_epoch)
    assert tune(tmp_path, *RATES, "--trials", "3", "--jobs", "2") == 0
    assert killed
    said = capsys.readouterr()
    assert "The system ended the job (signal 9)" in " ".join(said.out.split())
    assert "(3 trials: 3 finished)" in said.out
    assert said.err == ""


def test_a_search_without_a_finished_trial_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    varied = ("--vary", "methods.baseline.0.lr_factor=[1.0e+30, 2.0e+30]")
    assert tune(tmp_path, *varied, "--trials", "2") == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "+30: The loss of phase 'classify', epoch 1, is not a number any more." in said
    assert "nothing to choose from yet (2 trials: 2 failed)" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Expected what to vary, but got none"),
        (("--space", "papr"), "Unknown search space 'papr'. Did you mean 'paper'?"),
        (("--vary", "optimiser.lr=[1, 2]"), "Unknown key 'optimiser'. Did you mean 'optimizer'?"),
        ((*RATES, "--set", "optimizer.lr=0.1"), "optimizer.lr is varied, and set for all trials."),
        ((*RATES, "--trials", "0"), "Expected --trials of at least 1, but got 0."),
        ((*RATES, "--minutes", "-1"), "Expected --minutes above 0, but got -1."),
        ((*RATES, "--jobs", "0"), "Expected --jobs of at least 1, but got 0."),
        ((*RATES, "--data", "nowhere.npz"), "nowhere.npz"),
    ],
)
def test_a_users_mistake_is_told_before_anything_is_written(
    tmp_path: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(tmp_path / "search", *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "search").exists()


def test_without_optuna_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert tune(tmp_path, *RATES) == 2
    assert "pip install 'facelex[tune]'" in " ".join(capsys.readouterr().err.split())
