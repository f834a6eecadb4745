"""From faces as pixels to a network's answers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def images_from_pixels(pixels: Tensor, size: int) -> Tensor:
    """Turn ``(B, 1, H, W)`` uint8 into float32 in [0, 1] at the given side, channels-last, unaugmented."""
    return resize_images(pixels.float().div_(255), size).contiguous(memory_format=torch.channels_last)


def resize_images(images: Tensor, size: int) -> Tensor:
    """Bring ``(B, 1, H, W)`` float in [0, 1] to the given side; one that has it already stays as it is."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True).clamp_(0, 1)


@torch.inference_mode()
def predict_probs(model: nn.Module, pixels: Tensor, *, image_size: int, batch_size: int = 512) -> Tensor:
    """Probabilities of unaugmented images.

    Args:
        model: A bare model; put into evaluation mode.
        pixels: ``(N, 1, H, W)`` uint8 on the model's device.
        image_size: Side that the model sees, pixels.
        batch_size: Images at once.

    Returns:
        ``(N, K)`` float32.
    """
    model.eval()
    rows = []
    for batch in pixels.split(batch_size):
        rows.append(F.softmax(model(images_from_pixels(batch, image_size)).logits, dim=1))
    return torch.cat(rows)
