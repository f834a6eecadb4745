"""Normalisation, ReLU and pooling at once give what the layers give: answers, gradients, statistics.

So does squeeze-excitation between ReLU and pooling.

Most tests run the passes uncompiled, which is the same arithmetic and needs no compiler.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.utils.flop_counter import FlopCounterMode

from facelex.models.blocks import BlurredMaxPool, ConvolvedMaxPool, SqueezeExcitation
from facelex.models.fused import (
    FusedSequential,
    blurred_max_pool,
    loops,
    max_pool,
    norm_activation,
    norm_relu,
    sequential,
    switch_off,
)
from facelex.models.registry import create_image_encoder

PASSES = [
    (module, name)
    for module, names in (
        (max_pool, ("_choose", "_spread")),
        (blurred_max_pool, ("_pool", "_to_windows", "_to_values")),
        (norm_activation, ("_activate", "_to_sums", "_to_values")),
    )
    for name in names
]

POOLS: dict[str, Callable[[int], list[nn.Module]]] = {
    "none": lambda _: [],
    "max": lambda _: [nn.MaxPool2d(2, 2, ceil_mode=True)],
    "blurred": lambda _: [BlurredMaxPool()],
    "excited, max": lambda channels: [SqueezeExcitation(channels), nn.MaxPool2d(2, 2, ceil_mode=True)],
    "excited, blurred": lambda channels: [SqueezeExcitation(channels), BlurredMaxPool()],
}

any_pool = pytest.mark.parametrize("pool", POOLS)


@pytest.fixture(autouse=True)
def any_size_pays(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Uncompiled, unless the test asks for ``compiled`` loops; none remembers those of another test."""
    monkeypatch.setattr(sequential, "SMALLEST", 0)
    monkeypatch.setattr(loops, "_failures", [])
    for module, name in PASSES:
        plain = getattr(module, name).__wrapped__
        fresh = loops.in_one_loop(plain) if "compiled" in request.fixturenames else plain
        monkeypatch.setattr(module, name, fresh)
    if "compiled" not in request.fixturenames:
        monkeypatch.setattr(loops, "_compiler_works", lambda: True)
        yield
        return
    loops._compiler_works.cache_clear()
    yield
    loops._compiler_works.cache_clear()


@pytest.fixture
def compiled() -> None:
    """Let :func:`any_size_pays` leave the loops to the compiler."""


