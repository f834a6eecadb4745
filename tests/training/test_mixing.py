from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelex.losses.objective import Objective
from facelex.models.dual_encoder import ModelOutput
from facelex.training import phase
from facelex.training.batches import DeviceSplit, EpochExamples, batch_indices
from facelex.training.config import AugmentConfig
from facelex.training.fabric import Fabric
from facelex.training.mixing import Mix, draw_mix, mix_images, partners
from facelex.training.phase import EpochResult, PhaseTrainer

SIZE = 12
STILL = {"rotation": 0, "translation": 0, "resize": 0, "reflection": 0}


def draws(count: int = 2000, seed: int = 0, **settings: float) -> list[Mix | None]:
    random = np.random.default_rng(seed)
    return [draw_mix(48, AugmentConfig(**settings), random) for _ in range(count)]  # type: ignore[arg-type]


def shares(mixes: list[Mix | None]) -> np.ndarray:
    return np.array([mix.share for mix in mixes if mix is not None])


def test_nothing_is_mixed_unless_asked_for() -> None:
    assert set(draws(50)) == {None}
    assert set(draws(50, mixup=1, mix_probability=0)) == {None}


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixups_shares_have_the_mean_and_variance_of_the_beta_distribution(alpha: float) -> None:
    mixes = draws(mixup=alpha)
    assert all(mix is not None and mix.box is None for mix in mixes)
    assert shares(mixes).mean() == pytest.approx(0.5, abs=0.03)
    assert shares(mixes).var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_given_share_of_batches_is_mixed_and_half_of_them_each_way() -> None:
    mixes = draws(mixup=0.5, cutmix=1, mix_probability=0.4)
    mixed = [mix for mix in mixes if mix is not None]
    assert len(mixed) == pytest.approx(800, abs=80)
    assert sum(mix.box is None for mix in mixed) == pytest.approx(len(mixed) / 2, abs=60)


def test_draws_repeat_with_the_seed() -> None:
    assert draws(50, 3, mixup=0.5, cutmix=1) == draws(50, 3, mixup=0.5, cutmix=1)
    assert draws(50, 3, mixup=0.5, cutmix=1) != draws(50, 4, mixup=0.5, cutmix=1)


@pytest.mark.parametrize("size", [16, 33, 48])
def test_cutmixs_share_is_exactly_the_share_of_own_pixels(size: int) -> None:
    random = np.random.default_rng(0)
    own, other = torch.ones(1, 1, size, size), torch.zeros(1, 1, size, size)
    seen = []
    for _ in range(300):
        mix = draw_mix(size, AugmentConfig(cutmix=1), random)
        assert mix is not None
        left = mix_images(torch.cat([own, other]), mix)[0]
        assert float(left.sum()) / size**2 == pytest.approx(mix.share, abs=1e-6)
        seen.append(mix.share)
    assert min(seen) < 0.35
    assert max(seen) > 0.95


