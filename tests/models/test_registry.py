"""What every registered image encoder promises, and what the registry says when asked for something else."""

from __future__ import annotations

import pytest
import torch

from facelex.errors import FacelexError
from facelex.models import registry
from facelex.models.registry import create_image_encoder, list_image_encoders, register_image_encoder

ENCODERS = list_image_encoders()
assert ENCODERS, "no image encoder is registered"


@pytest.fixture(autouse=True)
def _restore_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))


def faces(size: int = 48, batch: int = 2, channels: int = 1) -> torch.Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(0))


def test_the_promised_names_are_registered() -> None:
    promised = {"vgg11", "vgg16", "resnet18", "resnet50", "slim_s", "slim_m", "slim_l", "tiny_cnn"}
    assert promised <= set(ENCODERS)
    assert sorted(ENCODERS) == ENCODERS


@pytest.mark.parametrize("size", [24, 33, 48])
@pytest.mark.parametrize("name", ENCODERS)
def test_faces_of_any_size_become_num_features(name: str, size: int) -> None:
    encoder = create_image_encoder(name).eval()
    with torch.no_grad():
        features = encoder(faces(size))
    assert features.shape == (2, encoder.num_features)
    assert features.isfinite().all()
    assert not torch.equal(features[0], features[1])


@pytest.mark.parametrize("name", ENCODERS)
def test_trains_in_channels_last_under_bfloat16_autocast(name: str) -> None:
    encoder = create_image_encoder(name).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = encoder(faces(32).contiguous(memory_format=torch.channels_last))
    features.float().square().mean().backward()
    gradients = {key: parameter.grad for key, parameter in encoder.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    assert sum(float(gradient.abs().sum()) for gradient in gradients.values() if gradient is not None) > 0


@pytest.mark.parametrize("name", ENCODERS)
def test_memory_format_does_not_change_the_features(name: str) -> None:
    encoder = create_image_encoder(name).eval()
    with torch.no_grad():
        expected = encoder(faces(24))
        features = encoder.to(memory_format=torch.channels_last)(
            faces(24).to(memory_format=torch.channels_last)
        )
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_convolutions_begin_with_variance_two_over_fan_out(name: str) -> None:
    torch.manual_seed(0)
    for module in create_image_encoder(name).modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            tolerance = 5 * (2 / module.weight.numel()) ** 0.5  # five standard errors of a sample variance
            assert module.bias is None
            assert float(module.weight.detach().var()) == pytest.approx(2 / fan_out, rel=tolerance)


@pytest.mark.parametrize("name", ENCODERS)
def test_seed_decides_the_first_weights(name: str) -> None:
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(next(create_image_encoder(name).parameters()).detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_colour_pictures_are_taken_by_an_encoder_made_for_them() -> None:
    encoder = create_image_encoder("tiny_cnn", in_channels=3).eval()
    assert encoder(faces(channels=3)).shape == (2, 32)


@pytest.mark.parametrize("name", ENCODERS)
def test_pictures_of_another_shape_are_refused_with_the_remedy(name: str) -> None:
    encoder = create_image_encoder(name)
    with pytest.raises(
        FacelexError, match=r"Expected images of shape \(B, 1, H, W\), but got \(48, 48\)\. .*None, None"
    ):
        encoder(torch.zeros(48, 48))
    with pytest.raises(FacelexError, match=r"but got \(2, 48, 48\)\. Add the channel axis"):
        encoder(torch.zeros(2, 48, 48))
    with pytest.raises(FacelexError, match=r"but got \(2, 3, 48, 48\)\..*in_channels=3"):
        encoder(torch.zeros(2, 3, 48, 48))


def test_unknown_encoder_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(
        FacelexError, match=r"Unknown image encoder 'resnt18'\. Did you mean 'resnet18'\? Known: .*vgg11"
    ):
        create_image_encoder("resnt18")


def test_unknown_option_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(
        FacelexError,
        match=r"'slim_m' has no option 'widht'\. Did you mean 'width'\? "
        r"Known: blur_pool, squeeze_excitation, width\.",
    ):
        create_image_encoder("slim_m", widht=2)
    with pytest.raises(
        FacelexError, match=r"'resnet18' has no option 'depth'\. Known: none besides in_channels\."
    ):
        create_image_encoder("resnet18", depth=2)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [("width", "big", "a number"), ("squeeze_excitation", "yess", "true or false")],
)
def test_option_of_the_wrong_kind_is_named(option: str, value: str, expected: str) -> None:
    with pytest.raises(
        FacelexError, match=f"option '{option}' of .* 'slim_s' to be {expected}, but got '{value}'"
    ):
        create_image_encoder("slim_s", **{option: value})


def test_no_channels_are_refused() -> None:
    with pytest.raises(FacelexError, match="in_channels of 1 or more, but got 0"):
        create_image_encoder("vgg11", in_channels=0)


def test_own_encoder_is_created_by_its_function_name() -> None:
    @register_image_encoder
    def my_encoder(*, in_channels: int = 1, width: int = 4) -> torch.nn.Module:
        return torch.nn.Conv2d(in_channels, width, 3)

    assert "my_encoder" in list_image_encoders()
    encoder = create_image_encoder("my_encoder", width=9)
    assert encoder.out_channels == 9


def test_second_encoder_under_one_name_is_an_error() -> None:
    def vgg11(*, in_channels: int = 1) -> torch.nn.Module:
        raise AssertionError

    with pytest.raises(ValueError, match=r"'vgg11' is registered already, by facelex\.models\.vgg"):
        register_image_encoder(vgg11)
