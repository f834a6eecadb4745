"""Lists whose rows name a face's box: which face of which photo is taken."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from fake_fer2013 import official_csv, write
from PIL import Image

from facelex.cli.main import main
from facelex.data.dataset import FaceDataset
from facelex.data.listed import listed_files, read_listing
from facelex.data.options import ReadOptions
from facelex.data.pictures import SAME_FACE, Picture
from facelex.data.splits import random_splits
from facelex.errors import FacelexError
from facelex.evaluation.labelled import load_labelled
from facelex.recognize.detection import Detection
from facelex.recognize.framing import crop_face
from facelex.recognize.images import load_image

Captured = pytest.CaptureFixture[str]
PLACES = {"left": (30, 40, 60, 60), "right": (150, 20, 90, 90)}  # the right one is the largest


class Squares:
    """Finds the drawn squares, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def detect(self, image: np.ndarray) -> list[Detection]:
        self.asked += 1
        return [Detection(box, 0.9) for box in PLACES.values() if image[box[1] + 5, box[0] + 5].min() < 250]


@pytest.fixture
def squares(monkeypatch: pytest.MonkeyPatch) -> Squares:
    detector = Squares()
    monkeypatch.setattr("facelex.recognize.faces.create_detector", lambda *_, **__: detector)
    return detector


def photo(path: Path, faces: Iterable[str] = PLACES) -> Path:
    """A white picture with a square of noise at each face."""
    image = np.full((180, 300, 3), 255, np.uint8)
    for number, name in enumerate(faces):
        x, y, width, height = PLACES[name]
        noise = np.random.default_rng(number).integers(0, 200, (height, width, 3))
        image[y : y + height, x : x + width] = noise
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def crop(path: Path, box: tuple[float, float, float, float]) -> np.ndarray:
    return crop_face(load_image(path), Detection(box, 1.0), 48)


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_each_row_gets_the_face_that_its_box_overlaps_best(tmp_path: Path, squares: Squares) -> None:
    two = photo(tmp_path / "two.png")
    one = photo(tmp_path / "one.png", ["left"])
    listing = table(
        tmp_path / "faces.csv",
        "image,label,X,Y,width,height\n"
        "two.png,happy,28,44,66,55\n"  # drawn by hand around the left face
        "one.png,sad,,,,\n"
        "two.png,angry,150.2,20,90,90\n",
    )
    dataset, notes = read_listing(listing, ReadOptions(split=(0, 0, 1), find_faces=True))
    assert [dataset.class_names[code] for code in dataset.labels] == ["happy", "sad", "angry"]
    expected = [crop(two, PLACES["left"]), crop(one, PLACES["left"]), crop(two, PLACES["right"])]
    np.testing.assert_array_equal(dataset.pixels, expected)
    assert squares.asked == 2  # once a picture
    assert not any("not used" in note for note in notes)


def test_a_box_that_no_face_overlaps_enough_is_the_face_itself(tmp_path: Path, squares: Squares) -> None:
    two = photo(tmp_path / "two.png")
    empty = photo(tmp_path / "empty.png", [])
    listing = table(
        tmp_path / "faces.csv",
        "image,label,x,y,width,height\ntwo.png,happy,60,70,60,60\nempty.png,sad,200,100,40,50\n",
    )
    dataset, _ = read_listing(listing, ReadOptions(split=(0, 0, 1), find_faces=True))
    np.testing.assert_array_equal(
        dataset.pixels, [crop(two, (60, 70, 60, 60)), crop(empty, (200, 100, 40, 50))]
    )


@pytest.mark.parametrize("shift", [0, 20, 25, 30, 60, 200])
def test_enough_is_measured_as_intersection_over_union(shift: int) -> None:
    found = Detection((0, 0, 60, 60), 0.9)
    both = np.zeros((2, 60, 300), bool)
    both[0, :, :60] = both[1, :, shift : shift + 60] = True
    enough = both.all(axis=0).sum() / both.any(axis=0).sum() >= SAME_FACE
    face = Picture(np.zeros((60, 300, 3), np.uint8), [found]).face_at((shift, 0, 60, 60))
    assert (face is found) == enough


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ("300,0,20,20", r"two\.png \(the box of its face does not lie in its 300x180 pixels\)"),
        ("0,0,90000,90000", r"two\.png \(the box of its face does not lie in its 300x180 pixels\)"),
        ("1,2,3,", r"four numbers x, y, width, height .* line 3 has 1, 2, 3, \."),
        ("1,2,left,4", r"line 3 has 1, 2, left, 4\."),
        ("1,2,0,4", r"with positive sides, or nothing, .* line 3 has 1, 2, 0, 4\."),
        ("1,nan,3,4", "line 3 has 1, nan, 3, 4"),
        ("1,2,inf,4", "line 3 has 1, 2, inf, 4"),
    ],
)
def test_a_box_that_cannot_be_one_is_told(tmp_path: Path, squares: Squares, box: str, fault: str) -> None:
    photo(tmp_path / "two.png")
    rows = f"two.png,happy,30,40,60,60\ntwo.png,sad,{box}\n"
    listing = table(tmp_path / "faces.csv", "image,label,x,y,width,height\n" + rows)
    with pytest.raises(FacelexError, match=fault):
        read_listing(listing, ReadOptions(find_faces=True))


