from __future__ import annotations

import errno
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_fer2013 import faces
from PIL import Image

import facelex
from facelex import Recognizer
from facelex.data.folder import labelled_files, read_folder
from facelex.data.options import AUTO, ReadOptions
from facelex.data.pictures import UnreadableImageError, read_grey
from facelex.data.prepare import prepare
from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError
from facelex.recognize.images import load_image
from facelex.recognize.sources import find_images

SAMPLES = Path(facelex.__file__).parent / "samples"


def put(path: Path, image: np.ndarray | None = None, **save: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if image is None:
        image = faces(1, seed=zlib.crc32(path.name.encode()))[0]
    Image.fromarray(image).save(path, **save)
    return path


def counts(dataset) -> dict[str, int]:
    return {split: len(dataset.indices(split)) for split in ("train", "val", "test")}


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_kaggle_layout_parts_its_test_folder_by_file_name(tmp_path: Path, ending: str) -> None:
    for number, name in enumerate(EMOTIONS):
        put(tmp_path / "train" / name / f"Training_{number}.{ending}")
        put(tmp_path / "test" / name / f"PublicTest_{number}.{ending}")
        put(tmp_path / "test" / name / f"PrivateTest_{number}.{ending}")
        put(tmp_path / "test" / name / f"PrivateTest_{number + 10}.{ending}")
    dataset, notes = read_folder(tmp_path)
    assert counts(dataset) == {"train": 7, "val": 7, "test": 14}
    assert np.bincount(dataset.labels[dataset.indices("val")]).tolist() == [1] * 7
    assert dataset.class_names == EMOTIONS
    assert notes == []


def test_png_pixels_and_labels_survive_unchanged(tmp_path: Path) -> None:
    images = faces(3)
    put(tmp_path / "train" / "sad" / "a.png", images[0])
    put(tmp_path / "val" / "angry" / "b.png", images[1])
    put(tmp_path / "test" / "neutral" / "c.png", images[2])
    dataset, _ = read_folder(tmp_path)
    for name, image in zip(("sad", "angry", "neutral"), images):
        row = dataset.labels.tolist().index(EMOTIONS.index(name))
        assert (dataset.pixels[row] == image).all()


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Training", "Validation", "Testing"), ("TRAIN", "valid", "PrivateTest")],
)
def test_split_folders_are_known_by_their_usual_names(
    tmp_path: Path, train: str, val: str, test: str
) -> None:
    for split, count in ((train, 3), (val, 2), (test, 1)):
        for number in range(count):
            put(tmp_path / split / "happy" / f"{number}.png")
    assert counts(read_folder(tmp_path)[0]) == {"train": 3, "val": 2, "test": 1}


def test_class_folders_are_known_by_other_spellings(tmp_path: Path) -> None:
    for name in ("Anger", "disgusted", "FEAR", "happiness", "Sadness", "suprise", "calm"):
        put(tmp_path / "train" / name / "1.png")
    dataset, _ = read_folder(tmp_path, ReadOptions(split=(1.0, 0.0, 0.0)))
    assert sorted(dataset.labels.tolist()) == list(range(7))


def test_unknown_class_is_named_with_the_nearest_known_one_and_the_remedy(tmp_path: Path) -> None:
    put(tmp_path / "train" / "happy" / "1.png")
    put(tmp_path / "train" / "hapyp" / "2.png")
    with pytest.raises(FacelexError, match=r"class folder 'hapyp' .*Did you mean 'happy'\?.*--classes auto"):
        read_folder(tmp_path)


def test_own_classes_give_their_own_label_order(tmp_path: Path) -> None:
    put(tmp_path / "bored" / "1.png")
    put(tmp_path / "awake" / "2.png")
    dataset, _ = read_folder(tmp_path, ReadOptions(classes=("bored", "awake"), split=(1.0, 0.0, 0.0)))
    assert dataset.class_names == ("bored", "awake")
    assert sorted(dataset.labels.tolist()) == [0, 1]
    assert read_folder(tmp_path, ReadOptions(classes=AUTO))[0].class_names == ("awake", "bored")


