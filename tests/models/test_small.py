"""The slim family: its documented sizes are counted here."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelex.errors import FacelexError
from facelex.models import small
from facelex.models.blocks import BlurredMaxPool, ConvolvedMaxPool, SqueezeExcitation
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


def test_blurred_pooling_is_a_dense_maximum_and_a_binomial_filter_at_every_second_pixel() -> None:
    maps = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    dense = F.max_pool2d(F.pad(maps, (1, 1, 1, 1), mode="replicate"), 2, stride=1)  # 9x9
    line = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = (line[:, None] * line).expand(3, 1, 3, 3)
    torch.testing.assert_close(BlurredMaxPool()(maps), F.conv2d(dense, kernel, stride=2, groups=3))


@pytest.mark.parametrize("size", [2, 3, 5, 6, 24])
def test_blurred_pooling_halves_and_rounds_up(size: int) -> None:
    assert BlurredMaxPool()(torch.zeros(1, 1, size, size)).shape[2:] == (-(-size // 2),) * 2


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (5, 6), (6, 7), (24, 24)])
def test_blurred_pooling_for_runtimes_is_the_same(shape: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ConvolvedMaxPool()(maps), BlurredMaxPool()(maps))


def test_a_shift_by_one_pixel_changes_less_after_blurred_pooling() -> None:
    maps = torch.randn(4, 8, 24, 24, generator=torch.Generator().manual_seed(0))

    def change(pool: nn.Module) -> float:
        here, shifted = pool(maps), pool(maps.roll(1, dims=3))
        return float((here - shifted)[..., 2:-2, 2:-2].norm() / here[..., 2:-2, 2:-2].norm())

    assert change(BlurredMaxPool()) < 0.75 * change(nn.MaxPool2d(2))


def test_squeeze_excitation_scales_whole_channels_between_nothing_and_one() -> None:
    torch.manual_seed(0)
    maps = torch.rand(2, 16, 5, 5) + 0.1
    shares = SqueezeExcitation(16)(maps) / maps
    torch.testing.assert_close(shares, shares[:, :, :1, :1].expand_as(shares))
    assert 0 < shares.min() <= shares.max() < 1
    assert shares[0, :, 0, 0].std() > 0


@pytest.mark.parametrize("size", [24, 48])
def test_options_of_the_slim_family_change_layers_and_not_the_width(size: int) -> None:
    plain = create_image_encoder("slim_s")
    optional = create_image_encoder("slim_s", squeeze_excitation=True, blur_pool=True)
    kinds = [type(layer) for layer in optional.layers]  # type: ignore[union-attr]
    assert kinds.count(SqueezeExcitation) == 5
    assert nn.MaxPool2d not in kinds
    assert optional(torch.zeros(2, 1, size, size)).shape == (2, plain.num_features)
