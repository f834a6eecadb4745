"""The 3x3 convolution, as one matrix product where the map is tiny.

On a map of 2x2, five in nine multiplications of a padded 3x3 convolution are with zeros of the border, and
libraries' kernels for its weight gradient have little to get hold of. Written as a full linear map from all
input values to all output values, it does only the other four, in the form that processors do fastest.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST_SIDE = 2
"""Maps up to this side are multiplied; at 3x3 the full weight has more numbers than it saves work."""


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution that keeps the size and has no bias; parameters and answers are ``nn.Conv2d``'s.

    Training on a CPU takes the matrix product for tiny maps. Evaluation and export never do, so a graph holds
    nothing but convolutions, and a GPU's kernels need no help.

    Attributes:
        largest_dense_side: Maps up to this side are multiplied; 0 leaves everything to PyTorch.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.largest_dense_side = LARGEST_SIDE

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)``."""
        if self.training and input.device.type == "cpu" and max(input.shape[2:]) <= self.largest_dense_side:
            return dense_conv3x3(input, self.weight.to(input.dtype))  # autocast would cast it when grown
        return super().forward(input)


def dense_conv3x3(images: Tensor, weight: Tensor) -> Tensor:
    """Convolve maps of at most 2x2 with a 3x3 kernel, zeros around them, in one matrix product.

    Row q of the grown weight is what output position q sees: the part of the kernel that lies over the map
    when the kernel's centre is at q. In channels-last layout the input needs no copy and the rows are copied
    in runs of C numbers.

    Args:
        images: ``(B, C, H, W)``, H and W at most 2.
        weight: ``(O, C, 3, 3)``, as ``nn.Conv2d`` holds it.

    Returns:
        ``(B, O, H, W)``, channels-last.
    """
    count, channels, height, width = images.shape
    kernel = weight.permute(0, 2, 3, 1)  # (O, 3, 3, C)
    seen = [
        kernel[:, 1 - row : 1 - row + height, 1 - column : 1 - column + width]
        for row in range(height)
        for column in range(width)
    ]
    grown = torch.stack(seen).flatten(2).flatten(0, 1)  # (H * W * O, H * W * C)
    flat = images.permute(0, 2, 3, 1).reshape(count, height * width * channels)
    return F.linear(flat, grown).view(count, height, width, -1).permute(0, 3, 1, 2)
