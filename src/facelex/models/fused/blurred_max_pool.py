"""Batch normalisation, ReLU and the blurred max-pooling of Zhang 2019 in one pass there and two back.

The maximum over windows can be taken from the map as it is, for the same reason as in `max_pool`, but a blur
adds up what ReLU has let through, so every window is normalised. Forward, each answer is made from the 4x4
values around it. Nothing is kept but the map: the way back finds the windows anew, which costs less than to
write and read them. It goes over the windows first, for the sums that the batch's mean and variance need, and
then over the values, each of which asks the four windows that it lies in whether it was chosen. The mean over
each map, which squeeze-excitation asks for, is added up on the way there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from facelex.models.fused.loops import in_one_loop
from facelex.models.fused.moments import Activity, line_through_the_moments, row_activity, scale_and_shift


class NormReluBlurredMaxPool(torch.autograd.Function):
    """Of :func:`~facelex.models.fused.sequential.norm_relu_pool`, with `BlurredMaxPool`."""

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
        answer, *sums = _pool(maps, scale, shift, mean if with_means else None)
        activity = [part.sum(1) for part in sums]
        ctx.save_for_backward(maps, weight, mean, inverse, scale, shift, *activity)
        return answer, Activity(*activity).means(maps, scale, bias) if with_means else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_means: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Return the gradients of maps, weight and bias; the moments' is within that of the maps."""
        maps, weight, mean, inverse, scale, shift, *activity = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_windows, sums, products = _to_windows(maps, grad, scale, shift, mean)
        grad_bias = sums.sum((0, 1))
        grad_weight = products.sum((0, 1)) * inverse
        of_means = None
        if grad_means is not None:
            to_weight, to_bias, of_means = Activity(*activity).take_back(maps, grad_means, scale, inverse)
            grad_weight, grad_bias = grad_weight + to_weight, grad_bias + to_bias
        line = line_through_the_moments(maps, weight, mean, inverse, grad_weight, grad_bias)
        grad_maps = _to_values(maps, of_windows, scale, *line, of_means, shift)
        return grad_maps, grad_weight, grad_bias, None, None, None, None


@in_one_loop
def _pool(maps: Tensor, scale: Tensor, shift: Tensor, mean: Tensor | None) -> tuple[Tensor, ...]:
    """Normalise by ``scale`` and ``shift``, ``(C,)``, then ReLU and pooling of ``maps``, as above.

    With the ``mean`` of each channel, ``(C,)``, also add up `Activity` over each two rows, ``(B, H / 2, C)``.
    """
    rows = maps.permute(0, 2, 3, 1)
    sign = torch.where(scale < 0, -1.0, 1.0)
    places = [_around_the_window(side) for side in rows.shape[1:3]]
    value = [[_at(rows, i, j) * sign for j in places[1]] for i in places[0]]
    high = [[torch.maximum(value[a][b], value[a + 1][b]) for b in range(4)] for a in range(3)]
    largest = [[torch.maximum(row[b], row[b + 1]) * sign for b in range(3)] for row in high]
    active = [[(window * scale + shift).clamp_min(0) for window in row] for row in largest]
    blurred = [left + 2 * middle + right for left, middle, right in active]
    answer = (blurred[0] + 2 * blurred[1] + blurred[2]) / 16
    pooled = answer.to(maps.dtype).permute(0, 3, 1, 2)
    if mean is None:
        return (pooled,)
    own = [value[a][b] for a in (1, 2) for b in (1, 2)]  # every value of the map is in one of these squares
    return pooled, *row_activity(own, sign, scale, shift, mean)


