"""The slim family: its documented sizes are counted here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from facelex.errors import FacelexError
from facelex.models import small
from facelex.models.registry import create_image_encoder
from facelex.models.small_maps import Conv3x3


def count_multiply_accumulates(encoder: nn.Module, size: int = 48) -> int:
    """Run one face and add up output pixels times weights over the convolutions."""
    counts: list[int] = []

    def count(convolution: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts.append(output.shape[2] * output.shape[3] * convolution.weight.numel())  # type: ignore[union-attr, operator]

    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        encoder.eval()(torch.zeros(1, 1, size, size))
    return sum(counts)


@pytest.mark.parametrize(
    ("name", "weights", "multiply_accumulates", "width"),
    [
        ("slim_s", 176_504, 6_086_016, 72),
        ("slim_m", 577_520, 21_565_440, 128),
        ("slim_l", 2_307_040, 85_598_208, 256),
        ("vgg11", 9_222_080, 341_065_728, 512),
    ],
)
def test_documented_sizes_are_true(name: str, weights: int, multiply_accumulates: int, width: int) -> None:
    encoder = create_image_encoder(name)
    assert encoder.num_features == width
    assert sum(parameter.numel() for parameter in encoder.parameters()) == weights
    assert count_multiply_accumulates(encoder) == multiply_accumulates
    assert small.__doc__ is not None
    assert f"{weights:,}" in small.__doc__
    assert f"{multiply_accumulates:,}" in small.__doc__


def test_slim_networks_are_convolution_normalisation_relu_and_pooling_only() -> None:
    layers = list(create_image_encoder("slim_m").layers)  # type: ignore[arg-type]
    assert {type(layer) for layer in layers} == {Conv3x3, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d}
    for conv, norm, relu in zip(layers, layers[1:], layers[2:]):
        if isinstance(conv, nn.Conv2d):
            assert isinstance(norm, nn.BatchNorm2d)
            assert isinstance(relu, nn.ReLU)


@pytest.mark.parametrize("width", [0.01, 0.4, 1.5])
def test_width_multiplies_channels_which_stay_multiples_of_eight(width: float) -> None:
    encoder = create_image_encoder("slim_m", width=width)
    channels = [module.out_channels for module in encoder.modules() if isinstance(module, nn.Conv2d)]
    assert all(channel % 8 == 0 and channel >= 8 for channel in channels)
    assert channels[-1] == encoder.num_features == max(8, 8 * round(256 * width / 8))


def test_width_of_nothing_is_refused() -> None:
    with pytest.raises(FacelexError, match="width above 0, but got 0"):
        create_image_encoder("slim_s", width=0)