def layers(channels: int, pool: str = "max") -> FusedSequential:
    """With weights of either sign, as training may make them."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.weight, 0.5, 1)
    nn.init.normal_(norm.bias)
    return FusedSequential(norm, nn.ReLU(inplace=True), *POOLS[pool](channels))


def maps(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 2 + 0.3
    return values.to(dtype).contiguous(memory_format=torch.channels_last)


def results(stack: FusedSequential, images: Tensor) -> list[Tensor]:
    """Answer, gradients of the images and of the parameters, running statistics."""
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=images.dtype == torch.bfloat16):
        answer = stack(images)
    above = torch.randn(answer.shape, generator=torch.Generator().manual_seed(2)).to(answer.dtype)
    answer.backward(above)
    slopes = [parameter.grad for parameter in stack.parameters()]
    return [answer.detach(), images.grad, *slopes, *stack[0].buffers()]  # type: ignore[list-item]


def both_ways(stack: FusedSequential, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    apart = copy.deepcopy(stack)
    apart.fuse = False
    return results(stack, images), results(apart, images)


def count_fused(monkeypatch: pytest.MonkeyPatch, stack: nn.Module, images: Tensor) -> dict[str, int]:
    """How often layers ran at once, with a pooling and without."""
    taken: list[str] = []

    def counted(name: str) -> Callable[..., Tensor]:
        fused: Callable[..., Tensor] = getattr(sequential, name)
        return lambda *inputs: (taken.append(name), fused(*inputs))[1]

    with monkeypatch.context() as during:
        for name in ("norm_relu_pool", "_norm_relu"):
            during.setattr(sequential, name, counted(name))
        stack(images)
    return {"pooled": taken.count("norm_relu_pool"), "plain": taken.count("_norm_relu")}


@any_pool
@pytest.mark.parametrize("shape", [(6, 16, 8, 12), (6, 13, 8, 12), (6, 1, 8, 12), (6, 16, 2, 2)])
def test_float32_equals_the_layers(
    shape: tuple[int, ...], pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = maps(*shape)
    assert sum(count_fused(monkeypatch, layers(shape[1], pool), images).values()) == 1
    for ours, theirs in zip(*both_ways(layers(shape[1], pool), images)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, check_stride=False)


@any_pool
def test_values_far_from_zero_keep_their_variance(pool: str) -> None:
    """Moments are put together from those of groups of pixels, not from sums of squares."""
    stack, images = layers(16, pool), maps(6, 16, 8, 12) + 1000
    exact = copy.deepcopy(stack).double()
    exact.fuse = False
    for ours, truth in zip(results(stack, images), results(exact, images.double())):
        torch.testing.assert_close(ours.double(), truth.double(), rtol=1e-3, atol=2e-3, check_stride=False)


@any_pool
def test_bfloat16_is_as_near_to_float32_as_the_layers_are(pool: str) -> None:
    images = maps(32, 16, 12, 12, dtype=torch.bfloat16)
    exact = results(copy.deepcopy(layers(16, pool)), images.float())
    ours, theirs = both_ways(layers(16, pool), images)
    slack = 0.01 if "excited" in pool else 0.001  # a factor's gradient is a sum of few rounded products
    for mine, reference, truth in zip(ours, theirs, exact):
        error = float((mine.float() - truth).norm())
        assert error <= 1.2 * float((reference.float() - truth).norm()) + slack * float(truth.float().norm())


@pytest.mark.usefixtures("compiled")
@any_pool
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_compiled_passes_answer_as_the_uncompiled(
    dtype: torch.dtype, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not loops.are_usable():
        pytest.skip("needs a C++ compiler")
    shapes = [
        (6, 16, 8, 12),
        (5, 24 if dtype == torch.float32 else 32, 4, 6),
    ]  # half a vector over, and another
    in_loops = [results(layers(shape[1], pool), maps(*shape, dtype=dtype)) for shape in shapes]
    assert loops.are_usable()
    for module, name in PASSES:
        monkeypatch.setattr(module, name, getattr(module, name).__wrapped__)
    for compiled, shape in zip(in_loops, shapes):
        for ours, theirs in zip(compiled, results(layers(shape[1], pool), maps(*shape, dtype=dtype))):
            torch.testing.assert_close(ours, theirs, check_stride=False)


@pytest.mark.usefixtures("compiled")
@any_pool
def test_loops_compiled_once_serve_other_batches_and_sizes(pool: str) -> None:
    if not loops.are_usable():
        pytest.skip("needs a C++ compiler")
    results(layers(32, pool), maps(5, 32, 12, 12))
    made = counters["stats"]["unique_graphs"]
    results(layers(32, pool), maps(7, 32, 20, 20))
    results(layers(32, pool), maps(3, 32, 8, 8))
    assert loops.are_usable()
    assert made > 0
    assert counters["stats"]["unique_graphs"] == made


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_compiled_sum_with_a_shortcut_answers_as_the_uncompiled(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not loops.are_usable():
        pytest.skip("needs a C++ compiler")
    compiled = with_shortcut(dtype)
    assert loops.are_usable()
    for module, name in PASSES:
        monkeypatch.setattr(module, name, getattr(module, name).__wrapped__)
    for ours, theirs in zip(compiled, with_shortcut(dtype)):
        torch.testing.assert_close(ours, theirs, check_stride=False)


@pytest.mark.parametrize(
    ("capability", "dtype", "channels", "narrow"),
    [
        ("AVX512", torch.float32, 64, True),
        ("AVX512", torch.bfloat16, 64, False),
        ("AVX512", torch.bfloat16, 48, True),
        ("AVX512", torch.bfloat16, 24, False),
        ("AVX2", torch.float32, 64, False),
        ("AVX2", torch.bfloat16, 48, False),
    ],
)
def test_short_vectors_are_taken_where_they_are_as_fast(
    capability: str, dtype: torch.dtype, channels: int, narrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert loops._is_narrow(torch.zeros(2, channels, 1, 1, dtype=dtype)) == narrow


@any_pool
def test_of_equal_values_the_first_gets_the_gradient_as_in_pytorch(pool: str) -> None:
    images = maps(4, 16, 6, 4).round()
    ours, theirs = both_ways(layers(16, pool), images)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-4, atol=1e-5, check_stride=False)


@any_pool
def test_gradients_are_true_to_small_changes(pool: str) -> None:
    """An answer of its own: the loss's change along a random direction, by differences."""
    stack, images = layers(16, pool), maps(8, 16, 4, 4)
    above = torch.randn(stack(images).shape, generator=torch.Generator().manual_seed(3))
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(4))
    inputs = images.clone().requires_grad_()
    (stack(inputs) * above).sum().backward()
    step = 1e-3

    def loss(shift: float) -> float:
        plain = copy.deepcopy(stack).double()
        plain.fuse = False
        return float((plain((images + shift * direction).double()) * above).sum().detach())

    assert inputs.grad is not None
    slope = (loss(step) - loss(-step)) / (2 * step)
    assert float((inputs.grad * direction).sum()) == pytest.approx(slope, rel=0.02)


