"""The packaged detector on real photographs: what it must find, and where it must find nothing."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facelex.recognize.centerface import CenterFace, decode, fit, suppress
from facelex.recognize.detection import intersection_over_union
from facelex.recognize.faces import create_detector
from facelex.recognize.sessions import default_threads

# x, y, width, height from brow or hairline to chin, drawn by hand
FACES = {
    "astronaut.jpg": (183, 62, 85, 116),
    "grace_hopper.jpg": (177, 130, 180, 205),
    "cameraman.jpg": (200, 118, 58, 80),
}


def sample(name: str) -> Image.Image:
    with files("facelex").joinpath(f"samples/{name}").open("rb") as stream:
        return Image.open(stream).convert("RGB")


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


@given(st.lists(st.integers(0, 20), min_size=8, max_size=8))
def test_overlap_is_what_counting_pixels_says(numbers: list[int]) -> None:
    one, other = (tuple(numbers[i : i + 4]) for i in (0, 4))
    masks = np.zeros((2, 40, 40), bool)
    for mask, (x, y, width, height) in zip(masks, (one, other)):
        mask[y : y + height, x : x + width] = True
    expected = masks.all(axis=0).sum() / max(1, masks.any(axis=0).sum())
    assert intersection_over_union(one, other) == pytest.approx(expected)


@pytest.fixture(scope="module")
def detector() -> CenterFace:
    return create_detector()


@pytest.mark.parametrize("name", FACES)
def test_the_face_of_each_sample_is_found_where_it_is(detector, name):
    faces = detector.detect(pixels(sample(name)))
    assert len(faces) == 1
    assert faces[0].score > 0.7
    assert intersection_over_union(faces[0].box, FACES[name]) > 0.7


def test_landmarks_come_in_the_documented_order(detector):
    landmarks = detector.detect(pixels(sample("astronaut.jpg")))[0].landmarks
    assert landmarks.shape == (5, 2)
    assert landmarks.dtype == np.float32
    by_eye = np.array([[206, 104], [246, 103], [223, 126], [205, 145], [241, 144]])  # read off the picture
    assert np.abs(landmarks - by_eye).max() < 8
    eye_left, eye_right, nose, mouth_left, mouth_right = landmarks
    assert eye_left[0] < nose[0] < eye_right[0]
    assert mouth_left[0] < mouth_right[0]
    assert max(eye_left[1], eye_right[1]) < nose[1] < min(mouth_left[1], mouth_right[1])


def test_a_grey_copy_has_the_same_face(detector):
    color = detector.detect(pixels(sample("astronaut.jpg")))[0]
    grey = detector.detect(pixels(sample("astronaut.jpg").convert("L")))[0]
    assert intersection_over_union(color.box, grey.box) > 0.85


@pytest.mark.parametrize("angle", [-60, -30, 30, 60, 90])
def test_a_turned_copy_has_the_face_and_its_landmarks_turn_with_it(detector, angle):
    picture = sample("astronaut.jpg")
    upright = detector.detect(pixels(picture))[0].landmarks
    turned = picture.rotate(angle, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))
    faces = detector.detect(pixels(turned))
    assert len(faces) == 1
    middle = np.array(picture.size) / 2
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    away = (upright - middle) @ np.array([[cosine, -sine], [sine, cosine]])
    assert np.abs(faces[0].landmarks - (away + middle)).mean() < 8


@pytest.mark.parametrize("height", [20, 40, 100, 300])
def test_faces_of_many_sizes_are_found(detector, height):
    x, y, w, h = FACES["astronaut.jpg"]
    scale = height / h
    small = sample("astronaut.jpg").resize((round(512 * scale),) * 2, Image.Resampling.LANCZOS)
    scene = Image.new("RGB", (640, 480), (90, 110, 140))
    corner = (320 - round((x + w / 2) * scale), 240 - round((y + h / 2) * scale))
    scene.paste(small, corner)
    expected = (x * scale + corner[0], y * scale + corner[1], w * scale, h * scale)
    faces = detector.detect(pixels(scene))
    assert [intersection_over_union(face.box, expected) > 0.5 for face in faces] == [True]


def test_a_picture_that_is_nothing_but_a_small_face_has_one(detector):
    x, y, w, h = FACES["astronaut.jpg"]
    tight = sample("astronaut.jpg").crop((x - 12, y, x + w + 12, y + h)).resize((48, 48))
    faces = detector.detect(pixels(tight))
    assert len(faces) == 1
    assert intersection_over_union(faces[0].box, (5, 0, 38, 48)) > 0.6


def test_every_face_of_a_scene_is_found_once_and_the_surest_comes_first(detector):
    scene = Image.new("RGB", (1000, 700), (60, 80, 60))
    places = {"astronaut.jpg": (0, 0), "cameraman.jpg": (500, 150), "grace_hopper.jpg": (100, 400)}
    for name, corner in places.items():
        picture = sample(name)
        scene.paste(picture.resize((picture.width // 2, picture.height // 2)), corner)
    faces = detector.detect(pixels(scene))
    assert len(faces) == 3
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
    for name, corner in places.items():
        x, y, w, h = (value / 2 for value in FACES[name])
        expected = (x + corner[0], y + corner[1], w, h)
        assert max(intersection_over_union(face.box, expected) for face in faces) > 0.6


def test_small_faces_of_a_large_picture_are_found_by_the_second_look(detector):
    # 40 pixels of 2560: 10 in the first look
    scene = Image.new("RGB", (2560, 1920), (90, 110, 140))
    small = sample("astronaut.jpg").resize((177, 177), Image.Resampling.LANCZOS)
    corners = [(200, 300), (1200, 900), (2000, 1500)]
    for corner in corners:
        scene.paste(small, corner)
    faces = detector.detect(pixels(scene))
    x, y, w, h = (value * 177 / 512 for value in FACES["astronaut.jpg"])
    for left, top in corners:
        assert max(intersection_over_union(f.box, (x + left, y + top, w, h)) for f in faces) > 0.5
    assert len(faces) == 3


@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_face(detector, seed):
    random = np.random.default_rng(seed)
    assert detector.detect(random.integers(0, 256, (240, 320, 3), np.uint8)) == []
    cloudy = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8)).resize((640, 480), 3)
    assert detector.detect(np.asarray(cloudy)) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (33, 31), (2, 4000)])
def test_pictures_of_odd_shape_are_answered(detector, shape):
    assert detector.detect(np.full((*shape, 3), 200, np.uint8)) == []


def test_a_blank_picture_has_no_face(detector):
    for value in (0, 128, 255):
        assert detector.detect(np.full((300, 400, 3), value, np.uint8)) == []


def test_the_same_picture_always_gets_the_same_answer(detector):
    image = pixels(sample("astronaut.jpg"))
    one, other = detector.detect(image)[0], create_detector("centerface").detect(image.copy())[0]
    assert one.box == other.box
    assert one.score == other.score
    assert (one.landmarks == other.landmarks).all()


def test_arrays_that_are_not_contiguous_or_writeable_are_read(detector):
    image = pixels(sample("astronaut.jpg"))
    mirrored = image[:, ::-1]
    mirrored.flags.writeable = False
    x, y, w, h = FACES["astronaut.jpg"]
    assert intersection_over_union(detector.detect(mirrored)[0].box, (512 - x - w, y, w, h)) > 0.7


def test_large_pictures_are_searched_at_bounded_size():
    network_input, scale, origin = fit(np.zeros((3000, 4000, 3), np.uint8), 640 * 480)
    assert network_input.shape == (1, 3, 480, 640)
    assert scale == pytest.approx([0.16, 0.16])
    assert origin.tolist() == [0, 0]
    panorama = fit(np.zeros((400, 12000, 3), np.uint8), 640 * 480)[0]
    assert panorama.size <= 3 * 640 * 480 * 1.4


def test_decoding_follows_the_papers_formulas():
    # One peak at row 3, column 5: written out by hand, in pixels of the network's input.
    heatmap, scale, offset, points = (np.zeros((n, 8, 8), np.float32) for n in (1, 2, 2, 10))
    heatmap[0, 3, 5] = 0.9
    scale[:, 3, 5] = np.log([6, 4])  # height, width in cells
    offset[:, 3, 5] = [0.25, -0.25]  # down, right
    points[:, 3, 5] = [0.25, 0.3, 0.25, 0.7, 0.5, 0.5, 0.75, 0.35, 0.75, 0.65]  # y, x shares of the box
    boxes, scores, landmarks = decode(heatmap, scale, offset, points, 0.5)
    center_x, center_y = (5 + 0.5 - 0.25) * 4, (3 + 0.5 + 0.25) * 4
    assert boxes[0] == pytest.approx([center_x - 8, center_y - 12, 16, 24])
    assert scores == pytest.approx([0.9])
    assert landmarks[0, 0] == pytest.approx([center_x - 8 + 0.3 * 16, center_y - 12 + 0.25 * 24])
    assert landmarks[0, 4] == pytest.approx([center_x - 8 + 0.65 * 16, center_y - 12 + 0.75 * 24])


def test_suppression_keeps_the_surest_of_overlapping_boxes():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [30, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    scores = np.array([0.5, 0.9, 0.6, 0.9], np.float32)
    assert suppress(boxes, scores, 0.3).tolist() == [1, 2]
    assert suppress(boxes[:0], scores[:0], 0.3).tolist() == []


def test_few_searches_run_at_once_however_many_threads_ask(monkeypatch):
    """Each search that runs beside others makes ONNX Runtime keep more memory."""
    detector = create_detector()
    running, most, lock = 0, 0, threading.Lock()
    run = detector.session.run

    def counted(*arguments):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        try:
            return run(*arguments)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(detector, "session", SimpleNamespace(run=counted))
    with ThreadPoolExecutor(4 * default_threads()) as pool:
        found = list(pool.map(detector.detect, [np.zeros((64, 64, 3), np.uint8)] * 16 * default_threads()))
    assert found == [[]] * 16 * default_threads()
    assert 1 <= most <= 2 * default_threads()
