"""What every image encoder of ours shares: the 3x3 brick, its first weights, and the check of its input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelex.errors import FacelexError
from facelex.models.small_maps import Conv3x3


def conv_bn_relu(in_channels: int, out_channels: int) -> list[nn.Module]:
    """Return a 3x3 convolution that keeps the size, batch normalisation and ReLU.

    The convolution has no bias, for the normalisation that follows takes the mean away again. A runtime can
    fold the three into one operation.
    """
    return [
        Conv3x3(in_channels, out_channels),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


class SqueezeExcitation(nn.Module):
    """Weigh each channel of a map by what the whole map shows (Hu et al. 2018, https://arxiv.org/abs/1709.01507).

    The channels' means go through a bottleneck of an eighth of the channels, at least 8, and a sigmoid.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(8, channels // 8)
        self.squeeze = nn.Conv2d(channels, hidden, kernel_size=1)
        self.excite = nn.Conv2d(hidden, channels, kernel_size=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Scale the channels of ``(B, C, H, W)``."""
        return maps * self.factors(self.means(maps))

    def means(self, maps: Tensor) -> Tensor:
        """Of each channel, ``(B, C, H, W)`` to ``(B, C, 1, 1)``."""
        return maps.mean(dim=(2, 3), keepdim=True)

    def factors(self, means: Tensor) -> Tensor:
        """Return what channels with these means are multiplied by, in [0, 1]; both ``(B, C, 1, 1)``."""
        return torch.sigmoid(self.excite(torch.relu(self.squeeze(means))))


class BlurredMaxPool(nn.Sequential):
    """Halve a map so that a shift of the picture changes little (Zhang 2019, https://arxiv.org/abs/1904.11486).

    The paper's MaxBlurPool: the maximum of each 2x2 window at every position, then every second pixel of the
    map blurred with [1, 2, 1]/4 both ways, which is two averages of two. Odd sizes are rounded up. A window
    at the border takes what it has, which is the maximum of a map whose border is repeated.
    """

    def __init__(self) -> None:
        super().__init__(
            nn.MaxPool2d(kernel_size=2, stride=1, padding=1),
            nn.AvgPool2d(kernel_size=2, stride=1),
            nn.AvgPool2d(kernel_size=2, stride=2, ceil_mode=True),
        )


class ConvolvedMaxPool(nn.Module):
    """:class:`BlurredMaxPool` with one depthwise convolution for its blur, as inference runtimes like it.

    They run two averages of overlapping windows slowly and, in 8 bits, not at all; the weights 1/16, 2/16 and
    4/16 are exact there.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Halve ``(B, C, H, W)``, odd sizes rounded up."""
        channels, height, width = maps.shape[1:]
        largest = F.max_pool2d(maps, kernel_size=2, stride=1, padding=1)
        if height % 2 or width % 2:
            # the last average is of what there is, as if the map went back from there
            largest = F.pad(largest, (0, width % 2, 0, height % 2), mode="reflect")
        weights = torch.tensor([1.0, 2.0, 1.0]) / 4
        kernel = torch.outer(weights, weights).expand(channels, 1, 3, 3)
        return F.conv2d(largest, kernel, stride=2, groups=channels)


def init_weights(encoder: nn.Module) -> None:
    """Draw every convolution of ``encoder`` anew as He et al. 2015 (https://arxiv.org/abs/1502.01852) do.

    Normal with variance 2 / fan-out, so that gradients keep their size on the way back through ReLUs.
    Batch normalisation begins as the identity (PyTorch's default). Randomness: PyTorch's global generator.
    """
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def check_images(images: Tensor, in_channels: int) -> None:
    """Raise unless ``images`` is ``(B, in_channels, H, W)``.

    Raises:
        FacelexError: If the number of axes or channels is another.
    """
    if images.ndim == 4 and images.shape[1] == in_channels:
        return
    shape = tuple(images.shape)
    if images.ndim == 2:
        remedy = "Add the batch and channel axes with images[None, None]."
    elif images.ndim == 3:
        remedy = "Add the channel axis of grey pictures with images[:, None]."
    else:
        remedy = (
            f"Convert the pictures, or create the encoder with in_channels={shape[1]}." if shape[1:] else ""
        )
    raise FacelexError(
        f"Expected images of shape (B, {in_channels}, H, W), but got {shape}. {remedy}".strip()
    )