@any_pool
def test_frozen_weights_and_images_get_no_gradient(pool: str) -> None:
    stack, images = layers(16, pool), maps(4, 16, 4, 4)
    stack(images).sum().backward()
    assert images.grad is None
    assert stack[0].weight.grad is not None
    stack.requires_grad_(False).zero_grad(set_to_none=True)
    stack(images.requires_grad_()).sum().backward()
    assert images.grad is not None
    assert stack[0].weight.grad is None


@any_pool
def test_autocast_and_no_gradient_change_nothing(pool: str) -> None:
    images = maps(4, 16, 8, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        plain = layers(16, pool)(images)
        with torch.no_grad():
            assert torch.equal(layers(16, pool)(images), plain)
    if "excited" not in pool:  # which multiplies by float32 weights
        assert torch.equal(layers(16, pool)(images), plain)


def test_a_gradient_of_the_gradient_is_refused() -> None:
    stack, images = layers(16), maps(4, 16, 4, 4).requires_grad_()
    (slope,) = torch.autograd.grad((stack(images) ** 2).sum(), images, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.parametrize(
    ("change", "plain", "why"),
    [
        (lambda stack, images: (stack.eval(), images), 0, "evaluation uses running statistics"),
        (
            lambda stack, images: (stack[0].eval() and stack, images),
            0,
            "a frozen part of a network in training",
        ),
        (lambda stack, images: (stack, maps(4, 16, 7, 8)), 1, "an odd side is pooled with a rest"),
        (lambda stack, images: (stack, images[:, :, :6]), 0, "a part of a map has gaps"),
        (lambda stack, images: (stack, images.contiguous()), 0, "rows of channels are what it reads"),
        (lambda stack, images: (stack, images.double()), 0, "a type it does not compute in"),
        (lambda stack, images: (stack[:1], images), 0, "nothing is activated"),
        (lambda stack, images: (FusedSequential(stack[0], stack[2], stack[1]), images), 0, "another order"),
        (
            lambda stack, images: (FusedSequential(stack[0], stack[1], nn.MaxPool2d(3, 2)), images),
            1,
            "another pooling",
        ),
    ],
)
def test_anything_else_is_left_to_the_layers(
    change, plain: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, images = change(layers(16), maps(4, 16, 8, 8))
    assert count_fused(monkeypatch, stack.to(images.dtype), images) == {"pooled": 0, "plain": plain}, why


def with_shortcut(dtype: torch.dtype, *, fuse: bool = True) -> list[Tensor]:
    """Answer, gradients of the maps, the shortcut and the weights, running statistics."""
    norm = layers(16)[0]
    inputs = maps(8, 16, 6, 6, dtype=dtype).requires_grad_()
    shortcut = maps(8, 16, 6, 6, dtype=dtype).flip(0).contiguous(memory_format=torch.channels_last)
    shortcut.requires_grad_()
    answer = norm_relu(inputs, norm, shortcut, fuse=fuse)
    above = torch.randn(answer.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    answer.backward(above)
    slopes = [inputs.grad, shortcut.grad, norm.weight.grad, norm.bias.grad]
    return [answer.detach(), *slopes, *norm.buffers()]  # type: ignore[list-item]


@pytest.mark.parametrize(("dtype", "slack"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_a_shortcut_is_added_in_the_same_pass(
    dtype: torch.dtype, slack: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = with_shortcut(torch.float32, fuse=False)
    used: list[Any] = []
    passes = sequential._norm_relu
    monkeypatch.setattr(sequential, "_norm_relu", lambda *inputs: (used.append(1), passes(*inputs))[1])
    for ours, expected in zip(with_shortcut(dtype), truth):
        assert float((ours - expected).float().norm()) <= slack * float(expected.float().norm())
    assert used == [1]


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(4, 16), nn.Identity(), nn.InstanceNorm2d(16, affine=True, track_running_stats=True)]
)
def test_another_normalisation_is_left_to_itself(norm: nn.Module) -> None:
    images = maps(4, 16, 8, 8)
    torch.testing.assert_close(norm_relu(images, norm), torch.relu(copy.deepcopy(norm)(images)))


def test_weights_in_bfloat16_are_left_to_the_layers() -> None:
    stack, images = layers(16).to(torch.bfloat16), maps(4, 16, 8, 8, dtype=torch.bfloat16)
    assert stack(images).dtype == torch.bfloat16


def test_a_shortcut_of_another_layout_or_in_evaluation_is_added_by_the_layers() -> None:
    norm, images = layers(16)[0], maps(4, 16, 8, 8)
    other = torch.ones_like(images).contiguous()
    apart = copy.deepcopy(norm)
    torch.testing.assert_close(norm_relu(images, norm, other), torch.relu(apart(images) + other))
    norm.eval(), apart.eval()
    before = norm.running_mean.clone()
    torch.testing.assert_close(norm_relu(images, norm, other), torch.relu(apart(images) + other))
    assert torch.equal(norm.running_mean, before)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2, 2, ceil_mode=True), BlurredMaxPool(), ConvolvedMaxPool()])
def test_factors_multiply_the_pooled_map_in_evaluation_too(pool: nn.Module) -> None:
    excitation = SqueezeExcitation(16)
    stack, images = FusedSequential(excitation, pool).eval(), maps(4, 16, 8, 8)
    with torch.no_grad(), pytest.MonkeyPatch.context() as during:
        apart = pool(excitation(images))
        during.setattr(SqueezeExcitation, "forward", lambda *_: pytest.fail("the whole map was multiplied"))
        torch.testing.assert_close(stack(images), apart, check_stride=False)


def test_small_maps_are_left_to_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    images = maps(4, 16, 8, 8)
    monkeypatch.setattr(sequential, "SMALLEST", images.numel() + 1)
    assert not any(count_fused(monkeypatch, layers(16), images).values())


@pytest.mark.parametrize(
    ("name", "options", "pooled", "plain"),
    [
        ("vgg11", {}, 4, 4),  # of maps of 48, 24, 12 and 6 pixels; that of 3 pixels is pooled with a rest
        ("vgg11", {"blur_pool": True}, 4, 4),
        ("vgg11", {"squeeze_excitation": True}, 4, 4),
        ("resnet18", {}, 0, 17),
        ("resnet50", {}, 0, 49),
    ],
)
def test_every_normalisation_with_a_relu_is_fused(
    name: str, options: dict[str, bool], pooled: int, plain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = maps(2, 1, 48, 48)
    encoder = create_image_encoder(name, **options)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert count_fused(monkeypatch, encoder, images) == {"pooled": pooled, "plain": plain}
    switch_off(encoder)
    assert count_fused(monkeypatch, encoder, images) == {"pooled": 0, "plain": 0}


def test_counting_operations_leaves_the_layers_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under such a mode nothing is compiled, so a trial would find a compiler where there is none."""
    with FlopCounterMode(display=False):
        assert not any(count_fused(monkeypatch, layers(16), maps(4, 16, 8, 8)).values())


@pytest.mark.usefixtures("compiled")
def test_compiling_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch._dynamo.config.patch(disable=True):
        assert not any(count_fused(monkeypatch, layers(16), maps(4, 16, 8, 8)).values())


@pytest.mark.usefixtures("compiled")
def test_without_a_compiler_training_goes_on_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(*_: object, **__: object) -> object:
        raise RuntimeError("No working C++ compiler found\nand much more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: no_compiler)
    images = maps(4, 16, 8, 8)
    with caplog.at_level(logging.WARNING, logger="facelex"):
        ours, theirs = both_ways(layers(16), images)
        both_ways(layers(16), images)
    assert [record.getMessage() for record in caplog.records] == [
        "Training runs without its fused CPU loops, which need a C++ compiler, Python's headers "
        "(Debian: g++ and python3-dev) and a folder to write to (TORCHINDUCTOR_CACHE_DIR): "
        "No working C++ compiler found"
    ]
    torch.testing.assert_close(ours, theirs)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    ("failing", "pool"),
    [
        ("_activate", "none"),
        ("_to_sums", "none"),
        ("_to_values", "none"),
        ("_choose", "max"),
        ("_spread", "max"),
        ("_pool", "blurred"),
        ("_to_windows", "blurred"),
        ("_to_values", "blurred"),
    ],
)
def test_a_disk_that_is_full_when_a_new_shape_comes_does_not_end_the_run(
    failing: str, pool: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[str] = []

    def compile_until_full(work: Callable[..., Any], **_: object) -> Callable[..., Any]:
        def run(*inputs: Tensor) -> Any:
            tried.append(work.__name__)
            if work.__name__ == failing:
                raise OSError("No space left on device")
            return work(*inputs)

        return run

    monkeypatch.setattr(torch, "compile", compile_until_full)
    images = maps(4, 16, 8, 8)
    with caplog.at_level(logging.WARNING, logger="facelex"):
        assert sum(count_fused(monkeypatch, layers(16, pool), images).values()) == 1
        monkeypatch.setattr(loops, "_failures", [])
        tried.clear()
        ours, theirs = both_ways(layers(16, pool), images)
        results(layers(16, pool), images)
    for mine, reference in zip(ours, theirs):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5, check_stride=False)
    assert "Training goes on without its fused CPU loops" in caplog.text
    assert "No space left on device" in caplog.text
    assert tried[-1] == failing, "nothing is compiled after the first failure"
    assert not any(count_fused(monkeypatch, layers(16), images).values())
