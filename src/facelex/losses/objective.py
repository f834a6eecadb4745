"""The weighted sum of losses that a phase minimises, each logged by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from facelex.losses.classification import cross_entropy, distillation, mirror_consistency, vote_cross_entropy
from facelex.losses.contrastive import class_contrastive
from facelex.losses.similarity import inner_products
from facelex.losses.supervised_contrastive import supervised_contrastive
from facelex.models.dual_encoder import ModelOutput


class Targets(NamedTuple):
    """What a batch is to be taken for."""

    labels: Tensor
    """``(B,)`` int64."""
    label_probs: Tensor | None = None
    """``(B, K)`` classification targets in place of labels."""
    teacher_probs: Tensor | None = None
    """``(B, K)`` probabilities to imitate."""
    vote_shares: Tensor | None = None
    """``(B, V)`` annotators' votes as shares, rows of zeros where nobody voted."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Targets:
        """Change all that are given in the same way."""
        return Targets(*(None if rows is None else change(rows) for rows in self))  # type: ignore[arg-type]


class Objective:
    """``objective(output, targets) -> (total, parts)`` with the weights of one phase.

    Args:
        weights: Weight of each loss by its name in `LOSSES`; a loss of weight zero is not computed.
        label_smoothing: Share of the label spread over all classes.
        image_to_text_weight: The report's lambda, weight of the face-to-word direction.
        contrast_temperature: Temperature of the contrast between faces.
        distillation_temperature: Softening of teacher and student.
        logit_offsets: Added to the classifier's scores in ``cross_entropy``, ``(K,)``.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        label_smoothing: float = 0.0,
        image_to_text_weight: float = 0.75,
        contrast_temperature: float = 0.1,
        distillation_temperature: float = 1.0,
        logit_offsets: Tensor | None = None,
    ):
        self.weights = {name: weights[name] for name in LOSSES if weights.get(name)}
        assert self.weights, "an objective needs a loss with a weight above zero"
        self.label_smoothing = label_smoothing
        self.image_to_text_weight = image_to_text_weight
        self.contrast_temperature = contrast_temperature
        self.distillation_temperature = distillation_temperature
        self.logit_offsets = logit_offsets

    def answer_logits(self, output: ModelOutput) -> Tensor:
        """Return scores of the classes ``(B, K)`` from what the objective trains to answer.

        That is the classifier; where only ``alignment`` teaches the labels, the nearest class word.
        """
        if "alignment" not in self.weights or self.weights.keys() & {"cross_entropy", "distillation"}:
            return output.logits
        assert output.image_features is not None
        assert output.text_features is not None
        return output.logit_scale * inner_products(output.image_features, output.text_features)

    @property
    def needs_mirror(self) -> bool:
        """Whether the output needs ``mirror_logits``."""
        return "mirror_consistency" in self.weights

    def __call__(self, output: ModelOutput, targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """Add up the phase's losses.

        Args:
            output: What the model returned for the batch (features gathered over ranks where there are any).
            targets: What the losses of the phase need of it.

        Returns:
            The scalar to minimise, and each loss before weighting, detached.
        """
        losses = {name: LOSSES[name].compute(self, output, targets) for name in self.weights}
        total = sum(
            (self.weights[name] * loss for name, loss in losses.items()), start=output.logits.new_zeros(())
        )
        return total, {name: loss.detach() for name, loss in losses.items()}

    def mixed(
        self, output: ModelOutput, targets: Targets, partners: Targets, share: float | Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Add up the phase's losses for mixed images, each of which stands for two examples.

        ``share * loss(targets) + (1 - share) * loss(partners)``, as in the code of mixup and CutMix. For
        cross-entropy that equals mixed targets; contrast with words, which has none, is mixed all the same.

        Args:
            output: What the model returned for the mixed images.
            targets: Of the examples themselves.
            partners: Of what is mixed into each.
            share: The examples' own part, lambda in [0, 1].

        Returns:
            As :meth:`__call__`.
        """
        own, own_parts = self(output, targets)
        other, other_parts = self(output, partners)
        parts = {name: share * own_parts[name] + (1 - share) * other_parts[name] for name in own_parts}
        return share * own + (1 - share) * other, parts


def _cross_entropy(objective: Objective, output: ModelOutput, targets: Targets) -> Tensor:
    target = targets.labels if targets.label_probs is None else targets.label_probs
    logits = output.logits if objective.logit_offsets is None else output.logits + objective.logit_offsets
    return cross_entropy(logits, target, label_smoothing=objective.label_smoothing)


def _alignment(objective: Objective, output: ModelOutput, targets: Targets) -> Tensor:
    assert output.image_features is not None
    assert output.text_features is not None
    return class_contrastive(
        output.image_features,
        output.text_features,
        targets.labels,
        output.logit_scale,
        image_to_text_weight=objective.image_to_text_weight,
    )


def _supervised_contrastive(objective: Objective, output: ModelOutput, targets: Targets) -> Tensor:
    assert output.image_features is not None
    return supervised_contrastive(
        output.image_features, targets.labels, temperature=objective.contrast_temperature
    )


def _distillation(objective: Objective, output: ModelOutput, targets: Targets) -> Tensor:
    assert targets.teacher_probs is not None
    return distillation(output.logits, targets.teacher_probs, temperature=objective.distillation_temperature)


def _mirror_consistency(objective: Objective, output: ModelOutput, targets: Targets) -> Tensor:
    assert output.mirror_logits is not None
    return mirror_consistency(output.logits, output.mirror_logits)


def _votes(objective: Objective, output: ModelOutput, targets: Targets) -> Tensor:
    assert output.vote_logits is not None
    assert targets.vote_shares is not None
    return vote_cross_entropy(output.vote_logits, targets.vote_shares)


class Loss(NamedTuple):
    """One loss of an objective."""

    compute: Callable[[Objective, ModelOutput, Targets], Tensor]
    """Its value before weighting, by the objective's settings."""
    parts: tuple[str, ...]
    """Parts of the network that it reaches."""


_CLASSIFIED = ("image_encoder", "classifier")

LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(_cross_entropy, _CLASSIFIED),
    "alignment": Loss(_alignment, ("image_encoder", "image_projection", "text_projection", "logit_scale")),
    "supervised_contrastive": Loss(_supervised_contrastive, ("image_encoder", "image_projection")),
    "distillation": Loss(_distillation, _CLASSIFIED),
    "mirror_consistency": Loss(_mirror_consistency, _CLASSIFIED),
    "votes": Loss(_votes, _CLASSIFIED),
}
"""By name, as configurations and ``metrics.csv`` spell it."""
