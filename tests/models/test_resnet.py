"""Our ResNets beside torchvision's: the same blocks; the stem is that of the paper's CIFAR-10 networks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from facelex.models.registry import create_image_encoder
from facelex.models.resnet import BasicBlock, Bottleneck

Shape = tuple[int, int, tuple[int, ...], tuple[int, ...]]


def convolutions(module: nn.Module) -> list[Shape]:
    return [
        (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride)
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d)
    ]


def stages_of(reference: nn.Module) -> list[nn.Module]:
    return [getattr(reference, f"layer{number}") for number in (1, 2, 3, 4)]


REFERENCES = [
    ("resnet18", torchvision.models.resnet18, (2, 2, 2, 2), BasicBlock),
    ("resnet50", torchvision.models.resnet50, (3, 4, 6, 3), Bottleneck),
]


@pytest.mark.parametrize(("name", "reference", "depths", "block"), REFERENCES)
def test_blocks_are_those_of_torchvision(name: str, reference: Callable, depths: tuple, block: type) -> None:
    with torch.device("meta"):
        theirs = stages_of(reference(weights=None))
    ours = list(create_image_encoder(name).stages.children())  # type: ignore[union-attr]
    assert tuple(len(list(stage.children())) for stage in ours) == depths
    assert all(isinstance(child, block) for stage in ours for child in stage.children())
    for our_stage, their_stage in zip(ours, theirs, strict=True):
        assert convolutions(our_stage) == convolutions(their_stage)


@pytest.mark.parametrize(("name", "reference", "depths", "block"), REFERENCES)
def test_stages_compute_what_torchvisions_do(
    name: str, reference: Callable, depths: tuple, block: type
) -> None:
    torch.manual_seed(0)
    encoder = create_image_encoder(name).eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):  # gamma 0 would hide the inside of the blocks
            nn.init.uniform_(module.weight, 0.3, 0.6)
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
    theirs = nn.Sequential(*stages_of(reference(weights=None))).eval()
    ours_state = list(encoder.stages.state_dict().items())  # type: ignore[union-attr]
    their_keys = list(theirs.state_dict())
    assert [tuple(value.shape) for _, value in ours_state] == [
        tuple(value.shape) for value in theirs.state_dict().values()
    ]
    theirs.load_state_dict(dict(zip(their_keys, (value for _, value in ours_state), strict=True)))
    maps: Tensor = torch.randn(1, 64, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(encoder.stages(maps), theirs(maps), rtol=1e-4, atol=1e-4)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "weights", "width"), [("resnet18", 11_167_680, 512), ("resnet50", 23_499_200, 2048)]
)
def test_number_of_weights_for_grey_faces(name: str, weights: int, width: int) -> None:
    encoder = create_image_encoder(name)
    assert encoder.num_features == width
    assert sum(parameter.numel() for parameter in encoder.parameters()) == weights


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_stem_keeps_the_size_and_the_last_map_of_a_face_is_6x6(name: str) -> None:
    encoder = create_image_encoder(name).eval()
    with torch.no_grad():
        stem = encoder.stem(torch.zeros(1, 1, 48, 48))  # type: ignore[operator]
        maps = encoder.stages(stem)  # type: ignore[operator]
    assert stem.shape == (1, 64, 48, 48)
    assert maps.shape[2:] == (6, 6)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_blocks_begin_as_the_identity(block: type[BasicBlock] | type[Bottleneck]) -> None:
    encoder = create_image_encoder("resnet18" if block is BasicBlock else "resnet50")
    blocks = [module for module in encoder.modules() if isinstance(module, block)]
    assert blocks
    for module in blocks:
        if isinstance(module.shortcut, nn.Identity):
            maps = torch.rand(2, module.conv1.in_channels, 6, 6)
            torch.testing.assert_close(module(maps), maps)
