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

LOSS_PARTS: dict[str, tuple[str, ...]] = {
    "cross_entropy": ("image_encoder", "classifier"),
    "alignment": ("image_encoder", "image_projection", "text_projection", "logit_scale"),
    "supervised_contrastive": ("image_encoder", "image_projection"),
    "distillation": ("image_encoder", "classifier"),
    "mirror_consistency": ("image_encoder", "classifier"),
    "votes": ("image_encoder", "classifier"),
}
"""Which parts of the network each loss reaches."""


class Targets(NamedTuple):
    """What a batch is to be taken for; the arguments of an :class:`Objective` after the model's output."""

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
    """``loss(output, labels) -> (total, parts)`` with the weights of one phase.

    Args:
        weights: Loss name to weight: ``cross_entropy``, ``alignment``, ``supervised_contrastive``,
            ``distillation``, ``mirror_consistency``, ``votes``; a weight of zero is not computed.
        label_smoothing: Share of the label spread over all classes.
        image_to_text_weight: The report's lambda, weight of the face-to-word direction.
        contrast_temperature: Temperature of the contrast between faces.
        distillation_temperature: Softening of teacher and student.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        label_smoothing: float = 0.0,
        image_to_text_weight: float = 0.75,
        contrast_temperature: float = 0.1,
        distillation_temperature: float = 1.0,
    ):
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.label_smoothing = label_smoothing
        self.image_to_text_weight = image_to_text_weight
        self.contrast_temperature = contrast_temperature
        self.distillation_temperature = distillation_temperature

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

    def __call__(
        self,
        output: ModelOutput,
        labels: Tensor,
        label_probs: Tensor | None = None,
        teacher_probs: Tensor | None = None,
        vote_shares: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Add up the phase's losses.

        Args:
            output: What the model returned for the batch (features gathered over ranks where there are any).
            labels: ``(B,)`` int64.
            label_probs: ``(B, K)`` targets of the classification in place of labels, for vote shares.
            teacher_probs: ``(B, K)`` probabilities to imitate, for ``distillation``.
            vote_shares: ``(B, V)`` shares of annotators' votes, for ``votes``.

        Returns:
            The scalar to minimise, and each loss before weighting, detached.
        """
        losses: dict[str, Tensor] = {}
        if "cross_entropy" in self.weights:
            target = labels if label_probs is None else label_probs
            losses["cross_entropy"] = cross_entropy(
                output.logits, target, label_smoothing=self.label_smoothing
            )
        if "alignment" in self.weights:
            assert output.image_features is not None
            assert output.text_features is not None
            losses["alignment"] = class_contrastive(
                output.image_features,
                output.text_features,
                labels,
                output.logit_scale,
                image_to_text_weight=self.image_to_text_weight,
            )
        if "supervised_contrastive" in self.weights:
            assert output.image_features is not None
            losses["supervised_contrastive"] = supervised_contrastive(
                output.image_features, labels, temperature=self.contrast_temperature
            )
        if "distillation" in self.weights:
            assert teacher_probs is not None
            losses["distillation"] = distillation(
                output.logits, teacher_probs, temperature=self.distillation_temperature
            )
        if "mirror_consistency" in self.weights:
            assert output.mirror_logits is not None
            losses["mirror_consistency"] = mirror_consistency(output.logits, output.mirror_logits)
        if "votes" in self.weights:
            assert output.vote_logits is not None
            assert vote_shares is not None
            losses["votes"] = vote_cross_entropy(output.vote_logits, vote_shares)
        assert losses, "an objective needs a loss with a weight above zero"
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
        own, own_parts = self(output, *targets)
        other, other_parts = self(output, *partners)
        parts = {name: share * own_parts[name] + (1 - share) * other_parts[name] for name in own_parts}
        return share * own + (1 - share) * other, parts
