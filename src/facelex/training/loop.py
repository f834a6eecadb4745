"""One epoch of training, over a dataset that lives on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from facelex.losses.objective import Objective, Targets
from facelex.losses.similarity import inner_products
from facelex.models.dual_encoder import ModelOutput
from facelex.training.augment import augment_images
from facelex.training.averaging import WeightAverage
from facelex.training.config import AugmentConfig
from facelex.training.mixing import draw_mix, mix_images, partners
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

    def targets(self, index: Tensor) -> Targets:
        """What the examples of ``index`` are to be taken for."""
        return Targets(*(None if rows is None else rows[index] for rows in self[1:]))  # type: ignore[arg-type]


class EpochResult(NamedTuple):
    """Means over an epoch's examples."""

    loss: float
    accuracy: float
    """Share in [0, 1]; of augmented images with the training weights, so lower than in evaluation. By the
    classifier, or by the nearest class word where the objective does not train the classifier. Of mixed images
    the label with the larger share counts."""
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
    clip_grad_norm: float | None = None,
    average: WeightAverage[Any] | None = None,
    average_of: nn.Module | None = None,
    on_step: StepCallback | None = None,
) -> EpochResult:
    """Train for one pass over ``split``.

    All randomness (order, augmentation, dropout) follows from ``seed``, so an epoch repeats exactly. Nothing
    waits for the device inside the loop: sums stay there until the end.

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
        clip_grad_norm: Largest global gradient norm.
        average: Moving average to update after each step, of ``average_of`` (the bare model).
        average_of: The bare model behind ``model``.
        on_step: Called with the number of examples after each step.
    """
    generator = torch.Generator(device=fabric.device).manual_seed(seed)
    rank_generator = torch.Generator(device=fabric.device).manual_seed(seed + 7919 * (fabric.global_rank + 1))
    torch.manual_seed(seed + fabric.global_rank)
    totals: dict[str, Tensor] = {}
    steps = images_seen = 0
    for index in batch_indices(
        len(split.labels), batch_size, generator, fabric.global_rank, fabric.world_size
    ):
        images = augment_images(split.pixels[index], image_size, augment, rank_generator)
        labels = split.labels[index]
        output = model(images)
        with torch.no_grad():
            answers = answer_logits(output, by_words=objective.by_words)
            accuracy = (answers.argmax(1) == labels).float().mean()
        output, labels, label_probs, teacher_probs = _gather(
            fabric,
            output,
            labels,
            None if split.label_probs is None else split.label_probs[index],
            None if split.teacher_probs is None else split.teacher_probs[index],
        )
        loss, parts = objective(output, labels, label_probs, teacher_probs)
        fabric.backward(loss)
        if clip_grad_norm is not None:
            fabric.clip_gradients(model, optimizer, max_norm=clip_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if scheduler is not None:
            scheduler.step()
        if average is not None and average_of is not None:
            average.update(average_of)
        for name, value in {"loss": loss.detach(), "accuracy": accuracy, **parts}.items():
            totals[name] = totals[name] + value if name in totals else value.clone()
        steps += 1
        images_seen += len(labels)
        if on_step is not None:
            on_step(len(labels))
    means = {
        name: float(cast(Tensor, fabric.all_reduce(total / steps, reduce_op="mean")))
        for name, total in totals.items()
    }
    return EpochResult(means.pop("loss"), means.pop("accuracy"), means, images_seen)


def answer_logits(output: ModelOutput, *, by_words: bool) -> Tensor:
    """Classifier scores ``(B, K)``, or scaled similarities to the class words."""
    if not by_words or output.image_features is None or output.text_features is None:
        return output.logits
    return output.logit_scale * inner_products(output.image_features, output.text_features)


def _gather(
    fabric: Fabric,
    output: ModelOutput,
    labels: Tensor,
    label_probs: Tensor | None,
    teacher_probs: Tensor | None,
) -> tuple[ModelOutput, Tensor, Tensor | None, Tensor | None]:
    """Collect the global batch on every rank, gradients included, so that contrast sees all negatives.

    Each of the W ranks then computes the same loss over the global batch. Going back through the gathering,
    the gradient of each example adds up over ranks, W times too much, and DDP divides by W. What does not
    pass the gathering (words, temperature) has the same gradient on every rank, which averaging leaves. So
    the result equals one device with the same global batch, as far as layers treat examples one by one:
    batch normalisation takes each rank's own share, and ``mix_words`` draws other mixtures on each.
    """
    if fabric.world_size == 1:
        return output, labels, label_probs, teacher_probs

    def together(tensor: Tensor, grads: bool = False) -> Tensor:
        return cast(Tensor, fabric.all_gather(tensor, sync_grads=grads)).flatten(0, 1)

    gathered = output._replace(
        logits=together(output.logits, True),
        image_features=None if output.image_features is None else together(output.image_features, True),
    )
    return (
        gathered,
        together(labels),
        None if label_probs is None else together(label_probs),
        None if teacher_probs is None else together(teacher_probs),
    )
