"""Which arithmetic to train in: bf16 pays where a device has instructions for it, and nowhere else."""

from __future__ import annotations

import logging
from typing import Literal

import torch

logger = logging.getLogger(__name__)

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
"""In Lightning Fabric's words."""


def choose_precision(wanted: Precision | Literal["auto"], accelerator: str) -> Precision:
    """Say what a run computes in.

    Args:
        wanted: ``auto`` takes ``bf16-mixed`` where the device has bf16 instructions and ``32-true``
            elsewhere. Anything else is taken as it is, with a warning where it would crawl.
        accelerator: ``auto``, ``cpu`` or ``cuda``, in Fabric's words.
    """
    if wanted == "auto":
        return "bf16-mixed" if multiplies_bf16(accelerator) else "32-true"
    if wanted == "bf16-mixed" and not multiplies_bf16(accelerator):
        logger.warning(
            "This device has no bf16 instructions, so precision=bf16-mixed can take many times as long as "
            "32-true. Set precision=auto, which takes bf16 only where it is fast."
        )
    return wanted


def multiplies_bf16(accelerator: str = "cpu") -> bool:
    """Whether the device has bf16 instructions that PyTorch is known to train fast with.

    GPUs: NVIDIA's since Ampere. Processors: x86 with AVX512-BF16, which all with AMX have too. On a processor
    with AVX2 alone PyTorch emulates bf16 number by number, many times slower than float32
    (docs/performance.md). Of Arm it is not known to us, so the answer is no.
    """
    if accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported())
