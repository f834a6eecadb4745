"""What the tests of jobs give them to do; nothing here takes long to import."""

from __future__ import annotations

import errno
import gc
import io
import os
import signal
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from facelex.errors import FacelexError
from facelex.training.jobs import run_tasks
from facelex.training.progress import Reporter

ROW: dict[str, float | int | str] = {
    "phase": "align", "epoch": 1, "image_size": 48, "train_loss": 1.0, "train_accuracy": 0.5,
    "val_loss": 1.0, "val_accuracy": 0.5, "images_per_second": 1234.0,
}  # fmt: skip


def say_and_return(word: str, reporter: Reporter, announce: Callable[[str], None]) -> tuple[str, int]:
    import torch

    announce(f"begins with {word}")
    reporter.start(100, 0)
    for _ in range(4):
        reporter.step(25)
    reporter.epoch(ROW)
    reporter.stop()
    return word, torch.get_num_threads()


def refuse(reporter: Reporter, announce: Callable[[str], None]) -> tuple[str, int]:
    raise FacelexError("Expected something else.")


class Run:
    """Stands in for what a run holds in memory."""


RUNS: list[weakref.ref[Run]] = []


def fail_with_a_run(reporter: Reporter, announce: Callable[[str], None]) -> FacelexError:
    run = Run()
    RUNS.append(weakref.ref(run))
    try:
        raise FacelexError("The loss is not a number any more.")
    except FacelexError as error:
        return error  # with this frame in its traceback


def count_runs(reporter: Reporter, announce: Callable[[str], None]) -> tuple[int, int]:
    gc.collect()
    return len(RUNS), sum(run() is not None for run in RUNS)


def fill_the_disk(reporter: Reporter, announce: Callable[[str], None]) -> tuple[str, int]:
    raise OSError(errno.ENOSPC, "No space left on device", "somewhere")


def fill_the_memory(reporter: Reporter, announce: Callable[[str], None]) -> tuple[str, int]:
    np.empty(2**60, np.uint8)
    raise AssertionError


def warn(reporter: Reporter, announce: Callable[[str], None]) -> tuple[str, int]:
    warnings.warn("that is odd", stacklevel=1)
    return "warned", 0


def answer_and_die(reporter: Reporter, announce: Callable[[str], None]) -> tuple[str, int]:
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return "answered", 0


def wait_a_second(reporter: Reporter, announce: Callable[[str], None]) -> tuple[str, int]:
    time.sleep(1)
    return "waited", 0


def die(reporter: Reporter, announce: Callable[[str], None]) -> tuple[str, int]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def stumble(reporter: Reporter, announce: Callable[[str], None]) -> None:
    raise ZeroDivisionError


def sleep_and_report(folder: Path, reporter: Reporter, announce: Callable[[str], None]) -> None:
    (folder / str(os.getpid())).touch()
    while True:
        time.sleep(0.05)
        reporter.step(1)


def run_and_be_killed(folder: Path) -> None:
    run_tasks([partial(sleep_and_report, folder)], 1, threads=1, console=Console(file=io.StringIO()))