@pytest.mark.parametrize(
    ("folders", "classes", "names", "labels"),
    [
        (("happy", "sad"), ("Joy", "Sadness"), ("Joy", "Sadness"), [0, 1]),
        (("calm", "neutral"), ("neutral", "calm"), ("neutral", "calm"), [1, 0]),
        (("Happy", "happy"), AUTO, ("Happy",), [0, 0]),
        (("Happy", "joy"), AUTO, ("Happy", "joy"), [0, 1]),
    ],
)
def test_class_folders_are_matched_as_class_names_are_everywhere(
    tmp_path: Path, folders: tuple[str, ...], classes: tuple[str, ...], names: tuple[str, ...], labels: list
) -> None:
    for split, folder in zip(("train", "test"), folders):
        put(tmp_path / split / folder / "1.png")
    dataset, _ = read_folder(tmp_path, ReadOptions(classes=classes, split=(1.0, 0.0, 0.0)))
    assert dataset.class_names == names
    assert [dataset.labels[dataset.splits == code].tolist() for code in (0, 2)] == [[id_] for id_ in labels]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("bored", "sleepy"), "of the class 'sleepy'"),
        (("bored", "bored"), "different class names"),
        (("sleepy",), "Unknown class folder 'bored'"),
    ],
)
def test_own_classes_that_do_not_fit_the_folders_are_refused(
    tmp_path: Path, classes: tuple[str, ...], message: str
) -> None:
    put(tmp_path / "bored" / "1.png")
    with pytest.raises(FacelexError, match=message):
        read_folder(tmp_path, ReadOptions(classes=classes))


def test_a_class_folder_that_may_mean_two_classes_is_named(tmp_path: Path) -> None:
    put(tmp_path / "anger" / "1.png")
    with pytest.raises(FacelexError, match=r"folder 'anger' in .* may mean 'angry' or 'mad'. Rename it"):
        read_folder(tmp_path, ReadOptions(classes=("angry", "mad")))


def test_folders_that_are_taken_for_one_class_are_told(tmp_path: Path) -> None:
    for folder in ("train/calm", "train/neutral", "test/Neutral", "test/happy"):
        put(tmp_path / folder / "1.png")
    said = "Several names are taken for neutral: Neutral, calm."
    for classes, told in ((None, True), (("neutral", "happy"), True), (AUTO, False)):
        assert (said in read_folder(tmp_path, ReadOptions(classes=classes))[1]) == told


def test_the_class_none_is_unknown(tmp_path: Path) -> None:
    put(tmp_path / "none" / "1.png")
    with pytest.raises(FacelexError, match="Unknown class folder 'none'"):
        read_folder(tmp_path)


def test_folder_without_splits_is_shared_out_by_class_and_says_so(tmp_path: Path) -> None:
    for name in ("happy", "sad"):
        for number in range(20):
            put(tmp_path / name / f"{number}.png", faces(1, seed=number + 100 * len(name))[0])
    dataset, notes = read_folder(tmp_path, ReadOptions(seed=3))
    assert counts(dataset) == {"train": 32, "val": 4, "test": 4}
    assert np.bincount(dataset.labels[dataset.indices("test")], minlength=7).tolist() == [0, 0, 0, 2, 2, 0, 0]
    assert any("drawn with seed 3" in note for note in notes)
    assert (read_folder(tmp_path, ReadOptions(seed=3))[0].splits == dataset.splits).all()
    assert (read_folder(tmp_path, ReadOptions(seed=4))[0].splits != dataset.splits).any()


