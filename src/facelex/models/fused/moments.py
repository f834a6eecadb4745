"""Mean and variance of a batch's maps, what ReLU leaves of each map, and gradients through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

WIDE = 128
"""Channels up to which neighbouring pixels are taken together where sums run over pixels."""


def batch_moments(maps: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and variance (by the number of values) of each channel, ``(C,)`` float32.

    Args:
        maps: ``(B, C, H, W)`` channels-last.
        norm: Its running statistics are updated, as it does itself in training.
    """
    wide, fold = widened(maps)
    unused = torch.zeros(wide.shape[1])  # running statistics; without them bfloat16 maps get such moments
    stats = torch.batch_norm_update_stats(wide, unused, unused.clone(), 0.0)
    means, variances = (moment.view(fold, -1) for moment in stats)
    mean = means.mean(0)
    var = variances.mean(0) + (means - mean).square().mean(0)
    count = maps.numel() / maps.shape[1]
    assert norm.num_batches_tracked is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(var * (count / max(count - 1, 1)), norm.momentum)
    return mean, var


def scale_and_shift(
    weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Write a normalisation by given moments as a factor and an offset.

    Returns:
        ``1 / std``, the factor and what is added after it, ``(C,)`` each.
    """
    inverse = (var + eps).rsqrt()
    scale = weight * inverse
    return inverse, scale, bias - mean * scale


def line_through_the_moments(
    maps: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, grad_weight: Tensor, grad_bias: Tensor
) -> tuple[Tensor, Tensor]:
    """What the gradient does to every value by way of the batch's mean and variance: a line in the value.

    With statistics that depend on the map, normalisation's gradient is, for P values a channel, normalised
    value n and incoming gradient g: ``weight / std * (g - sum(g) / P - n * sum(g * n) / P)`` (Ioffe and
    Szegedy 2015, section 3). This is all but the first term.

    Args:
        maps: ``(B, C, H, W)``, for its size.
        weight: ``(C,)`` of the normalisation.
        mean: ``(C,)``.
        inverse: ``1 / std``, ``(C,)``.
        grad_weight: ``sum(g * n)``, ``(C,)``.
        grad_bias: ``sum(g)``, ``(C,)``.

    Returns:
        Slope and offset, ``(C,)`` each.
    """
    share = weight * inverse / (maps.numel() / maps.shape[1])
    slope = -share * inverse * grad_weight
    return slope, -share * grad_bias - slope * mean


def widened(maps: Tensor) -> tuple[Tensor, int]:
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


class Activity(NamedTuple):
    """What ReLU lets through of each normalised map, from which its mean and that one's gradient follow.

    Attributes:
        counts: How many values it lets through, ``(B, C)`` float32.
        distances: The sum of their distances from the batch's mean before normalisation, ``(B, C)`` float32.
    """

    counts: Tensor
    distances: Tensor

    def means(self, maps: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        """Mean over each map after normalisation and ReLU, ``(B, C, 1, 1)`` float32.

        Args:
            maps: ``(B, C, H, W)``, for its size.
            scale: ``weight / std`` of the normalisation, ``(C,)``.
            bias: Of the normalisation, ``(C,)``.
        """
        sums = self.distances * scale + self.counts * bias
        return (sums / _size(maps))[:, :, None, None]

    def take_back(
        self, maps: Tensor, grad_means: Tensor, scale: Tensor, inverse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take a gradient of the means, ``(B, C, 1, 1)``, back.

        Args:
            maps: As above.
            grad_means: The gradient.
            scale: As above.
            inverse: ``1 / std``, ``(C,)``.

        Returns:
            What it adds to the gradients of the normalisation's weight and bias, ``(C,)`` each, and to that
            of every value of the map that ReLU let through, ``(B, C)``.
        """
        each = grad_means[:, :, 0, 0] / _size(maps)
        return (each * self.distances).sum(0) * inverse, (each * self.counts).sum(0), each * scale


def row_activity(
    values: Sequence[Tensor], sign: Tensor, scale: Tensor, shift: Tensor, mean: Tensor
) -> tuple[Tensor, Tensor]:
    """Add up `Activity` over each row of windows, within a compiled loop.

    Args:
        values: Those at each place of the windows times ``sign``, ``(B, H / 2, W / 2, C)`` float32 each.
        sign: 1 or -1, ``(C,)``.
        scale: ``weight / std``, ``(C,)``.
        shift: What is added after scaling, ``(C,)``.
        mean: Of the batch, ``(C,)``.

    Returns:
        Counts and distances, ``(B, H / 2, C)`` each.
    """
    plain = [value * sign for value in values]
    active = [value * scale + shift > 0 for value in plain]
    counts = sum(torch.where(lets, 1.0, 0.0) for lets in active)
    distances = sum(torch.where(lets, value - mean, 0.0) for lets, value in zip(active, plain, strict=True))
    assert isinstance(counts, Tensor)
    assert isinstance(distances, Tensor)
    return counts.sum(2), distances.sum(2)


def _size(maps: Tensor) -> int:
    return maps.shape[2] * maps.shape[3]
