import numpy as np
import pytest

from facelex.evaluation.views import VIEWS, chosen_views, mirrored, ten_crops


def test_ten_crops_are_corners_centre_and_their_mirror_images() -> None:
    pixels = np.arange(2 * 48 * 48).reshape(2, 48, 48).astype(np.uint8)
    crops = list(ten_crops(pixels, 40 / 48))
    plain = [
        pixels[:, :40, :40], pixels[:, :40, 8:], pixels[:, 8:, :40], pixels[:, 8:, 8:], pixels[:, 4:44, 4:44],
    ]  # fmt: skip
    assert len(crops) == 10
    for expected, window, mirror in zip(plain, crops[::2], crops[1::2]):
        np.testing.assert_array_equal(window, expected)
        np.testing.assert_array_equal(mirror, expected[:, :, ::-1])


def test_ten_crops_of_mirrored_pictures_are_the_same_windows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 12, 12), np.uint8)
    ours = {crop.tobytes() for crop in ten_crops(pixels, 0.5)}
    assert ours == {crop.tobytes() for crop in ten_crops(mirrored(pixels), 0.5)}


@pytest.mark.parametrize(("shape", "window", "expected"), [((9, 14), 0.5, (4, 7)), ((3, 3), 0.01, (1, 1))])
def test_a_window_is_a_share_of_each_side_and_never_empty(
    shape: tuple[int, int], window: float, expected: tuple[int, int]
) -> None:
    crops = list(ten_crops(np.zeros((1, *shape), np.uint8), window))
    assert {crop.shape[1:] for crop in crops} == {expected}


def test_a_window_of_the_whole_picture_is_the_picture() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 7, 7), np.uint8)
    for window, mirror in zip(list(ten_crops(pixels, 1))[::2], list(ten_crops(pixels, 1))[1::2]):
        np.testing.assert_array_equal(window, pixels)
        np.testing.assert_array_equal(mirror, mirrored(pixels))


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_makes_as_many_variants_as_it_says(name: str) -> None:
    pixels = np.zeros((2, 12, 12), np.uint8)
    assert len(list(VIEWS[name].make(pixels))) == VIEWS[name].variants


def test_the_picture_as_it_is_is_always_among_the_chosen_views() -> None:
    assert chosen_views() == ("single",)
    assert chosen_views(ten_crop=True) == ("single", "ten_crop")
    assert chosen_views(flip=True, ten_crop=True) == tuple(VIEWS)
