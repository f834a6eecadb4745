"""Supervised contrast between faces: L_out of Khosla et al. 2020, https://arxiv.org/abs/2004.11362."""

from __future__ import annotations

import torch
from torch import Tensor

from facelex.losses.similarity import inner_products


def supervised_contrastive(features: Tensor, labels: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Draw faces of one label together and push others away (Eq. 2 of the paper, averaged over anchors).

    For anchor i, with A(i) all other features of the batch and P(i) those of A(i) with the label of i::

        L_i = -1/|P(i)| sum_{p in P(i)} log( exp(<z_i, z_p> / tau) / sum_{a in A(i)} exp(<z_i, z_a> / tau) )

    An anchor without a positive counts as zero in the mean.

    Args:
        features: Unit-length embeddings z, ``(B, E)``.
        labels: Class ids, ``(B,)``.
        temperature: tau, above 0; 0.1 is the paper's.

    Returns:
        Scalar, float32 (float64 for float64 features); zero for a batch of one.

    Raises:
        ValueError: If shapes do not fit together, or the temperature is not above 0.
    """
    if features.ndim != 2 or len(features) == 0:
        raise ValueError(
            f"Expected features of shape (B, E) with B of 1 or more, but got {tuple(features.shape)}."
        )
    if labels.shape != features.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"Expected integer class ids, one for each of {len(features)} faces, "
            f"but got {labels.dtype} of shape {tuple(labels.shape)}."
        )
    if temperature <= 0:
        raise ValueError(f"Expected a temperature above 0, but got {temperature}.")

    logits = inner_products(features, features) / temperature  # (B, B)
    itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
    logits = logits.masked_fill(itself, torch.finfo(logits.dtype).min)  # -inf would make a batch of one NaN
    log_probs = logits.log_softmax(dim=1)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    # torch.where with a number would copy it to the device and wait
    per_anchor = -log_probs.masked_fill(~positive, 0.0).sum(dim=1) / positive.sum(dim=1).clamp(min=1)
    return per_anchor.mean()
