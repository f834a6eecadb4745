"""Landmarks of a face: where they lie, whatever becomes of the picture, and where they are written."""

from __future__ import annotations

import csv
import json
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image
from tiny_recognition import FixedDetector

from facelex.cli.main import main
from facelex.errors import FacelexError
from facelex.recognize.face_tracker import FaceTracker
from facelex.recognize.layouts import LANDMARK_COLUMNS, LANDMARKS
from facelex.recognize.recognizer import Recognizer
from facelex.recognize.results import to_frame
from facelex.recognize.summaries import ImageSummary

BY_EYE = {
    "astronaut.jpg": [[206, 104], [246, 103], [223, 126], [205, 145], [241, 144]],
    "grace_hopper.jpg": [[221, 191], [303, 187], [265, 234], [237, 277], [306, 273]],
}
"""Read off the pictures, in the order of `LANDMARKS`."""
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How an upright picture is stored so that each orientation of EXIF turns it upright again."""


@pytest.fixture(scope="module")
def fer() -> Recognizer:
    return Recognizer("tiny", threads=1)


def sample(name: str) -> Image.Image:
    with files("facelex").joinpath(f"samples/{name}").open("rb") as stream:
        return Image.open(stream).convert("RGB")


def landmarks(fer: Recognizer, image: object) -> np.ndarray:
    """Return the landmarks of the one face of a picture, ``(5, 2)``."""
    (face,) = fer.predict(image)  # type: ignore[arg-type]
    assert face.landmarks is not None
    assert tuple(face.landmarks) == LANDMARKS
    return np.array(list(face.landmarks.values()))


@pytest.mark.parametrize("name", BY_EYE)
def test_landmarks_lie_on_eyes_nose_and_mouth(fer, name):
    (face,) = fer.predict(sample(name))
    away = np.abs(landmarks(fer, sample(name)) - BY_EYE[name])
    assert away.max() < 0.07 * face.box[3]


@pytest.mark.parametrize("orientation", TURNS)
def test_landmarks_are_of_the_picture_as_exif_turns_it_upright(fer, tmp_path, orientation):
    upright = sample("astronaut.jpg").crop((0, 0, 512, 400))
    turn = TURNS[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert landmarks(fer, tmp_path / "a.png") == pytest.approx(landmarks(fer, upright), abs=0.01)


def test_in_a_mirrored_picture_right_and_left_change_places(fer):
    pixels = np.asarray(sample("astronaut.jpg"))
    found, mirrored = landmarks(fer, pixels), landmarks(fer, pixels[:, ::-1])
    expected = found[[1, 0, 2, 4, 3]] * [-1, 1] + [pixels.shape[1] - 1, 0]
    assert np.abs(mirrored - expected).max() < 8
    assert mirrored[0, 0] < mirrored[1, 0]


@pytest.mark.parametrize("scale", [0.3, 2.0, 5.0])
def test_landmarks_are_in_pixels_of_the_picture_whatever_size_is_searched(fer, scale):
    picture = sample("astronaut.jpg")
    resized = picture.resize((round(512 * scale), round(512 * scale)), Image.Resampling.LANCZOS)
    assert landmarks(fer, resized) / scale == pytest.approx(landmarks(fer, picture), abs=8)


def test_landmarks_of_small_faces_that_a_closer_look_finds_lie_in_their_places(fer):
    scene = Image.new("RGB", (2560, 1920), (90, 110, 140))
    small = sample("astronaut.jpg").resize((177, 177), Image.Resampling.LANCZOS)
    corners = [(200, 300), (1200, 900), (2000, 1500)]
    for corner in corners:
        scene.paste(small, corner)
    found = sorted(fer.predict(scene), key=lambda face: face.box[0])
    assert len(found) == 3
    for corner, face in zip(corners, found):
        expected = np.array(BY_EYE["astronaut.jpg"]) * 177 / 512 + corner
        assert np.abs(np.array(list(face.landmarks.values())) - expected).max() < 5


def test_a_picture_that_is_the_face_or_a_detector_without_them_gives_none(fer, tiny_model, photo):
    assert [face.landmarks for face in fer.predict(photo, detect=False)] == [None]
    without = Recognizer(tiny_model, detector=FixedDetector((0.1, 0.2, 0.3, 0.4)), threads=1)
    (face,) = without.predict(photo)
    assert face.landmarks is None
    assert face.to_dict()["landmarks"] is None
    assert not set(face.to_row(landmarks=True)) & set(LANDMARK_COLUMNS)


def test_landmarks_in_a_film_are_those_of_the_frame(fer):
    tracker = FaceTracker(fer)
    for time in (0.0, 0.2):
        seen = tracker.update(sample("astronaut.jpg"), time)
    assert np.array(list(seen.faces[0].landmarks.values())) == pytest.approx(
        landmarks(fer, sample("astronaut.jpg"))
    )
    assert seen.to_dict()["faces"][0]["landmarks"].keys() == set(LANDMARKS)
    assert set(LANDMARK_COLUMNS) <= seen.to_rows(landmarks=True)[0].keys()


def test_a_data_frame_has_them_where_they_are_asked_for(fer):
    pytest.importorskip("pandas")
    results = list(fer.predict_many([sample("astronaut.jpg"), np.zeros((50, 60, 3), np.uint8)]))
    assert not set(to_frame(results).columns) & set(LANDMARK_COLUMNS)
    frame = to_frame(results, landmarks=True)
    assert tuple(frame.filter(regex="_[xy]$").columns) == LANDMARK_COLUMNS
    assert frame["right_eye_x"][0] == pytest.approx(206, abs=8)
    assert tuple(to_frame(results[1:], landmarks=True).filter(regex="_[xy]$").columns) == LANDMARK_COLUMNS
    with pytest.raises(FacelexError, match=r"summary without landmarks\. Leave landmarks out"):
        to_frame([ImageSummary.of(results[0])], landmarks=True)


def test_json_always_says_where_they_are_and_csv_on_request(tmp_path, capsys):
    sample("astronaut.jpg").save(tmp_path / "a.png")
    call = ("predict", str(tmp_path / "a.png"), "--model", "tiny")
    assert main([*call, "--format", "json"]) == 0
    (face,) = json.loads(capsys.readouterr().out)[0]["faces"]
    assert list(face["landmarks"]) == list(LANDMARKS)
    assert main([*call, "--format", "csv"]) == 0
    assert "right_eye_x" not in capsys.readouterr().out
    target = tmp_path / "faces.csv"
    assert main([*call, "--landmarks", "-o", str(target)]) == 0
    (row,) = csv.DictReader(target.read_text().splitlines())
    written = [float(row[name]) for name in LANDMARK_COLUMNS]
    assert written == [value for point in face["landmarks"].values() for value in point]
    capsys.readouterr()
    assert main([*call, "-o", str(target), "--resume"]) == 2
    assert "but it holds right_eye_x" in " ".join(capsys.readouterr().err.split())
    assert main([*call, "--landmarks"]) == 2
    assert "a format that holds landmarks with --landmarks, but got a table" in capsys.readouterr().err


def test_json_lines_with_landmarks_are_gone_on_with_and_those_of_a_version_without_are_not(tmp_path, capsys):
    for name in ("a.png", "b.png"):
        sample("astronaut.jpg").save(tmp_path / name)
    target = tmp_path / "faces.jsonl"
    options = ("-o", str(target), "--model", "tiny", "--landmarks", "--resume")
    assert main(["predict", str(tmp_path / "a.png"), *options]) == 0
    assert main(["predict", str(tmp_path / "a.png"), str(tmp_path / "b.png"), *options]) == 0
    records = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(records) == 2
    for record in records:
        del record["faces"][0]["landmarks"]
    target.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    assert main(["predict", str(tmp_path / "a.png"), *options]) == 2
    assert "but it lacks right_eye_x" in " ".join(capsys.readouterr().err.split())


def test_rows_of_a_film_have_them_on_request(tmp_path, capsys):
    from drawn_video import still, write_video

    film = write_video(tmp_path / "film.mp4", still((30, 30)), seconds=0.5)
    target = tmp_path / "faces.csv"
    assert main(["predict", str(film), "--landmarks", "-o", str(target), "--model", "tiny"]) == 0
    assert set(LANDMARK_COLUMNS) <= set(target.read_text().splitlines()[0].split(","))
