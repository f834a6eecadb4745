"""Where a crop comes from, against transforms written out by hand."""

import math
import tracemalloc
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from facelex.data.pictures import read_grey
from facelex.errors import FacelexError
from facelex.recognize.faces import Detection, create_detector, crop_face
from facelex.recognize.framing import DEFAULT_FRAMING, frame_of

# eyes, nose, mouth of an upright face: eyes to mouth 40 apart
UPRIGHT = np.array([[80, 100], [120, 100], [100, 120], [85, 140], [115, 140]], np.float32)
BOX = (60.0, 60.0, 80.0, 110.0)
PLAIN = {"offset": (0.0, 0.0), "roll": 0.0}


def turned(points: np.ndarray, degrees: float, about=(100.0, 115.0)) -> np.ndarray:
    """Turn points clockwise as seen (y points down)."""
    angle = math.radians(degrees)
    matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return ((points - about) @ matrix + about).astype(np.float32)


def ramp(height: int, width: int) -> np.ndarray:
    """A picture whose grey value is x / 2 + y / 4."""
    value = np.arange(width)[None] / 2 + np.arange(height)[:, None] / 4
    return np.repeat(value.round().astype(np.uint8)[:, :, None], 3, axis=2)


def test_landmarks_set_the_side_and_the_box_the_centre():
    center, side, tilt = frame_of(Detection(BOX, 1.0, UPRIGHT), PLAIN)
    assert center == pytest.approx((100, 115))
    assert side == pytest.approx(DEFAULT_FRAMING["side"] * 40)
    assert tilt == pytest.approx(0, abs=1e-6)


def test_without_landmarks_the_box_alone_frames_the_face():
    center, side, tilt = frame_of(Detection(BOX, 1.0), {**PLAIN, "box_side": 1.1, "offset": (0.1, -0.2)})
    assert side == pytest.approx(1.1 * 110)
    assert center == pytest.approx((100 + 0.1 * side, 115 - 0.2 * side))
    assert tilt == 0


@pytest.mark.parametrize("degrees", [-120, -25, 10, 90, 180])
def test_a_turned_head_is_framed_at_its_own_angle_and_its_offset_turns_too(degrees):
    framing = {**PLAIN, "offset": (0.0, -0.1)}
    center, side, tilt = frame_of(Detection(BOX, 1.0, turned(UPRIGHT, degrees)), framing)
    assert math.cos(tilt - math.radians(degrees)) == pytest.approx(1, abs=1e-6)
    up = turned(np.array([[100.0, 115.0 - 0.1 * side]]), degrees)[0]
    assert center == pytest.approx(up, abs=1e-3)


def test_turning_upright_can_be_switched_off():
    assert frame_of(Detection(BOX, 1.0, turned(UPRIGHT, 30)), {**PLAIN, "upright": False})[2] == 0


def test_landmarks_gone_astray_cannot_blow_up_the_crop():
    for reach in (0.01, 100):
        astray = (UPRIGHT - 100) * reach + 100
        side = frame_of(Detection(BOX, 1.0, astray.astype(np.float32)))[1]
        assert 0.6 * 110 < side < 1.4 * 110


def test_an_upright_crop_reads_the_pixels_that_the_frame_covers():
    # A ramp is its own interpolation, so each crop pixel must equal the ramp at its place in the picture.
    framing = {**PLAIN, "box_side": 96 / 110}
    crop = crop_face(ramp(300, 300), Detection(BOX, 1.0), 48, framing)
    places = (np.arange(48) + 0.5) * 2 - 0.5  # pixel centres of a 96 px frame sampled at 48
    expected = (100 - 48 + places)[None] / 2 + (115 - 48 + places)[:, None] / 4
    assert np.abs(crop - expected).max() <= 1


