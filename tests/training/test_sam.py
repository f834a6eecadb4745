from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelex.training.sam import SharpnessAware

RHO = 0.3


class Quadratic(nn.Module):
    """``1/2 w' A w`` over two parameters that together are w."""

    def __init__(self) -> None:
        super().__init__()
        root = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        self.curvature = root @ root.T
        self.first = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        self.second = nn.Parameter(torch.tensor([0.5, 3.0, -1.0], dtype=torch.float64))

    def loss(self) -> Tensor:
        w = torch.cat([self.first, self.second])
        return w @ self.curvature @ w / 2


def test_gradient_of_a_quadratic_is_that_at_the_climbed_point() -> None:
    model = Quadratic()

    def forward_backward() -> Tensor:
        loss = model.loss()
        loss.backward()
        return loss.detach()

    before = [p.detach().clone() for p in model.parameters()]
    w = torch.cat(before)
    loss = SharpnessAware(model, RHO).gradients(forward_backward)
    gradient = model.curvature @ w
    expected = model.curvature @ (w + RHO * gradient / math.sqrt(float((gradient**2).sum())))
    assert model.first.grad is not None
    assert model.second.grad is not None
    torch.testing.assert_close(torch.cat([model.first.grad, model.second.grad]), expected)
    assert all(torch.equal(now, then) for now, then in zip(model.parameters(), before))
    torch.testing.assert_close(loss, w @ model.curvature @ w / 2)


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3))


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(16, 6, generator=generator), torch.randint(0, 3, (16,), generator=generator)


def test_small_network_gets_the_gradients_buffers_and_random_numbers_of_a_hand_written_step() -> None:
    images, labels = data()
    model, by_hand = network(), network()
    model[0].weight.requires_grad_(False)
    by_hand[0].weight.requires_grad_(False)

    def forward_backward() -> None:
        F.cross_entropy(model(images), labels).backward()

    torch.manual_seed(9)
    SharpnessAware(model, RHO).gradients(forward_backward)
    after = torch.rand(3)

    torch.manual_seed(9)
    F.cross_entropy(by_hand(images), labels).backward()
    assert torch.equal(after, torch.rand(3))  # as many random numbers as one pass draws
    statistics = copy.deepcopy(dict(by_hand.named_buffers()))
    learning = [p for p in by_hand.parameters() if p.requires_grad]
    norm = math.sqrt(sum(float((p.grad**2).sum()) for p in learning if p.grad is not None))
    climbed = copy.deepcopy(by_hand)
    climbed.zero_grad()
    with torch.no_grad():
        for high, low in zip(climbed.parameters(), by_hand.parameters()):
            if low.grad is not None:
                high += RHO * low.grad / norm
    torch.manual_seed(9)  # the same units are dropped
    F.cross_entropy(climbed(images), labels).backward()

    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, statistics[name]), name
    for (name, found), expected, start in zip(
        model.named_parameters(), climbed.parameters(), network().parameters()
    ):
        assert torch.equal(found, start), name
        if name == "0.weight":
            assert found.grad is None
        else:
            torch.testing.assert_close(found.grad, expected.grad, atol=1e-6, rtol=1e-5)


def test_climbing_changes_the_gradient_and_a_small_radius_hardly() -> None:
    images, labels = data()

    def gradient(rho: float | None) -> Tensor:
        model = network()
        model.eval()

        def forward_backward() -> None:
            F.cross_entropy(model(images), labels).backward()

        if rho is None:
            forward_backward()
        else:
            SharpnessAware(model, rho).gradients(forward_backward)
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    plain = gradient(None)
    assert float((gradient(RHO) - plain).norm()) > 0.05 * float(plain.norm())
    torch.testing.assert_close(gradient(1e-6), plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("reach", [0.0, 1.0])
def test_gradient_of_zero_or_none_at_all_breaks_nothing(reach: float) -> None:
    model = nn.Linear(2, 1)
    start = model.weight.detach().clone()

    def forward_backward() -> None:
        if reach:
            (model(torch.ones(1, 2)) * 0).sum().backward()

    SharpnessAware(model, RHO).gradients(forward_backward)
    assert torch.equal(model.weight, start)
    assert model.weight.grad is None or bool((model.weight.grad == 0).all())
