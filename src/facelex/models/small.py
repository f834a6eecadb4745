"""Thin plain stacks: the ``slim`` family, made for shipping, and a tiny network for tests.

The slim family is one list of layers at three widths. A runtime folds convolution, normalisation and ReLU
into one operation, and there is little else. Multiply-accumulates are those of the convolutions for one grey
face of 48x48 pixels; ``tests/models/test_small.py`` counts both columns.

| name   | width | weights   | multiply-accumulates | features |
|--------|-------|-----------|----------------------|----------|
| slim_s | 0.28  |   176,504 |            6,086,016 |       72 |
| slim_m | 0.5   |   577,520 |           21,565,440 |      128 |
| slim_l | 1     | 2,307,040 |           85,598,208 |      256 |

Two options, off unless asked for: ``squeeze_excitation`` weighs channels by what the whole map shows (the
shipped ``vgg16`` has it), and ``blur_pool`` blurs before it halves (`facelex.models.blocks`; the shipped
``slim_m`` has it).

For comparison: ``vgg11`` has 9,222,080 weights and needs 341,065,728.
"""

from __future__ import annotations

from facelex.models.registry import register_image_encoder
from facelex.models.vgg import POOL, VGG, scaled_vgg

SLIM_LAYERS: tuple[int | str, ...] = (32, POOL, 64, POOL, 128, 128, POOL, 256, 256, POOL, 256, 256)
"""Widths of the 3x3 convolutions at width 1; the last two see a 3x3 map of a face of 48 pixels."""

TINY_LAYERS: tuple[int | str, ...] = (8, POOL, 16, POOL, 32)


@register_image_encoder
def slim_s(
    *, in_channels: int = 1, width: float = 0.28, squeeze_excitation: bool = False, blur_pool: bool = False
) -> VGG:
    """Smallest of the family; ``width`` multiplies the channels, which stay multiples of 8."""
    return scaled_vgg(
        SLIM_LAYERS,
        width=width,
        in_channels=in_channels,
        squeeze_excitation=squeeze_excitation,
        blur_pool=blur_pool,
    )


@register_image_encoder
def slim_m(
    *, in_channels: int = 1, width: float = 0.5, squeeze_excitation: bool = False, blur_pool: bool = False
) -> VGG:
    """Middle of the family; ``width`` multiplies the channels, which stay multiples of 8."""
    return scaled_vgg(
        SLIM_LAYERS,
        width=width,
        in_channels=in_channels,
        squeeze_excitation=squeeze_excitation,
        blur_pool=blur_pool,
    )


@register_image_encoder
def slim_l(
    *, in_channels: int = 1, width: float = 1.0, squeeze_excitation: bool = False, blur_pool: bool = False
) -> VGG:
    """Largest of the family; ``width`` multiplies the channels, which stay multiples of 8."""
    return scaled_vgg(
        SLIM_LAYERS,
        width=width,
        in_channels=in_channels,
        squeeze_excitation=squeeze_excitation,
        blur_pool=blur_pool,
    )


@register_image_encoder
def tiny_cnn(*, in_channels: int = 1) -> VGG:
    """Three narrow convolutions, 32 features: enough for drawn faces and quick tests."""
    return VGG(TINY_LAYERS, in_channels=in_channels)
