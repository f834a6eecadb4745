"""One epoch of training, over a dataset that lives on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from facelex.losses.objective import Objective, Targets
from facelex.models.dual_encoder import ModelOutput
from facelex.training.augment import augment_images
from facelex.training.averaging import WeightAverage
from facelex.training.config import AugmentConfig
from facelex.training.cuda_graphs import StepGraphs
from facelex.training.fabric import Fabric
from facelex.training.mixing import Mix, draw_mix, mix_images, partners
from facelex.training.sam import SharpnessAware

StepCallback = Callable[[int], None]


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

    def targets(self, index: Tensor) -> Targets:
        """What the examples of ``index`` are to be taken for."""
        whole = Targets(self.labels, self.label_probs, self.teacher_probs, self.vote_shares)
        return _each(whole, lambda rows: rows[index])


class EpochResult(NamedTuple):
    """Means over an epoch's examples."""

    loss: float
    accuracy: float
    """Share in [0, 1]; of augmented images with the training weights, so lower than in evaluation. By the
    classifier, or by the nearest class word where the objective does not train the classifier. Of mixed
    images the label with the larger share counts."""
    losses: dict[str, float]
    images: int
    """Examples seen, over all ranks."""


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


def train_one_epoch(
    fabric: Fabric,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LambdaLR | None,
    split: DeviceSplit,
    objective: Objective,
    augment: AugmentConfig,
    *,
    image_size: int,
    batch_size: int,
    seed: int,
    mirrored: Tensor | None = None,
    teachers: Callable[[Tensor], Tensor] | None = None,
    sam: SharpnessAware | None = None,
    clip_grad_norm: float | None = None,
    average: WeightAverage[Any] | None = None,
    graphs: StepGraphs | None = None,
    on_step: StepCallback | None = None,
) -> EpochResult:
    """Train for one pass over ``split``.

    All randomness (order, augmentation, mixing, dropout) follows from ``seed``, so an epoch repeats exactly.
    Nothing waits for the device inside the loop: sums stay there until the end.

    Args:
        fabric: Device, precision and process group.
        model: The network as set up by Fabric.
        optimizer: As set up by Fabric.
        scheduler: Stepped after each batch; None leaves the rate alone.
        split: The training data.
        objective: What is minimised.
        augment: Strength of augmentation.
        image_size: Side of the training images, pixels.
        batch_size: Examples a step over all ranks.
        seed: Of this epoch.
        mirrored: Which examples this epoch reflects, ``(N,)`` bool; a coin toss for each by default.
        teachers: Judge the images of each batch, augmented and mixed: ``(B, 1, S, S)`` to ``(B, K)``.
        sam: Finds the gradients in a second pass near the weights; None takes them at the weights.
        clip_grad_norm: Largest global gradient norm.
        average: Moving average of the bare model behind ``model``, updated after each step.
        graphs: Replay steps that have been recorded, in this epoch or an earlier one of the same phase.
        on_step: Called with the number of examples after each step.
    """
    generator = torch.Generator(device=fabric.device).manual_seed(seed)
    draws = graphs.generator if graphs else torch.Generator(device=fabric.device)
    draws.manual_seed(seed + 7919 * (fabric.global_rank + 1))
    mixing = np.random.default_rng(seed)
    torch.manual_seed(seed + fabric.global_rank)
    step = _Step(
        fabric, model, optimizer, split, objective, augment, image_size, draws, teachers, sam, clip_grad_norm
    )
    totals: dict[str, Tensor] = {}
    steps = images_seen = 0
    for index in batch_indices(
        len(split.labels), batch_size, generator, fabric.global_rank, fabric.world_size
    ):
        mix = draw_mix(image_size, augment, mixing)
        reflected = None if mirrored is None else mirrored[index]
        sums = graphs.run(image_size, step, index, reflected, mix) if graphs else step(index, reflected, mix)
        if scheduler is not None:
            scheduler.step()
        if average is not None:
            average.update()
        if totals:
            torch._foreach_add_(list(totals.values()), [sums[name] for name in totals])
        else:
            totals = {name: value.clone() for name, value in sums.items()}
        steps += 1
        count = len(index) * fabric.world_size
        images_seen += count
        if on_step is not None:
            on_step(count)
    together = fabric.all_reduce(torch.stack(list(totals.values())) / steps, reduce_op="mean")
    means = dict(zip(totals, cast(Tensor, together).tolist()))
    return EpochResult(means.pop("loss"), means.pop("accuracy"), means, images_seen)


