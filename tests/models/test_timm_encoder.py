"""timm's backbones behind our contract, with no download whatever is asked."""

from __future__ import annotations

import socket
import sys

import pytest
import torch

from facelex.errors import FacelexError, MissingExtraError
from facelex.models.registry import create_image_encoder

pytest.importorskip("timm")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a test tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def faces(size: int = 48, channels: int = 1) -> torch.Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("resnet10t", 512),
        ("mobilenetv3_small_050", 1024),  # timm's num_features says 288 here
        ("vit_tiny_patch16_224", 192),  # built for 224 pixels unless told otherwise
        ("mixer_s32_224", 512),  # of fixed size for good
    ],
)
def test_backbone_turns_grey_faces_into_num_features(name: str, width: int) -> None:
    encoder = create_image_encoder(f"timm:{name}")
    assert encoder.training
    features = encoder(faces())
    assert features.shape == (2, width)
    assert encoder.num_features == width
    features.square().mean().backward()
    assert next(encoder.parameters()).grad is not None


def test_other_sizes_channels_and_options_work() -> None:
    assert create_image_encoder("timm:resnet10t")(faces(24)).shape == (2, 512)
    assert create_image_encoder("timm:vit_tiny_patch16_224")(faces(64)).shape == (2, 192)
    assert create_image_encoder("timm:mixer_s32_224", img_size=64)(faces(64)).shape == (2, 512)
    assert create_image_encoder("timm:resnet10t", in_channels=3)(faces(channels=3)).shape == (2, 512)


def test_size_that_the_backbone_cannot_take_is_one_sentence() -> None:
    encoder = create_image_encoder("timm:vit_tiny_patch16_224")
    with pytest.raises(FacelexError, match="timm:vit_tiny_patch16_224 cannot take pictures of 24x24 pixels"):
        encoder(faces(24))


def test_backbone_too_deep_for_faces_is_refused_when_created() -> None:
    with pytest.raises(FacelexError, match="timm:inception_v3 cannot take faces of 48x48 pixels"):
        create_image_encoder("timm:inception_v3")


def test_unknown_backbone_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(FacelexError, match=r"Unknown timm model 'resnt18'\. Did you mean 'resnet18'\?"):
        create_image_encoder("timm:resnt18")


@pytest.mark.parametrize("name", ["hf-hub:owner/name", "local-dir:/tmp/model", ""])
def test_backbones_from_elsewhere_are_unknown(name: str) -> None:
    with pytest.raises(FacelexError, match="Unknown timm model"):
        create_image_encoder(f"timm:{name}")


def test_pretrained_weights_are_refused_with_the_name_to_write() -> None:
    with pytest.raises(
        FacelexError, match=r"weights 'a1_in1k', which are not loaded here\. Write 'timm:resnet18'"
    ):
        create_image_encoder("timm:resnet18.a1_in1k")
    with pytest.raises(FacelexError, match="option 'pretrained' of 'timm:resnet18' is fixed"):
        create_image_encoder("timm:resnet18", pretrained=True)


def test_unknown_option_is_named() -> None:
    with pytest.raises(FacelexError, match=r"timm:resnet10t does not accept the options.*no_such_option"):
        create_image_encoder("timm:resnet10t", no_such_option=1)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("resnet10t", "output_stride", 3),  # an assertion without a word
        ("resnet10t", "drop_rate", "big"),  # noticed when the first picture goes through
        ("vit_tiny_patch16_224", "img_size", -5),
        ("vit_tiny_patch16_224", "patch_size", 0),
    ],
)
def test_option_with_a_value_that_timm_cannot_use_is_one_sentence(name: str, option: str, value) -> None:
    with pytest.raises(FacelexError, match=f"timm:{name} does not accept the options {option}={value!r}: "):
        create_image_encoder(f"timm:{name}", **{option: value})


def test_missing_timm_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'facelex\[train\]'"):
        create_image_encoder("timm:resnet18")