def test_a_picture_listed_twice_needs_boxes(tmp_path: Path, squares: Squares, capsys: Captured) -> None:
    photo(tmp_path / "two.png")
    photo(tmp_path / "one.png", ["left"])
    rows = "two.png,happy\none.png,sad\ntwo.png,angry\n"
    listing, output = table(tmp_path / "faces.csv", "image,label\n" + rows), tmp_path / "d.npz"
    for verb in (["data", "prepare", "-o", str(output)], ["evaluate", "tiny", "--data"]):
        assert main([*verb, str(listing), "--find-faces"]) == 2
        told = capsys.readouterr().err
        assert "without the box of the face in each row: two.png. For" in told
        assert "columns x, y, width and height" in told
    table(listing, "image,label,x,y,width,height\n" + rows.replace("\n", ",,,,\n"))
    with pytest.raises(FacelexError, match=r"more than once in .*, without the box .*: two\.png\."):
        read_listing(listing, ReadOptions(find_faces=True))
    assert squares.asked == 0
    dataset, _ = read_listing(
        listing, ReadOptions(mapping={"angry": "ignore"}, split=(0, 0, 1), find_faces=True)
    )
    assert len(dataset) == 2


def test_boxes_are_not_passed_over_in_silence(tmp_path: Path, squares: Squares) -> None:
    photo(tmp_path / "two.png")
    listing = table(tmp_path / "faces.csv", "image,label,x,y,width,height\ntwo.png,happy,no,box,at,all\n")
    _, notes = read_listing(listing, ReadOptions(split=(0, 0, 1)))
    assert "The boxes of faces.csv (x, y, width, height) are not used without --find-faces." in notes
    table(listing, "image,label,width,height\ntwo.png,happy,300,180\n")  # the size of the pictures
    for find_faces in (False, True):
        _, notes = read_listing(listing, ReadOptions(split=(0, 0, 1), find_faces=find_faces))
        assert not any("boxes" in note for note in notes)


def test_what_predict_wrote_is_corrected_by_hand_and_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, squares: Squares, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    two = photo(tmp_path / "party" / "two.png")
    (tmp_path / "party" / "bad.png").write_bytes(b"no picture")
    (tmp_path / "out").mkdir()
    written = tmp_path / "out" / "faces.csv"
    assert main(["predict", "party", "--model", "tiny", "-o", str(written)]) == 1
    with written.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if not row["error"]:
            row["emotion"] = "disgust" if float(row["x"]) < 100 else "fear"
    with written.open("w", newline="") as file:
        corrected = csv.DictWriter(file, rows[0])
        corrected.writeheader()
        corrected.writerows(rows)
    asked = squares.asked
    call = ["data", "prepare", "out/faces.csv", "--find-faces", "--split", "0,0,1", "-o", "faces.npz"]
    assert main(call) == 0
    assert "Left out: 1 row without a class, with an error instead." in capsys.readouterr().err
    assert squares.asked == asked + 1
    dataset = FaceDataset.load("faces.npz")
    found = {dataset.class_names[code]: face for code, face in zip(dataset.labels, dataset.pixels)}
    np.testing.assert_array_equal(found["disgust"], crop(two, PLACES["left"]))
    np.testing.assert_array_equal(found["fear"], crop(two, PLACES["right"]))
    scored, _ = load_labelled("out/faces.csv", find_faces=True)
    assert {face.tobytes() for face in scored.pixels} == {face.tobytes() for face in dataset.pixels}


def test_a_list_of_nothing_but_errors_is_refused(tmp_path: Path) -> None:
    listing = table(tmp_path / "faces.csv", "source,emotion,error\nbad.png,,cannot be read\n")
    with pytest.raises(FacelexError, match="its rows only tell errors"):
        listed_files(listing)


def test_faces_of_a_folder_are_found_before_they_are_scored(
    tmp_path: Path, squares: Squares, capsys: Captured
) -> None:
    for name, place in (("happy", "left"), ("sad", "right")):
        photo(tmp_path / "photos" / name / "1.png", [place])
    call = ["evaluate", "tiny", "--data", str(tmp_path / "photos"), "--find-faces"]
    assert main([*call, "-o", str(tmp_path / "answers.npz")]) == 0
    assert squares.asked == 2
    dataset, _ = load_labelled(tmp_path / "photos", find_faces=True)
    for row, (name, place) in enumerate((("happy", "left"), ("sad", "right"))):
        expected = crop(tmp_path / "photos" / name / "1.png", PLACES[place])
        np.testing.assert_array_equal(dataset.pixels[row], expected)


