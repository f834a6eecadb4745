"""One training step of a network, the usual way or facelex's, and the arithmetic in it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from facelex.models.dual_encoder import DualEncoder
from facelex.models.fused import switch_off
from facelex.models.registry import create_image_encoder
from facelex.models.small_maps import Conv3x3

Step = Callable[[Tensor, Tensor], object]


def create_model(encoder: str, device: str, *, ours: bool, seed: int = 0, dropout: float = 0.25) -> nn.Module:
    """The network with a classifier: as facelex trains it, or contiguous with PyTorch's own convolutions."""
    torch.manual_seed(seed)
    model: nn.Module = DualEncoder(create_image_encoder(encoder), 7, dropout=dropout).to(device)
    if ours:
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    switch_off(model)
    for module in model.modules():
        if isinstance(module, Conv3x3):
            module.products = False
    return model


def conventional_step(model: nn.Module) -> Step:
    """float32, the optimiser as most scripts build it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)

    def step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images).logits, labels).backward()
        optimizer.step()

    return step


def our_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, device: str, precision: str, compiled: bool = False
) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """Autocast unless ``precision`` is ``32-true``, compiled if wished; the step returns its loss."""
    network = torch.compile(model) if compiled else model

    def step(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = F.cross_entropy(network(images).logits, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return {"loss": loss.detach()}

    return step


def count_operations(work: Callable[[], object], images: int) -> float:
    """Floating-point operations per image in the products and convolutions that ``work`` really does.

    A multiply-add counts 2. Normalisation, activation, pooling and the optimiser are not counted.
    """
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / images


def operations_per_image(encoder: str, image_size: int, *, ours: bool) -> tuple[float, float]:
    """Operations of the forward pass, and of the whole step, on the CPU."""
    model, images = create_model(encoder, "cpu", ours=ours), torch.rand(2, 1, image_size, image_size)
    labels = torch.zeros(2, dtype=torch.int64)
    forward = count_operations(lambda: model(images), 2)
    return forward, count_operations(lambda: conventional_step(model)(images, labels), 2)
