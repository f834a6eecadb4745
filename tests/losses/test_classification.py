"""Cross-entropy and distillation against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facelex.losses.classification import (
    cross_entropy,
    distillation,
    mirror_consistency,
    vote_cross_entropy,
)

SIZE, NUM_CLASSES = 11, 7


def scores(seed: int = 0) -> Tensor:
    return 3 * torch.randn(
        SIZE, NUM_CLASSES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def ids() -> Tensor:
    return torch.randint(NUM_CLASSES, (SIZE,), generator=torch.Generator().manual_seed(1))


def shares(seed: int = 2) -> Tensor:
    return scores(seed).softmax(dim=1)


def loop_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> float:
    """Mean of -sum_c q_c log p_c, with q the smoothed targets, in Python floats."""
    total = 0.0
    for row, target in zip(logits.tolist(), targets.tolist()):
        log_sum = math.log(sum(math.exp(score) for score in row))
        for score, share in zip(row, target):
            total -= ((1 - smoothing) * share + smoothing / len(row)) * (score - log_sum)
    return total / len(logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("kind", ["ids", "shares"])
def test_cross_entropy_equals_a_plain_loop(kind: str, smoothing: float) -> None:
    targets = F.one_hot(ids(), NUM_CLASSES) if kind == "ids" else shares()
    loss = cross_entropy(scores(), ids() if kind == "ids" else targets, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(loop_cross_entropy(scores(), targets, smoothing), rel=1e-12)


def test_ids_and_one_hot_rows_are_the_same_labels() -> None:
    torch.testing.assert_close(
        cross_entropy(scores(), F.one_hot(ids(), NUM_CLASSES).double(), label_smoothing=0.1),
        cross_entropy(scores(), ids(), label_smoothing=0.1),
    )


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_equals_a_plain_loop_over_the_teachers_scores(temperature: float) -> None:
    student, teacher = scores(3), scores(4)
    expected = temperature**2 * loop_cross_entropy(
        student / temperature, (teacher / temperature).softmax(dim=1)
    )
    loss = distillation(student, teacher.softmax(dim=1), temperature=temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_distillation_is_least_where_student_and_teacher_agree() -> None:
    student = scores().requires_grad_()
    (gradient,) = torch.autograd.grad(
        distillation(student, scores().softmax(dim=1), temperature=3.0), student
    )
    assert gradient.abs().max() < 1e-12


def test_distillation_gradient_keeps_its_size_over_temperatures() -> None:
    sizes = []
    for temperature in (20.0, 40.0):
        student = scores(3).requires_grad_()
        loss = distillation(student, shares(4), temperature=temperature)
        sizes.append(torch.autograd.grad(loss, student)[0].norm())
    assert 0.9 < sizes[1] / sizes[0] < 1.1


def test_distillation_accepts_a_teacher_that_is_certain() -> None:
    student = scores().float().requires_grad_()
    loss = distillation(student, F.one_hot(ids(), NUM_CLASSES).float(), temperature=2.0)
    (gradient,) = torch.autograd.grad(loss, student)
    assert gradient.isfinite().all()


def test_teacher_gets_no_gradient() -> None:
    teacher = shares().requires_grad_()
    assert not distillation(scores(), teacher).requires_grad


def test_gradients_agree_with_finite_differences() -> None:
    logits = scores().requires_grad_()
    for target in (ids(), shares()):
        assert torch.autograd.gradcheck(
            lambda z, y=target: cross_entropy(z, y, label_smoothing=0.1), (logits,)
        )
    assert torch.autograd.gradcheck(lambda z: distillation(z, shares(), temperature=3.0), (logits,))


def test_order_of_the_batch_does_not_matter() -> None:
    order = torch.randperm(SIZE, generator=torch.Generator().manual_seed(3))
    for target in (ids(), shares()):
        torch.testing.assert_close(
            cross_entropy(scores()[order], target[order]), cross_entropy(scores(), target)
        )
    torch.testing.assert_close(
        distillation(scores()[order], shares()[order]), distillation(scores(), shares())
    )


def test_batch_of_one_class_is_a_plain_mean() -> None:
    labels = torch.full((SIZE,), 1)
    expected = -scores().log_softmax(dim=1)[:, 1].mean()
    torch.testing.assert_close(cross_entropy(scores(), labels), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_give_a_float32_loss_and_finite_gradients(dtype: torch.dtype) -> None:
    logits = (1000 * scores()).to(dtype).requires_grad_()
    for loss in (
        cross_entropy(logits, ids(), label_smoothing=0.1),
        cross_entropy(logits, shares().to(dtype)),
        distillation(logits, shares().to(dtype), temperature=2.0),
    ):
        assert loss.dtype == torch.float32
        assert loss.isfinite()
        assert torch.autograd.grad(loss, logits)[0].isfinite().all()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"Expected logits of shape \(B, K\).*got \(7,\)"):
        cross_entropy(torch.zeros(7), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(
        ValueError, match=r"class ids of shape \(11,\) or shares of shape \(11, 7\).*got .*\(5,\)"
    ):
        cross_entropy(scores(), ids()[:5])
    with pytest.raises(
        ValueError, match=r"Expected labels of the logits' shape \(11, 7\).*float32 of shape \(11,\)"
    ):
        cross_entropy(scores(), ids().float())
    with pytest.raises(ValueError, match=r"label_smoothing in \[0, 1\], but got -0.1"):
        cross_entropy(scores(), ids(), label_smoothing=-0.1)
    with pytest.raises(ValueError, match=r"teacher_probs of the logits' shape \(11, 7\).*got .*\(11, 6\)"):
        distillation(scores(), shares()[:, :6])
    with pytest.raises(ValueError, match="temperature above 0, but got 0"):
        distillation(scores(), shares(), temperature=0)


def test_mirror_consistency_equals_the_mean_of_both_divergences() -> None:
    p, q = scores(0).softmax(dim=1), scores(4).softmax(dim=1)
    expected = 0.0
    for row, other in zip(p.tolist(), q.tolist()):
        expected += sum(a * math.log(a / b) + b * math.log(b / a) for a, b in zip(row, other)) / 2
    assert mirror_consistency(scores(0), scores(4)).item() == pytest.approx(expected / SIZE, rel=1e-10)


def test_mirror_consistency_is_zero_where_views_agree_and_symmetric() -> None:
    assert mirror_consistency(scores(), scores()).item() == 0
    assert mirror_consistency(scores(), scores() + 3).item() == pytest.approx(0, abs=1e-12)
    assert mirror_consistency(scores(0), scores(4)).item() == pytest.approx(
        mirror_consistency(scores(4), scores(0)).item()
    )


def test_mirror_consistency_has_gradients_to_both_views_as_finite_differences_have() -> None:
    views = scores(0)[:3].requires_grad_(), scores(4)[:3].requires_grad_()
    assert torch.autograd.gradcheck(mirror_consistency, views)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mirror_consistency_of_narrow_scores_is_computed_in_float32(dtype: torch.dtype) -> None:
    narrow = scores(0).to(dtype), scores(4).to(dtype)
    loss = mirror_consistency(*narrow)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(
        mirror_consistency(*(view.double() for view in narrow)).item(), rel=1e-5
    )


def test_mirror_consistency_of_other_shapes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mirror_logits of the logits' shape \(11, 7\), but got \(11, 6\)"):
        mirror_consistency(scores(), scores()[:, :6])


def test_votes_are_cross_entropy_over_the_examples_that_have_any() -> None:
    shares = torch.rand(4, 10, dtype=torch.float64)
    shares /= shares.sum(1, keepdim=True)
    logits = torch.randn(6, 10, dtype=torch.float64)
    with_nobody = torch.cat([shares[:2], torch.zeros(2, 10, dtype=torch.float64), shares[2:]])
    expected = F.cross_entropy(logits[[0, 1, 4, 5]], shares)
    torch.testing.assert_close(vote_cross_entropy(logits, with_nobody), expected)
    assert vote_cross_entropy(logits, torch.zeros(6, 10, dtype=torch.float64)) == 0
    with pytest.raises(ValueError, match="shares of the logits' shape"):
        vote_cross_entropy(logits, with_nobody[:, :7])
