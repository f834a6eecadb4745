"""Our VGG beside torchvision's: the same convolutions and poolings."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from facelex.errors import FacelexError
from facelex.models.blocks import SqueezeExcitation
from facelex.models.registry import create_image_encoder


def stack(module: nn.Module) -> list[tuple[int, int] | str]:
    """Convolutions as (in, out) channels, normalisations, activations and poolings, in order."""
    names: dict[type[nn.Module], str] = {nn.BatchNorm2d: "norm", nn.ReLU: "relu", nn.MaxPool2d: "pool"}
    described: list[tuple[int, int] | str] = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            assert (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (1, 1), (1, 1))
            described.append((layer.in_channels, layer.out_channels))
        elif type(layer) in names:
            described.append(names[type(layer)])
    return described


@pytest.mark.parametrize(
    ("name", "reference", "convolutions"),
    [("vgg11", torchvision.models.vgg11_bn, 8), ("vgg16", torchvision.models.vgg16_bn, 13)],
)
def test_layers_are_those_of_torchvision(name: str, reference, convolutions: int) -> None:
    with torch.device("meta"):
        theirs = stack(reference(weights=None).features)
    ours = stack(create_image_encoder(name, in_channels=3))
    assert ours == theirs
    assert sum(isinstance(layer, tuple) for layer in ours) == convolutions


@pytest.mark.parametrize(("name", "weights"), [("vgg11", 9_222_080), ("vgg16", 14_717_760)])
def test_number_of_weights_for_grey_faces(name: str, weights: int) -> None:
    encoder = create_image_encoder(name)
    assert encoder.num_features == 512
    assert sum(parameter.numel() for parameter in encoder.parameters()) == weights


def test_features_at_64_pixels_equal_torchvisions_with_the_same_weights() -> None:
    """64 halves evenly five times, so rounding up changes nothing, and the whole stack can be compared."""
    theirs = torchvision.models.vgg11_bn(weights=None).features.eval()
    ours = create_image_encoder("vgg11", in_channels=3).eval()
    targets = [layer for layer in theirs if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    sources = [layer for layer in ours.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    for target, source in zip(targets, sources, strict=True):
        target.load_state_dict(source.state_dict(), strict=False)
        if isinstance(target, nn.Conv2d) and target.bias is not None:
            nn.init.zeros_(target.bias)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images).mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)


def test_last_row_of_a_face_reaches_the_features() -> None:
    """Rounding down, the fifth pooling would drop the last row of the 3x3 map."""
    maps = create_image_encoder("vgg11").eval().layers(torch.zeros(1, 1, 48, 48))  # type: ignore[operator]
    assert maps.shape == (1, 512, 2, 2)


def test_thin_network_with_squeeze_excitation_is_the_shipped_ones() -> None:
    encoder = create_image_encoder("vgg16", width=0.75, squeeze_excitation=True)
    assert encoder.num_features == 384
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 8_367_692
    assert sum(isinstance(module, SqueezeExcitation) for module in encoder.modules()) == 5
    assert encoder(torch.zeros(2, 1, 48, 48)).shape == (2, 384)


@pytest.mark.parametrize("name", ["vgg11", "vgg16"])
def test_width_scales_the_channels_of_the_paper(name: str) -> None:
    whole, half = create_image_encoder(name), create_image_encoder(name, width=0.5)
    assert [2 * out for out in widths(half)] == widths(whole)
    for width in (0, float("nan"), float("inf")):
        with pytest.raises(FacelexError, match=f"width above 0, but got {width}"):
            create_image_encoder(name, width=width)


def widths(encoder: nn.Module) -> list[int]:
    return [module.out_channels for module in encoder.modules() if isinstance(module, nn.Conv2d)]