@pytest.mark.parametrize("degrees", [-40, 15, 90])
@pytest.mark.parametrize("size", [24, 48, 112])
def test_a_turned_crop_reads_the_pixels_that_the_frame_covers(degrees, size):
    face = Detection(BOX, 1.0, turned(UPRIGHT, degrees))
    (center_x, center_y), side, _ = frame_of(face, PLAIN)
    crop = crop_face(ramp(300, 300), face, size, PLAIN)
    right, down = np.meshgrid(*(((np.arange(size) + 0.5) / size - 0.5) * side,) * 2)
    angle = math.radians(degrees)
    x = center_x - 0.5 + math.cos(angle) * right - math.sin(angle) * down
    y = center_y - 0.5 + math.sin(angle) * right + math.cos(angle) * down
    assert np.abs(crop - (x / 2 + y / 4)).max() <= 2


@pytest.mark.parametrize("factor", [3, 8, 20])
def test_a_larger_copy_of_the_picture_gives_the_same_crop(factor):
    picture = (
        Image.fromarray(np.asarray(Image.effect_noise((20, 20), 60))).resize((200, 200), 3).convert("RGB")
    )
    face = Detection((50.0, 50.0, 80.0, 100.0), 1.0)
    large = picture.resize((200 * factor,) * 2, Image.Resampling.BICUBIC)
    grown = Detection(tuple(factor * value for value in face.box), 1.0)
    small_crop = crop_face(np.asarray(picture), face, 48).astype(int)
    large_crop = crop_face(np.asarray(large), grown, 48).astype(int)
    assert np.abs(small_crop - large_crop).mean() < 2


def test_fine_patterns_are_averaged_and_not_sampled():
    checks = np.indices((960, 960)).sum(axis=0) % 2 * 255
    image = np.repeat(checks.astype(np.uint8)[:, :, None], 3, axis=2)
    crop = crop_face(image, Detection((100.0, 100.0, 700.0, 700.0), 1.0), 48)
    assert np.abs(crop.astype(int) - 127).max() <= 4


def test_beyond_the_picture_its_edge_is_repeated():
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, :50] = 40
    image[:, 50:] = 200
    crop = crop_face(image, Detection((60.0, 10.0, 80.0, 80.0), 1.0), 48, {**PLAIN, "box_side": 1.0})
    assert (crop == 200).all()
    outside = crop_face(image, Detection((-500.0, 10.0, 80.0, 80.0), 1.0), 48)
    assert (outside == 40).all()


def test_one_pixel_pictures_can_be_cropped():
    image = np.full((1, 1, 3), 77, np.uint8)
    assert (crop_face(image, Detection((0.0, 0.0, 1.0, 1.0), 1.0), 48) == 77).all()
    assert (crop_face(image, create_detector("none").detect(image)[0], 48) == 77).all()


def test_a_picture_taken_whole_stays_as_it_is():
    face = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
    image = np.repeat(face[:, :, None], 3, axis=2)
    detection = create_detector("none").detect(image)
    assert [face.box for face in detection] == [(0.0, 0.0, 48.0, 48.0)]
    assert (crop_face(image, detection[0], 48) == face).all()


@pytest.mark.parametrize("turn", [False, True])
def test_of_a_crop_that_is_not_square_the_middle_is_taken_as_from_a_dataset_folder(turn, tmp_path):
    face = np.random.default_rng(0).integers(0, 256, (96, 144), np.uint8)
    face = face.T.copy() if turn else face
    image = np.repeat(face[:, :, None], 3, axis=2)
    crop = crop_face(image, create_detector("none").detect(image)[0], 48)
    Image.fromarray(face).save(tmp_path / "crop.png")
    stored = read_grey(tmp_path / "crop.png", 48)
    assert np.abs(crop.astype(int) - stored).max() <= 1


