"""From a run's configuration to what trains one of its phases."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from facelex.losses.classification import log_class_shares
from facelex.losses.objective import Objective
from facelex.models.dual_encoder import PARTS, DualEncoder
from facelex.training.averaging import WeightAverage
from facelex.training.batches import steps_per_epoch
from facelex.training.config import RunConfig
from facelex.training.cuda_graphs import StepGraphs, can_be_replayed
from facelex.training.fabric import Fabric
from facelex.training.optimizers import create_optimizer, create_schedule
from facelex.training.phase import PhaseTrainer
from facelex.training.sam import SharpnessAware


def freeze_all_but(model: DualEncoder, learning: Collection[str]) -> None:
    """Let the named parts of a network have gradients, and no others.

    A part that no loss reaches would make data-parallel training wait for its gradients.
    """
    for name, part in _parts(model):
        part.requires_grad_(name in learning)
    model.logit_scale.requires_grad_("logit_scale" in learning)


def create_phase_trainer(
    fabric: Fabric, config: RunConfig, number: int, model: DualEncoder, module: nn.Module, labels: Tensor
) -> PhaseTrainer:
    """Make the optimiser, schedule, objective and averages of a phase.

    Args:
        fabric: Where the run computes.
        config: The run's configuration.
        number: Which of its phases, counted from 0.
        model: The bare network, where what the phase does not train is frozen.
        module: The network as set up by Fabric.
        labels: Class ids of the training images, ``(N,)``.
    """
    phase = config.phases[number]
    replayed = can_be_replayed(fabric, config)
    lr = config.optimizer.lr * phase.lr_factor
    optimizer = create_optimizer(model, config.optimizer, lr, capturable=replayed)
    optimizer.register_step_post_hook(lambda *_: model.clip_logit_scale())
    scheduler = _create_schedule(optimizer, config, number, len(labels))
    optimizer = cast(torch.optim.Optimizer, fabric.setup_optimizers(optimizer))
    objective = Objective(
        phase.losses.model_dump(),
        label_smoothing=config.label_smoothing,
        image_to_text_weight=config.image_to_text_weight,
        contrast_temperature=config.contrast_temperature,
        distillation_temperature=config.distillation_temperature,
        logit_offsets=config.logit_adjustment * log_class_shares(labels, model.classifier.linear.out_features)
        if config.logit_adjustment
        else None,
    )
    return PhaseTrainer(
        fabric,
        model,
        module,
        optimizer,
        objective,
        config.batch_size,
        scheduler=scheduler,
        frozen=[part for name, part in _parts(model) if name not in phase.train],
        average=WeightAverage(model, config.ema_decay) if config.ema_decay else None,
        sam=SharpnessAware(model, config.optimizer.sam_rho) if config.optimizer.sam_rho else None,
        clip_grad_norm=config.optimizer.clip_grad_norm,
        graphs=StepGraphs(optimizer, fabric.device) if replayed else None,
    )


def _create_schedule(
    optimizer: torch.optim.Optimizer, config: RunConfig, number: int, count: int
) -> LRScheduler:
    """The learning rate of one phase: a schedule of its own, or its part of the run's."""
    steps = [phase.epochs * steps_per_epoch(count, config.batch_size) for phase in config.phases]
    whole = config.schedule.span == "run"
    return create_schedule(
        optimizer,
        config.schedule,
        first_step=sum(steps[:number]) if whole else 0,
        total_steps=sum(steps) if whole else steps[number],
    )


def _parts(model: DualEncoder) -> Iterator[tuple[str, nn.Module]]:
    """The parts of a network that it has, by name; ``logit_scale`` is no module."""
    for name in PARTS:
        part = getattr(model, name)
        if isinstance(part, nn.Module):
            yield name, part
