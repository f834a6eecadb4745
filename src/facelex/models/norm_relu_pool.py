"""Batch normalisation, ReLU and 2x2 max-pooling in one pass over the map, for training on a CPU.

Taken one by one, the three read and write a map about twelve times there and back, and PyTorch keeps 8 bytes
of index for each pooled value. None of it is arithmetic to speak of, and where matrix units do the
convolutions of a small network it costs as much time as they do. But the three are one simple thing:

* ReLU does not change which value of a window is the largest, and normalisation only where its weight is
  negative. So the window's value can be chosen from the map as it is, and normalisation and ReLU are needed
  for a quarter of the values.
* The gradient that comes back belongs to the chosen values. What it does to the batch's mean and variance can
  be added up over them alone; the others get a line in their own value (`_spread`).

Both passes are a few lines of arithmetic that ``torch.compile`` turns into one loop each. Where it cannot,
for want of a C++ compiler, as a trial at the first use shows, or of room on the disk when a new shape comes,
or where it would not pay, the three layers run as they are.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

logger = logging.getLogger(__name__)

SMALLEST = 2**18
"""Values in a map (all images and channels) from which on it pays; below, calls cost more than the work."""

WIDE = 128
"""Channels up to which neighbouring pixels are taken together where sums run over pixels."""

SHAPES = 64
"""How many pairs of loops a process may compile: loops for any shape would not be vectorised, so each shape
(with autocast on or off) gets its own, in a second that PyTorch's cache on disk saves the next time. Further
shapes run uncompiled, which PyTorch says in a warning."""


class FusedSequential(nn.Sequential):
    """Layers one after another; normalisation, ReLU and pooling at once where that is possible and pays.

    Weights, answers and gradients are those of the layers, to rounding: of values that are normalised to the
    same number (some in a thousand in bfloat16, all where a weight is 0) the layers take the first and this
    the one that was largest before. Hooks of the three layers are not called when they run at once.

    Attributes:
        fuse: False runs every layer by itself.
    """

    fuse: bool = True

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` through all layers."""
        layers = list(self)
        while layers:
            norm = layers[0]
            if isinstance(norm, nn.BatchNorm2d) and self.fuse and _is_possible(layers, maps):
                maps = norm_relu_pool(maps, norm)
                del layers[:3]
            else:
                maps = layers.pop(0)(maps)
        return maps


