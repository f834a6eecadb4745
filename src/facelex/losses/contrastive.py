"""The report's contrast between faces and words, Eq. 4.1 and 4.2; its form is ConVIRT's (Zhang et al. 2020).

With v_i the face and u_i the caption of example i, both of unit length, and temperature tau::

    l_i(v->u) = -log( exp(<v_i, u_i> / tau) / sum_k exp(<v_i, u_k> / tau) )                      (4.1)
    L = 1/N sum_i ( lambda l_i(v->u) + (1 - lambda) l_i(u->v) )                                   (4.2)

`image_text_contrastive` is that for any captions. `class_contrastive` is the same number for captions that
are the words of the K classes, and cheaper: it needs ``(B, K)`` similarities instead of ``(B, B)``. Equal by
construction: u_k is row y_k of the class features.

What is known about seven captions in a batch (``tests/losses/test_contrastive.py`` proves the equalities):

* **False negatives.** Every other face of the same class is a "negative" with the very same caption. For
  FER2013's Training shares p_c these are sum_c p_c^2 = 17.4 % of all pairs (computed).
* **Floor.** However good the features, neither direction falls below E[log n_y], n_y being the number of
  examples in the batch with the anchor's label: log n_y is what telling n_y equal captions apart costs. For
  FER2013's shares: 2.40, 3.07, 3.75, 4.43 nats at batches of 64, 128, 256, 512 (computed). A loss that stays
  there is no fault, and losses at different batch sizes do not compare.
* **Nothing to gain from several positives.** Captions being a function of the class, the loss equals, in
  value and gradient, the mean over all same-class captions as positives: UniCL (Yang et al. 2022,
  https://arxiv.org/abs/2204.03610), the L_out form of SupCon (Khosla et al. 2020, Eq. 2,
  https://arxiv.org/abs/2004.11362). It differs once the captions of one class differ.
* **The face-to-word half is a classifier.** It equals the floor, a constant, plus cross-entropy over the K
  classes with logits <v, u_c> / tau + log n_c: a logit-adjusted or balanced softmax (Menon et al. 2021,
  https://arxiv.org/abs/2007.07314; Ren et al. 2020, https://arxiv.org/abs/2007.10740) with a cosine
  classifier and the batch's counts as prior. So the largest <v, u_c> aims at balanced accuracy; for plain
  accuracy add the prior, log p_c, to <v, u_c> / tau, as the loss does.
* The word-to-face half compares the faces of a batch with one another, word by word.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from facelex.losses.similarity import inner_products, widen


def image_text_contrastive(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor | float,
    *,
    image_to_text_weight: float = 0.75,
) -> Tensor:
    """Contrast each face with the captions of the batch, and each caption with the faces (Eq. 4.2).

    Args:
        image_features: Unit-length faces v, ``(B, E)``.
        text_features: Unit-length captions u, ``(B, E)``; row i belongs to face i.
        logit_scale: Positive scalar, ``1 / tau``.
        image_to_text_weight: The report's lambda, in [0, 1]: weight of the face-to-word direction.

    Returns:
        Scalar, float32 (float64 for float64 features).

    Raises:
        ValueError: If shapes do not fit together, or lambda is outside [0, 1].
    """
    _check_weight(image_to_text_weight)
    _check_features(image_features, text_features)
    if image_features.shape != text_features.shape:
        raise ValueError(
            f"Expected a caption for each of {len(image_features)} faces, but got {len(text_features)}. "
            "Give class features with their labels to class_contrastive."
        )
    scale = _widened_scale(logit_scale)
    matched = scale * (widen(image_features) * widen(text_features)).sum(dim=1)  # (B,), <v_i, u_i> / tau
    image_to_text = (scale * inner_products(image_features, text_features)).logsumexp(dim=1) - matched
    text_to_image = (scale * inner_products(text_features, image_features)).logsumexp(dim=1) - matched
    return _weighted_mean(image_to_text, text_to_image, image_to_text_weight)


def class_contrastive(
    image_features: Tensor,
    text_features: Tensor,
    labels: Tensor,
    logit_scale: Tensor | float,
    *,
    image_to_text_weight: float = 0.75,
) -> Tensor:
    """Contrast faces with the words of their classes: `image_text_contrastive` of ``text_features[labels]``.

    Args:
        image_features: Unit-length faces v, ``(B, E)``.
        text_features: Unit-length class words in label order, ``(K, E)``.
        labels: Class ids, ``(B,)`` integers in ``[0, K)``.
        logit_scale: Positive scalar, ``1 / tau``.
        image_to_text_weight: The report's lambda, in [0, 1]: weight of the face-to-word direction.

    Returns:
        Scalar, float32 (float64 for float64 features).

    Raises:
        ValueError: If shapes do not fit together, or lambda is outside [0, 1].

    Example:
        >>> words = torch.eye(3)
        >>> loss = class_contrastive(words[[0, 0, 1]], words, torch.tensor([0, 0, 1]), logit_scale=100.0)
        >>> round(loss.item(), 4)  # the floor: two faces of three share a caption, 2/3 log 2
        0.4621
    """
    _check_weight(image_to_text_weight)
    _check_features(image_features, text_features)
    _check_labels(labels, image_features)
    scale = _widened_scale(logit_scale)
    similarities = scale * inner_products(image_features, text_features)  # (B, K)
    counts = F.one_hot(labels, len(text_features)).sum(dim=0).to(similarities)  # (K,), n_c
    matched = similarities.gather(1, labels[:, None]).squeeze(1)  # (B,), <v_i, u_i> / tau
    # sum_k exp(<v_i, u_k> / tau) holds class c n_c times; an absent class adds log 0 = -inf, that is nothing
    image_to_text = (similarities + counts.log()).logsumexp(dim=1) - matched
    text_to_image = similarities.logsumexp(dim=0)[labels] - matched
    return _weighted_mean(image_to_text, text_to_image, image_to_text_weight)


def _weighted_mean(image_to_text: Tensor, text_to_image: Tensor, weight: float) -> Tensor:
    return (weight * image_to_text + (1 - weight) * text_to_image).mean()


def _widened_scale(logit_scale: Tensor | float) -> Tensor | float:
    return widen(logit_scale) if isinstance(logit_scale, Tensor) else logit_scale


def _check_weight(weight: float) -> None:
    if not 0 <= weight <= 1:
        raise ValueError(f"Expected image_to_text_weight in [0, 1], but got {weight}.")


def _check_features(image_features: Tensor, text_features: Tensor) -> None:
    if image_features.ndim != 2 or len(image_features) == 0:
        raise ValueError(
            "Expected image_features of shape (B, E) with B of 1 or more, "
            f"but got {tuple(image_features.shape)}."
        )
    if text_features.ndim != 2 or text_features.shape[1] != image_features.shape[1]:
        raise ValueError(
            f"Expected text_features as wide as image_features, (K, {image_features.shape[1]}), "
            f"but got {tuple(text_features.shape)}. Project both into one space."
        )


def _check_labels(labels: Tensor, image_features: Tensor) -> None:
    if labels.shape != image_features.shape[:1] or labels.dtype != torch.int64:
        raise ValueError(
            f"Expected int64 class ids, one for each of {len(image_features)} faces, "
            f"but got {labels.dtype} of shape {tuple(labels.shape)}."
        )
