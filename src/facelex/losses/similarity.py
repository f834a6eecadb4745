"""Inner products for the contrastive losses, in full precision whatever the surroundings run in."""

from __future__ import annotations

import torch
from torch import Tensor


def widen(tensor: Tensor) -> Tensor:
    """Return half-precision values as float32, and float32 and float64 as they are.

    float16 ends at 65,504 and bfloat16 keeps 8 bits: a softmax over sharp similarities needs more.
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def inner_products(left: Tensor, right: Tensor) -> Tensor:
    """Return ``left @ right.T``, ``(N, E)`` and ``(M, E)`` to ``(N, M)``, in float32 even under autocast."""
    with torch.autocast(left.device.type, enabled=False):
        return widen(left) @ widen(right).T
