"""Exponential moving average of a model's weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class WeightAverage(Generic[Network]):
    """Average weights and batch statistics over steps; evaluate ``model`` instead of the raw weights.

    The decay warms up as ``min(decay, (1 + t) / (10 + t))``, so that the random start is soon forgotten
    (the schedule of TensorFlow's ``ExponentialMovingAverage``).

    Args:
        model: What is averaged; the average begins as a copy of it.
        decay: Share of the average kept at each step, in (0, 1).
    """

    def __init__(self, model: Network, decay: float):
        self.decay = decay
        self.steps = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        pairs = list(zip(_tensors(self.model), _tensors(model), strict=True))
        self._averaged, self._current = _columns(pair for pair in pairs if pair[0].is_floating_point())
        self._counts, self._current_counts = _columns(p for p in pairs if not p[0].is_floating_point())

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the model as it is now; counters are taken over."""
        self.steps += 1
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self._averaged, self._current, weight)
        if self._counts:
            torch._foreach_copy_(self._counts, self._current_counts)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _columns(pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """Turn pairs into two lists."""
    rows = list(pairs)
    return [averaged for averaged, _ in rows], [current for _, current in rows]