def norm_relu_pool(maps: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Normalise by the batch's statistics, as ``norm`` does in training, then ReLU and 2x2 max-pooling.

    Args:
        maps: ``(B, C, H, W)`` channels-last, H and W even.
        norm: Its weights are used and its running statistics updated.

    Returns:
        ``(B, C, H / 2, W / 2)`` in the type of ``maps``.
    """
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    pooled: Tensor = _NormReluPool.apply(
        maps, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.momentum, norm.eps
    )  # type: ignore[no-untyped-call]
    return pooled


def _is_possible(layers: list[nn.Module], maps: Tensor) -> bool:
    """Whether ``layers`` begin with what this file does at once, on a map for which it does."""
    if len(layers) < 3 or not isinstance(layers[1], nn.ReLU) or not isinstance(layers[2], nn.MaxPool2d):
        return False
    if torch.compiler.is_compiling() or is_in_torch_dispatch_mode():  # where no loops of our own are compiled
        return False
    norm, pool = layers[0], layers[2]
    return (
        norm.training
        and (norm.track_running_stats, norm.affine, norm.momentum is None) == (True, True, False)
        and (pool.kernel_size, pool.stride, pool.padding, pool.dilation) == (2, 2, 0, 1)
        and not pool.return_indices
        and maps.device.type == "cpu"
        and maps.dtype in (torch.bfloat16, torch.float32)
        and maps.numel() >= SMALLEST
        and maps.shape[2] % 2 == maps.shape[3] % 2 == 0
        and maps.is_contiguous(memory_format=torch.channels_last)
        and not _failures
        and _kernels() is not None
    )


class _NormReluPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor,
        running_mean: Tensor, running_var: Tensor, momentum: float, eps: float,
    ) -> Tensor:  # fmt: skip
        kernels = ctx.kernels = _kernels()
        assert kernels is not None
        mean, var = _moments(maps)
        count = maps.numel() / maps.shape[1]
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (count / max(count - 1, 1)), momentum)
        scale = weight * (var + eps).rsqrt()
        answer, chosen, place = kernels.choose(maps, scale, bias - mean * scale)
        ctx.save_for_backward(maps, answer, chosen, place, weight, mean, var)
        ctx.eps = eps
        return answer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        maps, answer, chosen, place, weight, mean, var = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad = torch.ops.aten.threshold_backward(grad, answer, 0)
        direct, grad_weight, grad_bias = _norm_backward(grad, chosen, weight, mean, var, ctx.eps)
        inverse = (var + ctx.eps).rsqrt()
        share = weight * inverse / (maps.numel() / maps.shape[1])
        slope = -share * inverse * grad_weight
        offset = -share * grad_bias - slope * mean
        return ctx.kernels.spread(maps, direct, place, slope, offset), grad_weight, grad_bias, *[None] * 4


def _widened(maps: Tensor) -> tuple[Tensor, int]:
    """Take neighbours in a row for further channels of one pixel, so that there are some ``WIDE`` channels.

    PyTorch's kernels add up over pixels, one vector of channels after another. With few channels each
    addition waits for the one before it, and the sums of several threads share a line of the cache.

    Args:
        maps: ``(B, C, H, W)`` channels-last.

    Returns:
        The same memory as ``(B, k * C, H, W / k)``, and k.
    """
    count, channels, height, width = maps.shape
    fold = 1
    while 2 * fold * channels <= WIDE and width % (2 * fold) == 0:
        fold *= 2
    rows = maps.permute(0, 2, 3, 1).view(count, height, width // fold, fold * channels)
    return rows.permute(0, 3, 1, 2), fold


def _moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (by the number of values) of each channel, ``(C,)`` float32."""
    wide, fold = _widened(maps)
    unused = torch.zeros(wide.shape[1])  # running statistics; without them bfloat16 maps get such moments
    stats = torch.batch_norm_update_stats(wide, unused, unused.clone(), 0.0)
    means, variances = (moment.view(fold, -1) for moment in stats)
    mean = means.mean(0)
    return mean, variances.mean(0) + (means - mean).square().mean(0)


def _norm_backward(
    grad: Tensor, maps: Tensor, weight: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the maps, the weight and the bias of a normalisation by given statistics.

    The last two are the sums, over the chosen values, that the batch's own statistics need as well.
    """
    wide, fold = _widened(maps)
    direct, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
        _widened(grad)[0], wide, *(value.repeat(fold) for value in (weight, mean, var)), None, None,
        False, eps, [True, True, True],
    )  # fmt: skip
    direct = direct.permute(0, 2, 3, 1).view(maps.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
    return direct, grad_weight.view(fold, -1).sum(0), grad_bias.view(fold, -1).sum(0)


def _choose(maps: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find in each 2x2 window the value that is largest when normalised; the first of several.

    Args:
        maps: ``(B, C, H, W)`` channels-last.
        scale: Per-channel factor, ``(C,)``.
        shift: Per-channel offset, added after scaling, ``(C,)``.

    Returns:
        The normalised value or 0, whichever is larger, and the value itself, both ``(B, C, H / 2, W / 2)`` in
        the type of ``maps``, and the place in the window that it came from, 0 to 3 row by row, in that type
        too, since loops over numbers of one width are vectorised.
    """
    rows = maps.permute(0, 2, 3, 1)
    sign = torch.where(scale < 0, -1.0, 1.0)
    places = [rows[:, row::2, column::2].float() * sign for row in (0, 1) for column in (0, 1)]
    best, place = places[0], torch.zeros_like(places[0])
    for number, candidate in enumerate(places[1:], start=1):
        place = torch.where(candidate > best, float(number), place)
        best = torch.maximum(best, candidate)
    best = best * sign
    answer = (best * scale + shift).clamp_min(0).to(maps.dtype)
    return tuple(t.permute(0, 3, 1, 2) for t in (answer, best.to(maps.dtype), place.to(maps.dtype)))  # type: ignore[return-value]


def _spread(maps: Tensor, direct: Tensor, place: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    """Give each value its part of the gradient.

    With statistics that depend on the map, normalisation's gradient is, for P values a channel, normalised
    value n and incoming gradient g: ``weight / std * (g - sum(g) / P - n * sum(g * n) / P)`` (Ioffe and
    Szegedy 2015, section 3). The first term reaches the chosen values only, the rest is a line in the value.

    Args:
        maps: ``(B, C, H, W)`` channels-last.
        direct: The first term, of the chosen values, ``(B, C, H / 2, W / 2)``.
        place: From :func:`_choose`.
        slope: ``(C,)`` of the line.
        offset: ``(C,)`` of the line.
    """
    count, channels, height, width = maps.shape
    windows = maps.permute(0, 2, 3, 1).view(count, height // 2, 2, width // 2, 2, channels)
    here = torch.tensor([0.0, 1.0, 2.0, 3.0]).view(1, 1, 2, 1, 2, 1)
    direct, place = (
        t.permute(0, 2, 3, 1).view(count, height // 2, 1, width // 2, 1, channels) for t in (direct, place)
    )
    line = windows.float() * slope + offset
    grad = line + torch.where(place.float() == here, direct.float(), 0.0)
    return grad.to(maps.dtype).view(count, height, width, channels).permute(0, 3, 1, 2)


class _Kernels(NamedTuple):
    choose: Any
    spread: Any


_failures: list[str] = []
"""Why a shape could not be compiled although the trial could; none is tried after the first."""


@lru_cache(maxsize=1)
def _kernels() -> _Kernels | None:
    """Both passes, compiled for each shape as it comes; None where that is not possible, said once."""
    if torch._dynamo.config.disable:  # by TORCHDYNAMO_DISABLE
        return None
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it reports that there is no GPU
    maps = torch.zeros(2, 16, 4, 6, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    ones = torch.ones(16)
    try:
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, SHAPES)
        choose, spread = torch.compile(_choose, dynamic=False), torch.compile(_spread, dynamic=False)
        with torch.no_grad():
            _, chosen, place = choose(maps, ones, ones)
            spread(maps, chosen, place, ones, ones)
    except Exception as error:  # the compiler's errors have no common type
        _say_why(error)
        return None
    return _Kernels(_with_fallback(choose, _choose), _with_fallback(spread, _spread))


def _with_fallback(compiled: Any, plain: Any) -> Any:
    """Finish the step by the uncompiled pass if a new shape cannot be compiled; the next takes the layers."""

    def run(*tensors: Tensor) -> Any:
        try:
            return compiled(*tensors)
        except Exception as error:
            if not _failures:
                _say_why(error)
            _failures.append(str(error))
            return plain(*tensors)

    return run


def _say_why(error: Exception) -> None:
    logger.warning(
        "Training runs without its fused CPU loops, which need a C++ compiler, Python's headers "
        "(Debian: g++ and python3-dev) and a folder to write to (TORCHINDUCTOR_CACHE_DIR): %s",
        str(error).partition("\n")[0],
    )
