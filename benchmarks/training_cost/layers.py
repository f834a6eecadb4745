"""Layer by layer: a library's kernels beside what facelex does in their place, on a CPU."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelex.models.blocks import BlurredMaxPool
from facelex.models.fused import FusedSequential
from facelex.models.registry import create_image_encoder
from facelex.models.small_maps import Conv3x3, multiply, multiply_for_weight
from training_cost.machine import seconds

Shape = tuple[int, ...]

POOLS: Mapping[str, Callable[[], nn.Module]] = {
    "max": lambda: nn.MaxPool2d(2, 2, ceil_mode=True),
    "blurred": BlurredMaxPool,
}


def convolutions(encoder: str, image_size: int) -> list[Shape]:
    """In and out channels and side of the map of each different 3x3 convolution, in the network's order."""
    return _shapes_of(
        encoder, image_size, Conv3x3, lambda layer, maps: (*layer.weight.shape[1::-1], maps.shape[2])
    )


def poolings(encoder: str, image_size: int) -> list[Shape]:
    """Channels and side of each different map of even side that is pooled."""
    found = _shapes_of(encoder, image_size, nn.MaxPool2d, lambda _, maps: (maps.shape[1], maps.shape[2]))
    return [shape for shape in found if shape[1] % 2 == 0]  # odd maps go through the layers


def time_convolution(shape: Shape, batch: int, dtype: torch.dtype, rounds: int) -> dict[str, Any]:
    """Time forward pass and weight gradient of one layer, by convolution and by product, in turns.

    Returns:
        Milliseconds (median), and the operations of one of them (a multiply-add counts 2).
    """
    in_channels, out_channels, side = shape
    images = _maps(batch, in_channels, side, dtype)
    grad = _maps(batch, out_channels, side, dtype)
    weight = (
        torch.randn(out_channels, in_channels, 3, 3).to(dtype).contiguous(memory_format=torch.channels_last)
    )
    options: tuple[Any, ...] = (None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False])
    times = in_turns(
        {
            "forward, convolution": lambda: F.conv2d(images, weight, padding=1),
            "forward, product": lambda: multiply(images, weight),
            "weight gradient, convolution": lambda: torch.ops.aten.convolution_backward(
                grad, images, weight, *options
            ),
            "weight gradient, product": lambda: multiply_for_weight(images, grad),
        },
        rounds,
    )
    return times | {"operations": 2.0 * 9 * batch * in_channels * out_channels * side**2}


def time_pooling(shape: Shape, pool: str, batch: int, dtype: torch.dtype, rounds: int) -> dict[str, Any]:
    """Time normalisation, ReLU and pooling, forward and backward, layer by layer and at once, in turns.

    Args:
        shape: Channels and side of the map.
        pool: A name in ``POOLS``.
        batch: Maps.
        dtype: Of the maps.
        rounds: Timings of each way.

    Returns:
        Milliseconds (median).
    """
    channels, side = shape
    at_once = FusedSequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True), POOLS[pool]())
    apart = copy.deepcopy(at_once)
    apart.fuse = False
    maps = _maps(batch, channels, side, dtype).requires_grad_()
    grad = torch.ones_like(apart(maps * 1).detach())

    def there_and_back(stack: FusedSequential) -> Callable[[], object]:
        parameters = [maps, *stack.parameters()]
        return lambda: torch.autograd.grad(stack(maps * 1), parameters, grad)  # ReLU works in place

    return in_turns({"layer by layer": there_and_back(apart), "at once": there_and_back(at_once)}, rounds)


def in_turns(work: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Any]:
    """Milliseconds of each, median over rounds in which each has its turn, after two that are not counted."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 2):
        for name, call in work.items():
            taken = seconds(call, "cpu")
            if number >= 2:
                times[name].append(1000 * taken)
    return {name: statistics.median(values) for name, values in times.items()}


def _maps(batch: int, channels: int, side: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(batch, channels, side, side).to(dtype).contiguous(memory_format=torch.channels_last)


def _shapes_of(
    encoder: str, image_size: int, kind: type[nn.Module], describe: Callable[[Any, Tensor], Shape]
) -> list[Shape]:
    found: dict[Shape, None] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found[describe(layer, inputs[0])] = None

    network = create_image_encoder(encoder).eval()
    for module in network.modules():
        if isinstance(module, kind):
            module.register_forward_pre_hook(note)
    with torch.no_grad():
        network(torch.zeros(1, 1, image_size, image_size))
    return list(found)
