"""Optimisers and learning-rate schedules from their configurations."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from facelex.training.config import OptimizerConfig, ScheduleConfig


def create_optimizer(
    model: nn.Module, config: OptimizerConfig, lr: float, *, capturable: bool = False
) -> torch.optim.Optimizer:
    """Build the optimiser over the parameters that require gradients.

    Vectors (normalisation weights, biases, the logit scale) form a second group without weight decay unless
    ``decay_norms`` is set. ``capturable``, on a GPU only, lets its step be part of a CUDA graph.
    """
    learning = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in learning if p.ndim > 1]
    vectors = [p for p in learning if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": config.weight_decay if config.decay_norms else 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.name == "sgd":
        return torch.optim.SGD(
            groups, lr=lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=True
        )
    family = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return family(groups, lr=lr, betas=(config.momentum, 0.999), fused=True, capturable=capturable)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over a checkpoint's moments and rates, which another device may have written.

    Whether steps can be part of a CUDA graph belongs to this run's device and stays as it is.
    """
    own = [group.get("capturable") for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, capturable in zip(optimizer.param_groups, own, strict=True):
        if capturable is not None:
            group["capturable"] = capturable


def schedule_factor(progress: float, config: ScheduleConfig) -> float:
    """Learning rate relative to its highest, at ``progress`` in [0, 1] of the schedule's span."""
    progress = min(max(progress, 0.0), 1.0)
    if config.name in {"constant", "plateau"}:
        return 1.0
    if config.name == "one_cycle" and progress < config.warmup:
        return config.start_factor + (1 - config.start_factor) * progress / config.warmup
    if config.name == "one_cycle":
        progress = (progress - config.warmup) / (1 - config.warmup)
    return config.final_factor + (1 - config.final_factor) * (1 + math.cos(math.pi * progress)) / 2


def create_schedule(
    optimizer: torch.optim.Optimizer, config: ScheduleConfig, *, first_step: int, total_steps: int
) -> LambdaLR | ReduceLROnPlateau:
    """Build the schedule of one phase.

    Args:
        optimizer: Whose learning rates move.
        config: The shape of the movement.
        first_step: Step of the schedule's span at which the phase begins.
        total_steps: Steps in the whole span (the phase, or the run).
    """
    if config.name == "plateau":
        return ReduceLROnPlateau(optimizer, factor=config.factor, patience=config.patience)
    return LambdaLR(optimizer, lambda step: schedule_factor((first_step + step) / total_steps, config))
