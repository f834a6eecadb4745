"""Sharpness-aware minimisation: Foret et al. 2021, https://arxiv.org/abs/2010.01412."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Result = TypeVar("Result")


class SharpnessAware:
    """Take the gradient where the loss near the weights w is highest, to first order (Eq. 2 and 3).

    That is at ``w + rho * g / |g|``, with g the gradient at w over all learning parameters together. With
    several ranks g is their averaged gradient, so all climb the same way. (The paper lets each device climb
    by its own part of the batch; then the result would depend on the number of devices.)

    Args:
        model: Whose gradients are taken.
        rho: How far to climb, in the Euclidean norm of the weights; the paper tries 0.01 to 0.5.
    """

    def __init__(self, model: nn.Module, rho: float):
        self.model = model
        self.rho = rho

    def gradients(self, forward_backward: Callable[[], Result]) -> Result:
        """Leave the sharpness-aware gradients in ``.grad``, ready to be clipped and stepped with.

        Both passes draw the same random numbers (dropout), and what they write into buffers (batch
        statistics) is kept from the first alone, which ran with the weights themselves.

        Args:
            forward_backward: Computes the loss of the batch and its gradients; called twice, and without
                gradients from before.

        Returns:
            What the first call returned.
        """
        with torch.random.fork_rng(self._cuda_devices()):
            result = forward_backward()
        learning: list[Tensor] = [p for p in self.model.parameters() if p.grad is not None]
        if not learning:
            return result
        weights = [p.detach().clone() for p in learning]
        buffers = list(self.model.buffers())
        statistics = [buffer.clone() for buffer in buffers]
        self._climb(learning, [p.grad for p in learning if p.grad is not None])
        self.model.zero_grad(set_to_none=True)
        forward_backward()
        with torch.no_grad():
            torch._foreach_copy_(learning, weights)  # exactly as before, which subtracting would not give
            if buffers:
                torch._foreach_copy_(buffers, statistics)
        return result

    @torch.no_grad()
    def _climb(self, weights: list[Tensor], grads: list[Tensor]) -> None:
        norm = torch.stack(list(torch._foreach_norm(grads))).norm()
        torch._foreach_add_(weights, list(torch._foreach_mul(grads, self.rho / (norm + 1e-12))))

    def _cuda_devices(self) -> list[torch.device]:
        return list({p.device for p in self.model.parameters() if p.device.type == "cuda"})