def test_cutmix_takes_the_partners_pixels_inside_the_box_alone() -> None:
    images = torch.rand(6, 2, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    before = images.clone()
    mixed = mix_images(images, Mix(0.5, (2, 7, 3, 12)))
    for i in range(6):
        for y in range(SIZE):
            for x in range(SIZE):
                source = (i + 3) % 6 if 2 <= y < 7 and 3 <= x < 12 else i
                assert torch.equal(mixed[i, :, y, x], before[source, :, y, x])
    assert torch.equal(images, before)
    assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_mixup_blends_each_image_with_its_partner() -> None:
    images = torch.rand(6, 1, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    mixed = mix_images(images, Mix(0.7))
    for i in range(6):
        torch.testing.assert_close(mixed[i], 0.7 * images[i] + 0.3 * images[(i + 3) % 6])
    assert mixed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_pair_as_one_device_does(world: int) -> None:
    whole = next(batch_indices(40, 16, torch.Generator().manual_seed(0), 0, 1))
    expected = dict(zip(whole.tolist(), partners(whole).tolist()))
    for rank in range(world):
        share = next(batch_indices(40, 16, torch.Generator().manual_seed(0), rank, world))
        assert dict(zip(share.tolist(), partners(share).tolist())) == {i: expected[i] for i in share.tolist()}
    assert all(one != other for one, other in expected.items())


class Linear(nn.Module):
    """Scores as a linear function of the pixels, and what images came in."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(SIZE * SIZE, 3)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> ModelOutput:
        self.seen.append(images)
        return ModelOutput(self.layer(images.flatten(1)), images, None, None, torch.tensor(1.0))


def train(model: Linear, examples: EpochExamples, losses: dict[str, float], seed: int) -> EpochResult:
    """One step on all examples, by gradient descent at a rate of 0.1."""
    fabric = Fabric(accelerator="cpu")
    module, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.1))
    count = len(examples.split.labels)
    trainer = PhaseTrainer(fabric, model, module, optimizer, Objective(losses), count)
    return trainer.train_epoch(examples, image_size=SIZE, seed=seed)


def split(*, votes: bool = False, teacher: bool = False) -> DeviceSplit:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (8, 1, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    label_probs = torch.rand(8, 3, generator=generator).softmax(1) if votes else None
    teacher_probs = torch.rand(8, 3, generator=generator).softmax(1) if teacher else None
    return DeviceSplit(pixels, torch.tensor([0, 1, 2, 0, 1, 2, 2, 1]), label_probs, teacher_probs)


TARGETS = {
    "labels": ({}, {"cross_entropy": 1.0}),
    "votes": ({"votes": True}, {"cross_entropy": 1.0}),
    "cached teachers": ({"teacher": True}, {"distillation": 1.0}),
}


@pytest.mark.parametrize("how", ["mixup", "cutmix"])
@pytest.mark.parametrize(("given", "losses"), TARGETS.values(), ids=TARGETS)
def test_step_on_a_mixed_batch_is_a_plain_step_on_mixed_images_and_mixed_targets(
    how: str, given: dict[str, bool], losses: dict[str, float]
) -> None:
    data, augment = split(**given), AugmentConfig(**STILL, **{how: 1.0})  # type: ignore[arg-type]
    model, reference = Linear(), Linear()
    result = train(model, EpochExamples(data, augment), losses, seed=11)

    order = next(batch_indices(8, 8, torch.Generator().manual_seed(11), 0, 1))
    mix = draw_mix(SIZE, augment, np.random.default_rng(11))
    assert mix is not None
    assert 0.05 < mix.share < 0.95  # or mixing would hardly show
    other = torch.tensor([order[(i + 4) % 8] for i in range(8)])
    rows = next(
        r for r in (data.teacher_probs, data.label_probs, F.one_hot(data.labels, 3).float()) if r is not None
    )
    target = mix.share * rows[order] + (1 - mix.share) * rows[other]
    images = mix_images(data.pixels[order].float() / 255, mix)
    torch.testing.assert_close(model.seen[0], images, atol=1e-5, rtol=0)
    logits = reference(images).logits
    loss = -(target * logits.log_softmax(1)).sum(1).mean()
    loss.backward()
    assert result.loss == pytest.approx(float(loss.detach()), abs=1e-5)
    for parameter, found in zip(reference.parameters(), model.parameters()):
        assert parameter.grad is not None
        torch.testing.assert_close(found, parameter - 0.1 * parameter.grad, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("share", "right"), [(0.8, 1.0), (0.2, 0.0)])
def test_label_with_the_larger_share_counts_in_training_accuracy(
    share: float, right: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phase, "draw_mix", lambda *_: Mix(share, (0, 0, 0, 0)))  # pictures stay as they are
    pixels = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.uint8)
    pixels[1] = 255
    model = Linear()
    with torch.no_grad():  # black is class 0, white is class 1
        model.layer.weight.copy_(torch.tensor([-1.0, 1.0, 0.0])[:, None].expand(3, SIZE * SIZE))
        model.layer.bias.copy_(torch.tensor([1.0, 0.0, -9.0]))
    faces = DeviceSplit(pixels, torch.tensor([0, 1]))
    examples = EpochExamples(faces, AugmentConfig(**STILL))  # type: ignore[arg-type]
    result = train(model, examples, {"cross_entropy": 1.0}, seed=0)
    assert result.accuracy == right


def test_teachers_judge_the_mixed_images_themselves() -> None:
    judged: list[Tensor] = []

    def teachers(images: Tensor) -> Tensor:
        judged.append(images)
        return (images.flatten(1)[:, :3] * 4).softmax(1)

    model, reference = Linear(), Linear()
    examples = EpochExamples(split(), AugmentConfig(rotation=20, cutmix=1), teachers=teachers)
    result = train(model, examples, {"distillation": 1.0}, seed=2)
    assert torch.equal(judged[0], model.seen[0])
    logits = reference(judged[0]).logits
    expected = -(teachers(judged[0]) * logits.log_softmax(1)).sum(1).mean()
    assert result.loss == pytest.approx(float(expected.detach()), abs=1e-5)
