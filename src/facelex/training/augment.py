"""Augmentation of whole batches on the device: each image draws its own parameters.

Rotation, reflection, translation, resizing and cropping (Porcu et al. 2020, without GANs) are one affine map
and so one ``grid_sample``; brightness, contrast and random erasing follow. The dataset stays on the device as
uint8 and nothing goes through PIL or worker processes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facelex.training.config import AugmentConfig


def augment_images(
    pixels: Tensor,
    size: int,
    config: AugmentConfig,
    generator: torch.Generator,
    mirrored: Tensor | None = None,
) -> Tensor:
    """Change a batch at random.

    Args:
        pixels: ``(B, 1, H, W)`` uint8.
        size: Side of the output in pixels; images are resampled to it by the same affine map.
        config: How strong each change may be.
        generator: Source of all randomness, on the images' device.
        mirrored: ``(B,)`` bool, which images to reflect, in place of a coin toss for each.

    Returns:
        ``(B, 1, size, size)`` float32 in [0, 1], channels-last.
    """
    count = len(pixels)
    images = pixels.float().div_(255)
    grid = _sampling_grid(_affine_maps(count, config, generator, mirrored), size)
    images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    if config.brightness or config.contrast:
        gain = 1 + config.contrast * _uniform(count, generator)
        shift = config.brightness * _uniform(count, generator)
        images = (images - 0.5) * _per_image(gain) + 0.5 + _per_image(shift)
    images = images.clamp_(0, 1)
    if config.erasing:
        images = _erase(images, config, generator)
    return images.contiguous(memory_format=torch.channels_last)


def alternating_reflection(count: int, seed: int, epoch: int) -> Tensor:
    """Which examples an epoch mirrors, so that each two epochs in a row show every example both ways.

    Each example starts either way at random and is turned over every epoch, which shows more distinct
    pictures in the same time than a coin toss (Jordan 2024, section 3.6, https://arxiv.org/abs/2404.00498).

    Args:
        count: Number of examples.
        seed: The run's seed, which decides the first epoch.
        epoch: Counted from 0 over the whole run.

    Returns:
        ``(count,)`` bool, on the CPU.
    """
    first = torch.from_numpy(np.random.default_rng(seed).random(count) < 0.5)
    return first if epoch % 2 == 0 else ~first


def _affine_maps(
    count: int, config: AugmentConfig, generator: torch.Generator, mirrored: Tensor | None
) -> Tensor:
    """Maps ``(B, 2, 3)`` from output to input coordinates, both in [-1, 1]."""
    angle = _uniform(count, generator) * math.radians(config.rotation)
    scale = 1 + config.resize * _uniform(count, generator)
    cut = config.crop * (_uniform(count, generator) + 1) / 2  # share of the side that is cut away
    scale = scale * (1 - cut)
    if mirrored is None:
        mirrored = torch.rand(count, generator=generator, device=generator.device) < config.reflection
    mirror = 1 - 2 * mirrored.float()
    # a shift of a whole side is 2 in grid coordinates; the crop window may lie anywhere inside
    shift_x = 2 * config.translation * _uniform(count, generator) + cut * _uniform(count, generator)
    shift_y = 2 * config.translation * _uniform(count, generator) + cut * _uniform(count, generator)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    top = torch.stack([mirror * cos, -sin, shift_x], dim=1)
    bottom = torch.stack([mirror * sin, cos, shift_y], dim=1)
    return torch.stack([top, bottom], dim=1)


def _sampling_grid(maps: Tensor, size: int) -> Tensor:
    """Where each output pixel is taken from, ``(B, size, size, 2)``, as ``F.affine_grid`` has it.

    That multiplies every pixel's coordinates with the map, as many small matrix products. What a map makes of
    x is the same in every row and what it makes of y in every column, so one sum of the two is enough. All x
    lie together and all y, which ``grid_sample`` reads as fast as pairs.
    """
    centers = (torch.arange(size, device=maps.device) * 2 + 1) / size - 1
    of_x = maps[:, :, 0, None] * centers  # (B, 2, size)
    of_y = maps[:, :, 1, None] * centers + maps[:, :, 2, None]
    return (of_x[:, :, None, :] + of_y[:, :, :, None]).permute(0, 2, 3, 1)


def _erase(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Overwrite a random rectangle of some images with noise."""
    count, _, height, width = images.shape
    device = images.device
    low, high = config.erasing_area
    chosen = torch.rand(count, generator=generator, device=device) < config.erasing
    area = low + (high - low) * torch.rand(count, generator=generator, device=device)
    aspect = torch.exp(math.log(3.0) * _uniform(count, generator))  # 1:3 to 3:1
    half_height = (area * aspect).sqrt().clamp(max=1) * height / 2
    half_width = (area / aspect).sqrt().clamp(max=1) * width / 2
    center_y = torch.rand(count, generator=generator, device=device) * height
    center_x = torch.rand(count, generator=generator, device=device) * width
    rows = (torch.arange(height, device=device) + 0.5 - center_y[:, None]).abs() < half_height[:, None]
    columns = (torch.arange(width, device=device) + 0.5 - center_x[:, None]).abs() < half_width[:, None]
    hole = ((rows & chosen[:, None])[:, :, None] & columns[:, None, :]).unsqueeze(1)
    return torch.where(hole, _noise(images.shape, generator), images)


def _noise(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Noise of 256 levels in [0, 1], as an image has: eight pixels of one draw, as a CPU draws one by one."""
    count = shape.numel()
    draws = torch.randint(
        -(2**63), 2**63 - 1, (-(-count // 8),), generator=generator, device=generator.device
    )
    return draws.view(torch.uint8)[:count].view(shape).float().div_(255)


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    """``count`` numbers in [-1, 1)."""
    return torch.rand(count, generator=generator, device=generator.device) * 2 - 1


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
