"""The hardware: its name, how fast it multiplies matrices, how fast it moves memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from facelex.training.environment import describe_environment
from facelex.training.precision import has_bf16

DTYPES = {"bf16-mixed": torch.bfloat16, "32-true": torch.float32}
"""What a step multiplies in, by facelex's name of the precision."""


def fast_dtypes(device: str) -> dict[str, torch.dtype]:
    """Those of ``DTYPES`` that the device has instructions for: an emulated product would take minutes."""
    return {name: dtype for name, dtype in DTYPES.items() if name == "32-true" or has_bf16(device)}


def wait(device: str) -> None:
    """Return when the device has finished what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], device: str, repeats: int = 1) -> float:
    """Time one call of ``work``, as the mean of ``repeats`` in a row, to the end of its arithmetic."""
    wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    wait(device)
    return (time.perf_counter() - start) / repeats


def matrix_product(dtype: torch.dtype, device: str, side: int = 4096) -> tuple[Callable[[], object], float]:
    """A square matrix product, and its floating-point operations: a multiply-add counts 2."""
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty(side, side, dtype=dtype, device=device)
    return lambda: torch.mm(left, right, out=out), 2.0 * side**3


def matrix_rate(dtype: torch.dtype, device: str, rounds: int = 5, side: int = 4096) -> float:
    """FLOP/s of a matrix product of the given side, median."""
    product, operations = matrix_product(dtype, device, side)
    repeats = 20 if device == "cuda" else 1
    product()
    return operations / statistics.median(seconds(product, device, repeats) for _ in range(rounds))


def memory_bandwidth(device: str, rounds: int = 7, mebibytes: int = 256) -> float:
    """Bytes/s of copying an array beyond any cache, read and written bytes both counted, median."""
    source = torch.ones(mebibytes * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    repeats = 20 if device == "cuda" else 1
    times = [seconds(lambda: target.copy_(source), device, repeats) for _ in range(rounds + 1)]
    return 2 * source.numel() / statistics.median(times[1:])


def describe(device: str) -> dict[str, Any]:
    """Hardware and versions; no user or host name."""
    found = describe_environment(torch.device(device), torch.get_num_threads())
    del found["command"]
    return found
