"""Thin plain stacks: the ``slim`` family for shipping and a tiny network for tests."""

from __future__ import annotations

from facelex.models.registry import register_image_encoder
from facelex.models.vgg import POOL, VGG

SLIM_LAYERS: tuple[int | str, ...] = (32, POOL, 64, POOL, 128, 128, POOL, 256, 256, POOL, 256, 256)


def _slim(width: float, in_channels: int) -> VGG:
    layers = [
        layer if isinstance(layer, str) else max(8, round(layer * width / 8) * 8) for layer in SLIM_LAYERS
    ]
    return VGG(layers, in_channels=in_channels)


@register_image_encoder
def slim_s(*, in_channels: int = 1) -> VGG:
    """Smallest."""
    return _slim(0.28, in_channels)


@register_image_encoder
def slim_m(*, in_channels: int = 1) -> VGG:
    """Middle."""
    return _slim(0.5, in_channels)


@register_image_encoder
def slim_l(*, in_channels: int = 1) -> VGG:
    """Largest."""
    return _slim(1.0, in_channels)


@register_image_encoder
def tiny_cnn(*, in_channels: int = 1) -> VGG:
    """For tests and first steps: three narrow convolutions."""
    return VGG((8, POOL, 16, POOL, 32), in_channels=in_channels)
