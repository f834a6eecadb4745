"""TensorBoard and Weights & Biases see the same numbers as metrics.csv, over an interruption too."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_training import FACES, StopAfter, read_rows, tiny_config, two_phases

from facelex.errors import FacelexError
from facelex.training.run import train_run
from facelex.training.trackers import WandbTracker, create_trackers


def test_tensorboard_holds_every_epoch_once_though_the_run_was_interrupted(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = tiny_config("method=multimodal", *two_phases(), "trackers=[tensorboard]")
    with pytest.raises(KeyboardInterrupt):
        train_run(config, FACES, tmp_path / "run", reporter=StopAfter(2))
    train_run(config, FACES, tmp_path / "run", resume=True)

    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    losses = [(event.step, event.value) for event in events.Scalars("val_loss")]
    expected = [float(row["val_loss"]) for row in read_rows(tmp_path / "run", ["val_loss"])]
    assert [step for step, _ in losses] == [1, 2, 3, 4]
    assert [value for _, value in losses] == pytest.approx(expected)


class RecordingWandb:
    """Stands in for the service: keeps what would be sent."""

    Error = ConnectionError

    def __init__(self) -> None:
        self.began: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.ended: list[int] = []
        self.config: dict[str, Any] = {}

    def Settings(self, **settings: Any) -> dict[str, Any]:  # noqa: N802
        return settings

    def init(self, **arguments: Any) -> RecordingWandb:
        self.began.append(arguments)
        return self

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.logged.append((step, metrics))

    def finish(self, exit_code: int) -> None:
        self.ended.append(exit_code)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> RecordingWandb:
    recording = RecordingWandb()
    monkeypatch.setitem(sys.modules, "wandb", recording)
    return recording


def test_wandb_continues_the_same_run_after_an_interruption(tmp_path: Path, wandb: RecordingWandb) -> None:
    config = tiny_config("method=multimodal", *two_phases(), "trackers=[wandb]")
    with pytest.raises(KeyboardInterrupt):
        train_run(config, FACES, tmp_path / "run", reporter=StopAfter(2))
    train_run(config, FACES, tmp_path / "run", resume=True)

    first, second = wandb.began
    assert first["id"] == second["id"]
    assert first["name"] == "run"
    assert wandb.ended == [1, 0]
    assert [step for step, _ in wandb.logged] == [1, 2, 3, 4]
    expected = [float(row["val_accuracy"]) for row in read_rows(tmp_path / "run", ["val_accuracy"])]
    assert [metrics["val_accuracy"] for _, metrics in wandb.logged] == expected
    assert wandb.config["batch_size"] == 32


def test_wandb_sends_no_code_and_no_console_output(tmp_path: Path, wandb: RecordingWandb) -> None:
    WandbTracker(tmp_path / "run").log_metrics({"val_loss": 1.0}, 1)
    settings = wandb.began[0]["settings"]
    assert (settings["disable_git"], settings["save_code"], settings["console"]) == (True, False, "off")


def test_two_folders_are_two_wandb_runs(tmp_path: Path, wandb: RecordingWandb) -> None:
    assert WandbTracker(tmp_path / "one").version != WandbTracker(tmp_path / "two").version


def test_a_refusal_by_wandb_says_what_to_do(
    tmp_path: Path, wandb: RecordingWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**arguments: Any) -> None:
        raise ConnectionError("No API key configured")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(FacelexError, match=r"No API key configured.*WANDB_MODE=offline"):
        train_run(tiny_config("trackers=[wandb]"), FACES, tmp_path / "run")


def test_a_tracker_that_is_not_installed_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = builtins.__import__

    def without_wandb(name: str, *arguments: Any) -> Any:
        if name == "wandb":
            raise ModuleNotFoundError(name)
        return plain(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_wandb)
    with pytest.raises(FacelexError, match=r"facelex\[track\]"):
        create_trackers(tiny_config("trackers=[wandb]"), tmp_path / "run")