def test_what_has_no_photos_is_told_why_no_faces_can_be_found(tmp_path: Path, capsys: Captured) -> None:
    crops = write(tmp_path / "fer2013.csv", official_csv())
    unknown = table(tmp_path / "list.csv", "photo,label\none.png,happy\n")
    prepared = tmp_path / "held.npz"
    assert main(["data", "sketch", "--count", "70", "-o", str(prepared)]) == 0
    for source, said in (
        (crops, "--find-faces is for a folder of images or a CSV that lists images, and"),
        (
            unknown,
            "Expected a column of image files (image, path, file, filename, filepath, source), or FER2013's",
        ),
        (prepared, "--find-faces is for a folder of images or a CSV that lists images, and"),
    ):
        verbs = [["evaluate", "tiny", "--data"]]
        verbs += [["data", "prepare", "-o", str(tmp_path / "d.npz")]] * (source != prepared)
        for verb in verbs:
            capsys.readouterr()
            assert main([*verb, str(source), "--find-faces"]) == 2
            assert said in capsys.readouterr().err


def noisy_photos(folder: Path, count: int) -> Iterable[str]:
    """Photos of noise, none like another, and rows of both faces of each: in turn of two classes, of one."""
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 200, (180, 300, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
        for name, label in zip(PLACES, ("happy", "happy") if number % 2 else ("happy", "sad")):
            yield f"{number}.png,{label},{','.join(map(str, PLACES[name]))}"


@pytest.mark.parametrize("given", ["", ",train"])
def test_the_faces_of_one_photo_are_drawn_into_one_split(
    tmp_path: Path, squares: Squares, capsys: Captured, given: str
) -> None:
    rows = [row + given for row in noisy_photos(tmp_path, 40)]
    header = "image,label,x,y,width,height" + (",split" if given else "")
    listing = table(tmp_path / "faces.csv", "\n".join([header, *rows]) + "\n")
    output = tmp_path / "d.npz"
    assert main(["data", "prepare", str(listing), "--find-faces", "-o", str(output), "--keep", "image"]) == 0
    told = capsys.readouterr().err
    assert ("The faces of one picture are in one split (40 pictures)." in told) == (not given)
    dataset = FaceDataset.load(output)
    places = set(zip(dataset.attributes["image"].tolist(), dataset.splits.tolist()))
    assert len(places) == 40
    assert [len(dataset.indices(split)) for split in ("train", "val", "test")] == (
        [72, 8, 0] if given else [64, 8, 8]
    )


def test_photos_of_one_face_each_are_drawn_as_face_crops_are(tmp_path: Path, squares: Squares) -> None:
    rows = list(noisy_photos(tmp_path, 40))[::2]
    listing = table(tmp_path / "faces.csv", "\n".join(["image,label,x,y,width,height", *rows]) + "\n")
    dataset, notes = read_listing(listing, ReadOptions(find_faces=True))
    expected = random_splits(dataset.labels, np.arange(40), (0.8, 0.1, 0.1), seed=0)
    np.testing.assert_array_equal(dataset.splits, expected)
    assert not any("of one picture" in note for note in notes)


def test_a_box_that_is_large_beside_a_narrow_picture_can_be_left_out(
    tmp_path: Path, squares: Squares
) -> None:
    Image.fromarray(np.full((180, 3000, 3), 255, np.uint8)).save(tmp_path / "strip.png")
    photo(tmp_path / "two.png")
    text = "image,label,x,y,width,height\nstrip.png,sad,0,0,5000,5000\ntwo.png,happy,30,40,60,60\n"
    listing = table(tmp_path / "faces.csv", text)
    with pytest.raises(FacelexError, match=r"strip\.png \(no face can be cut out: .* 3000x180 pixels"):
        read_listing(listing, ReadOptions(find_faces=True))
    dataset, _ = read_listing(listing, ReadOptions(find_faces=True, skip_bad=True, split=(0, 0, 1)))
    assert len(dataset) == 1


def test_columns_that_make_no_box_are_told(tmp_path: Path, squares: Squares) -> None:
    photo(tmp_path / "two.png")
    listing = table(tmp_path / "faces.csv", "image,label,x,y,w,h\ntwo.png,happy,30,40,60,60\n")
    dataset, notes = read_listing(listing, ReadOptions(split=(0, 0, 1), find_faces=True))
    assert (
        "faces.csv has a column x, y, but none width, height: no boxes are read, and the largest face of "
        "each picture is taken."
    ) in notes
    np.testing.assert_array_equal(dataset.pixels, [crop(tmp_path / "two.png", PLACES["right"])])
    with pytest.raises(FacelexError, match=r"all four columns .* has a column x, y, width, but none height"):
        read_listing(listing, ReadOptions(find_faces=True, columns={"width": "w"}))
    all_named = {"width": "w", "height": "h"}
    dataset, notes = read_listing(listing, ReadOptions(split=(0, 0, 1), find_faces=True, columns=all_named))
    assert not any("no boxes" in note for note in notes)
    np.testing.assert_array_equal(dataset.pixels, [crop(tmp_path / "two.png", PLACES["left"])])
