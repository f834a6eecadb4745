from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facelex.models.prediction import images_from_pixels
from facelex.training.augment import _affine_maps, alternating_reflection, augment_images
from facelex.training.config import AugmentConfig

NOTHING = {
    "rotation": 0, "translation": 0, "resize": 0, "crop": 0, "reflection": 0, "brightness": 0, "contrast": 0,
    "erasing": 0,
}  # fmt: skip
SIZE = 32


def noise(count: int = 8, size: int = SIZE, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8, generator=generator)


def augment(images: Tensor, seed: int = 0, size: int = SIZE, **changes: object) -> Tensor:
    config = AugmentConfig(**(NOTHING | changes))  # type: ignore[arg-type]
    return augment_images(images, size, config, torch.Generator().manual_seed(seed))


def smooth(center_x: float, center_y: float, count: int = 1, width: float = 3.0) -> Tensor:
    """A soft spot at a place in pixels."""
    at = torch.arange(SIZE, dtype=torch.float32)
    spot = torch.exp(-((at - center_x) ** 2)[None, :] / width**2 - ((at - center_y) ** 2)[:, None] / width**2)
    return (spot * 255).round().to(torch.uint8).expand(count, 1, SIZE, SIZE)


def centers(images: Tensor) -> Tensor:
    """Centre of mass of each picture, ``(B, 2)`` as x and y."""
    mass = images[:, 0]
    at = torch.arange(SIZE, dtype=torch.float32)
    total = mass.sum((1, 2))
    return torch.stack([(mass.sum(1) * at).sum(1) / total, (mass.sum(2) * at).sum(1) / total], dim=1)


def test_no_change_is_the_identity() -> None:
    images = noise()
    torch.testing.assert_close(augment(images), images.float() / 255, atol=1e-4, rtol=0)


