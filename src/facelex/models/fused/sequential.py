"""A stack of layers that takes normalisation, ReLU and pooling at once where it can."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from facelex.models.blocks import BlurredMaxPool
from facelex.models.fused import loops
from facelex.models.fused.blurred_max_pool import norm_relu_blurred_max_pool
from facelex.models.fused.max_pool import norm_relu_max_pool

SMALLEST = 2**18
"""Values in a map (all images and channels) from which on it pays; below, calls cost more than the work."""

AtOnce = Callable[[Tensor, nn.BatchNorm2d], Tensor]


class FusedSequential(nn.Sequential):
    """Layers one after another; normalisation, ReLU and pooling at once where that is possible and pays.

    Weights, answers and gradients are those of the layers, to rounding: of values that are normalised to the
    same number (some in a thousand in bfloat16, all where a weight is 0) the layers take the first and this
    the one that was largest before. Hooks of the three layers are not called when they run at once. Where
    loops cannot be compiled (`loops`) the three run as they are.

    Attributes:
        fuse: False runs every layer by itself.
    """

    fuse: bool = True

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` through all layers."""
        layers = list(self)
        while layers:
            norm = layers[0]
            at_once = _at_once(layers[2]) if len(layers) >= 3 and isinstance(layers[1], nn.ReLU) else None
            if at_once and isinstance(norm, nn.BatchNorm2d) and self.fuse and _pays(norm, maps):
                maps = at_once(maps, norm)
                del layers[:3]
            else:
                maps = layers.pop(0)(maps)
        return maps


def _at_once(pool: nn.Module) -> AtOnce | None:
    """What takes this pooling together with the normalisation and the ReLU before it."""
    if isinstance(pool, BlurredMaxPool):
        return norm_relu_blurred_max_pool
    if not isinstance(pool, nn.MaxPool2d) or pool.return_indices:
        return None
    usual = (pool.kernel_size, pool.stride, pool.padding, pool.dilation) == (2, 2, 0, 1)
    return norm_relu_max_pool if usual else None


def _pays(norm: nn.BatchNorm2d, maps: Tensor) -> bool:
    """Whether it is done on this map: in training, on a CPU, at even sizes, and large enough."""
    if torch.compiler.is_compiling() or is_in_torch_dispatch_mode():  # where no loops of our own are compiled
        return False
    return (
        norm.training
        and (norm.track_running_stats, norm.affine, norm.momentum is None) == (True, True, False)
        and maps.device.type == "cpu"
        and maps.dtype in (torch.bfloat16, torch.float32)
        and maps.numel() >= SMALLEST
        and maps.shape[2] % 2 == maps.shape[3] % 2 == 0
        and maps.is_contiguous(memory_format=torch.channels_last)
        and loops.are_usable()
    )