def test_a_split_that_got_no_image_is_said_with_what_to_do(tmp_path: Path) -> None:
    for name in ("happy", "sad"):
        for number in range(5):
            put(tmp_path / name / f"{name}{number}.png")
    note = "A split got none, since classes are so small; give it a larger share with --split."
    assert note in read_folder(tmp_path)[1]
    dataset, notes = read_folder(tmp_path, ReadOptions(split=(0.6, 0.2, 0.2)))
    assert counts(dataset) == {"train": 6, "val": 2, "test": 2}
    assert note not in notes
    assert note not in read_folder(tmp_path, ReadOptions(split=(0, 0, 1)))[1]


def test_everything_can_be_test_to_evaluate_on_own_pictures(tmp_path: Path) -> None:
    put(tmp_path / "happy" / "1.png")
    put(tmp_path / "sad" / "2.png")
    assert counts(read_folder(tmp_path, ReadOptions(split=(0.0, 0.0, 1.0)))[0]) == {
        "train": 0,
        "val": 0,
        "test": 2,
    }


def test_class_folders_of_fer2013_files_are_split_by_file_name(tmp_path: Path) -> None:
    for number, usage in enumerate(("Training", "PublicTest", "PrivateTest", "PrivateTest")):
        put(tmp_path / "happy" / f"{usage}_{number}.jpg")
    dataset, notes = read_folder(tmp_path)
    assert counts(dataset) == {"train": 1, "val": 1, "test": 2}
    assert "The splits are those of FER2013's file names." in notes


def test_split_without_images_is_said(tmp_path: Path) -> None:
    put(tmp_path / "train" / "happy" / "1.png")
    put(tmp_path / "val" / "happy" / "2.png")
    assert "No image for the split test." in read_folder(tmp_path)[1]


def test_own_split_folders_count_for_more_than_fer2013_file_names(tmp_path: Path) -> None:
    put(tmp_path / "train" / "happy" / "PublicTest_1.jpg")
    put(tmp_path / "val" / "happy" / "Training_2.jpg")
    put(tmp_path / "test" / "happy" / "PublicTest_3.jpg")
    assert counts(read_folder(tmp_path)[0]) == {"train": 1, "val": 1, "test": 1}


def test_missing_val_is_set_aside_from_train_and_said(tmp_path: Path) -> None:
    for number in range(18):
        put(tmp_path / "train" / "happy" / f"{number}.png", faces(1, seed=number)[0])
    put(tmp_path / "test" / "happy" / "t.png")
    dataset, notes = read_folder(tmp_path)
    assert counts(dataset) == {"train": 16, "val": 2, "test": 1}
    assert any("no val, so 2 of train" in note for note in notes)


def test_single_folder_in_between_is_stepped_into(tmp_path: Path) -> None:
    put(tmp_path / "archive" / "fer2013" / "train" / "happy" / "1.png")
    put(tmp_path / "archive" / "fer2013" / "test" / "happy" / "2.png")
    dataset, _ = read_folder(tmp_path, ReadOptions(split=(1.0, 0.0, 0.0)))
    assert counts(dataset) == {"train": 1, "val": 0, "test": 1}


def test_annotated_copies_are_no_faces_of_their_own(tmp_path: Path) -> None:
    for name in ("a.png", "a-faces.png", "b.png", "b-faces-2.png", "c-faces.png"):
        put(tmp_path / "happy" / name)
    put(tmp_path / "sad" / "d.png")
    files, notes = labelled_files(tmp_path)
    assert sorted(file.path.name for file in files) == ["a.png", "b.png", "c-faces.png", "d.png"]
    assert notes == ["Left out: 2 annotated copies (NAME-faces.jpg)."]


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    put(tmp_path / "train" / "happy" / "1.png")
    put(tmp_path / "train" / "loose.png")
    put(tmp_path / "extra" / "happy" / "2.png")
    (tmp_path / "train" / "happy" / "notes.txt").write_bytes(b"x")
    (tmp_path / "train" / "happy" / ".DS_Store").write_bytes(b"x")
    _, notes = read_folder(tmp_path)
    assert "Left out: 1 .txt files, 1 images in extra/, 1 images in train/." in notes


