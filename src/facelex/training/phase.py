"""Training through the epochs of one phase, and measuring after each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from facelex.losses.objective import Objective
from facelex.models.prediction import images_from_pixels
from facelex.training.averaging import WeightAverage
from facelex.training.batches import Batch, DeviceSplit, EpochExamples, batch_indices, steps_per_epoch
from facelex.training.cuda_graphs import StepGraphs
from facelex.training.fabric import Fabric
from facelex.training.mixing import Mix, draw_mix
from facelex.training.optimizers import restore_optimizer
from facelex.training.sam import SharpnessAware
from facelex.training.step import forward_backward


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


@dataclass(frozen=True)
class PhaseTrainer:
    """What stays the same from epoch to epoch of a phase: the network, what it minimises, and how."""

    fabric: Fabric
    """Device, precision and process group."""
    model: nn.Module
    """The bare network."""
    module: nn.Module
    """The network as set up by Fabric."""
    optimizer: torch.optim.Optimizer
    """As set up by Fabric."""
    objective: Objective
    """What is minimised."""
    batch_size: int
    """Examples a step over all ranks."""
    scheduler: LRScheduler | None = None
    """Moves the learning rate after each step, or by the validation loss; None leaves it alone."""
    frozen: Sequence[nn.Module] = ()
    """Parts of the network whose dropout is off and whose batch statistics stay as they are."""
    average: WeightAverage[Any] | None = None
    """Average of the bare network's weights over the steps."""
    sam: SharpnessAware | None = None
    """Finds the gradients in a second pass near the weights; None takes them at the weights."""
    clip_grad_norm: float | None = None
    """Largest global gradient norm."""
    graphs: StepGraphs | None = None
    """Replays steps that have been recorded, in the same epoch or an earlier one."""

    @property
    def trained(self) -> nn.Module:
        """The network as it is evaluated: the average, where one is kept."""
        return self.average.model if self.average else self.model

    @property
    def lr(self) -> float:
        """The learning rate of the moment."""
        return float(self.optimizer.param_groups[0]["lr"])

    def train_epoch(
        self,
        examples: EpochExamples,
        *,
        image_size: int,
        seed: int,
        on_step: Callable[[int], None] = lambda _: None,
    ) -> EpochResult:
        """Train for one pass over the examples.

        All randomness (order, augmentation, mixing, dropout) follows from ``seed``, so an epoch repeats
        exactly. Nothing waits for the device inside the loop: sums stay there until the end.

        Args:
            examples: The training data, and what is done to them.
            image_size: Side of the training images, pixels.
            seed: Seed of this epoch.
            on_step: Called with the number of examples after each step.
        """
        rank, world = self.fabric.global_rank, self.fabric.world_size
        order = torch.Generator(device=self.fabric.device).manual_seed(seed)
        draws = self.graphs.generator if self.graphs else torch.Generator(device=self.fabric.device)
        draws.manual_seed(seed + 7919 * (rank + 1))
        mixing = np.random.default_rng(seed)
        torch.manual_seed(seed + rank)
        self._training_mode()

        def step(index: Tensor, mirrored: Tensor | None, mix: Mix | None) -> dict[str, Tensor]:
            return self._step(examples.batch(index, mirrored, mix, image_size, draws))

        count, images = len(examples.split.labels), 0
        totals: dict[str, Tensor] = {}
        for index in batch_indices(count, self.batch_size, order, rank, world):
            mix = draw_mix(image_size, examples.augment, mixing)
            mirrored = None if examples.mirrored is None else examples.mirrored[index]
            if self.graphs:
                values = self.graphs.run(image_size, step, index, mirrored, mix)
            else:
                values = step(index, mirrored, mix)
            if isinstance(self.scheduler, LambdaLR):
                self.scheduler.step()
            if self.average:
                self.average.update()
            totals = _add(totals, values)
            images += len(index) * world
            on_step(len(index) * world)
        sums = torch.stack(list(totals.values()))
        together = self.fabric.all_reduce(sums / steps_per_epoch(count, self.batch_size), reduce_op="mean")
        means = dict(zip(totals, cast(Tensor, together).tolist()))
        return EpochResult(means.pop("loss"), means.pop("accuracy"), means, images)

    def _training_mode(self) -> None:
        self.module.train()
        for part in self.frozen:
            part.eval()

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        """Change the weights; return the batch's loss, accuracy and losses by name, detached scalars."""
        work = partial(forward_backward, self.fabric, self.module, self.objective, batch)
        values = self.sam.gradients(work) if self.sam else work()
        if self.clip_grad_norm is not None:  # looking for infinite gradients would wait for the device
            self.fabric.clip_gradients(
                self.module, self.optimizer, max_norm=self.clip_grad_norm, error_if_nonfinite=False
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return values

    def evaluate(self, split: DeviceSplit, image_size: int) -> tuple[float, float]:
        """Mean cross-entropy and accuracy of one view, by what the phase trains to answer with.

        Batch statistics differ between ranks; all return what the first one measured.
        """
        model = self.trained.eval()
        losses, right = [], torch.zeros((), device=self.fabric.device)
        with torch.inference_mode(), self.fabric.autocast():
            for pixels, labels in zip(split.pixels.split(512), split.labels.split(512)):
                logits = self.objective.answer_logits(model(images_from_pixels(pixels, image_size)))
                losses.append(F.cross_entropy(logits, labels, reduction="sum"))
                right += (logits.argmax(1) == labels).sum()
        count = len(split.labels)
        measured = float(torch.stack(losses).sum()) / count, float(right) / count
        return self.fabric.broadcast(measured)

    def follow(self, val_loss: float) -> None:
        """Lower the learning rate where the schedule says that the validation loss asks for it."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(val_loss)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold beside the network's weights; tensors and plain values."""
        schedule = self.scheduler.state_dict() if self.scheduler else {}
        state: dict[str, Any] = {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": {name: value for name, value in schedule.items() if _is_plain(value)},
        }
        if self.average:
            state |= {"average": self.average.model.state_dict(), "average_steps": self.average.steps}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint of the same phase."""
        restore_optimizer(self.optimizer, state["optimizer"])
        if self.scheduler:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.average:
            self.average.model.load_state_dict(state["average"])
            self.average.steps = state["average_steps"]


def _add(totals: dict[str, Tensor], values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add up scalars on the device; a copy of the first, for a recorded step writes into the same places."""
    if not totals:
        return {name: value.clone() for name, value in values.items()}
    torch._foreach_add_(list(totals.values()), [values[name] for name in totals])
    return totals


def _is_plain(value: object) -> bool:
    return isinstance(value, int | float | str | bool | list | tuple | type(None))
