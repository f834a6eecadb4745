"""Photos that are taken for face crops are told of, and nothing else is."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import facelex
from facelex.cli.main import main
from facelex.data.folder import read_folder
from facelex.data.listed import read_listing
from facelex.data.whole_photos import LOOKED_AT
from facelex.recognize.detection import Detection
from facelex.recognize.faces import create_detector
from facelex.recognize.framing import frame_of
from facelex.recognize.images import load_image

SAMPLES = Path(facelex.__file__).parent / "samples"
NAMES = {"happy": "astronaut.jpg", "neutral": "grace_hopper.jpg"}


class Centred:
    """Finds a face in the middle of every picture, of that share of the shorter side as it is framed."""

    def __init__(self, shares: list[float | None]) -> None:
        self.shares = shares
        self.looked_at: list[tuple[int, ...]] = []

    def detect(self, image: np.ndarray) -> list[Detection]:
        share = self.shares[len(self.looked_at) % len(self.shares)]
        self.looked_at.append(image.shape)
        if share is None:
            return []
        height, width = image.shape[:2]
        side = share * min(height, width) / 0.952
        return [Detection(((width - side) / 2, (height - side) / 2, side, side), 0.9)]


def pictures(folder: Path, count: int, size: tuple[int, int] = (200, 128)) -> Path:
    (folder / "happy").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", size, (number, 80, 99)).save(folder / "happy" / f"{size[0]}-{number:03}.png")
    return folder


def told(notes: list[str]) -> list[str]:
    return [note for note in notes if "--find-faces" in note]


def test_both_verbs_tell_of_photos_and_the_option_that_finds_faces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, photo in NAMES.items():
        (tmp_path / "lab" / name).mkdir(parents=True)
        shutil.copy(SAMPLES / photo, tmp_path / "lab" / name)
    note = (
        "In 2 of 2 pictures that were looked at the face fills less than 60% of the shorter side. All "
        "pictures were read as face crops; if they are whole photos, add --find-faces."
    )
    prepare = ["data", "prepare", str(tmp_path / "lab"), "--split", "0,0,1", "-o", str(tmp_path / "d.npz")]
    for call in (prepare, ["evaluate", "tiny", "--data", str(tmp_path / "lab")]):
        assert main(call) == 0
        assert capsys.readouterr().err.count(note) == 1
        assert main([*call, "--find-faces"]) == 0
        assert "looked at" not in capsys.readouterr().err


def test_faces_as_a_recogniser_frames_them_are_crops_at_any_size(tmp_path: Path) -> None:
    for name, photo in NAMES.items():
        pixels = load_image(SAMPLES / photo)
        (x, y), side, _ = frame_of(create_detector().detect(pixels)[0])
        half = 0.7 * side  # a margin of a fifth of the crop on every side
        (tmp_path / name).mkdir()
        cut = Image.fromarray(pixels).crop((int(x - half), int(y - half), int(x + half), int(y + half)))
        cut.resize((160, 160)).save(tmp_path / name / "1.png")
    assert told(read_folder(tmp_path)[1]) == []


@pytest.mark.parametrize(
    ("shares", "tells"),
    [
        ([0.59], "10 of 10"),
        ([0.61], ""),
        ([0.3, 0.3, 0.9], "7 of 10"),
        ([0.3, 0.9], ""),  # half of them is not most
        ([0.3, 0.3, 0.3, None, None], "6 of 10"),
        ([0.3, None], ""),
        ([None], ""),
    ],
)
def test_most_of_the_pictures_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shares: list[float | None], tells: str
) -> None:
    monkeypatch.setattr("facelex.recognize.faces.create_detector", lambda: Centred(shares))
    notes = told(read_folder(pictures(tmp_path, 10))[1])
    assert len(notes) == bool(tells)
    assert all(note.startswith(f"In {tells} pictures") for note in notes)


def test_few_large_pictures_are_looked_at_and_no_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Centred([0.3])
    monkeypatch.setattr("facelex.recognize.faces.create_detector", lambda: detector)
    read_folder(pictures(tmp_path / "small", 30, size=(300, 127)))
    assert detector.looked_at == []
    read_folder(pictures(tmp_path / "small", 45))
    assert detector.looked_at == [(128, 200, 3)] * LOOKED_AT
    (tmp_path / "list.csv").write_text("image,label\n" + "small/happy/200-000.png,happy\n" * 3)
    notes = told(read_listing(tmp_path / "list.csv")[1])
    assert notes[0].startswith("In the picture the face fills less than 60%")  # listed thrice, and one


def test_reading_goes_on_where_nothing_can_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("the model has gone")

    monkeypatch.setattr("facelex.recognize.faces.create_detector", broken)
    dataset, notes = read_folder(pictures(tmp_path, 3))
    assert (len(dataset), told(notes)) == (3, [])