@pytest.mark.parametrize("ending", ["gif", "avif", "jp2", "PPM", "jfif"])
def test_a_folder_gives_every_picture_that_recognition_reads(tmp_path: Path, ending: str) -> None:
    put(tmp_path / "happy" / "1.png")
    (tmp_path / "happy" / "1.png").rename(tmp_path / "happy" / f"1.{ending}")  # what counts is within
    assert len(read_folder(tmp_path)[0]) == len(find_images([tmp_path / "happy"])) == 1


@pytest.mark.parametrize("content", ["nothing", "loose images", "text"])
def test_folder_without_labelled_images_is_refused(tmp_path: Path, content: str) -> None:
    if content == "loose images":
        put(tmp_path / "1.png")
    elif content == "text":
        (tmp_path / "happy").mkdir()
        (tmp_path / "happy" / "1.txt").write_text("x")
    with pytest.raises(FacelexError, match=r"no images in class folders in .*expected split/class/image"):
        read_folder(tmp_path)


def folder_with_bad_images(tmp_path: Path) -> Path:
    for number in range(4):
        put(tmp_path / "train" / "happy" / f"{number}.jpg", faces(1, seed=number)[0])
    data = (tmp_path / "train" / "happy" / "0.jpg").read_bytes()
    (tmp_path / "train" / "happy" / "cut.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "train" / "happy" / "text.jpg").write_text("no picture")
    (tmp_path / "train" / "happy" / "empty.png").write_bytes(b"")
    return tmp_path


def test_corrupt_images_among_good_ones_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(
        FacelexError, match=r"3 images: .*cut.jpg \(.*truncated.*empty.png.*text.jpg.*--skip-bad"
    ):
        read_folder(folder_with_bad_images(tmp_path))


def test_corrupt_images_are_skipped_and_named_on_request(tmp_path: Path) -> None:
    dataset, notes = read_folder(
        folder_with_bad_images(tmp_path), ReadOptions(skip_bad=True, split=(1.0, 0.0, 0.0))
    )
    assert len(dataset) == 4
    assert {image.tobytes() for image in dataset.pixels} == {
        read_grey(tmp_path / "train" / "happy" / f"{number}.jpg", 48).tobytes() for number in range(4)
    }
    assert any("cut.jpg" in note and "left out" in note for note in notes)


def test_only_corrupt_images_are_refused_even_when_skipping(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy" / "1.jpg").write_text("no picture")
    with pytest.raises(FacelexError, match="None of the 1 images"):
        read_folder(tmp_path, ReadOptions(skip_bad=True))


def test_link_to_nowhere_counts_as_a_bad_image(tmp_path: Path) -> None:
    put(tmp_path / "happy" / "1.png")
    (tmp_path / "happy" / "2.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(FacelexError, match=r"1 image: happy/2.png"):
        read_folder(tmp_path)


def test_deep_grey_is_scaled_and_not_cut(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 48 * 48).astype(np.uint16).reshape(48, 48)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert (read_grey(tmp_path / "deep.png", 48) == np.rint(ramp / 257)).all()


def deep_grey(path: Path) -> None:
    Image.fromarray(np.arange(48 * 48, dtype=np.uint16).reshape(48, 48) * 28).save(path)


def clear_palette(path: Path) -> None:
    image = Image.fromarray(faces(1)[0]).convert("P")
    image.save(path, transparency=7)


def turned_colour(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    colour = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(colour).save(path, exif=exif)


def damaged_exif(path: Path) -> None:
    Image.fromarray(faces(1)[0]).save(path, exif=b"Exif\0\0no directory here")


@pytest.mark.parametrize("make", [deep_grey, clear_palette, turned_colour, damaged_exif])
def test_a_dataset_sees_the_pixels_that_recognition_sees(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "1.png")
    seen = Image.fromarray(load_image(tmp_path / "1.png")).convert("L")
    np.testing.assert_array_equal(read_grey(tmp_path / "1.png", 48), np.asarray(seen))


def test_postscript_named_as_a_photo_reaches_no_interpreter(tmp_path: Path) -> None:
    path = tmp_path / "1.jpg"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 48\n%%EndComments\nshowpage\n")
    with pytest.raises(UnreadableImageError, match="it is in no format that can be read"):
        read_grey(path, 48)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gone.png", "there is no such file"), ("empty.png", "it is empty"), ("tiny.png", "it: 4x4 pixels")],
)
def test_the_reason_for_an_unreadable_image_does_not_repeat_its_name(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    put(tmp_path / "tiny.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(UnreadableImageError) as caught:
        read_grey(tmp_path / name, 48)
    assert reason in str(caught.value)
    assert name not in str(caught.value)


def test_transparency_is_put_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (48, 48), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_grey(tmp_path / "clear.png", 48) == 255).all()


def test_camera_rotation_is_applied(tmp_path: Path) -> None:
    image = np.zeros((48, 48), np.uint8)
    image[:8] = 255  # a bright bar at the top; the tag says it belongs to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    path = put(tmp_path / "turned.png", image, exif=exif)
    assert (read_grey(path, 48) == np.rot90(image, -1)).all()


def test_wide_photo_is_cropped_to_its_middle_square(tmp_path: Path) -> None:
    image = np.zeros((96, 288), np.uint8)
    image[:, 96:192] = 200
    put(tmp_path / "wide.png", image)
    assert (read_grey(tmp_path / "wide.png", 48)[:, 3:-3] >= 199).all()


def test_bomb_is_refused_without_being_decoded(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    with pytest.raises(UnreadableImageError, match="more than 128,000,000 pixels"):
        read_grey(path, 48)


def photos(folder: Path) -> Path:
    """The packaged photos by class, one of them twice as a pair of faces, and a picture of nothing."""
    astronaut, hopper = (SAMPLES / f"{name}.jpg" for name in ("astronaut", "grace_hopper"))
    for name, photo in {"happy/1.jpg": astronaut, "neutral/2.jpg": hopper}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, folder / name)
    small = Image.open(astronaut)
    small = small.resize((small.width // 3, small.height // 3))
    both = Image.open(hopper).convert("RGB")
    both.paste(small, (0, 0))
    both.save(folder / "neutral" / "3.png")
    Image.new("RGB", (200, 200), "white").save(folder / "neutral" / "4.png")
    return folder


def test_faces_are_cut_out_of_photos_as_the_recogniser_does(tmp_path: Path) -> None:
    dataset, notes = read_folder(photos(tmp_path), ReadOptions(split=(1, 0, 0), find_faces=True))
    assert dataset.labels.tolist() == [EMOTIONS.index(name) for name in ("happy", "neutral", "neutral")]
    assert any(note == "1 image: neutral/4.png left out, since no face was found." for note in notes)
    recogniser = Recognizer("tiny")
    for row, name in enumerate(["happy/1.jpg", "neutral/2.jpg"]):
        pixels = load_image(tmp_path / name)
        (crop,) = recogniser.crop(pixels, recogniser.find(pixels))
        np.testing.assert_array_equal(dataset.pixels[row], crop)
    hopper, beside_a_smaller_face = dataset.pixels[1:].astype(float)
    assert np.abs(hopper - beside_a_smaller_face).mean() < 4  # of 255: the same face


def test_photos_without_any_face_and_csv_files_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "happy" / "1.png")
    with pytest.raises(FacelexError, match=r"No face was found in any of the 1 images.*--find-faces out"):
        read_folder(tmp_path, ReadOptions(find_faces=True))
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n")
    with pytest.raises(
        FacelexError, match=r"--find-faces is for a folder of images .* is FER2013's CSV\. Leave it out"
    ):
        prepare(tmp_path / "fer2013.csv", tmp_path / "d.npz", ReadOptions(find_faces=True))


def test_an_umlaut_of_macos_and_a_space_at_the_end_are_the_same_name(tmp_path: Path) -> None:
    put(tmp_path / "train" / "mu\u0308de " / "1.png")
    put(tmp_path / "test" / "wach" / "2.png")
    for classes in (("wach", "m\u00fcde"), ("wach", "mu\u0308de"), AUTO):
        dataset, _ = read_folder(tmp_path, ReadOptions(classes=classes, split=(1, 0, 0)))
        assert set(dataset.class_names) == {"wach", "m\u00fcde"}
        assert [dataset.class_names[label] for label in dataset.labels] == ["wach", "m\u00fcde"]


def test_splits_inside_class_folders_are_kept(tmp_path: Path) -> None:
    for name in ("happy", "sad"):
        for split, count in (("train", 3), ("Validation", 2), ("test", 1)):
            for number in range(count):
                put(tmp_path / name / split / f"{name}{number}{split}.png")
    dataset, notes = read_folder(tmp_path)
    assert counts(dataset) == {"train": 6, "val": 4, "test": 2}
    assert notes == ["No image of: angry, disgust, fear, surprise, neutral."]


def test_splits_inside_some_class_folders_only_are_not_taken_and_said(tmp_path: Path) -> None:
    put(tmp_path / "happy" / "train" / "1.png")
    put(tmp_path / "happy" / "2.png")
    put(tmp_path / "sad" / "person" / "3.png")
    _, notes = read_folder(tmp_path)
    assert any(note.startswith("Only 1 of 3 images lie in folders such as train") for note in notes)
    assert any("drawn with seed 0" in note for note in notes)


def test_shares_that_are_not_used_are_said(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        put(tmp_path / split / "happy" / f"{split}.png")
    unused = "The images have splits, so --split is not used."
    assert unused in read_folder(tmp_path, ReadOptions(split=(0, 0, 1)))[1]
    assert unused not in read_folder(tmp_path)[1]


def test_classes_that_a_split_lacks_are_said(tmp_path: Path) -> None:
    for place in ("train/a", "train/b", "train/c", "val/a", "test/a", "test/b"):
        put(tmp_path / place / f"{place.replace('/', '-')}.png")
    assert read_folder(tmp_path, ReadOptions(classes=AUTO))[1] == [
        "No val image of: b, c.",
        "No test image of: c.",
    ]


def test_copies_of_training_images_and_contradictions_are_said(tmp_path: Path) -> None:
    images = faces(4)
    for place, image in (
        ("train/a", 0),
        ("train/b", 1),
        ("val/a", 2),
        ("val/b", 3),
        ("test/a", 0),
        ("test/b", 0),
    ):
        put(tmp_path / place / "1.png", images[image])
    assert read_folder(tmp_path, ReadOptions(classes=AUTO))[1] == [
        "2 of 2 test images have a pixel-identical copy in train; facelex evaluate scores with and without "
        "them.",
        "Pictures that occur in several classes: 1.",
    ]


def test_a_linked_folder_is_a_class_and_said_further_in(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "1.png")
    put(tmp_path / "data" / "sad" / "2.png")
    (tmp_path / "data" / "happy").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "sad" / "circle").symlink_to(tmp_path / "data")
    dataset, notes = read_folder(tmp_path / "data", ReadOptions(split=(1, 0, 0)))
    assert len(dataset) == 2
    assert "Left out: 1 linked folders." in notes


def test_a_folder_that_may_not_be_read_stops_the_reading(tmp_path, monkeypatch):
    """Its pictures would be missing without a word."""
    locked = tmp_path / "happy" / "more"
    locked.mkdir(parents=True)
    Image.new("L", (20, 20)).save(tmp_path / "happy" / "1.png")
    (tmp_path / "sad").mkdir()
    Image.new("L", (20, 20)).save(tmp_path / "sad" / "1.png")
    look = os.scandir

    def scandir(path):
        if Path(path) == locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError):
        labelled_files(tmp_path)
    locked.rename(tmp_path / "lost+found")  # of the disk itself
    assert len(labelled_files(tmp_path)[0]) == 2
