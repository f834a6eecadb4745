"""What a network answers, to pictures that live on the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelex.losses.similarity import inner_products
from facelex.models.dual_encoder import DualEncoder, ModelOutput
from facelex.training.augment import images_from_pixels


def answer_logits(output: ModelOutput, *, by_words: bool) -> Tensor:
    """Classifier scores ``(B, K)``, or scaled similarities to the class words."""
    if not by_words or output.image_features is None or output.text_features is None:
        return output.logits
    return output.logit_scale * inner_products(output.image_features, output.text_features)


def predict_logits(model: DualEncoder, pixels: Tensor, image_size: int, *, by_words: bool = False) -> Tensor:
    """Classifier scores of ``(N, 1, H, W)`` uint8, or scaled similarities to the class words."""
    return answer_logits(model(images_from_pixels(pixels, image_size)), by_words=by_words)


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
