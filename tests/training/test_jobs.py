"""Several runs at once, each in a process of its own."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from job_tasks import (
    answer_and_die,
    count_runs,
    die,
    fail_with_a_run,
    fill_the_disk,
    fill_the_memory,
    refuse,
    run_and_be_killed,
    say_and_return,
    sleep_and_report,
    stumble,
    wait_a_second,
    warn,
)
from rich.console import Console
from tiny_training import differing

from facelex.cli.main import main
from facelex.errors import FacelexError
from facelex.training import jobs
from facelex.training.jobs import JobLostError, run_tasks

posix = pytest.mark.skipif(os.name != "posix", reason="signals")


@posix
def test_answers_come_in_order_and_a_job_that_is_lost_costs_its_own_task_alone() -> None:
    file = io.StringIO()
    words = [partial(say_and_return, word) for word in ("one", "two", "three")]
    tasks = [words[0], warn, words[1], die, words[2]]
    answers = run_tasks(tasks, 2, threads=1, console=Console(file=file, width=80))
    assert [answers[number] for number in (0, 2, 4)] == [("one", 1), ("two", 1), ("three", 1)]
    assert isinstance(answers[3], JobLostError)
    assert "signal 9" in str(answers[3])
    lines = file.getvalue().splitlines()
    assert {line[:3] for line in lines} == {"1| ", "2| "}
    assert sum("UserWarning: that is odd" in line for line in lines) == 1
    assert sum("begins with" in line for line in lines) == 3
    assert sum("val 1.000 50.00 %" in line for line in lines) == 3


@posix
def test_where_every_job_is_lost_the_tasks_left_say_so() -> None:
    answers = run_tasks([die, warn], 1, threads=1, console=Console(file=io.StringIO()))
    assert [type(answer) for answer in answers] == [JobLostError, JobLostError]
    assert "before this one's turn came" in str(answers[1])


@posix
def test_a_task_whose_job_is_lost_before_it_begins_is_left_to_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = jobs._Worker.begin

    def begin_late(self: Any, left: Any) -> None:
        if self.task is None and len(left) == 1:  # the one who has answered is to die first
            time.sleep(2)
        begin(self, left)

    monkeypatch.setattr(jobs._Worker, "begin", begin_late)
    tasks = [answer_and_die, wait_a_second, warn]
    answers = run_tasks(tasks, 2, threads=1, console=Console(file=io.StringIO()))
    assert answers == [("answered", 0), ("waited", 0), ("warned", 0)]


def test_a_task_that_failed_is_out_of_memory_when_the_next_begins() -> None:
    answers = run_tasks([fail_with_a_run, count_runs], 1, threads=1, console=Console(file=io.StringIO()))
    assert "not a number" in str(answers[0])
    assert answers[1] == (1, 0)


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        (refuse, FacelexError, "something else"),
        (fill_the_disk, OSError, "No space"),
        (fill_the_memory, MemoryError, r"Unable to allocate 1\.00 EiB"),
    ],
)
def test_what_one_task_raises_ends_all(
    task: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    endless = partial(sleep_and_report, tmp_path)
    with pytest.raises(error, match=message):
        run_tasks([endless, task], 2, threads=1, console=Console(file=io.StringIO()))
    assert not any(alive(int(file.name)) for file in tmp_path.iterdir())


def test_an_error_that_no_user_made_is_not_passed_over(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="exit code 1"):
        run_tasks([stumble, stumble], 1, threads=1, console=Console(file=io.StringIO()))
    assert "ZeroDivisionError" in capfd.readouterr().err


@posix
def test_jobs_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=run_and_be_killed, args=(tmp_path,))
    process.start()
    wait_until(lambda: any(tmp_path.iterdir()))
    process.kill()
    process.join()
    wait_until(lambda: not any(alive(int(file.name)) for file in tmp_path.iterdir()))


def wait_until(came: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not came():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):  # where no process collects orphans they stay, dead
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    return True


@pytest.mark.parametrize(
    ("visible", "count", "expected"),
    [
        ("4,7,GPU-ab", 3, ["4", "7", "GPU-ab", "4"]),
        ("3,", 1, [None] * 4),
        ("3,-1,5", 1, [None] * 4),
        ("", 0, [None] * 4),
        (None, 2, ["0", "1", "0", "1"]),
        (None, 0, [None] * 4),
    ],
)
def test_jobs_share_out_the_gpus_that_cuda_finds(
    visible: str | None, count: int, expected: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    assert [jobs._gpu(number) for number in range(4)] == expected


@posix
def test_ctrl_c_ends_all_jobs_and_leaves_nothing_behind(tmp_path: Path) -> None:
    # the tests may have been told to ignore Ctrl-C, as what a shell runs in the background is
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import facelex.__main__"
    command = [sys.executable, "-c", code, *arguments(tmp_path / "table"), "--jobs", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert "[" in process.stdout.readline()  # a cell has begun
    os.killpg(process.pid, signal.SIGINT)
    said = process.stdout.read()
    assert process.wait(60) == 130, said
    assert "stopped by the user" in said
    assert "Traceback" not in said
    assert list(tmp_path.rglob(".lock")) == []


SETTINGS = (
    "data=sketch:150", "image_size=24", "precision=32-true", "max_epochs_per_phase=1",
    "methods.bad=[{name: b, epochs: 1, losses: {cross_entropy: 1}, lr_factor: 1.0e+30}]",
)  # fmt: skip


def arguments(folder: Path) -> list[str]:
    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    names = ["--encoders", "tiny_cnn", "--seeds", "0", "--threads", "1"]
    names += ["--methods", "baseline,multimodal,bad"]
    return ["compare", "--config", "sketch", *names, *sets, "-o", str(folder)]


def table(folder: Path, *more: str) -> int:
    return main([*arguments(folder), *more])


def test_a_table_trained_several_cells_at_a_time_has_the_same_bits_and_names_what_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table(tmp_path / "one") == 1
    capsys.readouterr()
    assert table(tmp_path / "two", "--jobs", "2") == 1
    said = capsys.readouterr()
    assert {line[:3] for line in said.out.splitlines() if " px " in line} == {"1| ", "2| "}
    assert "[3/3] tiny_cnn-bad-s0 failed: " in said.out
    assert "Not in the table, since training failed: tiny_cnn-bad-s0." in " ".join(said.err.split())
    for cell in ("tiny_cnn-baseline-s0", "tiny_cnn-multimodal-s0"):
        assert differing(tmp_path / "one" / cell, tmp_path / "two" / cell) == []
    one, two = ((tmp_path / name / "compare-val.json").read_text() for name in ("one", "two"))
    assert one == two


def test_a_number_of_jobs_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table(tmp_path / "table", "--jobs", "0") == 2
    assert "Expected --jobs of at least 1, but got 0." in capsys.readouterr().err
    assert not (tmp_path / "table").exists()
