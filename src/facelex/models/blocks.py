"""What every image encoder of ours shares: the 3x3 brick, its first weights, and the check of its input."""

from __future__ import annotations

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
