"""From a split of a dataset, whole on the device, to the batches that steps learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from facelex.losses.objective import Targets
from facelex.training.augment import augment_images
from facelex.training.config import AugmentConfig
from facelex.training.mixing import Mix, mix_images, partners


class DeviceSplit(NamedTuple):
    """One split of a dataset, whole, on the device."""

    pixels: Tensor
    """``(N, 1, H, W)`` uint8."""
    labels: Tensor
    """``(N,)`` int64."""
    label_probs: Tensor | None = None
    """``(N, K)`` classification targets in place of labels."""
    teacher_probs: Tensor | None = None
    """``(N, K)`` probabilities to imitate."""
    vote_shares: Tensor | None = None
    """``(N, V)`` annotators' votes as shares."""

    @property
    def targets(self) -> Targets:
        """What the faces are to be taken for."""
        return Targets(self.labels, self.label_probs, self.teacher_probs, self.vote_shares)


class Batch(NamedTuple):
    """One rank's share of a step, ready for the network."""

    images: Tensor
    """``(B, 1, S, S)`` float32 in [0, 1]."""
    targets: Targets
    partners: Targets | None = None
    """Targets of what is mixed into each image."""
    share: float | Tensor = 1.0
    """What each mixed image keeps of itself."""

    @property
    def main_labels(self) -> Tensor:
        """Of each image the label that it shows most of, ``(B,)``."""
        if self.partners is None:
            return self.targets.labels
        if isinstance(self.share, Tensor):
            return torch.where(self.share >= 0.5, self.targets.labels, self.partners.labels)
        return (self.targets if self.share >= 0.5 else self.partners).labels

    def mixed(self, mix: Mix) -> Batch:
        """Mix each image with its partner."""
        return Batch(mix_images(self.images, mix), self.targets, self.targets.map(partners), mix.share)

    def taught(self, teacher_probs: Tensor) -> Batch:
        """Imitate what teachers say of the images as they are, mixed or not."""
        return self._replace(
            targets=self.targets._replace(teacher_probs=teacher_probs),
            partners=self.partners and self.partners._replace(teacher_probs=teacher_probs),
        )


class EpochExamples(NamedTuple):
    """What one epoch learns from."""

    split: DeviceSplit
    augment: AugmentConfig
    """What is still to be done to each image."""
    mirrored: Tensor | None = None
    """Which images are mirrored, ``(N,)`` bool; None leaves it to a coin."""
    teachers: Callable[[Tensor], Tensor] | None = None
    """Judge the images of each batch, augmented and mixed: ``(B, 1, S, S)`` to ``(B, K)``."""

    def batch(
        self, index: Tensor, mirrored: Tensor | None, mix: Mix | None, size: int, draws: torch.Generator
    ) -> Batch:
        """Augment and mix some of the examples.

        Args:
            index: Which examples, ``(B,)``.
            mirrored: Which of them are reflected, ``(B,)`` bool; None leaves it to a coin.
            mix: How they are mixed, if they are.
            size: Side of the images in pixels.
            draws: Source of all randomness, on the device.
        """
        images = augment_images(self.split.pixels[index], size, self.augment, draws, mirrored)
        batch = Batch(images, self.split.targets.map(lambda rows: rows[index]))
        if mix is not None:
            batch = batch.mixed(mix)
        return batch if self.teachers is None else batch.taught(self.teachers(batch.images))


def batch_indices(
    count: int, batch_size: int, generator: torch.Generator, rank: int, world: int
) -> Iterator[Tensor]:
    """Yield this rank's share of each global batch of a fresh order.

    Every example is used at most once an epoch; the last incomplete batch is dropped, unless it would be the
    only one. The ranks' shares together are exactly the batches that a single device would see, and equally
    large (an only batch loses what does not divide).
    """
    order = torch.randperm(count, generator=generator, device=generator.device)
    if count < batch_size:
        order = order[: count - count % world]
    for start in range(0, max(count - batch_size, 0) + 1, batch_size):
        yield order[start : start + batch_size][rank::world]


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Number of batches that :func:`batch_indices` yields."""
    return max(count // batch_size, 1)
