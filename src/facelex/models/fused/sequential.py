"""A stack of layers that takes normalisation, ReLU and pooling at once where it can."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from facelex.models.blocks import BlurredMaxPool
from facelex.models.fused import loops
from facelex.models.fused.blurred_max_pool import NormReluBlurredMaxPool
from facelex.models.fused.max_pool import NormReluMaxPool
from facelex.models.fused.moments import batch_moments

SMALLEST = 2**18
"""Values in a map (all images and channels) from which on it pays; below, calls cost more than the work."""

AtOnce = type[NormReluMaxPool] | type[NormReluBlurredMaxPool]


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
                maps = norm_relu_pool(maps, norm, at_once)
                del layers[:3]
            else:
                maps = layers.pop(0)(maps)
        return maps


def norm_relu_pool(maps: Tensor, norm: nn.BatchNorm2d, at_once: AtOnce) -> Tensor:
    """Normalise by the batch's statistics, as ``norm`` does in training, then ReLU and pooling.

    Args:
        maps: ``(B, C, H, W)`` channels-last, H and W even.
        norm: Its weights are used and its running statistics updated.
        at_once: The kind of pooling.

    Returns:
        ``(B, C, H / 2, W / 2)`` in the type of ``maps``.
    """
    mean, var = batch_moments(maps.detach(), norm)
    pooled: Tensor = at_once.apply(maps, norm.weight, norm.bias, mean, var, norm.eps)  # type: ignore[no-untyped-call]
    return pooled


def _at_once(pool: nn.Module) -> AtOnce | None:
    """What takes this pooling together with the normalisation and the ReLU before it."""
    if isinstance(pool, BlurredMaxPool):
        return NormReluBlurredMaxPool
    if not isinstance(pool, nn.MaxPool2d) or pool.return_indices:
        return None
    usual = (pool.kernel_size, pool.stride, pool.padding, pool.dilation) == (2, 2, 0, 1)
    return NormReluMaxPool if usual else None


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
