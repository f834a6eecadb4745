"""The processes of a run come together in the number that was asked for, or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from facelex.errors import FacelexError
from facelex.training import devices as devices_module
from facelex.training import fabric as fabric_module
from facelex.training.fabric import Fabric, launched, rank_zero_only
from facelex.training.lock import RunInUseError, lock_folder


def a_task(monkeypatch: pytest.MonkeyPatch, number: int, of: int) -> None:
    """Look like a process that srun has started."""
    monkeypatch.setattr(rank_zero_only, "rank", number)  # as Fabric sets it when it is imported there
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    settings = {"NTASKS": of, "PROCID": number, "LOCALID": number, "NODEID": 0, "JOB_ID": 4711}
    for name, value in settings.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))


def a_fabric(launch: Callable[[], None], *children: subprocess.Popen[bytes]) -> Any:
    strategy = SimpleNamespace(launcher=SimpleNamespace(procs=children))
    return SimpleNamespace(strategy=strategy, world_size=1, global_rank=0, launch=launch)


def refuse() -> None:
    raise RuntimeError("Connection refused")


@pytest.mark.parametrize("fails_in", ["launch", "run"])
def test_no_process_is_left_waiting_for_one_that_failed(
    fails_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        launch = refuse if fails_in == "launch" else lambda: None
        message = "brought together: Connection refused" if fails_in == "launch" else "full"
        with pytest.raises(FacelexError, match=message), launched(a_fabric(launch, child)):
            raise FacelexError("The disk is full.")
        assert child.wait(20) != 0


def test_threads_that_were_asked_for_are_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    with launched(a_fabric(lambda: torch.set_num_threads(2))):
        assert torch.get_num_threads() == 1


@pytest.mark.parametrize("first", ["32-true", "bf16-mixed"])
def test_processes_whose_devices_want_another_arithmetic_are_refused(
    first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where ``precision: auto`` meets nodes of several kinds; each process hears of the others."""
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    fabric = a_fabric(lambda: None)
    fabric.world_size, fabric.device = 2, torch.device("cpu")
    fabric.strategy.num_processes = 2
    fabric.strategy.precision = SimpleNamespace(precision="32-true")
    fabric.broadcast = lambda found: first
    fabric.all_reduce = lambda differs, reduce_op: differs
    if first == "32-true":
        with launched(fabric):
            return
    with pytest.raises(FacelexError, match="found bf16-mixed for the first"), launched(fabric):
        pass


def test_a_single_task_does_not_train_for_several_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    a_task(monkeypatch, 0, of=1)
    with (
        pytest.raises(FacelexError, match=r"processes that were started, 1, but got 2\."),
        launched(Fabric(accelerator="cpu", devices=2, strategy="ddp")),
    ):
        pass


def test_a_slurm_task_that_trains_by_itself_writes_its_own_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    a_task(monkeypatch, 1, of=2)
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    with launched(Fabric(accelerator="cpu", devices=1)):
        assert rank_zero_only.rank == 0  # where trackers look


@pytest.mark.parametrize(("gpus", "devices"), [(0, 1), (1, 1), (4, 4)])
def test_all_devices_of_a_machine_that_has_one_are_one(
    gpus: int, devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert devices_module._number("auto", "auto") == devices
    assert devices_module._number("auto", "cpu") == 1
    assert devices_module._number(2, "auto") == 2


def test_a_process_that_starts_others_ends_them_when_it_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    killed: list[str] = []
    child = SimpleNamespace(kill=lambda: killed.append("child"))
    monkeypatch.setattr(fabric, "launch", lambda: fabric.strategy.launcher.procs.append(child))
    monkeypatch.setattr(fabric_module, "_check_number", lambda fabric: None)
    monkeypatch.setattr(fabric_module, "_check_arithmetic", lambda fabric: None)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, launched(fabric):
        signal.raise_signal(signal.SIGTERM)
    assert (ended.value.code, killed) == (143, ["child"])
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", ["WORLD_SIZE", "SLURM_NTASKS"])
def test_processes_in_one_folder_are_told_how_to_share_a_run(
    number: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(number, "2")
    with (
        lock_folder(tmp_path / "run"),
        pytest.raises(RunInUseError, match="2 processes started together share one run"),
        lock_folder(tmp_path / "run"),
    ):
        pass
