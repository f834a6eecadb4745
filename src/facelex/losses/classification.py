"""Classification: cross-entropy on class ids, vote shares or a teacher's probabilities; agreeing views."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from facelex.losses.similarity import widen


def cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of class scores.

    Args:
        logits: ``(B, K)``.
        labels: Class ids ``(B,)`` int64, or shares ``(B, K)`` whose rows sum to 1 (``label_probs``), for
            example of annotators' votes (Barsoum et al. 2016, scheme "cross-entropy loss",
            https://arxiv.org/abs/1608.01041).
        label_smoothing: Share of each target in [0, 1] that is spread evenly over all K classes
            (Szegedy et al. 2016, section 7, https://arxiv.org/abs/1512.00567).

    Returns:
        Scalar, float32 (float64 for float64 logits).

    Raises:
        ValueError: If shapes do not fit together, or the smoothing is outside [0, 1].
    """
    _check_logits(logits)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"Expected label_smoothing in [0, 1], but got {label_smoothing}.")
    scores = widen(logits)
    if labels.is_floating_point():
        _check_shares(labels, logits, "labels")
        labels = labels.to(scores)
    elif labels.shape != logits.shape[:1]:
        raise ValueError(
            f"Expected class ids of shape ({len(logits)},) or shares of shape {tuple(logits.shape)}, "
            f"but got {labels.dtype} of shape {tuple(labels.shape)}."
        )
    # a mean by PyTorch may round otherwise, and runs are to be repeated to the bit
    return F.cross_entropy(scores, labels, label_smoothing=label_smoothing, reduction="sum") / len(labels)


def log_class_shares(labels: Tensor, num_classes: int) -> Tensor:
    """Logarithm of each class's share of the labels, by which scores are adjusted for imbalance.

    Cross-entropy of ``logits + tau * log_class_shares`` with tau 1 trains logits whose largest is the best
    answer for the mean accuracy over classes, as if all were equally frequent (Menon et al. 2021, equation
    10, https://arxiv.org/abs/2007.07314).

    Args:
        labels: Class ids of the training examples, ``(N,)`` int64.
        num_classes: K.

    Returns:
        ``(K,)`` float32; a class without examples counts as one with a single one.
    """
    counts = torch.bincount(labels, minlength=num_classes).clamp_min(1)
    return (counts / len(labels)).log()


def distillation(logits: Tensor, teacher_probs: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Cross-entropy with a teacher's softened probabilities, times T^2 (Hinton et al. 2015, section 2).

    "Since the magnitudes of the gradients produced by the soft targets scale as 1/T^2 it is important to
    multiply them by T^2" (https://arxiv.org/abs/1503.02531). Its least value is T^2 times the entropy of the
    softened teacher, not zero.

    Args:
        logits: The student's scores, ``(B, K)``.
        teacher_probs: The teacher's probabilities at temperature 1, ``(B, K)``, rows sum to 1. They are
            softened here: p^(1/T), made to sum to 1, is softmax(z / T) of the teacher's scores z.
        temperature: T, above 0; 1 takes the probabilities as they are.

    Returns:
        Scalar, float32 (float64 for float64 logits).

    Raises:
        ValueError: If shapes differ, or the temperature is not above 0.
    """
    _check_logits(logits)
    _check_shares(teacher_probs, logits, "teacher_probs")
    if temperature <= 0:
        raise ValueError(f"Expected a temperature above 0, but got {temperature}.")
    scores = widen(logits)
    targets = teacher_probs.detach().to(scores)
    if temperature != 1:
        targets = targets.pow(1 / temperature)
        targets = targets / targets.sum(dim=1, keepdim=True)
    return F.cross_entropy(scores / temperature, targets) * temperature**2


def vote_cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy with annotators' votes, over the examples that have any.

    Args:
        logits: ``(B, V)``.
        shares: ``(B, V)``, rows that sum to 1, or to 0 where nobody voted (Barsoum et al. 2016, scheme
            "cross-entropy loss", https://arxiv.org/abs/1608.01041).

    Returns:
        Scalar, float32 (float64 for float64 logits); 0 for a batch without votes.

    Raises:
        ValueError: If shapes do not fit together.
    """
    _check_logits(logits)
    _check_shares(shares, logits, "shares")
    scores = widen(logits)
    total = -(shares.to(scores) * scores.log_softmax(1)).sum()
    return total / shares.any(1).sum().clamp_min(1)


def mirror_consistency(logits: Tensor, mirror_logits: Tensor) -> Tensor:
    """Mean symmetric Kullback-Leibler divergence of what an image and its mirror image are taken for.

    ``(KL(p || q) + KL(q || p)) / 2``, the form of R-Drop (Liang et al. 2021, https://arxiv.org/abs/2106.14448)
    with reflection in place of dropout. A face and its mirror image show the same emotion.

    Args:
        logits: ``(B, K)``.
        mirror_logits: Of the mirror images, ``(B, K)``.

    Returns:
        Scalar, float32 (float64 for float64 logits), zero or more.

    Raises:
        ValueError: If shapes differ.
    """
    _check_logits(logits)
    if mirror_logits.shape != logits.shape:
        raise ValueError(
            f"Expected mirror_logits of the logits' shape {tuple(logits.shape)}, but got "
            f"{tuple(mirror_logits.shape)}."
        )
    log_p, log_q = widen(logits).log_softmax(dim=1), widen(mirror_logits).log_softmax(dim=1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=1).mean() / 2


def _check_logits(logits: Tensor) -> None:
    if logits.ndim != 2 or len(logits) == 0:
        raise ValueError(
            f"Expected logits of shape (B, K) with B of 1 or more, but got {tuple(logits.shape)}."
        )


def _check_shares(shares: Tensor, logits: Tensor, name: str) -> None:
    if shares.shape != logits.shape or not torch.is_floating_point(shares):
        raise ValueError(
            f"Expected {name} of the logits' shape {tuple(logits.shape)}, one share for each class, "
            f"but got {shares.dtype} of shape {tuple(shares.shape)}."
        )