@dataclass(frozen=True)
class _Step:
    """From a batch's place in the dataset to changed weights."""

    fabric: Fabric
    model: nn.Module
    optimizer: torch.optim.Optimizer
    split: DeviceSplit
    objective: Objective
    augment: AugmentConfig
    image_size: int
    draws: torch.Generator
    teachers: Callable[[Tensor], Tensor] | None
    sam: SharpnessAware | None
    clip_grad_norm: float | None

    def __call__(self, index: Tensor, mirrored: Tensor | None, mix: Mix | None) -> dict[str, Tensor]:
        """Return the batch's loss, accuracy and losses by name, detached scalars."""
        images = augment_images(self.split.pixels[index], self.image_size, self.augment, self.draws, mirrored)
        batch = _Batch(images, self.split.targets(index), None, 1.0)
        if mix is not None:
            batch = batch.mixed(mix)
        if self.teachers is not None:
            batch = batch.taught(self.teachers(batch.images))
        forward_backward = partial(_forward_backward, self.fabric, self.model, self.objective, batch)
        sums = forward_backward() if self.sam is None else self.sam.gradients(forward_backward)
        if self.clip_grad_norm is not None:  # looking for infinite gradients would wait for the device
            self.fabric.clip_gradients(
                self.model, self.optimizer, max_norm=self.clip_grad_norm, error_if_nonfinite=False
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return sums


class _Batch(NamedTuple):
    """One rank's share of a step, ready for the network."""

    images: Tensor
    targets: Targets
    partners: Targets | None
    """What is mixed into each image."""
    share: float | Tensor
    """What each mixed image keeps of itself."""

    @property
    def main_labels(self) -> Tensor:
        """Of each image the label that it shows most of, ``(B,)``."""
        if self.partners is None:
            return self.targets.labels
        if isinstance(self.share, Tensor):
            return torch.where(self.share >= 0.5, self.targets.labels, self.partners.labels)
        return (self.targets if self.share >= 0.5 else self.partners).labels

    def mixed(self, mix: Mix) -> _Batch:
        """Mix each image with its partner."""
        return _Batch(mix_images(self.images, mix), self.targets, _each(self.targets, partners), mix.share)

    def taught(self, teacher_probs: Tensor) -> _Batch:
        """Imitate what teachers say of the images as they are, mixed or not."""
        return self._replace(
            targets=self.targets._replace(teacher_probs=teacher_probs),
            partners=self.partners and self.partners._replace(teacher_probs=teacher_probs),
        )


def _each(targets: Targets, change: Callable[[Tensor], Tensor]) -> Targets:
    soft = (None if rows is None else change(rows) for rows in targets[1:])
    return Targets(change(targets.labels), *soft)


def _forward_backward(
    fabric: Fabric, model: nn.Module, objective: Objective, batch: _Batch
) -> dict[str, Tensor]:
    """Add the gradients of a batch; return loss, accuracy and the losses by name, detached scalars."""
    output = _with_mirror(model, batch.images) if objective.needs_mirror else model(batch.images)
    with torch.no_grad():
        accuracy = (objective.answer_logits(output).argmax(1) == batch.main_labels).float().mean()
    output = _gather_output(fabric, output)
    targets = _gather_targets(fabric, batch.targets)
    if batch.partners is None:
        loss, parts = objective(output, *targets)
    else:
        loss, parts = objective.mixed(output, targets, _gather_targets(fabric, batch.partners), batch.share)
    fabric.backward(loss)
    return {"loss": loss.detach(), "accuracy": accuracy, **parts}


def _with_mirror(model: nn.Module, images: Tensor) -> ModelOutput:
    """Show the images and their mirror images in one pass: data-parallel training wants a single one."""
    count = len(images)
    output: ModelOutput = model(torch.cat([images, images.flip(3)]))
    features, votes = output.image_features, output.vote_logits
    return output._replace(
        logits=output.logits[:count],
        backbone_features=output.backbone_features[:count],
        image_features=None if features is None else features[:count],
        mirror_logits=output.logits[count:],
        vote_logits=None if votes is None else votes[:count],
    )


def _gather_output(fabric: Fabric, output: ModelOutput) -> ModelOutput:
    """Collect the global batch on every rank, gradients included, so that contrast sees all negatives.

    Each of the W ranks then computes the same loss over the global batch. Going back through the gathering,
    the gradient of each example adds up over ranks, W times too much, and DDP divides by W. What does not
    pass the gathering (words, temperature) has the same gradient on every rank, which averaging leaves. So
    the result equals one device with the same global batch, as far as layers treat examples one by one and
    draw nothing: batch normalisation takes each rank's own share, and dropout and ``mix_words`` draw their
    own on each.
    """
    if fabric.world_size == 1:
        return output
    features, mirror, votes = output.image_features, output.mirror_logits, output.vote_logits
    return output._replace(
        logits=_all_rows(fabric, output.logits, True),
        image_features=None if features is None else _all_rows(fabric, features, True),
        mirror_logits=None if mirror is None else _all_rows(fabric, mirror, True),
        vote_logits=None if votes is None else _all_rows(fabric, votes, True),
    )


def _gather_targets(fabric: Fabric, targets: Targets) -> Targets:
    """Collect the targets of the global batch, in the order of :func:`_gather_output`."""
    if fabric.world_size == 1:
        return targets
    return _each(targets, partial(_all_rows, fabric))


def _all_rows(fabric: Fabric, rows: Tensor, grads: bool = False) -> Tensor:
    return cast(Tensor, fabric.all_gather(rows, sync_grads=grads)).flatten(0, 1)