@pytest.mark.parametrize("angle", [0, -35, 35, 90])
def test_a_tilted_portrait_is_cut_out_upright_as_fer2013_frames_it(angle):
    with files("facelex").joinpath("samples/astronaut.jpg").open("rb") as stream:
        picture = Image.open(stream).convert("RGB")
    image = np.asarray(picture.rotate(angle, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128)))
    detector = create_detector()
    crop = crop_face(image, detector.detect(image)[0], 192)
    assert crop.shape == (192, 192)
    assert crop.dtype == np.uint8
    again = detector.detect(
        np.pad(np.repeat(crop[:, :, None], 3, axis=2), ((96,) * 2,) * 2 + ((0, 0),), "edge")
    )
    landmarks = (again[0].landmarks - 96) / 4
    # Medians over FER2013, docs/faces.md; single faces scatter by 3 to 5 pixels.
    usual = np.array([[15.5, 19.4], [32.9, 18.7], [24.3, 28.6], [17.7, 36.1], [31.6, 35.5]])
    assert np.abs(landmarks - usual).max() < 6
    eyes = landmarks[1] - landmarks[0]
    # Landmarks of a head that lies on its side are less exact.
    assert abs(math.degrees(math.atan2(eyes[1], eyes[0]))) < (8 if abs(angle) < 45 else 15)


def test_values_of_a_model_file_replace_the_defaults():
    face = Detection(BOX, 1.0, UPRIGHT)
    wide, narrow = frame_of(face, {"side": 3.2})[1], frame_of(face, {"side": 2.4})[1]
    assert wide / narrow == pytest.approx(3.2 / 2.4)


def test_a_misspelt_framing_value_is_named():
    with pytest.raises(FacelexError, match=r"Unknown framing value 'sied'. Did you mean 'side'\?"):
        crop_face(np.zeros((9, 9, 3), np.uint8), Detection((0.0, 0.0, 9.0, 9.0), 1.0), 48, {"sied": 1})


@pytest.mark.parametrize(
    ("detection", "message"),
    [
        (Detection((0.0, 0.0, 0.0, 5.0), 1.0), "positive sides"),
        (Detection((math.nan, 0.0, 5.0, 5.0), 1.0), "positive sides"),
        (Detection((0.0, 0.0, 1e9, 1e9), 1.0), "ordinary size"),
        (Detection(BOX, 1.0, np.zeros((4, 2), np.float32)), r"landmarks of shape \(5, 2\)"),
        (Detection((50.0, 50.0, 5.0, 5.0), 1.0, framed=True), "within the picture"),
    ],
)
def test_impossible_detections_are_refused(detection, message):
    with pytest.raises(FacelexError, match=message):
        crop_face(np.zeros((20, 20, 3), np.uint8), detection, 48)


@pytest.mark.parametrize("shape", [(20, 20), (1, 4000), (300, 200)])
def test_memory_is_bounded_by_the_picture_however_large_the_box(shape):
    image = np.zeros((*shape, 3), np.uint8)
    bound = 100 * max(shape[0] * shape[1], 96 * 96)
    for side in (50, 200, 1_000, 4_000, 12_000):  # the last would take 400 MB
        tracemalloc.start()
        try:
            crop_face(image, Detection((-side / 2, -side / 2, side, side), 1.0), 48)
        except FacelexError as error:
            assert "ordinary size in the picture" in str(error)  # noqa: PT017
            assert side > 2 * min(shape)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < bound


@pytest.mark.parametrize("degrees", [0, 45])
def test_a_close_up_that_reaches_past_every_edge_is_cut_out(degrees):
    image = ramp(400, 400)
    landmarks = turned(UPRIGHT * 10, degrees, (1000.0, 1000.0)) - 800
    assert crop_face(image, Detection((-100.0, -100.0, 600.0, 600.0), 1.0, landmarks), 48).shape == (48, 48)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((20, 20), np.uint8),
        np.zeros((20, 20, 4), np.uint8),
        np.zeros((20, 20, 3), np.float32),
        np.zeros((0, 20, 3), np.uint8),
        [[0]],
    ],
)
def test_pictures_of_another_kind_are_refused_with_what_came(image):
    with pytest.raises(FacelexError, match="Expected"):
        crop_face(image, Detection((0.0, 0.0, 9.0, 9.0), 1.0), 48)
    for name in ("centerface", "none"):
        with pytest.raises(FacelexError, match="Expected"):
            create_detector(name).detect(image)
