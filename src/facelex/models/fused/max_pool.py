"""Batch normalisation, ReLU and 2x2 max-pooling in one pass over the map.

* ReLU does not change which value of a window is the largest, and normalisation only where its weight is
  negative. So the window's value can be chosen from the map as it is, and normalisation and ReLU are needed
  for a quarter of the values.
* The gradient that comes back belongs to the chosen values. What it does to the batch's mean and variance can
  be added up over them alone; the others get a line in their own value (`_spread`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from facelex.models.fused.loops import in_one_loop
from facelex.models.fused.moments import line_through_the_moments, widened


class NormReluMaxPool(torch.autograd.Function):
    """Of :func:`~facelex.models.fused.sequential.norm_relu_pool`, with 2x2 max-pooling."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
    ) -> Tensor:
        """Halve ``maps`` by the moments of their batch, ``(C,)``."""
        scale = weight * (var + eps).rsqrt()
        answer, chosen, place = _choose(maps, scale, bias - mean * scale)
        ctx.save_for_backward(maps, answer, chosen, place, weight, mean, var)
        ctx.eps = eps
        return answer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Return the gradients of maps, weight and bias; the moments' is within that of the maps."""
        maps, answer, chosen, place, weight, mean, var = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad = torch.ops.aten.threshold_backward(grad, answer, 0)
        direct, grad_weight, grad_bias = _norm_backward(grad, chosen, weight, mean, var, ctx.eps)
        inverse = (var + ctx.eps).rsqrt()
        line = line_through_the_moments(maps, weight, mean, inverse, grad_weight, grad_bias)
        return _spread(maps, direct, place, *line), grad_weight, grad_bias, None, None, None


def _norm_backward(
    grad: Tensor, maps: Tensor, weight: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the maps, the weight and the bias of a normalisation by given statistics.

    The last two are the sums, over the chosen values, that the batch's own statistics need as well.
    """
    wide, fold = widened(maps)
    direct, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
        widened(grad)[0], wide, *(value.repeat(fold) for value in (weight, mean, var)), None, None,
        False, eps, [True, True, True],
    )  # fmt: skip
    direct = direct.permute(0, 2, 3, 1).view(maps.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
    return direct, grad_weight.view(fold, -1).sum(0), grad_bias.view(fold, -1).sum(0)


@in_one_loop
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


@in_one_loop
def _spread(maps: Tensor, direct: Tensor, place: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    """Give the chosen values the gradient that came back, and every value a line in itself.

    Args:
        maps: ``(B, C, H, W)`` channels-last.
        direct: What came back to the chosen values, times ``weight / std``, ``(B, C, H / 2, W / 2)``.
        place: From :func:`_choose`.
        slope: ``(C,)``, of :func:`~facelex.models.fused.moments.line_through_the_moments`.
        offset: ``(C,)``, of the same.
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
