from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_training import TINY

from facelex.cli.main import main
from facelex.training.config.reading import CONFIG_FOLDER

SHORT = ["--set", "max_epochs_per_phase=1", *(part for setting in TINY for part in ("--set", setting))]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def message(capsys: pytest.CaptureFixture[str]) -> str:
    """What went to the error stream, as one line."""
    return " ".join(capsys.readouterr().err.split())


def test_train_writes_a_run_named_after_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "sketch", "--threads", "1", "--accelerator", "cpu", *SHORT]) == 0
    assert Path("runs/sketch-multimodal-tiny_cnn-s0/model.safetensors").is_file()
    printed = capsys.readouterr().out
    assert "validation accuracy" in printed
    assert "classify" in printed


def test_the_same_resuming_command_begins_a_run_and_lets_it_be_when_it_is_finished(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = ["train", "-o", "r", "--accelerator", "cpu", "--resume", "--config", "sketch", *SHORT]
    assert main(run) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[:2] == [
        "multimodal · tiny_cnn · seed 0 → r",
        "No checkpoint in r yet: starting from the beginning.",
    ]
    weights = Path("r/model.safetensors").stat().st_mtime_ns
    assert main(run) == 0
    again = capsys.readouterr().out.splitlines()
    assert again == [printed.splitlines()[-1].replace("r: ", "r: finished already, ")]
    assert Path("r/model.safetensors").stat().st_mtime_ns == weights


def test_resume_takes_the_folders_own_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    run = ["train", "-o", "r", "--quiet", "--accelerator", "cpu"]
    assert main([*run, "--config", "sketch", *SHORT]) == 0
    first = Path("r/model.safetensors").read_bytes()
    assert len(capsys.readouterr().out.strip().splitlines()) == 1
    Path("r/model.safetensors").unlink()
    assert main([*run, "--resume"]) == 0
    assert Path("r/model.safetensors").read_bytes() == first


def test_a_refused_run_prints_nothing_but_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    run = ["train", "-o", "r", "--accelerator", "cpu", "--config", "sketch", *SHORT]
    assert main([*run, "--quiet"]) == 0
    capsys.readouterr()
    for more, reason in (
        ([], "r already holds a run. Continue it with --resume"),
        (["--resume", "--set", "seed=3"], "began with other settings of seed"),
        (["--resume", "--data", "sketch:160"], "was trained on another dataset"),
    ):
        assert main([*run, *more]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert reason in " ".join(captured.err.split())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config", "skech"], "Did you mean 'sketch'?"),
        (["--config", "sketch", "--set", "optimizer.lrr=1"], "Did you mean 'lr'?"),
        (["--config", "sketch", *SHORT, "--set", "model.image_encoder=tiny_cn"], "Did you mean 'tiny_cnn'?"),
        (["--config", "sketch", "--data", "none.npz"], "none.npz"),
        (["--config", "sketch", "--threads", "0"], "--threads of at least 1"),
        (["--config", "sketch", "--devices", "two"], "--devices auto or a number"),
        (
            ["--resume", "-o", "typo"],
            "in typo, but there is no such folder. Check the name",
        ),
        (["--resume", "-o", "."], "in ., but it holds no config.yaml. Check the name"),
        (["--resume", "-o", "nowhere", "--config", "nowhere/config.yaml"], "Cannot read the config nowhere"),
        (["--config", "sketch", "--set", "vote_weight=0.5", "--data", "sketch:140"], "has no votes"),
        (["--config", "sketch", "--data", "sketch:140", "--set", "model.words={happi: [joy]}"], "'happi'"),
    ],
)
def test_mistakes_exit_with_2_and_write_nothing(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["train", *arguments]) == 2
    assert expected in message(capsys)
    assert list(tmp_path.iterdir()) == []


def test_unknown_accelerator_exits_with_2() -> None:
    assert main(["train", "--config", "sketch", "--accelerator", "gpuu"]) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_device_is_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "--config", "sketch", "--accelerator", "cuda", *SHORT]) == 2
    assert "Training on accelerator 'cuda' with devices 1 is not possible here" in message(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_what_no_run_has_left_in_a_folder_is_not_replaced(
    capsys: pytest.CaptureFixture[str], resume: list[str]
) -> None:
    Path("exp").mkdir()
    own, scores = Path("exp/config.yaml"), Path("exp/scores.json")
    own.write_text("# mine\n" + (CONFIG_FOLDER / "sketch.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    scores.write_text("mine")
    before = own.read_bytes()
    assert main(["train", "--config", str(own), "-o", "exp", *resume, *SHORT]) == 2
    assert "exp holds config.yaml and scores.json, which no run left there" in message(capsys)
    assert (own.read_bytes(), scores.read_text()) == (before, "mine")


def test_a_dataset_is_named_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever YAML would make of the name."""
    for name in ("faces #2.npz", "my: x.npz", "[a].npz", "2024.npz"):
        assert main(["train", "--config", "sketch", "--data", name]) == 2
        assert f"There is no dataset at {name};" in message(capsys)
