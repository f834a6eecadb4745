"""Mixed images: blended in pairs (mixup) or with a rectangle of a partner pasted in (CutMix).

One draw holds for a whole batch, and the partner of an example is the one half a batch away: batches are in
random order, so any fixed pairing is a random one. Each device pairs its own share of the batch; where all
shares are even, that makes the same pairs as one device would (a share of one image is left unmixed). Draws
come from the host, where every rank makes the same ones without waiting for a device.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from facelex.training.config import AugmentConfig


class Mix(NamedTuple):
    """How one batch is mixed; numbers, or scalars on the device for a step that is recorded once for all."""

    share: float | Tensor
    """What an image keeps of itself, lambda in [0, 1]; the rest is its partner's. The
    loss is shared out in the same way."""
    box: tuple[int | Tensor, ...] | None = None
    """CutMix: top, bottom, left and right of the partner's rectangle in pixels. None blends (mixup)."""


def draw_mix(size: int, config: AugmentConfig, random: np.random.Generator) -> Mix | None:
    """Decide how the next batch is mixed.

    Args:
        size: Side of the images in pixels.
        config: How often, and how.
        random: Source of the draws.

    Returns:
        None where the batch stays as it is.
    """
    if not config.mixes or random.random() >= config.mix_probability:
        return None
    if config.mixup and (not config.cutmix or random.random() < 0.5):
        return Mix(_in_float32(random.beta(config.mixup, config.mixup)))
    return _draw_box(size, float(random.beta(config.cutmix, config.cutmix)), random)


def _draw_box(size: int, share: float, random: np.random.Generator) -> Mix:
    """Place CutMix's rectangle.

    Its sides are ``sqrt(1 - share)`` of the image's and its centre is anywhere, so the border may cut it; the
    share becomes what is left, counted in pixels, as in the code of Yun et al. 2019
    (https://arxiv.org/abs/1905.04899).
    """
    half = int(size * (1 - share) ** 0.5) // 2
    middle_y, middle_x = (int(place) for place in random.integers(size, size=2))
    top, bottom = max(middle_y - half, 0), min(middle_y + half, size)
    left, right = max(middle_x - half, 0), min(middle_x + half, size)
    return Mix(_in_float32(1 - (bottom - top) * (right - left) / size**2), (top, bottom, left, right))


def _in_float32(share: float) -> float:
    """Round a share as a device holds it, so that recorded steps are the same as others."""
    return float(np.float32(share))


def partners(rows: Tensor) -> Tensor:
    """For each row of a batch that of its partner, half a batch away."""
    return rows.roll(len(rows) // 2, dims=0)


def mix_images(images: Tensor, mix: Mix) -> Tensor:
    """Mix each image ``(B, C, H, W)`` with its partner, in the same memory layout."""
    others = partners(images)
    if mix.box is None:  # Zhang et al. 2018, https://arxiv.org/abs/1710.09412
        return images.lerp(others, 1 - mix.share)
    top, bottom, left, right = mix.box
    rows, columns = (torch.arange(side, device=images.device) for side in images.shape[2:])
    inside = ((rows >= top) & (rows < bottom))[:, None] & (columns >= left) & (columns < right)
    return torch.where(inside, others, images)
