"""A process that dies in the middle, without a chance to clean up, and its continuation."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

import pytest
from tiny_training import FACES, differing, read_rows, tiny_config, two_phases

from facelex.training import checkpoint
from facelex.training.cells import Cell, cell_config, train_cells
from facelex.training.config import RunConfig
from facelex.training.lock import RunInUseError
from facelex.training.progress import SilentReporter
from facelex.training.run import train_run

CONFIG = tiny_config(*two_phases(), "schedule.span=run", "ema_decay=0.9", "augment.erasing=0.3")
STEPS_PER_EPOCH = 3  # 120 training faces in batches of 32

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


class HangAt(SilentReporter):
    """Says that a step has come, and waits for the end."""

    def __init__(self, step: int, ready: Connection) -> None:
        self.left, self.ready = step, ready

    def step(self, images: int) -> None:
        self.left -= 1
        if self.left == 0:
            wait_for_the_end(self.ready)


def train_until(
    step: int, config: RunConfig, folder: Path, ready: Connection, *, resume: bool = False
) -> None:
    train_run(config, FACES, folder, accelerator="cpu", resume=resume, reporter=HangAt(step, ready))


def train_until_half_a_checkpoint(folder: Path, ready: Connection) -> None:
    """The second checkpoint is never finished."""
    save, saves = checkpoint.torch.save, []

    def save_half(state: Any, file: IO[bytes]) -> None:
        saves.append(1)
        if len(saves) < 2:
            return save(state, file)
        file.write(b"PK half a checkpoint")
        file.flush()
        return wait_for_the_end(ready)

    checkpoint.torch.save = save_half  # type: ignore[assignment]
    train_run(CONFIG, FACES, folder, accelerator="cpu")


def wait_for_the_end(ready: Connection) -> None:
    ready.send("now")
    time.sleep(60)
    os._exit(1)


def start(work: Callable[[Connection], None]) -> tuple[BaseProcess, Connection]:
    """Begin ``work`` in a fresh process: one forked where autograd has begun its threads cannot train."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["facelex.training.run"])
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs,))
    process.start()
    return process, ours


def kill_when_ready(work: Callable[[Connection], None], how: signal.Signals) -> None:
    """Run ``work`` in a process of its own and send it a signal when it says so."""
    process, ready = start(work)
    assert ready.poll(120), "the process did not come to the place where it was to die"
    assert process.pid is not None
    os.kill(process.pid, how)
    process.join(30)
    assert process.exitcode == -how


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train_run(CONFIG, FACES, folder, accelerator="cpu")
    return folder


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_run_killed_within_an_epoch_of_each_phase_ends_with_the_same_bits(
    whole: Path, tmp_path: Path, how: signal.Signals
) -> None:
    folder = tmp_path / "r"
    second_of_the_first, second_of_the_second = STEPS_PER_EPOCH + 2, 2 * STEPS_PER_EPOCH + 1  # as resumed
    kill_when_ready(partial(train_until, second_of_the_first, CONFIG, folder), how)
    kill_when_ready(partial(train_until, second_of_the_second, CONFIG, folder, resume=True), how)
    assert [row["epoch"] for row in read_rows(folder, ["epoch"])] == ["1", "2", "1"]
    train_run(CONFIG, FACES, folder, accelerator="cpu", resume=True)
    assert differing(whole, folder) == []


def test_run_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(
    whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "r"
    kill_when_ready(partial(train_until_half_a_checkpoint, folder), signal.SIGKILL)
    assert len(list(folder.glob(".checkpoint.*.part.pt"))) == 1
    train_run(CONFIG, FACES, folder, accelerator="cpu", resume=True)
    assert differing(whole, folder) == []
    assert list(folder.glob(".checkpoint*")) == []


def test_a_run_is_left_to_the_process_that_is_training_it(tmp_path: Path, whole: Path) -> None:
    """A second process touches nothing, and a table goes on with its other cells."""
    cells = [Cell("tiny_cnn", CONFIG.method, seed, tmp_path / str(seed)) for seed in (0, 1)]
    config = cell_config(CONFIG, cells[0])
    process, ready = start(partial(train_until, STEPS_PER_EPOCH + 1, config, cells[0].folder))
    try:
        assert ready.poll(120)
        before = {path: path.stat().st_mtime_ns for path in cells[0].folder.iterdir()}
        with pytest.raises(RunInUseError, match="is being trained by another process"):
            train_run(cell_config(CONFIG, cells[0]), FACES, cells[0].folder, resume=True)
        said: list[str] = []
        train_cells(cells, CONFIG, FACES, announce=said.append)
        assert "left to the process" in " ".join(said)
        assert cells[1].finished
        assert {path: path.stat().st_mtime_ns for path in cells[0].folder.iterdir()} == before
    finally:
        process.kill()
        process.join(30)
    train_cells(cells, CONFIG, FACES)  # the lock died with its holder
    assert not differing(cells[0].folder, whole)
