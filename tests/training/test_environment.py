"""What a run notes of the machine and the command that made it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import FACES, tiny_config

from facelex.errors import FacelexError
from facelex.training.environment import UntrainableError, describe_environment, peak_resident_mb, sizes_suit
from facelex.training.phase import PhaseTrainer
from facelex.training.run import train_run


@pytest.mark.parametrize(
    ("program", "noted"),
    [
        ("/usr/local/bin/facelex", "facelex"),
        ("/site-packages/facelex/__main__.py", "facelex"),
        ("tools/try_hypotheses.py", "try_hypotheses.py"),
    ],
)
def test_the_command_is_the_one_that_was_given_without_the_home_it_was_given_in(
    monkeypatch: pytest.MonkeyPatch, program: str, noted: str
) -> None:
    home = Path.home()
    argv = [program, "train", "--set", "methods.joint.0.image_sizes={0: 32}", f"data={home}/faces.npz"]
    monkeypatch.setattr(sys, "argv", argv)
    command = describe_environment(torch.device("cpu"), 1)["command"]
    assert command == f"{noted} train --set 'methods.joint.0.image_sizes={{0: 32}}' data=~/faces.npz"
    assert str(home) not in command


@pytest.mark.parametrize("home", [None, "/"])
def test_a_container_without_a_home_notes_the_command_as_it_is(
    home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_: int) -> Any:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.delenv("HOME", raising=False)
    if home:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(sys, "argv", ["/bin/facelex", "train", "--data", "/data/x.npz", "~/y", "https://z"])
    command = describe_environment(torch.device("cpu"), 1)["command"]
    assert command == "facelex train --data /data/x.npz '~/y' https://z"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no resource module")
def test_memory_is_measured_where_a_sandbox_leaves_the_peak_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "Name:\tpython\nVmRSS:\t1000 kB\n")
    assert peak_resident_mb() > 1


PEAKS = """
from facelex.training.memory import keep_memory
keep_memory()
import numpy as np
import torch
from facelex.training.environment import peak_memory_mb, reset_peak_memory
cpu = torch.device("cpu")
def peak(mebibytes):
    reset_peak_memory(cpu)
    blocks = [np.ones(2**20, np.uint8) for _ in range(mebibytes)]
    return peak_memory_mb(cpu)
print(peak(10), peak(300), peak(10))
"""
"""Three runs in one process, the largest between two small ones."""


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK) or "VmHWM:" not in Path("/proc/self/status").read_text(),
    reason="the peak can be reset on Linux alone",
)
def test_the_peak_is_of_one_run_and_not_of_a_larger_one_before_it() -> None:
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    first, large, last = map(float, done.stdout.split())
    assert large > first + 250
    assert last < large - 250


def test_a_run_that_is_too_large_says_what_makes_it_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ... and more")

    monkeypatch.setattr(PhaseTrainer, "train_epoch", too_large)
    with pytest.raises(FacelexError, match=r"got: CUDA .*allocate 2\.00 GiB\. Set a smaller batch_size"):
        train_run(tiny_config(), FACES, tmp_path / "run", accelerator="cpu")
    with pytest.raises(FacelexError, match="Unable to allocate 9 GiB"), sizes_suit():
        raise MemoryError("Unable to allocate 9 GiB")
    for fault in (
        RuntimeError("another fault"),
        NotImplementedError("another fault"),
        ValueError("another fault"),
    ):
        with pytest.raises(type(fault), match="another fault"), sizes_suit():
            raise fault


@pytest.mark.parametrize(
    "said",
    [
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other call",
    ],
)
def test_a_want_of_memory_is_known_in_all_its_wordings(said: str) -> None:
    first = re.escape(said.partition("\n")[0])
    with pytest.raises(UntrainableError, match=f"but got: {first}\\. Set a smaller batch_size"), sizes_suit():
        raise RuntimeError(said)


def test_a_network_of_more_weights_than_can_be_counted_says_what_makes_it_smaller(tmp_path: Path) -> None:
    huge = tiny_config("model.hidden_dim=1000000000000000000")
    with pytest.raises(UntrainableError, match=r"overflowed with sizes=\[.*image_size or network"):
        train_run(huge, FACES, tmp_path / "run", accelerator="cpu")


def test_a_batch_without_spread_says_what_makes_it_larger(tmp_path: Path) -> None:
    settings = ("batch_size=1", "image_size=16", "model.image_encoder=vgg11", "max_epochs_per_phase=1")
    with pytest.raises(FacelexError, match="Set a larger batch_size or image_size"):
        train_run(tiny_config(*settings), FACES, tmp_path / "run", accelerator="cpu")
