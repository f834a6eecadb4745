"""The fast path computes what plain float32 computes: loss, every gradient and the optimiser's step.

Fast is what ``facelex train`` runs: bf16 autocast by Fabric, channels-last, small maps as matrix products,
normalisation with ReLU and pooling in one pass, a fused optimiser. Plain is the same network with PyTorch's
own layers in float32, contiguous, one parameter at a time.

bf16 keeps 8 bits, and a deep network with 16 faces a batch magnifies their rounding: each bound has the worst
value measured over all networks beside it. What breaks (a gradient that is lost, halved, doubled, of another
tensor or of a shifted kernel) lies far outside, which the last test shows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelex.data.sketch import sketch_dataset
from facelex.losses.objective import Objective, Targets
from facelex.models.dual_encoder import DualEncoder
from facelex.models.fused import switch_off
from facelex.models.prediction import images_from_pixels
from facelex.models.registry import create_image_encoder, list_image_encoders
from facelex.models.resnet import BasicBlock, Bottleneck
from facelex.models.small_maps import Conv3x3
from facelex.training.config import OptimizerConfig
from facelex.training.fabric import Fabric
from facelex.training.optimizers import create_optimizer

LOSS_DIFFERENCE = 0.01  # relative; worst 0.0016, vgg16
COSINE = 0.75  # of each tensor's gradients; worst 0.85, vgg16
LENGTHS = (0.65, 1.5)  # of fast over plain gradients; worst 0.79 and 1.30, slim_s
WHOLE_COSINE = 0.9  # of all gradients together; worst 0.93, vgg16

OBJECTIVE = Objective({"cross_entropy": 1.0, "alignment": 0.5}, label_smoothing=0.1)


class Pass(NamedTuple):
    """What one forward and backward pass gave."""

    loss: float
    gradients: dict[str, Tensor]


def network(encoder: str) -> DualEncoder:
    """A network with words and without dropout, as if it had trained for a while.

    Fresh residual blocks end in a scale of 0, which would hide the gradients of everything before it.
    """
    torch.manual_seed(0)
    words = F.normalize(torch.randn(7, 2, 20), dim=-1)
    model = DualEncoder(create_image_encoder(encoder), 7, words, dropout=0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, 0, 1)
    for module in model.modules():
        if isinstance(module, BasicBlock | Bottleneck):
            nn.init.uniform_(module.last_norm.weight, 0.1, 0.3)
            nn.init.zeros_(module.last_norm.bias)
    return model


def faces(encoder: str) -> tuple[Tensor, Tensor]:
    """Sixteen drawn faces, at 32 pixels so that plain stacks reach maps of 2x2."""
    drawn = sketch_dataset(16)
    pixels = torch.from_numpy(drawn.pixels).unsqueeze(1)
    return images_from_pixels(pixels, 24 if "resnet" in encoder else 32), torch.from_numpy(drawn.labels)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def plain_pass(model: DualEncoder, images: Tensor, labels: Tensor) -> Pass:
    switch_off(model)
    for module in model.modules():
        if isinstance(module, Conv3x3):
            module.products = False
    loss, _ = OBJECTIVE(model(images.contiguous()), Targets(labels))
    loss.backward()
    return Pass(float(loss.detach()), gradients(model))


def fast_pass(model: DualEncoder, images: Tensor, labels: Tensor) -> Pass:
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = fabric.setup_module(model)
    loss, _ = OBJECTIVE(module(images), Targets(labels))
    fabric.backward(loss)
    return Pass(float(loss.detach()), gradients(model))


def cosine(one: Tensor, other: Tensor) -> float:
    return float(F.cosine_similarity(one.double().flatten(), other.double().flatten(), dim=0))


def disagreements(fast: Pass, plain: Pass) -> list[str]:
    """Everything about ``fast`` that lies outside the bounds."""
    faults = []
    if not abs(fast.loss / plain.loss - 1) < LOSS_DIFFERENCE:
        faults.append(f"loss {fast.loss} instead of {plain.loss}")
    if fast.gradients.keys() != plain.gradients.keys():
        return [*faults, f"gradients of {sorted(fast.gradients.keys() ^ plain.gradients.keys())}"]
    for name, expected in plain.gradients.items():
        got = fast.gradients[name]
        direction, length = cosine(got, expected), float(got.norm() / expected.norm())
        if not (direction > COSINE and LENGTHS[0] < length < LENGTHS[1]):
            faults.append(f"{name}: cosine {direction:.3f}, length x{length:.3f}")
    whole = [torch.cat([p.gradients[name].flatten() for name in plain.gradients]) for p in (fast, plain)]
    if not cosine(*whole) > WHOLE_COSINE:
        faults.append(f"all gradients: cosine {cosine(*whole):.3f}")
    return faults


@pytest.mark.parametrize("encoder", list_image_encoders())
def test_bf16_channels_last_agrees_with_float32_in_loss_and_every_gradient(encoder: str) -> None:
    model = network(encoder)
    batch = faces(encoder)
    plain, fast = plain_pass(copy.deepcopy(model), *batch), fast_pass(model, *batch)
    assert {gradient.dtype for gradient in fast.gradients.values()} == {torch.float32}
    assert len(plain.gradients) == len(list(model.parameters()))
    assert disagreements(fast, plain) == []


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_fused_optimizer_takes_the_steps_of_the_plain_one(name: str) -> None:
    config = OptimizerConfig.model_validate({"name": name, "weight_decay": 0.01})
    plain = nn.Sequential(nn.Linear(8, 5), nn.LayerNorm(5), nn.Linear(5, 3))
    fused = copy.deepcopy(plain)
    ours, reference = create_optimizer(fused, config, 0.05), create_optimizer(plain, config, 0.05)
    assert all(group["fused"] for group in ours.param_groups)
    for group in reference.param_groups:
        group["fused"] = group["foreach"] = False
    for _ in range(3):  # momentum and the Adams' averages begin to matter with the second step
        for one, other in zip(fused.parameters(), plain.parameters()):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        ours.step()
        reference.step()
    for one, other in zip(fused.parameters(), plain.parameters()):
        torch.testing.assert_close(one, other)


LAYER = "image_encoder.layers.22.weight"  # the first convolution of slim_s that sees maps of 2x2

BUGS: dict[str, Callable[[Tensor], Tensor]] = {
    "lost": torch.zeros_like,
    "halved": lambda gradient: gradient / 2,
    "doubled": lambda gradient: 2 * gradient,
    "turned round": torch.neg,
    "not a number": lambda gradient: gradient / 0,
    "kernel shifted": lambda gradient: gradient.roll(1, dims=3),
    "channels mixed up": lambda gradient: gradient.flip(0),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_faulty_gradient_lies_outside_the_bounds(bug: str, slim_pass: Pass) -> None:
    broken = slim_pass.gradients | {LAYER: BUGS[bug](slim_pass.gradients[LAYER])}
    faults = disagreements(Pass(slim_pass.loss, broken), slim_pass)
    assert any(fault.startswith(LAYER) for fault in faults)


@pytest.fixture(scope="module")
def slim_pass() -> Pass:
    return plain_pass(network("slim_s"), *faces("slim_s"))
