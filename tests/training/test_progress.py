"""What a person reads of a run in a log file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from tiny_training import FACES, tiny_config, two_phases

from facelex.training import progress
from facelex.training.progress import RichReporter
from facelex.training.run import train_run

ROW: dict[str, float | int | str] = {
    "phase": "align", "epoch": 1, "image_size": 48, "train_loss": 1.0, "train_accuracy": 0.5,
    "val_loss": 1.0, "val_accuracy": 0.5, "images_per_second": 1234.0,
}  # fmt: skip


def log_reporter() -> tuple[io.StringIO, RichReporter]:
    file = io.StringIO()
    return file, RichReporter(Console(file=file, width=80), "a run")


def test_a_log_has_the_title_and_one_line_an_epoch_and_the_work_comes_out_even(tmp_path: Path) -> None:
    file, reporter = log_reporter()
    train_run(tiny_config(*two_phases()), FACES, tmp_path / "r", accelerator="cpu", reporter=reporter)
    lines = file.getvalue().splitlines()
    assert lines[0] == "a run"
    assert [line.split()[:2] for line in lines[1:]] == [
        ["align", "1"], ["align", "2"], ["classify", "1"], ["classify", "2"],
    ]  # fmt: skip
    assert [line.endswith(" left") for line in lines[1:]] == [True, True, True, False]
    task = reporter.progress.tasks[0]
    assert task.completed == task.total == 4 * 96  # 120 training faces in batches of 32


def test_the_bar_says_that_the_first_step_is_still_to_come() -> None:
    file = io.StringIO()
    reporter = RichReporter(Console(file=file, width=100, force_terminal=True))

    def shown() -> str:
        reporter.progress.refresh()
        return file.getvalue().splitlines()[-1]

    reporter.start(total_images=500, done_images=0)
    assert "first step" in shown()
    reporter.step(100)
    assert "training" in shown()
    assert "first step" not in shown()
    reporter.epoch(ROW)
    assert "align" in shown()
    reporter.stop()


@pytest.mark.parametrize(
    ("seconds_an_epoch", "left"), [(10, "30 s"), (100, "5 min"), (6000, "5.0 h")], ids=["s", "min", "h"]
)
def test_time_left_follows_the_pace_since_the_run_was_continued(
    seconds_an_epoch: float, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: clock[0])
    file, reporter = log_reporter()
    reporter.start(total_images=500, done_images=100)
    reporter.step(100)
    clock[0] = seconds_an_epoch
    reporter.epoch(ROW)
    assert file.getvalue().splitlines()[-1].endswith(f"1,234 images/s  {left} left")
