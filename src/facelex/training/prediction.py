"""One pass of prediction, over pictures that live on the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelex.training.augment import resize_images


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
        rows.append(F.softmax(model(resize_images(batch, image_size)).logits, dim=1))
    return torch.cat(rows)
