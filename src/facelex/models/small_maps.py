"""The 3x3 convolution, by matrix products where the map is small.

A library's convolution has little to get hold of on a map of 6x6 or 3x3 pixels: its kernels work along rows,
and the weight gradient adds up over few positions at a time. On a processor with matrix units oneDNN's weight
gradient of 512 to 512 channels reached a fifth of the matrix rate at 6x6 and a fourteenth at 3x3. Written as
one product of all windows (im2col: Chellapilla et al. 2006, https://inria.hal.science/inria-00112631) it has
the form that processors do fastest, and on small maps the ninefold copy of the input costs next to nothing.
Where each way is used follows from times on one such processor (`benchmarks/training.py layers`,
docs/performance.md); a processor without matrix units gained from products up to 2x2 at least.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution that keeps the size and has no bias; parameters and answers are ``nn.Conv2d``'s.

    In training on a CPU, small maps go through matrix products; no layer that follows may change their answer
    in place. Evaluation, export and GPUs use PyTorch's convolution, so an exported graph holds convolutions.

    Attributes:
        products: False leaves everything to PyTorch.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.products = True

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)``."""
        if not (self.products and self.training and input.device.type == "cpu"):
            return super().forward(input)
        if not _gains_weight_gradient(self.in_channels, max(input.shape[2:])):
            return super().forward(input)
        if torch.is_autocast_enabled("cpu"):  # it knows convolutions, not what is made of them
            input = input.to(torch.get_autocast_dtype("cpu"))
        return conv3x3(input, self.weight.to(input.dtype))


def conv3x3(images: Tensor, weight: Tensor) -> Tensor:
    """Convolve with a 3x3 kernel, zeros around the map; the gradient of the weight by a matrix product.

    The forward pass and the gradient of the images are products too where that pays.

    Args:
        images: ``(B, C, H, W)``; channels-last saves a copy.
        weight: ``(O, C, 3, 3)``, as ``nn.Conv2d`` holds it, in the type of ``images``.

    Returns:
        ``(B, O, H, W)``, channels-last.
    """
    return _Conv3x3.apply(images, weight)  # type: ignore[no-any-return, no-untyped-call]


def multiply(images: Tensor, weight: Tensor) -> Tensor:
    """The convolution as one product; arguments and answer are those of :func:`conv3x3`."""
    return _multiply(images, weight.permute(0, 2, 3, 1).flatten(1).t())


def multiply_for_weight(images: Tensor, grad: Tensor) -> Tensor:
    """The weight's gradient ``(O, C, 3, 3)`` as one product, from the answer's, ``(B, O, H, W)``."""
    rows = grad.permute(0, 2, 3, 1).flatten(0, 2)  # (B * H * W, O)
    product = rows.t().contiguous() @ _windows(images)
    return product.view(grad.shape[1], 3, 3, -1).permute(0, 3, 1, 2)


def _gains_weight_gradient(in_channels: int, side: int) -> bool:
    """Whether a product is expected to be faster than oneDNN's kernel for the gradient of the weight."""
    return side <= 3 or (side <= 8 and in_channels >= 128)


def _gains_forward(weight: Tensor, side: int) -> bool:
    """Whether a product is expected to be faster than oneDNN's kernel for the convolution itself.

    The same is taken to hold for the gradient of the images, which is a convolution of the same size.
    """
    return side <= 2 or (side <= 6 and weight.shape[0] * weight.shape[1] >= 2**17)


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(images, weight)
        if _gains_forward(weight, max(images.shape[2:])):
            return multiply(images, weight)
        return F.conv2d(images, weight, padding=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:  # type: ignore[override]
        images, weight = ctx.saved_tensors
        grad_images = grad_weight = None
        if ctx.needs_input_grad[0]:
            if _gains_forward(weight, max(images.shape[2:])):
                grad_images = _multiply(grad, _turned_matrix(weight))
            else:
                grad_images = torch.ops.aten.convolution_backward(
                    grad, images, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, False, False]
                )[0]
        if ctx.needs_input_grad[1]:
            grad_weight = multiply_for_weight(images, grad)
        return grad_images, grad_weight


def _multiply(images: Tensor, matrix: Tensor) -> Tensor:
    """Convolve as a product of all windows with a kernel's matrix, ``(9 * C, O)``."""
    count, _, height, width = images.shape
    return (_windows(images) @ matrix).view(count, height, width, matrix.shape[1]).permute(0, 3, 1, 2)


def _turned_matrix(weight: Tensor) -> Tensor:
    """Turn a kernel by 180 degrees and exchange its channels: ``(O, C, 3, 3)`` to ``(9 * O, C)``.

    A convolution with it brings the gradient of the answer back to the images.
    """
    return torch.cat([weight[:, :, row, column] for row in (2, 1, 0) for column in (2, 1, 0)])


def _windows(images: Tensor) -> Tensor:
    """Every position's 3x3 window, ``(B, C, H, W)`` to ``(B * H * W, 9 * C)``, in runs of 3 C numbers."""
    count, channels, height, width = images.shape
    padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()
    image, row, column, _ = padded.stride()
    runs = padded.as_strided((count, height, width, 3, 3 * channels), (image, row, column, row, 1))
    return runs.reshape(count * height * width, 9 * channels)
