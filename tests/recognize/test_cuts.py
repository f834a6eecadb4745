"""Cuts: another shot is one; a moving face, light, noise and fades are none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from facelex.recognize.cuts import CutFinder

HEIGHT, WIDTH = 180, 320


def scene(seed: int) -> NDArray[np.uint8]:
    """A blurred scene of its own."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def with_face(picture: NDArray[np.uint8], left: float, share: float) -> NDArray[np.uint8]:
    """Put a bright face with dark eyes, ``share`` of the height, so many of its sides from the left."""
    side = round(share * HEIGHT)
    face = np.full((side, side, 3), 200, np.uint8)
    face[side // 4 : side // 3, side // 5 : -side // 5] = 60
    top, start = (HEIGHT - side) // 2, round(left * side)
    picture = picture.copy()
    picture[top : top + side, start : start + side] = face
    return picture


def lit(
    picture: NDArray[np.uint8], gain: float | NDArray[np.floating], offset: float = 0.0
) -> NDArray[np.uint8]:
    return np.clip(gain * picture.astype(np.float32) + offset, 0, 255).astype(np.uint8)


def cuts(*frames: NDArray[np.uint8]) -> list[bool]:
    finder = CutFinder()
    return [finder.update(frame) for frame in frames]


@pytest.mark.parametrize("seed", range(20))
def test_another_shot_is_a_cut_and_the_same_shot_is_none(seed):
    one, other = with_face(scene(seed), 0.5, 0.5), with_face(scene(seed + 100), 0.5, 0.5)
    assert cuts(one, one, other, other, one) == [False, False, True, False, True]


def test_bars_above_and_below_hide_no_cut():
    shots = [scene(0).copy(), scene(1).copy()]
    for shot in shots:
        shot[:24] = shot[-24:] = 0
    assert cuts(*shots) == [False, True]


@pytest.mark.parametrize(("share", "step"), [(0.3, 2.0), (0.6, 1.0), (0.9, 0.15)])
@pytest.mark.parametrize("seed", range(5))
def test_a_face_that_moves_is_no_cut(share, step, seed):
    assert not any(cuts(*(with_face(scene(seed), 0.1 + step * (i % 2), share) for i in range(4))))


@pytest.mark.parametrize("seed", range(5))
def test_another_light_is_no_cut(seed):
    dim = lit(with_face(scene(seed), 0.5, 0.5), 0.4)
    from_one_side = np.linspace(1, 2.5, WIDTH)[None, :, None]
    for light in (lit(dim, 2.5), lit(dim, 1, 100), lit(dim, from_one_side), lit(dim, 0.3)):
        assert cuts(dim, light, dim) == [False] * 3


def test_an_even_wall_that_is_lit_is_no_cut():
    rng = np.random.default_rng(0)
    wall = np.full((HEIGHT, WIDTH, 3), 60.0) + rng.normal(0, 3, (HEIGHT, WIDTH, 3))
    wall[:60, :60] = 130
    assert cuts(lit(wall, 1), lit(wall, 1, 90), lit(wall, 1)) == [False] * 3


def test_noise_of_a_camera_is_no_cut():
    rng = np.random.default_rng(0)
    frames = [lit(scene(0) + rng.normal(0, 25, (HEIGHT, WIDTH, 3)), 1) for _ in range(10)]
    assert not any(cuts(*frames))


def test_slow_fades_are_no_cut():
    one, other = scene(0), scene(1)
    shares = np.linspace(0, 1, 11)
    assert not any(cuts(*(lit(one, 1 - share) for share in shares), *(lit(one, share) for share in shares)))
    mixed = [lit((1 - share) * one + share * other, 1) for share in shares]
    assert not any(cuts(*mixed))


def test_black_and_white_frames_are_passed_over():
    one, other = scene(0), scene(1)
    black, white = np.zeros_like(one), np.full_like(one, 255)
    assert cuts(black, one, white, one) == [False] * 4  # a flash
    assert cuts(one, black, black, other) == [False, False, False, True]


@pytest.mark.parametrize("shape", [(8, 8, 3), (1080, 1920, 3), (50, 900, 3)])
def test_frames_of_any_size_are_compared(shape):
    rng = np.random.default_rng(0)
    blocks = [rng.integers(0, 256, (4, 4, 1)) for _ in range(2)]
    grow = -(-shape[0] // 4), -(-shape[1] // 4)
    one, other = (
        np.kron(block, np.ones((*grow, 3)))[: shape[0], : shape[1]].astype(np.uint8) for block in blocks
    )
    assert cuts(one, one, other) == [False, False, True]
