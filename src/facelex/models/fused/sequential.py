"""A stack of layers that takes normalisation, ReLU and pooling at once where it can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from facelex.models.blocks import BlurredMaxPool, SqueezeExcitation
from facelex.models.fused import loops
from facelex.models.fused.blurred_max_pool import NormReluBlurredMaxPool
from facelex.models.fused.max_pool import NormReluMaxPool
from facelex.models.fused.moments import batch_moments

SMALLEST = 2**18
"""Values in a map (all images and channels) from which on it pays; below, calls cost more than the work."""

AtOnce = type[NormReluMaxPool] | type[NormReluBlurredMaxPool]


class FusedSequential(nn.Sequential):
    """Layers one after another; normalisation, ReLU and pooling at once where that is possible and pays.

    Squeeze-excitation may stand before the pooling. Its factors are never negative, so that they may as well
    multiply the pooled map, a quarter of the values; of the larger map it needs the means alone.

    Weights, answers and gradients are those of the layers, to rounding: of values that are normalised to the
    same number (some in a thousand in bfloat16, all where a weight is 0) the layers take the first and this
    the one that was largest before. Hooks of layers are not called when they run at once. Where loops cannot
    be compiled (`loops`) they run as they are.

    Attributes:
        fuse: False runs every layer by itself.
    """

    fuse: bool = True

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` through all layers."""
        layers = list(self)
        while layers:
            block = _Block.at_the_start_of(layers) if self.fuse else None
            if block and block.norm and _pays(block.norm, maps):
                maps = norm_relu_pool(maps, block.norm, block.at_once, block.excitation)
                del layers[: block.length]
            elif block and block.excitation and not block.norm:
                factors = block.excitation.factors(maps.mean(dim=(2, 3), keepdim=True))
                maps = layers[1](maps) * factors
                del layers[:2]
            else:
                maps = layers.pop(0)(maps)
        return maps


def norm_relu_pool(
    maps: Tensor, norm: nn.BatchNorm2d, at_once: AtOnce, excitation: SqueezeExcitation | None = None
) -> Tensor:
    """Normalise by the batch's statistics, as ``norm`` does in training, then ReLU and pooling.

    Args:
        maps: ``(B, C, H, W)`` channels-last, H and W even.
        norm: Its weights are used and its running statistics updated.
        at_once: The kind of pooling.
        excitation: What weighs the channels between ReLU and pooling.

    Returns:
        ``(B, C, H / 2, W / 2)`` in the type of ``maps``.
    """
    mean, var = batch_moments(maps.detach(), norm)
    inputs = (maps, norm.weight, norm.bias, mean, var, norm.eps, excitation is not None)
    pooled, means = at_once.apply(*inputs)  # type: ignore[no-untyped-call]
    return pooled if excitation is None else pooled * excitation.factors(means)  # type: ignore[no-any-return]


class _Block(NamedTuple):
    """Layers that may run at once: a pooling and what precedes it, from the normalisation or from the means.

    Attributes:
        norm: None if that and ReLU are not among the layers.
        excitation: None if there is none.
        at_once: The kind of pooling.
        length: Number of layers.
    """

    norm: nn.BatchNorm2d | None
    excitation: SqueezeExcitation | None
    at_once: AtOnce
    length: int

    @classmethod
    def at_the_start_of(cls, layers: Sequence[nn.Module]) -> _Block | None:
        """None where the first layers are none."""
        rest = list(layers[:4])
        norm: nn.BatchNorm2d | None = None
        excitation: SqueezeExcitation | None = None
        if len(rest) >= 2 and isinstance(rest[0], nn.BatchNorm2d) and isinstance(rest[1], nn.ReLU):
            norm = rest[0]
            del rest[:2]
        if rest and isinstance(rest[0], SqueezeExcitation):
            excitation = rest[0]
            del rest[0]
        at_once = _at_once(rest[0]) if rest else None
        if at_once is None:
            return None
        return cls(norm, excitation, at_once, len(layers[:4]) - len(rest) + 1)


def _at_once(pool: nn.Module) -> AtOnce | None:
    """What takes this pooling together with the layers before it."""
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
