"""A stack of layers that takes normalisation, ReLU and pooling at once where it can."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from facelex.models.blocks import BlurredMaxPool, ConvolvedMaxPool, SqueezeExcitation
from facelex.models.fused import loops
from facelex.models.fused.blurred_max_pool import NormReluBlurredMaxPool
from facelex.models.fused.max_pool import NormReluMaxPool
from facelex.models.fused.moments import batch_moments
from facelex.models.fused.norm_activation import NormRelu

SMALLEST = 2**18
"""Values in a map (all images and channels) from which on it pays; below, calls cost more than the work."""

PoolingPass = type[NormReluMaxPool] | type[NormReluBlurredMaxPool]


class FusedSequential(nn.Sequential):
    """Layers one after another; normalisation, ReLU and pooling at once where that is possible and pays.

    Squeeze-excitation before a pooling multiplies what has been pooled, a quarter of the values, for its
    factors are never negative; in evaluation, export and on GPUs as well. Of the larger map it needs the
    means alone, which the pass of the three layers adds up if it runs.

    Weights, answers and gradients are those of the layers, to rounding: of values that are normalised to the
    same number (some in a thousand in bfloat16, all where a weight is 0) the layers take the first and this
    the one that was largest before. Hooks of layers that run at once are not called, nor are
    squeeze-excitation's before a pooling. Where loops cannot be compiled (`loops`) the layers run one by one.

    Attributes:
        fuse: False runs every layer by itself.
    """

    fuse: bool = True

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` through all layers."""
        layers = list(self)
        while layers:
            maps, count = _run_first(layers, maps) if self.fuse else (layers[0](maps), 1)
            del layers[:count]
        return maps


def switch_off(network: nn.Module) -> None:
    """Let every layer of ``network`` run by itself from now on, to compare with."""
    for module in network.modules():
        if hasattr(module, "fuse"):
            module.fuse = False  # type: ignore[assignment]


def _run_first(layers: Sequence[nn.Module], maps: Tensor) -> tuple[Tensor, int]:
    """Run the first layer, with as many at once as can be; return the map and the number of layers."""
    match layers:
        case [nn.BatchNorm2d() as norm, nn.ReLU(), SqueezeExcitation() as excitation, pool, *_]:
            if (pooling := _pass_of(pool)) and _pays(norm, maps, halved=True):
                return norm_relu_pool(maps, norm, pooling, excitation), 4
        case [nn.BatchNorm2d() as norm, nn.ReLU(), pool, *_]:
            if (pooling := _pass_of(pool)) and _pays(norm, maps, halved=True):
                return norm_relu_pool(maps, norm, pooling), 3
        case [SqueezeExcitation() as excitation, pool, *_]:
            if _pass_of(pool) or isinstance(pool, ConvolvedMaxPool):
                return pool(maps) * excitation.factors(excitation.means(maps)), 2
    match layers:
        case [nn.BatchNorm2d() as norm, nn.ReLU(), *_] if _pays(norm, maps):
            return _norm_relu(maps, norm, None), 2
    return layers[0](maps), 1


def norm_relu(maps: Tensor, norm: nn.Module, shortcut: Tensor | None = None, *, fuse: bool = True) -> Tensor:
    """Normalise as ``norm`` does, add the shortcut if there is one, and ReLU; at once where that pays.

    Args:
        maps: ``(B, C, H, W)``.
        norm: In training its running statistics are updated. Its hooks are not called if all run at once.
        shortcut: As large as ``maps``.
        fuse: False lets every operation run by itself.

    Returns:
        ``(B, C, H, W)``.
    """
    alike = shortcut is None or (
        shortcut.dtype == maps.dtype and shortcut.is_contiguous(memory_format=torch.channels_last)
    )
    if fuse and alike and isinstance(norm, nn.BatchNorm2d) and _pays(norm, maps):
        return _norm_relu(maps, norm, shortcut)
    normalised = norm(maps)
    return torch.relu(normalised if shortcut is None else normalised + shortcut)


def _norm_relu(maps: Tensor, norm: nn.BatchNorm2d, shortcut: Tensor | None) -> Tensor:
    mean, var = batch_moments(maps.detach(), norm)
    inputs = (maps, norm.weight, norm.bias, mean, var, norm.eps, shortcut)
    return NormRelu.apply(*inputs)  # type: ignore[no-any-return, no-untyped-call]


def norm_relu_pool(
    maps: Tensor, norm: nn.BatchNorm2d, pooling: PoolingPass, excitation: SqueezeExcitation | None = None
) -> Tensor:
    """Normalise by the batch's statistics, as ``norm`` does in training, then ReLU and pooling.

    Args:
        maps: ``(B, C, H, W)`` channels-last, H and W even.
        norm: Its weights are used and its running statistics updated.
        pooling: The kind of pooling, with what precedes it.
        excitation: What weighs the channels between ReLU and pooling.

    Returns:
        ``(B, C, H / 2, W / 2)`` in the type of ``maps``.
    """
    mean, var = batch_moments(maps.detach(), norm)
    inputs = (maps, norm.weight, norm.bias, mean, var, norm.eps, excitation is not None)
    pooled, means = pooling.apply(*inputs)  # type: ignore[no-untyped-call]
    return pooled if excitation is None else pooled * excitation.factors(means)  # type: ignore[no-any-return]


def _pass_of(pool: nn.Module) -> PoolingPass | None:
    """What takes this pooling together with the layers before it."""
    if isinstance(pool, BlurredMaxPool):
        return NormReluBlurredMaxPool
    if not isinstance(pool, nn.MaxPool2d) or pool.return_indices:
        return None
    usual = (pool.kernel_size, pool.stride, pool.padding, pool.dilation) == (2, 2, 0, 1)
    return NormReluMaxPool if usual else None


def _pays(norm: nn.BatchNorm2d, maps: Tensor, *, halved: bool = False) -> bool:
    """Whether to run at once on this map: in training, on a CPU, large enough, even where it is halved."""
    if torch.compiler.is_compiling() or is_in_torch_dispatch_mode():  # where no loops of our own are compiled
        return False
    return (
        norm.training
        and (norm.track_running_stats, norm.affine, norm.momentum is None) == (True, True, False)
        and norm.weight.dtype == torch.float32
        and maps.device.type == "cpu"
        and maps.dtype in (torch.bfloat16, torch.float32)
        and maps.numel() >= SMALLEST
        and not (halved and (maps.shape[2] % 2 or maps.shape[3] % 2))
        and maps.is_contiguous(memory_format=torch.channels_last)
        and loops.are_usable()
    )
