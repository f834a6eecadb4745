"""Exponential moving average of a model's weights."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class WeightAverage(Generic[Network]):
    """Average weights and batch statistics over steps; evaluate ``model`` instead of the raw weights.

    The decay warms up as ``min(decay, (1 + t) / (10 + t))``, so that the random start is soon forgotten
    (the schedule of TensorFlow's ``ExponentialMovingAverage``).

    Args:
        model: What is averaged; copied.
        decay: Share of the average kept at each step, in (0, 1).
    """

    def __init__(self, model: Network, decay: float):
        self.decay = decay
        self.steps = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards ``model``."""
        self.steps += 1
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        averaged, current = self.model.state_dict(), model.state_dict()
        floating = [name for name, value in averaged.items() if value.is_floating_point()]
        torch._foreach_lerp_([averaged[n] for n in floating], [current[n] for n in floating], weight)
        for name, value in averaged.items():
            if not value.is_floating_point():
                value.copy_(current[name])
