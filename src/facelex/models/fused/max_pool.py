"""Batch normalisation, ReLU and 2x2 max-pooling in one pass over the map.

* ReLU does not change which value of a window is the largest, and normalisation only where its weight is
  negative. So the window's value can be chosen from the map as it is, and normalisation and ReLU are needed
  for a quarter of the values.
* The gradient that comes back belongs to the chosen values. What it does to the batch's mean and variance can
  be added up over them alone; the others get a line in their own value (`_spread`).
* The mean over each map, which squeeze-excitation asks for, is added up while the values are chosen.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from facelex.models.fused.loops import in_one_loop
from facelex.models.fused.moments import (
    Activity,
    line_through_the_moments,
    row_activity,
    scale_and_shift,
    widened,
)


class NormReluMaxPool(torch.autograd.Function):
    """Of :func:`~facelex.models.fused.sequential.norm_relu_pool`, with 2x2 max-pooling."""

    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        var: Tensor,
        eps: float,
        with_means: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Halve ``maps`` by the moments of their batch, ``(C,)``; also the means of each map if asked for."""
        inverse, scale, shift = scale_and_shift(weight, bias, mean, var, eps)
        answer, chosen, place, *sums = _choose(maps, scale, shift, mean if with_means else None)
        activity = [part.sum(1) for part in sums]
        moments = (mean, var, inverse, scale, shift)
        ctx.save_for_backward(maps, answer, chosen, place, weight, *moments, *activity)
        ctx.eps = eps
        return answer, Activity(*activity).means(maps, scale, bias) if with_means else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_means: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Return the gradients of maps, weight and bias; the moments' is within that of the maps."""
        maps, answer, chosen, place, weight, *rest = ctx.saved_tensors
        mean, var, inverse, scale, shift, *activity = rest
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad = torch.ops.aten.threshold_backward(grad, answer, 0)
        direct, grad_weight, grad_bias = _norm_backward(grad, chosen, weight, mean, var, ctx.eps)
        of_means = None
        if grad_means is not None:
            to_weight, to_bias, of_means = Activity(*activity).take_back(maps, grad_means, scale, inverse)
            grad_weight, grad_bias = grad_weight + to_weight, grad_bias + to_bias
        line = line_through_the_moments(maps, weight, mean, inverse, grad_weight, grad_bias)
        grad_maps = _spread(maps, direct, place, *line, of_means, scale, shift)
        return grad_maps, grad_weight, grad_bias, None, None, None, None


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
def _choose(maps: Tensor, scale: Tensor, shift: Tensor, mean: Tensor | None) -> tuple[Tensor, ...]:
    """Find in each 2x2 window the value that is largest when normalised; the first of several.

    Args:
        maps: ``(B, C, H, W)`` channels-last.
        scale: Per-channel factor, ``(C,)``.
        shift: Per-channel offset, added after scaling, ``(C,)``.
        mean: Of each channel, ``(C,)``, where `Activity` is asked for.

    Returns:
        The normalised value or 0, whichever is larger, and the value itself, both ``(B, C, H / 2, W / 2)`` in
        the type of ``maps``, and the place in the window that it came from, 0 to 3 row by row, in that type
        too, since loops over numbers of one width are vectorised. If asked for, the two numbers of `Activity`
        for each row of windows, ``(B, H / 2, C)`` float32: so the loop over a row adds up vectors of
        channels, and threads share out the rows.
    """
    rows = maps.permute(0, 2, 3, 1)
    sign = torch.where(scale < 0, -1.0, 1.0)
    top, left = (torch.arange(side // 2) * 2 for side in rows.shape[1:3])
    places = [rows[:, (top + a)[:, None], left + b].float() * sign for a in (0, 1) for b in (0, 1)]
    best, place = places[0], torch.zeros_like(places[0])
    for number, candidate in enumerate(places[1:], start=1):
        place = torch.where(candidate > best, float(number), place)
        best = torch.maximum(best, candidate)
    best = best * sign
    answer = (best * scale + shift).clamp_min(0).to(maps.dtype)
    windows = tuple(t.permute(0, 3, 1, 2) for t in (answer, best.to(maps.dtype), place.to(maps.dtype)))
    return windows if mean is None else (*windows, *row_activity(places, sign, scale, shift, mean))


@in_one_loop
def _spread(
    maps: Tensor,
    direct: Tensor,
    place: Tensor,
    slope: Tensor,
    offset: Tensor,
    of_means: Tensor | None,
    scale: Tensor,
    shift: Tensor,
) -> Tensor:
    """Give the chosen values the gradient that came back, and every value a line in itself.

    Args:
        maps: ``(B, C, H, W)`` channels-last.
        direct: What came back to the chosen values, times ``weight / std``, ``(B, C, H / 2, W / 2)``.
        place: From :func:`_choose`.
        slope: ``(C,)``, of :func:`~facelex.models.fused.moments.line_through_the_moments`.
        offset: ``(C,)``, of the same.
        of_means: What comes back through a map's mean to each value that ReLU lets through, ``(B, C)``.
        scale: ``(C,)``, as in :func:`_choose`.
        shift: ``(C,)``, as in :func:`_choose`.
    """
    rows = maps.permute(0, 2, 3, 1).float()
    i, j = (torch.arange(side) for side in rows.shape[1:3])
    above, chosen = (t.permute(0, 2, 3, 1)[:, (i // 2)[:, None], j // 2].float() for t in (direct, place))
    here = (i % 2 * 2)[:, None, None] + (j % 2)[:, None]
    grad = rows * slope + offset
    if of_means is not None:
        grad = grad + torch.where(rows * scale + shift > 0, of_means[:, None, None], 0.0)
    grad = grad + torch.where(chosen == here, above, 0.0)
    return grad.to(maps.dtype).permute(0, 3, 1, 2)
