"""Batch normalisation and ReLU, of a sum with a shortcut as well, in one pass there and two back.

Layer by layer the map is read and written by the normalisation, by the sum and by ReLU, and as often on the
way back. Here the map, which is kept anyway, shows what ReLU let through; only where a shortcut was added is
the answer asked.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from facelex.models.fused.loops import in_one_loop
from facelex.models.fused.moments import line_through_the_moments, scale_and_shift


class NormRelu(torch.autograd.Function):
    """Of :func:`~facelex.models.fused.sequential.norm_relu`."""

    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        var: Tensor,
        eps: float,
        shortcut: Tensor | None,
    ) -> Tensor:
        """Normalise ``maps`` by the moments of their batch, ``(C,)``, and add the shortcut if any."""
        inverse, scale, shift = scale_and_shift(weight, bias, mean, var, eps)
        answer = _activate(maps, shortcut, scale, shift)
        kept = () if shortcut is None else (answer,)
        ctx.save_for_backward(maps, weight, mean, inverse, scale, shift, *kept)
        return answer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Return the gradients of maps, weight, bias and shortcut; the moments' is in that of the maps."""
        maps, weight, mean, inverse, scale, shift, *kept = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        sums, products, *let_through = _to_sums(maps, grad, kept[0] if kept else None, scale, shift, mean)
        grad_bias = sums.sum((0, 1))
        grad_weight = products.sum((0, 1)) * inverse
        line = line_through_the_moments(maps, weight, mean, inverse, grad_weight, grad_bias)
        grad_shortcut = let_through[0] if let_through else None
        if grad_shortcut is None:
            grad_maps = _to_values(maps, grad, scale, shift, *line)
        else:
            grad_maps = _to_values(maps, grad_shortcut, scale, None, *line)
        return grad_maps, grad_weight, grad_bias, None, None, None, grad_shortcut


@in_one_loop
def _activate(maps: Tensor, shortcut: Tensor | None, scale: Tensor, shift: Tensor) -> Tensor:
    """Normalise ``(B, C, H, W)`` by ``scale`` and ``shift``, ``(C,)``, add the shortcut, and ReLU."""
    answer = maps.permute(0, 2, 3, 1).float() * scale + shift
    if shortcut is not None:
        answer = answer + shortcut.permute(0, 2, 3, 1).float()
    return answer.clamp_min(0).to(maps.dtype).permute(0, 3, 1, 2)


@in_one_loop
def _to_sums(
    maps: Tensor, grad: Tensor, answer: Tensor | None, scale: Tensor, shift: Tensor, mean: Tensor
) -> tuple[Tensor, ...]:
    """Add up, for the batch's mean and variance, the gradient that ReLU lets back.

    Args:
        maps: ``(B, C, H, W)``.
        grad: Of the answer, as large.
        answer: Where a shortcut was added; otherwise the maps themselves show what ReLU let through.
        scale: ``(C,)``.
        shift: ``(C,)``.
        mean: ``(C,)``.

    Returns:
        The sums of the gradient, and those of its products with the value's distance from the mean, over each
        row, ``(B, H, C)`` float32. With a shortcut also the gradient itself, in the type of ``maps``.
    """
    rows, back = maps.permute(0, 2, 3, 1).float(), grad.permute(0, 2, 3, 1).float()
    active = rows * scale + shift > 0 if answer is None else answer.permute(0, 2, 3, 1) > 0
    back = torch.where(active, back, 0.0)
    sums = back.sum(2), (back * (rows - mean)).sum(2)
    return sums if answer is None else (*sums, back.to(maps.dtype).permute(0, 3, 1, 2))


@in_one_loop
def _to_values(
    maps: Tensor, grad: Tensor, scale: Tensor, shift: Tensor | None, slope: Tensor, offset: Tensor
) -> Tensor:
    """Give each value its gradient times ``scale``, where ReLU let it through, and a line in the value.

    Where ``shift`` is None, ReLU has been seen to already: ``grad`` is zero where it let nothing through.
    """
    rows, back = maps.permute(0, 2, 3, 1).float(), grad.permute(0, 2, 3, 1).float()
    if shift is not None:
        back = torch.where(rows * scale + shift > 0, back, 0.0)
    return (back * scale + rows * slope + offset).to(maps.dtype).permute(0, 3, 1, 2)
