"""Tiny maps are convolved by a matrix product: the same answers and gradients as the convolution's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from facelex.models import small_maps
from facelex.models.registry import create_image_encoder
from facelex.models.small_maps import Conv3x3, dense_conv3x3


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (2, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_product_equals_the_convolution_forward_and_backward(
    size: tuple[int, int], layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    images = torch.randn(5, 3, *size, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    above = torch.randn(5, 4, *size, dtype=torch.float64)
    ours, theirs = dense_conv3x3(images, weight), F.conv2d(images, weight, padding=1)
    torch.testing.assert_close(ours, theirs, check_stride=False)
    for mine, reference in zip(
        torch.autograd.grad(ours, (images, weight), above),
        torch.autograd.grad(theirs, (images, weight), above),
    ):
        torch.testing.assert_close(mine, reference, check_stride=False)


def products(monkeypatch: pytest.MonkeyPatch, layer: torch.nn.Module, side: int) -> int:
    """How many matrix products ``layer`` takes for maps of ``side``."""
    taken: list[int] = []

    def counted(images: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        taken.append(1)
        return dense_conv3x3(images, weight)

    monkeypatch.setattr(small_maps, "dense_conv3x3", counted)
    layer(torch.randn(2, 1, side, side))
    return len(taken)


def test_only_tiny_maps_in_training_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Conv3x3(1, 4)
    assert [products(monkeypatch, layer, side) for side in (1, 2, 3)] == [1, 1, 0]
    assert products(monkeypatch, layer.eval(), 2) == 0
    layer.train().largest_dense_side = 0
    assert products(monkeypatch, layer, 2) == 0


def test_vgg11_multiplies_its_last_two_convolutions_at_32_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = create_image_encoder("vgg11")
    assert products(monkeypatch, encoder, 32) == 2
    assert products(monkeypatch, encoder, 48) == 0


def test_weights_are_those_of_a_plain_convolution() -> None:
    plain = torch.nn.Conv2d(3, 4, 3, padding=1, bias=False)
    layer = Conv3x3(3, 4)
    layer.load_state_dict(plain.state_dict())
    assert layer.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(2, 3, 2, 2)
    torch.testing.assert_close(layer(images), plain(images))
