"""VGG: a plain stack of 3x3 convolutions (Simonyan & Zisserman 2015, https://arxiv.org/abs/1409.1556).

Table 1 of the paper gives the configurations; we take A (11 weight layers) and D (16). "The convolution
stride is fixed to 1 pixel; the spatial padding of conv. layer input is such that the spatial resolution is
preserved after convolution" (section 2.1).

Where we differ, because the paper's pictures have 224 pixels a side and ours 48:

* the mean over the last map replaces the three fully connected layers, which would hold 9 in 10 of the
  weights; so ``vgg11`` has 8 weight layers and ``vgg16`` 13, and the classifier is a head of its own;
* batch normalisation (Ioffe & Szegedy 2015) follows each convolution, which therefore needs no bias;
* pooling rounds sizes up (``ceil_mode``), so that the 3x3 map of a face of 48 pixels is pooled without losing
  its last row and column, and pictures down to 24 pixels go through: 24, 12, 6, 3, 2, 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from facelex.errors import FacelexError
from facelex.models.blocks import (
    BlurredMaxPool,
    SqueezeExcitation,
    check_images,
    conv_bn_relu,
    init_weights,
)
from facelex.models.fused import FusedSequential
from facelex.models.registry import register_image_encoder

POOL = "M"

CONFIGURATIONS: dict[str, tuple[int | str, ...]] = {
    "A": (64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL),
    "D": (64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512, POOL),
}
"""Columns of Table 1: a number is a convolution's width, "M" a 2x2 max-pooling of stride 2."""


class VGG(nn.Module):
    """Plain stack of convolutions, normalisations and poolings, averaged over its last map.

    Attributes:
        num_features: Width F of what comes out, that of the last convolution.
    """

    def __init__(
        self,
        layers: Sequence[int | str],
        *,
        in_channels: int = 1,
        squeeze_excitation: bool = False,
        blur_pool: bool = False,
    ) -> None:
        """Build the stack that ``layers`` lists.

        Args:
            layers: Widths of convolutions, and ``"M"`` for a pooling.
            in_channels: Channels of the pictures.
            squeeze_excitation: Weigh the channels before each pooling and at the end.
            blur_pool: Blur the maps before every second pixel is taken.
        """
        super().__init__()
        stack: list[nn.Module] = []
        width = in_channels
        for layer, following in zip(layers, [*layers[1:], POOL], strict=True):
            if isinstance(layer, int):
                stack += conv_bn_relu(width, layer)
                width = layer
                if squeeze_excitation and following == POOL:
                    stack.append(SqueezeExcitation(width))
            elif blur_pool:
                stack.append(BlurredMaxPool())
            else:
                stack.append(nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=True))
        self.in_channels = in_channels
        self.num_features = width
        self.layers = FusedSequential(*stack)
        init_weights(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised pictures ``(B, in_channels, H, W)`` to backbone features ``(B, num_features)``."""
        check_images(images, self.in_channels)
        return self.layers(images).mean(dim=(2, 3))


@register_image_encoder
def vgg11(
    *, in_channels: int = 1, width: float = 1.0, squeeze_excitation: bool = False, blur_pool: bool = False
) -> VGG:
    """Configuration A: 8 convolutions, 512 features; ``width`` multiplies the channels."""
    return scaled_vgg(
        CONFIGURATIONS["A"],
        width=width,
        in_channels=in_channels,
        squeeze_excitation=squeeze_excitation,
        blur_pool=blur_pool,
    )


@register_image_encoder
def vgg16(
    *, in_channels: int = 1, width: float = 1.0, squeeze_excitation: bool = False, blur_pool: bool = False
) -> VGG:
    """Configuration D: 13 convolutions, 512 features; ``width`` multiplies the channels."""
    return scaled_vgg(
        CONFIGURATIONS["D"],
        width=width,
        in_channels=in_channels,
        squeeze_excitation=squeeze_excitation,
        blur_pool=blur_pool,
    )


def scaled_vgg(
    layers: Sequence[int | str], *, width: float, in_channels: int, squeeze_excitation: bool, blur_pool: bool
) -> VGG:
    """Build the stack ``layers`` with ``width`` times its channels, rounded to multiples of 8.

    Raises:
        FacelexError: If the width is not above 0 and finite.
    """
    if not 0 < width < math.inf:
        raise FacelexError(
            f"Expected a finite width above 0, but got {width}. 1 means the encoder's usual widths."
        )
    scaled = [layer if isinstance(layer, str) else _scaled(layer, width) for layer in layers]
    return VGG(scaled, in_channels=in_channels, squeeze_excitation=squeeze_excitation, blur_pool=blur_pool)


def _scaled(channels: int, width: float) -> int:
    """Scale to the nearest multiple of 8, at least 8: vector instructions take channels by eights."""
    return max(8, 8 * round(channels * width / 8))
