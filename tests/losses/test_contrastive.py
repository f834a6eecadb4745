"""The report's Eq. 4.1 and 4.2 against plain loops, and what the module says about seven captions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facelex.losses.contrastive import class_contrastive, image_text_contrastive

NUM_CLASSES = 7
WIDTH = 6


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def random_labels(size: int, seed: int = 0) -> Tensor:
    return torch.randint(NUM_CLASSES, (size,), generator=torch.Generator().manual_seed(seed))


def report_loss(faces: Tensor, captions: Tensor, tau: float, lam: float) -> float:
    """Eq. 4.1 and 4.2 term by term, in Python floats."""

    def exp_dot(left: list[float], right: list[float]) -> float:
        return math.exp(sum(a * b for a, b in zip(left, right)) / tau)

    v, u = faces.tolist(), captions.tolist()
    total = 0.0
    for i in range(len(v)):
        to_text = -math.log(exp_dot(v[i], u[i]) / sum(exp_dot(v[i], u[k]) for k in range(len(u))))
        to_image = -math.log(exp_dot(u[i], v[i]) / sum(exp_dot(u[i], v[k]) for k in range(len(v))))
        total += lam * to_text + (1 - lam) * to_image
    return total / len(v)


def unicl_loss(faces: Tensor, captions: Tensor, labels: Tensor, scale: float, lam: float) -> Tensor:
    """UniCL: each anchor has every same-class example as a positive; the mean is over them."""
    scores = scale * faces @ captions.T
    terms = []
    for i in range(len(labels)):
        same = [k for k in range(len(labels)) if labels[k] == labels[i]]
        to_text = torch.stack([scores[i].logsumexp(0) - scores[i, k] for k in same]).mean()
        to_image = torch.stack([scores[:, i].logsumexp(0) - scores[k, i] for k in same]).mean()
        terms.append(lam * to_text + (1 - lam) * to_image)
    return torch.stack(terms).mean()


@pytest.mark.parametrize("lam", [0.0, 0.25, 0.75, 1.0])
@pytest.mark.parametrize("size", [1, 2, 9])
def test_equals_the_reports_equations_in_a_plain_loop(size: int, lam: float) -> None:
    faces, captions = unit(size, WIDTH, seed=1), unit(size, WIDTH, seed=2)
    loss = image_text_contrastive(faces, captions, 1 / 0.2, image_to_text_weight=lam)
    assert loss.item() == pytest.approx(report_loss(faces, captions, 0.2, lam), rel=1e-12, abs=1e-12)


def test_default_lambda_is_the_reports() -> None:
    faces, captions = unit(5, WIDTH, seed=1), unit(5, WIDTH, seed=2)
    assert image_text_contrastive(faces, captions, 10.0).item() == pytest.approx(
        report_loss(faces, captions, 0.1, 0.75), rel=1e-12
    )


@pytest.mark.parametrize("size", [1, 3, 40])
def test_class_form_equals_the_form_with_one_caption_a_face_in_value_and_gradient(size: int) -> None:
    labels = random_labels(size)
    results = []
    for use_classes in (True, False):
        faces = unit(size, WIDTH, seed=1).requires_grad_()
        words = unit(NUM_CLASSES, WIDTH, seed=2).requires_grad_()
        scale = torch.tensor(14.0, dtype=torch.float64, requires_grad=True)
        if use_classes:
            loss = class_contrastive(faces, words, labels, scale)
        else:
            loss = image_text_contrastive(faces, words[labels], scale)
        results.append((loss, *torch.autograd.grad(loss, (faces, words, scale))))
    for by_class, by_caption in zip(*results):
        torch.testing.assert_close(by_class, by_caption, rtol=1e-10, atol=1e-12)


def test_with_one_caption_a_class_it_equals_unicl_in_value_and_gradient() -> None:
    labels = random_labels(24)
    results = []
    for loss_of in ("ours", "unicl"):
        faces = unit(24, WIDTH, seed=1).requires_grad_()
        words = unit(NUM_CLASSES, WIDTH, seed=2).requires_grad_()
        if loss_of == "ours":
            loss = class_contrastive(faces, words, labels, 9.0)
        else:
            loss = unicl_loss(faces, words[labels], labels, 9.0, 0.75)
        results.append((loss, *torch.autograd.grad(loss, (faces, words))))
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_unicl_differs_once_captions_of_a_class_differ() -> None:
    labels = random_labels(24)
    faces, captions = unit(24, WIDTH, seed=1), unit(24, WIDTH, seed=2)
    ours = image_text_contrastive(faces, captions, 9.0)
    assert abs(ours - unicl_loss(faces, captions, labels, 9.0, 0.75)) > 0.1


def test_face_to_word_half_is_cross_entropy_with_log_counts_added_above_the_floor() -> None:
    labels = random_labels(30)
    faces, words = unit(30, WIDTH, seed=1), unit(NUM_CLASSES, WIDTH, seed=2)
    counts = torch.bincount(labels, minlength=NUM_CLASSES).double()
    floor = counts[labels].log().mean()
    expected = floor + F.cross_entropy(9.0 * faces @ words.T + counts.log(), labels)
    torch.testing.assert_close(
        class_contrastive(faces, words, labels, 9.0, image_to_text_weight=1.0), expected
    )


@pytest.mark.parametrize("lam", [0.0, 0.75, 1.0])
def test_perfect_features_reach_the_floor_and_no_features_pass_it(lam: float) -> None:
    labels = random_labels(50)
    counts = torch.bincount(labels, minlength=NUM_CLASSES).double()
    floor = counts[labels].log().mean()
    words = torch.eye(NUM_CLASSES, dtype=torch.float64)
    perfect = class_contrastive(words[labels], words, labels, 100.0, image_to_text_weight=lam)
    torch.testing.assert_close(perfect, floor, rtol=1e-10, atol=1e-12)
    for seed in range(5):
        faces = unit(50, NUM_CLASSES, seed=seed)
        assert class_contrastive(faces, words, labels, 100.0, image_to_text_weight=lam) > floor


def test_gradients_agree_with_finite_differences() -> None:
    faces, words = unit(5, 3, seed=1).requires_grad_(), unit(4, 3, seed=2).requires_grad_()
    captions = unit(5, 3, seed=3).requires_grad_()
    scale = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 3, 1, 0])
    assert torch.autograd.gradcheck(lambda v, u, s: class_contrastive(v, u, labels, s), (faces, words, scale))
    assert torch.autograd.gradcheck(image_text_contrastive, (faces, captions, scale))


def test_order_of_the_batch_does_not_matter() -> None:
    labels = random_labels(20)
    faces, words = unit(20, WIDTH, seed=1), unit(NUM_CLASSES, WIDTH, seed=2)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        class_contrastive(faces[order], words, labels[order], 9.0),
        class_contrastive(faces, words, labels, 9.0),
    )
    torch.testing.assert_close(
        image_text_contrastive(faces[order], words[labels][order], 9.0),
        image_text_contrastive(faces, words[labels], 9.0),
    )


def test_batch_of_one_class_costs_log_of_its_size_towards_words() -> None:
    labels = torch.full((8,), 3)
    faces, words = unit(8, WIDTH, seed=1).requires_grad_(), unit(NUM_CLASSES, WIDTH, seed=2)
    loss = class_contrastive(faces, words, labels, 9.0, image_to_text_weight=1.0)
    assert loss.item() == pytest.approx(math.log(8))
    class_contrastive(faces, words, labels, 9.0).backward()
    assert faces.grad is not None
    assert faces.grad.isfinite().all()


def test_batch_of_one_face_costs_nothing() -> None:
    loss = class_contrastive(unit(1, WIDTH), unit(NUM_CLASSES, WIDTH), torch.tensor([2]), 100.0)
    assert loss.item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_give_a_float32_loss_and_finite_gradients(dtype: torch.dtype) -> None:
    labels = random_labels(32)
    faces = unit(32, WIDTH, seed=1).to(dtype).requires_grad_()
    words = unit(NUM_CLASSES, WIDTH, seed=2).to(dtype).requires_grad_()
    scale = torch.tensor(100.0, dtype=dtype, requires_grad=True)
    expected = class_contrastive(faces.detach().double(), words.detach().double(), labels, 100.0)
    for loss in (
        class_contrastive(faces, words, labels, scale),
        image_text_contrastive(faces, words[labels], scale),
    ):
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        gradients = torch.autograd.grad(loss, (faces, words, scale))
        assert all(gradient.isfinite().all() and gradient.abs().sum() > 0 for gradient in gradients)


def test_autocast_does_not_lower_the_precision() -> None:
    labels = random_labels(32)
    faces, words = unit(32, WIDTH, seed=1).float(), unit(NUM_CLASSES, WIDTH, seed=2).float()
    expected = class_contrastive(faces, words, labels, 100.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(class_contrastive(faces, words, labels, 100.0), expected)


def test_opposite_features_at_the_sharpest_scale_stay_finite() -> None:
    words = torch.eye(NUM_CLASSES)
    labels = random_labels(10)
    faces = (-words[labels]).requires_grad_()
    loss = class_contrastive(faces, words, labels, 10_000.0)
    loss.backward()
    assert faces.grad is not None
    assert loss.isfinite()
    assert faces.grad.isfinite().all()


@pytest.mark.parametrize(
    ("faces", "words", "labels", "message"),
    [
        ((4,), (7, 6), (4,), r"Expected image_features of shape \(B, E\).*got \(4,\)"),
        ((0, 6), (7, 6), (0,), r"B of 1 or more, but got \(0, 6\)"),
        ((4, 6), (7, 5), (4,), r"as wide as image_features, \(K, 6\), but got \(7, 5\)"),
        ((4, 6), (7, 6), (3,), r"one for each of 4 faces, but got torch.int64 of shape \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(faces: tuple, words: tuple, labels: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_contrastive(torch.zeros(faces), torch.zeros(words), torch.zeros(labels, dtype=torch.int64), 1.0)


def test_other_wrong_arguments_are_named() -> None:
    faces, words, labels = unit(4, WIDTH), unit(NUM_CLASSES, WIDTH), random_labels(4)
    with pytest.raises(ValueError, match=r"Expected int64 class ids.*torch\.float32"):
        class_contrastive(faces, words, labels.float(), 1.0)
    with pytest.raises(ValueError, match=r"image_to_text_weight in \[0, 1\], but got 1.5"):
        class_contrastive(faces, words, labels, 1.0, image_to_text_weight=1.5)
    with pytest.raises(ValueError, match="class_contrastive"):
        image_text_contrastive(faces, words, 1.0)
