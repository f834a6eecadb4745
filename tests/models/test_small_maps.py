"""Small maps are convolved by matrix products: the same answers and gradients as the convolution's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from facelex.models import small_maps
from facelex.models.registry import create_image_encoder
from facelex.models.small_maps import Conv3x3, conv3x3


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 3), (4, 5)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("forward", [True, False])
def test_product_equals_the_convolution_forward_and_backward(
    size: tuple[int, int], layout: torch.memory_format, forward: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_maps, "_gains_forward", lambda *_: forward)
    torch.manual_seed(0)
    images = torch.randn(5, 3, *size, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    above = torch.randn(5, 4, *size, dtype=torch.float64).contiguous(memory_format=layout)
    ours, theirs = conv3x3(images, weight), F.conv2d(images, weight, padding=1)
    torch.testing.assert_close(ours, theirs, check_stride=False)
    for mine, reference in zip(
        torch.autograd.grad(ours, (images, weight), above),
        torch.autograd.grad(theirs, (images, weight), above),
    ):
        torch.testing.assert_close(mine, reference, check_stride=False)


def test_frozen_images_and_frozen_weights_get_no_gradient() -> None:
    images, weight = torch.randn(2, 3, 2, 2), torch.randn(4, 3, 3, 3, requires_grad=True)
    conv3x3(images, weight).sum().backward()
    assert images.grad is None
    assert weight.grad is not None
    frozen = weight.detach()
    conv3x3(images.requires_grad_(), frozen).sum().backward()
    assert images.grad is not None
    assert frozen.grad is None


def products(monkeypatch: pytest.MonkeyPatch, layer: torch.nn.Module, side: int) -> int:
    """How many convolutions of ``layer`` go through ``conv3x3`` for maps of ``side``."""
    taken: list[int] = []

    def counted(images: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        taken.append(1)
        return conv3x3(images, weight)

    monkeypatch.setattr(small_maps, "conv3x3", counted)
    layer(torch.randn(2, 1, side, side))
    return len(taken)


def test_only_small_maps_in_training_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Conv3x3(1, 4)
    assert [products(monkeypatch, layer, side) for side in (1, 3, 4)] == [1, 1, 0]
    assert products(monkeypatch, layer.eval(), 2) == 0
    layer.train().products = False
    assert products(monkeypatch, layer, 2) == 0


@pytest.mark.parametrize(
    ("encoder", "size", "expected"),
    [("vgg11", 48, 4), ("vgg11", 32, 6), ("slim_l", 48, 4), ("resnet18", 48, 3), ("resnet50", 48, 2)],
)
def test_how_many_convolutions_of_a_network_are_multiplied(
    encoder: str, size: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert products(monkeypatch, create_image_encoder(encoder), size) == expected


def test_weights_are_those_of_a_plain_convolution() -> None:
    plain = torch.nn.Conv2d(3, 4, 3, padding=1, bias=False)
    layer = Conv3x3(3, 4)
    layer.load_state_dict(plain.state_dict())
    assert layer.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(2, 3, 2, 2)
    torch.testing.assert_close(layer(images), plain(images))


def test_autocast_reaches_the_products() -> None:
    layer = Conv3x3(8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        answer = layer(torch.randn(2, 8, 2, 2))
    assert answer.dtype == torch.bfloat16
    answer.float().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