@in_one_loop
def _to_windows(
    maps: Tensor, grad: Tensor, scale: Tensor, shift: Tensor, mean: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the gradient back through blur and ReLU to the windows, of which there is one more each way.

    Args:
        maps: ``(B, C, H, W)``.
        grad: ``(B, C, H / 2, W / 2)``, both channels-last.
        scale: ``(C,)``.
        shift: ``(C,)``.
        mean: ``(C,)``.

    Returns:
        The gradient, ``(B, C, H + 1, W + 1)`` channels-last in the type of ``maps``; its sums, and those of
        its products with the window's distance from the mean, over each row, ``(B, H + 1, C)`` float32: so
        the loop over a row adds up vectors of channels, and threads share out the rows.
    """
    rows, above = maps.permute(0, 2, 3, 1), grad.permute(0, 2, 3, 1)
    height, width = rows.shape[1:3]
    sign = torch.where(scale < 0, -1.0, 1.0)
    i, j = torch.arange(height + 1), torch.arange(width + 1)
    (north, south), (west, east) = _corners_of_the_windows(height), _corners_of_the_windows(width)
    corners = [_at(rows, a, b) * sign for a in (north, south) for b in (west, east)]
    largest = torch.maximum(torch.maximum(*corners[:2]), torch.maximum(*corners[2:])) * sign

    def weights(index: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """A window counts 1/4 in the answers i // 2 and (i - 1) // 2, where there are such answers."""
        return (index < side) / 4, (index > 0) / 4

    below, over = (weight.view(-1, 1, 1) for weight in weights(i, height))
    right, left = (weight.view(1, -1, 1) for weight in weights(j, width))
    lower = _at(above, south // 2, east // 2) * right + _at(above, south // 2, west // 2) * left
    upper = _at(above, north // 2, east // 2) * right + _at(above, north // 2, west // 2) * left
    of_windows = torch.where(largest * scale + shift > 0, lower * below + upper * over, 0.0)
    sums, products = of_windows.sum(2), (of_windows * (largest - mean)).sum(2)
    return of_windows.to(maps.dtype).permute(0, 3, 1, 2), sums, products


@in_one_loop
def _to_values(
    maps: Tensor,
    of_windows: Tensor,
    scale: Tensor,
    slope: Tensor,
    offset: Tensor,
    of_means: Tensor | None,
    shift: Tensor,
) -> Tensor:
    """Give each value the gradients of the windows that chose it, times ``scale``, and a line in the value.

    Those that ReLU lets through also get ``of_means``, ``(B, C)``, which comes back through a map's mean.

    A window chooses the first of its largest values, row by row: a value must be larger than those before it
    and as large as those after it. Beyond the border a window has nothing, which is never larger; where a
    place there comes after the value, the border's own value stands for it and changes nothing.
    """
    rows = maps.permute(0, 2, 3, 1)
    height, width = rows.shape[1:3]
    sign = torch.where(scale < 0, -1.0, 1.0)
    i, j = torch.arange(height), torch.arange(width)
    places = [_neighbours(side) for side in (height, width)]
    near = [[_at(rows, a, b) * sign for b in places[1]] for a in places[0]]
    value = near[1][1]
    top, left = (i == 0).view(-1, 1, 1), (j == 0).view(1, -1, 1)
    north_west = (value > near[0][0]) | top | left
    north = (value > near[0][1]) | top
    north_east = (value > near[0][2]) | top
    west = (value > near[1][0]) | left
    east, south_west = value >= near[1][2], (value >= near[2][0])
    south, south_east = value >= near[2][1], value >= near[2][2]
    windows = {
        (0, 0): north_west & north & west,
        (0, 1): north & north_east & east,
        (1, 0): west & south_west & south,
        (1, 1): east & south & south_east,
    }
    plain = value * sign
    grad = plain * slope + offset
    if of_means is not None:
        grad = grad + torch.where(plain * scale + shift > 0, of_means[:, None, None], 0.0)
    window_rows = of_windows.permute(0, 2, 3, 1)
    for (a, b), chosen in windows.items():
        window = window_rows[:, a : a + height, b : b + width].float()
        grad = grad + torch.where(chosen, window, 0.0) * scale
    return grad.to(maps.dtype).permute(0, 3, 1, 2)


def _around_the_window(side: int) -> tuple[Tensor, ...]:
    """Places along a side before, in and after each square that pooling halves; at the border, its own."""
    first = torch.arange(side // 2) * 2
    return (first - 1).clamp_min(0), first, first + 1, (first + 2).clamp_max(side - 1)


def _corners_of_the_windows(side: int) -> tuple[Tensor, Tensor]:
    """First and last place along a side of each window, which begin one before the border."""
    last = torch.arange(side + 1)
    return (last - 1).clamp_min(0), last.clamp_max(side - 1)


def _neighbours(side: int) -> tuple[Tensor, ...]:
    """The place before each along a side, itself, and the one after it; at the border, itself."""
    place = torch.arange(side)
    return (place - 1).clamp_min(0), place, (place + 1).clamp_max(side - 1)


def _at(rows: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """``(B, len(i), len(j), C)`` float32 of ``rows`` ``(B, H, W, C)``."""
    return rows[:, i[:, None], j].float()
