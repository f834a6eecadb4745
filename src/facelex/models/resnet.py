"""Residual networks (He et al. 2016, https://arxiv.org/abs/1512.03385) for small grey faces.

The paper's Table 1 gives the numbers of blocks: ResNet18 stacks basic blocks (two 3x3 convolutions, Fig. 5
left), ResNet50 bottlenecks (1x1, 3x3, 1x1, Fig. 5 right). "We adopt batch normalization (BN) right after each
convolution and before activation" (section 3.4). Shortcuts are option B (section 4.1): "projection shortcuts
are used for increasing dimensions, and other shortcuts are identity".

Where we differ, because the paper's ImageNet pictures have 224 pixels a side and ours 48:

* the stem is the one of the paper's CIFAR-10 networks (section 4.2: "The first layer is 3x3 convolutions"),
  without stride and max-pooling, so a face of 48 pixels reaches the last stage as a map of 6x6, not 2x2;
* a bottleneck takes its stride in the 3x3 convolution, not the first 1x1, as torchvision does ("ResNet
  v1.5"): a 1x1 convolution of stride 2 never sees three quarters of its input;
* the last normalisation of each block begins with gamma 0, so each block begins as the identity
  (Goyal et al. 2017, section 5.1, https://arxiv.org/abs/1706.02677).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from facelex.models.blocks import check_images, conv_bn_relu, init_weights
from facelex.models.fused import FusedSequential, norm_relu
from facelex.models.registry import register_image_encoder
from facelex.models.small_maps import Conv3x3

STAGE_WIDTHS = (64, 128, 256, 512)
"""Widths of the 3x3 convolutions in conv2_x to conv5_x (Table 1)."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: ``relu(F(x) + shortcut(x))``, Eq. 1 and 2 of the paper.

    Attributes:
        fuse: Whether normalisation, sum and ReLU may run at once (`facelex.models.fused`).
    """

    expansion = 1
    fuse: bool = True

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = Conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, width, H / stride, W / stride)``."""
        shortcut = self.shortcut(x)  # first, so that each normalisation directly follows its convolution
        out = norm_relu(self.conv1(x), self.bn1, fuse=self.fuse)
        return norm_relu(self.conv2(out), self.bn2, shortcut, fuse=self.fuse)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The normalisation before the sum."""
        return self.bn2


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1, "responsible for reducing and then increasing" the width.

    Attributes:
        fuse: As in :class:`BasicBlock`.
    """

    expansion = 4
    fuse: bool = True

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.shortcut = _shortcut(in_channels, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, 4 * width, H / stride, W / stride)``."""
        shortcut = self.shortcut(x)  # first, as in BasicBlock
        out = norm_relu(self.conv1(x), self.bn1, fuse=self.fuse)
        out = norm_relu(self.conv2(out), self.bn2, fuse=self.fuse)
        return norm_relu(self.conv3(out), self.bn3, shortcut, fuse=self.fuse)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The normalisation before the sum."""
        return self.bn3


class ResNet(nn.Module):
    """A 3x3 stem, four stages of residual blocks, and the mean over the last map.

    Attributes:
        num_features: Width F of what comes out: 512 for basic blocks, 2048 for bottlenecks.
    """

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], depths: Sequence[int], *, in_channels: int = 1
    ) -> None:
        """Build the network with ``depths`` blocks in its four stages."""
        super().__init__()
        self.in_channels = in_channels
        self.stem = FusedSequential(*conv_bn_relu(in_channels, STAGE_WIDTHS[0]))
        channels = STAGE_WIDTHS[0]
        stages: list[nn.Module] = []
        for index, (width, depth) in enumerate(zip(STAGE_WIDTHS, depths, strict=True)):
            blocks: list[nn.Module] = []
            for position in range(depth):
                halves = (
                    index > 0 and position == 0
                )  # conv3_1, conv4_1 and conv5_1 have a stride of 2 (Table 1)
                blocks.append(block(channels, width, stride=2 if halves else 1))
                channels = width * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.num_features = channels
        init_weights(self)
        for module in self.modules():
            if isinstance(module, BasicBlock | Bottleneck):
                nn.init.zeros_(module.last_norm.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised pictures ``(B, in_channels, H, W)`` to backbone features ``(B, num_features)``."""
        check_images(images, self.in_channels)
        return self.stages(self.stem(images)).mean(dim=(2, 3))


def _conv3x3(in_channels: int, out_channels: int, stride: int) -> nn.Conv2d:
    if stride == 1:
        return Conv3x3(in_channels, out_channels)
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Return a 1x1 projection where the shape changes and the identity elsewhere (option B)."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


@register_image_encoder
def resnet18(*, in_channels: int = 1) -> ResNet:
    """Basic blocks, two a stage: 512 features."""
    return ResNet(BasicBlock, (2, 2, 2, 2), in_channels=in_channels)


@register_image_encoder
def resnet50(*, in_channels: int = 1) -> ResNet:
    """Bottlenecks, 3, 4, 6 and 3 a stage: 2048 features."""
    return ResNet(Bottleneck, (3, 4, 6, 3), in_channels=in_channels)
