"""SupCon's L_out against a plain loop over anchors, positives and negatives."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facelex.losses.supervised_contrastive import supervised_contrastive


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def labels_of(size: int, classes: int = 4) -> Tensor:
    return torch.randint(classes, (size,), generator=torch.Generator().manual_seed(1))


def loop_loss(features: list[list[float]], labels: list[int], tau: float) -> float:
    """Eq. 2 of Khosla et al. 2020 in Python floats, averaged over anchors."""
    total = 0.0
    for i, anchor in enumerate(features):
        others = [a for a in range(len(features)) if a != i]
        positives = [p for p in others if labels[p] == labels[i]]
        exp_dot = {a: math.exp(sum(x * y for x, y in zip(anchor, features[a])) / tau) for a in others}
        for p in positives:
            total -= math.log(exp_dot[p] / sum(exp_dot.values())) / len(positives)
    return total / len(features)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("size", [2, 5, 16])
def test_loss_equals_a_plain_loop(size: int, temperature: float) -> None:
    features, labels = unit(size, 5), labels_of(size)
    loss = supervised_contrastive(features, labels, temperature=temperature)
    expected = loop_loss(features.tolist(), labels.tolist(), temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_anchor_without_a_positive_adds_zero() -> None:
    features = unit(3, 5)
    pair = supervised_contrastive(features, torch.tensor([0, 0, 1]))
    expected = loop_loss(features.tolist(), [0, 0, 1], 0.1)
    assert pair.item() == pytest.approx(expected)
    lonely = features.clone().requires_grad_()
    loss = supervised_contrastive(lonely, torch.tensor([0, 1, 2]))
    loss.backward()
    assert loss.item() == 0
    assert lonely.grad is not None
    assert torch.equal(lonely.grad, torch.zeros_like(lonely))


def test_batch_of_one_face_is_zero_with_zero_gradient() -> None:
    features = unit(1, 5).float().requires_grad_()
    loss = supervised_contrastive(features, torch.tensor([3]))
    loss.backward()
    assert loss.item() == 0
    assert features.grad is not None
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_batch_of_one_class_equals_a_plain_loop_and_is_least_when_equal() -> None:
    labels = torch.zeros(6, dtype=torch.int64)
    features = unit(6, 5)
    assert supervised_contrastive(features, labels).item() == pytest.approx(
        loop_loss(features.tolist(), [0] * 6, 0.1)
    )
    same = unit(1, 5).expand(6, 5)
    assert supervised_contrastive(same, labels).item() == pytest.approx(math.log(5))


def test_order_of_the_batch_does_not_matter() -> None:
    features, labels = unit(12, 5), labels_of(12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        supervised_contrastive(features[order], labels[order]), supervised_contrastive(features, labels)
    )


def test_gradients_agree_with_finite_differences() -> None:
    labels = torch.tensor([0, 0, 1, 2, 0])
    features = unit(5, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: supervised_contrastive(z, labels, temperature=0.5), (features,))


@pytest.mark.parametrize("size", [1, 32])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite_with_finite_gradients(dtype: torch.dtype, size: int) -> None:
    features = unit(size, 8).to(dtype).requires_grad_()
    labels = labels_of(size)
    loss = supervised_contrastive(features, labels, temperature=0.01)
    (gradient,) = torch.autograd.grad(loss, features)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(
        supervised_contrastive(features.detach().double(), labels, temperature=0.01).item(), rel=1e-4
    )
    assert gradient.isfinite().all()


def test_autocast_does_not_lower_the_precision() -> None:
    features, labels = unit(16, 8).float(), labels_of(16)
    expected = supervised_contrastive(features, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(supervised_contrastive(features, labels), expected)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"shape \(B, E\) with B of 1 or more, but got \(4,\)"):
        supervised_contrastive(torch.zeros(4), labels_of(4))
    with pytest.raises(ValueError, match=r"one for each of 4 faces, but got torch.int64 of shape \(3,\)"):
        supervised_contrastive(unit(4, 5), labels_of(3))
    with pytest.raises(ValueError, match=r"integer class ids.*torch\.float32"):
        supervised_contrastive(unit(4, 5), labels_of(4).float())
    with pytest.raises(ValueError, match="temperature above 0, but got -1"):
        supervised_contrastive(unit(4, 5), labels_of(4), temperature=-1)