def test_same_generator_same_pictures_and_another_differs() -> None:
    images, change = noise(), {"rotation": 20, "translation": 0.1, "erasing": 1, "brightness": 0.2}
    assert torch.equal(augment(images, 3, **change), augment(images, 3, **change))
    assert not torch.equal(augment(images, 3, **change), augment(images, 4, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"rotation": 20}, {"translation": 0.2}, {"resize": 0.3}, {"crop": 0.4}, {"reflection": 0.5},
        {"brightness": 0.4}, {"contrast": 0.5}, {"erasing": 0.5},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_each_picture_draws_its_own_change(change: dict[str, float]) -> None:
    copies = noise(1).expand(16, 1, SIZE, SIZE)
    results = augment(copies, **change)
    distinct = {tuple(row) for row in results.flatten(1)[:, ::7].mul(1e4).round().tolist()}
    assert len(distinct) == 2 if "reflection" in change else len(distinct) > 4


def test_pictures_stay_in_range_and_change_size() -> None:
    result = augment(noise(), size=20, rotation=45, brightness=1, contrast=1, erasing=1, crop=0.5, resize=0.5)
    assert result.shape == (8, 1, 20, 20)
    assert result.dtype == torch.float32
    assert float(result.min()) >= 0
    assert float(result.max()) <= 1
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_reflection_mirrors_about_half_of_the_pictures() -> None:
    images = noise(400)
    result, plain = augment(images, reflection=0.5), images.float() / 255
    kept = (result - plain).abs().amax((1, 2, 3)) < 1e-3
    mirrored = (result - plain.flip(3)).abs().amax((1, 2, 3)) < 1e-3
    assert bool((kept ^ mirrored).all())
    assert 160 < int(mirrored.sum()) < 240


def test_alternating_reflection_shows_every_picture_both_ways_in_two_epochs() -> None:
    first, second, third = (alternating_reflection(1000, seed=4, epoch=epoch) for epoch in (0, 1, 2))
    assert bool((first ^ second).all())
    assert torch.equal(first, third)
    assert 440 < int(first.sum()) < 560
    assert torch.equal(first, alternating_reflection(1000, seed=4, epoch=0))
    assert 400 < int((first ^ alternating_reflection(1000, seed=5, epoch=0)).sum()) < 600


def test_named_pictures_are_mirrored_and_no_coin_is_tossed() -> None:
    images, mirrored = noise(8), torch.tensor([True, False] * 4)
    config = AugmentConfig(**(NOTHING | {"reflection": 0.5}))  # type: ignore[arg-type]
    result = augment_images(images, SIZE, config, torch.Generator().manual_seed(0), mirrored)
    plain = images.float() / 255
    torch.testing.assert_close(result[1::2], plain[1::2], atol=1e-4, rtol=0)
    torch.testing.assert_close(result[0::2], plain[0::2].flip(3), atol=1e-4, rtol=0)


def test_rotation_turns_by_the_angle_that_a_plain_calculation_gives() -> None:
    degrees, radius = 30.0, 9.0
    middle = (SIZE - 1) / 2
    result = augment(smooth(middle + radius, middle, count=300, width=2.5), rotation=degrees)
    at = centers(result) - middle
    angles = torch.atan2(at[:, 1], at[:, 0]).rad2deg()
    torch.testing.assert_close(at.norm(dim=1), torch.full((300,), radius), atol=0.2, rtol=0)
    assert float(angles.abs().max()) <= degrees + 0.5
    assert float(angles.max()) > degrees - 2
    assert float(angles.min()) < -degrees + 2
    # the very map: the first uniform number is the first picture's angle
    uniform = torch.rand(300, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(angles.abs(), (uniform * degrees).abs(), atol=0.5, rtol=0)


def test_translation_shifts_by_a_fraction_of_the_side() -> None:
    middle = (SIZE - 1) / 2
    shifts = centers(augment(smooth(middle, middle, count=300), translation=0.2)) - middle
    limit = 0.2 * SIZE
    assert float(shifts.abs().max()) <= limit + 0.05
    assert float(shifts.abs().amax(0).min()) > 0.95 * limit
    assert abs(float(torch.corrcoef(shifts.T)[0, 1])) < 0.2


def test_crop_keeps_the_window_inside_the_picture() -> None:
    ramp = torch.linspace(0, 255, SIZE).round().to(torch.uint8).expand(200, 1, SIZE, SIZE)
    rows = augment(ramp, crop=0.5)[:, 0, SIZE // 2]
    width = rows[:, -1] - rows[:, 0]
    assert bool((rows.diff(dim=1) >= -1e-4).all())  # nothing is reflected at the border
    assert float(width.min()) == pytest.approx(0.5, abs=0.05)
    assert float(width.max()) == pytest.approx(1.0, abs=0.05)


def test_resize_zooms_both_ways() -> None:
    middle = (SIZE - 1) / 2
    spread = augment(smooth(middle, middle, count=200), resize=0.3)[:, 0].sum((1, 2)).sqrt()
    plain = augment(smooth(middle, middle))[:, 0].sum((1, 2)).sqrt()
    factors = plain / spread  # a map scaled by f shows the spot 1 / f as wide
    assert float(factors.min()) == pytest.approx(0.7, abs=0.05)
    assert float(factors.max()) == pytest.approx(1.3, abs=0.05)


def test_erasing_takes_the_share_asked_for() -> None:
    images = torch.full((600, 1, SIZE, SIZE), 128, dtype=torch.uint8)
    result = augment(images, erasing=0.25, erasing_area=(0.1, 0.1))
    erased = (result - 128 / 255).abs() > 1e-3
    chosen = erased.flatten(1).any(1)
    assert 110 < int(chosen.sum()) < 190
    shares = erased[chosen].float().mean((1, 2, 3))
    assert float(shares.max()) < 0.14
    inside = shares.sort().values[len(shares) // 2 :]  # holes at the border are cut off
    assert float(inside.median()) == pytest.approx(0.1, abs=0.02)


def test_holes_hold_noise_of_all_levels() -> None:
    black = torch.zeros(64, 1, 35, 35, dtype=torch.uint8)
    holes = augment(black, size=35, erasing=1, erasing_area=(0.5, 0.5))
    levels = (holes * 255).round().long()
    torch.testing.assert_close(holes, levels / 255)
    inside = levels[levels > 0]
    counts = torch.bincount(inside, minlength=256)[1:]
    assert len(inside) > 20_000
    assert float(counts.min() / counts.float().mean()) > 0.6
    assert float(counts.max() / counts.float().mean()) < 1.4
    pairs = torch.stack([inside[:-1], inside[1:]]).float()
    assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.03


def test_pixels_come_from_where_torch_s_own_affine_map_takes_them() -> None:
    images = noise(100)
    config = AugmentConfig(**(NOTHING | {"rotation": 25, "translation": 0.1, "resize": 0.2}))  # type: ignore[arg-type]
    maps = _affine_maps(100, config, torch.Generator().manual_seed(5), None)
    grid = F.affine_grid(maps, [100, 1, 20, 20], False)
    expected = F.grid_sample(images.float() / 255, grid, padding_mode="reflection", align_corners=False)
    result = augment_images(images, 20, config, torch.Generator().manual_seed(5))
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)


def test_brightness_and_contrast_are_one_linear_change_a_picture() -> None:
    images = torch.tensor([64, 192], dtype=torch.uint8).repeat(200, 1, SIZE, SIZE // 2)
    result = augment(images, brightness=0.1, contrast=0.3)
    low, high = result[..., 0::2].mean((1, 2, 3)), result[..., 1::2].mean((1, 2, 3))
    gain, middle = (high - low) / (128 / 255), (high + low) / 2
    assert float(gain.min()) == pytest.approx(0.7, abs=0.03)
    assert float(gain.max()) == pytest.approx(1.3, abs=0.03)
    assert float((middle - 0.5).abs().max()) < 0.11


def test_plain_resizing_keeps_the_mean_and_the_untouched_size() -> None:
    images = noise(4)
    assert torch.equal(images_from_pixels(images, SIZE), images.float() / 255)
    halved = images_from_pixels(images, SIZE // 2)
    assert halved.shape == (4, 1, SIZE // 2, SIZE // 2)
    torch.testing.assert_close(halved.mean((2, 3)), images.float().mean((2, 3)) / 255, atol=0.02, rtol=0)


def test_mirror_and_resize_commute() -> None:
    images = noise(4)
    torch.testing.assert_close(
        images_from_pixels(images.flip(3), 20), images_from_pixels(images, 20).flip(3), atol=1e-6, rtol=0
    )


def test_rotation_equals_a_hand_made_affine_map() -> None:
    images = noise(6)
    result = augment(images, rotation=90)
    uniform = torch.rand(6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for image, found, share in zip(images.float() / 255, result, uniform.tolist()):
        errors = []
        for sign in (1, -1):
            cos, sin = math.cos(share * math.pi / 2), sign * math.sin(share * math.pi / 2)
            grid = F.affine_grid(
                torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]]), [1, 1, SIZE, SIZE], False
            )
            wanted = F.grid_sample(image[None], grid, padding_mode="reflection", align_corners=False)[0]
            errors.append(float((wanted - found).abs().max()))
        assert min(errors) < 1e-4
        assert max(errors) > 0.01
