"""Which arithmetic to train in: bf16 pays where a device multiplies it faster than float32, nowhere else."""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import Literal

import torch

from facelex.errors import FacelexError

logger = logging.getLogger(__name__)

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
"""In Lightning Fabric's words."""

LEAST_GAIN = 1.2
"""How many times as fast as float32's a processor's bf16 products must be. Those measured had 0.5 (Intel with
AVX512-BF16 and its matrix units hidden from a virtual machine), 2.1 to 2.5 (AMD Zen 4) and 6 (Intel AMX):
far enough from this for a busy neighbour not to decide."""

TRIAL_SIDE, TRIAL_ROUNDS = 1024, 5


def choose_precision(wanted: Precision | Literal["auto"], accelerator: str) -> Precision:
    """Say what a run computes in.

    Args:
        wanted: ``auto`` takes ``bf16-mixed`` where that is faster (`is_bf16_faster`) and ``32-true``
            elsewhere. Anything else is taken as it is, with a warning where it would be slow.
        accelerator: ``auto``, ``cpu`` or ``cuda``, in Fabric's words.

    Raises:
        FacelexError: If it is ``16-mixed`` without a GPU.
    """
    if wanted == "16-mixed" and not is_gpu(accelerator):
        raise FacelexError("Expected a GPU for precision=16-mixed, but got none. Set precision=auto.")
    if wanted == "auto":
        return "bf16-mixed" if is_bf16_faster(accelerator) else "32-true"
    if wanted == "bf16-mixed" and not is_bf16_faster(accelerator):
        slow = (
            f"multiplies {_gain_of_bf16():.1f} times as fast as 32-true here"
            if has_bf16(accelerator)
            else "can take many times as long here as 32-true"
        )
        logger.warning(
            "precision=bf16-mixed %s. Set precision=auto, which takes bf16 only where it is clearly faster.",
            slow,
        )
    return wanted


def is_bf16_faster(accelerator: str = "cpu") -> bool:
    """Whether to expect that training in bf16 takes less time than in float32.

    So it is on every GPU with bf16 instructions. Of processors that have them some multiply float32 faster
    all the same (docs/performance.md), so they are given a product of each kind to multiply, once in a
    process, in a tenth of a second.
    """
    if not has_bf16(accelerator):
        return False
    return is_gpu(accelerator) or _gain_of_bf16() >= LEAST_GAIN


def has_bf16(accelerator: str = "cpu") -> bool:
    """Whether the device has bf16 instructions that PyTorch is known to train with.

    GPUs: NVIDIA's since Ampere. Processors: x86 with AVX512-BF16, which all with AMX have too. On a processor
    with AVX2 alone PyTorch emulates bf16 number by number, many times slower than float32
    (docs/performance.md). Of Arm it is not known to us, so the answer is no.
    """
    if is_gpu(accelerator):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported())


def is_gpu(accelerator: str) -> bool:
    """Whether that accelerator, in Fabric's words, is a GPU of CUDA here."""
    return accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()


@lru_cache(maxsize=1)
@torch.inference_mode()
def _gain_of_bf16() -> float:
    """Time of a float32 product over that of a bf16 one, taking turns; the least of some rounds of each."""
    exact = torch.full((TRIAL_SIDE, TRIAL_SIDE), 0.5)
    rough = exact.bfloat16()
    times: dict[torch.dtype, list[float]] = {exact.dtype: [], rough.dtype: []}
    for _ in range(TRIAL_ROUNDS):
        for matrix in (exact, rough):
            start = time.perf_counter()
            torch.mm(matrix, matrix)
            times[matrix.dtype].append(time.perf_counter() - start)
    return min(times[exact.dtype]) / min(times[rough.dtype])
