import gzip
from pathlib import Path

import numpy as np
import pytest
from evaluation_fakes import make_faces
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facelex.data.dataset import SPLITS
from facelex.data.mapping import parse_mapping
from facelex.emotions import ALIASES, EMOTIONS
from facelex.errors import FacelexError
from facelex.evaluation.labelled import load_labelled, match_classes


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 20), value, np.uint8)).save(path)


def test_names_match_in_any_known_spelling_and_order() -> None:
    assert match_classes(["Sadness", "ANGER", "joy"], EMOTIONS).tolist() == [4, 0, 3]


def test_a_mapping_goes_first_and_may_leave_classes_out() -> None:
    mapping = parse_mapping("Contempt=ignore, Smile = happiness ,fear=sad")
    assert match_classes(["contempt", "smile", "fear", "sad"], EMOTIONS, mapping).tolist() == [-1, 3, 4, 4]


def test_classes_of_the_users_own_match_by_name() -> None:
    assert match_classes(["cat", "dog"], ("dog", "cat")).tolist() == [1, 0]


@given(st.lists(st.sampled_from([*EMOTIONS, *ALIASES, "Happy", "contempt"]) | st.text(), unique=True))
def test_a_models_own_classes_match_themselves(classes: list[str]) -> None:
    assert match_classes(classes, classes).tolist() == list(range(len(classes)))


def test_a_model_that_tells_two_spellings_apart_is_asked_about_each() -> None:
    classes = ("mad", "neutral", "calm", "angry")
    assert match_classes(["Angry", "calm", "MAD", "neutral"], classes).tolist() == [3, 2, 0, 1]


def test_a_name_that_fits_several_classes_is_refused_until_it_is_mapped() -> None:
    classes = ("angry", "mad", "happy")
    with pytest.raises(
        FacelexError,
        match=r"no class for 'bored' and several classes for 'anger'; .*--map anger=ignore,bored=ignore",
    ):
        match_classes(["anger", "joy", "bored"], classes)
    mapping = {"anger": "mad", "bored": "ignore"}
    assert match_classes(["anger", "joy", "bored"], classes, mapping).tolist() == [1, 2, -1]


def test_every_class_that_matches_nothing_is_named_with_what_to_type() -> None:
    with pytest.raises(FacelexError, match=r"'contempt', 'bored'.*--map contempt=ignore,bored=ignore"):
        match_classes(["contempt", "happy", "bored"], EMOTIONS)


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({"contmpt": "ignore"}, "Unknown class of the data in --map 'contmpt'. Did you mean 'contempt'"),
        ({"contempt": "hapy"}, "Unknown class of the model in --map 'hapy'. Did you mean 'happy'"),
    ],
)
def test_a_mapping_of_what_is_not_there_is_refused(mapping: dict[str, str], sentence: str) -> None:
    with pytest.raises(FacelexError) as caught:
        match_classes(["contempt", "happy"], EMOTIONS, mapping)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("text", ["joy", "joy=", "=happy", "a=b,c"])
def test_a_mapping_that_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(FacelexError, match="name=class pairs"):
        parse_mapping(text)


def test_no_mapping_is_empty() -> None:
    assert parse_mapping(None) == parse_mapping("") == {}


def test_a_folder_of_classes_is_all_test(tmp_path: Path) -> None:
    for i, name in enumerate(("joy", "contempt")):
        for k in range(3):
            picture(tmp_path / "photos" / name / f"{k}.png", 100 * i + k)
    dataset, _ = load_labelled(tmp_path / "photos", size=16)
    assert dataset.class_names == ("contempt", "joy")
    assert len(dataset.indices("test")) == 6
    assert dataset.pixels.shape == (6, 16, 16)


def test_what_is_left_out_of_a_source_is_told(tmp_path: Path) -> None:
    for name in ("test/happy/a", "test/sad/b", "extra/happy/c"):
        picture(tmp_path / "photos" / f"{name}.png", len(name))
    (tmp_path / "labels.csv").write_text(
        "image,label\nphotos/test/happy/a.png,happy\nphotos/test/sad/b.png,sad\n"
    )
    assert load_labelled(tmp_path / "photos")[1] == ["Left out: 1 images in extra/."]
    assert load_labelled(tmp_path / "labels.csv")[1] == ["The images have no splits, so all are test."]
    make_faces(7).save(tmp_path / "faces.npz")
    assert load_labelled(tmp_path / "faces.npz")[1] == []


def test_a_folder_with_splits_keeps_them(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        for k in range(count):
            picture(tmp_path / "photos" / split / "happy" / f"{k}.png", 50 + k)
    dataset, _ = load_labelled(tmp_path / "photos", size=16)
    assert (len(dataset.indices("train")), len(dataset.indices("val")), len(dataset.indices("test"))) == (
        3,
        0,
        2,
    )


def test_a_csv_of_files_and_names_is_read_relative_to_itself(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "img" / "a.png", 10)
    picture(tmp_path / "set" / "img" / "b.png", 200)
    table = tmp_path / "set" / "labels.csv"
    table.write_text("Emotion,File,note\nsad,img/b.png,x\nhappy,img/a.png,y\n\n")
    dataset, _ = load_labelled(table, size=16)
    assert [dataset.class_names[label] for label in dataset.labels] == ["sad", "happy"]
    assert dataset.pixels[:, 0, 0].tolist() == [200, 10]
    assert len(dataset.indices("test")) == 2


def test_part_of_the_official_file_is_said_to_be_a_part(tmp_path: Path) -> None:
    face = " ".join(["7"] * 48 * 48)
    table = tmp_path / "fer2013.csv"
    table.write_text(f"emotion,pixels,Usage\n3,{face},Training\n0,{face},PrivateTest\n")
    dataset, notes = load_labelled(table)
    assert len(dataset.indices("test")) == 1
    assert notes == ["This is not the complete FER2013 (35,887 faces): it has 1 train, 0 val, 1 test."]


def test_a_csv_of_files_may_name_splits(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"{name}.png", 50)
    table = tmp_path / "labels.csv"
    table.write_text("path,emotion,split\na.png,joy,train\nb.png,joy,Test\nc.png,rage, val \n")
    dataset, _ = load_labelled(table)
    assert [SPLITS[code] for code in dataset.splits] == ["train", "test", "val"]
    table.write_text("path,emotion,split\na.png,joy,train\nb.png,joy,later\n")
    with pytest.raises(FacelexError, match=r"train, val or test as the split .* line 3 has 'later'"):
        load_labelled(table)
    table.write_text("path,emotion\na.png,joy\nb.png, \n")
    with pytest.raises(FacelexError, match=r"a class name in every row .* line 3 has none"):
        load_labelled(table)
    table.write_text("path,emotion\na.png,joy\n ,joy\n")
    with pytest.raises(FacelexError, match=r"an image file in every row .* line 3 has none"):
        load_labelled(table)


def test_the_official_csv_keeps_its_splits(tmp_path: Path) -> None:
    rows = [
        f"{i % 7},{' '.join(['7'] * 2304)},{usage}" for i, usage in enumerate(["Training", "PrivateTest"])
    ]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    dataset, _ = load_labelled(tmp_path / "fer2013.csv")
    assert (len(dataset.indices("train")), len(dataset.indices("test"))) == (1, 1)
    assert dataset.class_names == EMOTIONS


def test_the_official_csv_is_scored_packed_or_in_its_folder_and_as_it_is(tmp_path: Path) -> None:
    text = f"emotion,pixels,Usage\n3,{' '.join(['7'] * 2304)},PrivateTest\n"
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "fer2013.csv").write_text(text)
    (tmp_path / "fer2013.csv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("archive", "fer2013.csv.gz"):
        assert load_labelled(tmp_path / name, size=96)[0].pixels.shape == (1, 48, 48)


def test_one_picture_is_no_source(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 9)
    with pytest.raises(FacelexError, match=r"a\.png is one picture; give the folder"):
        load_labelled(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "column of image files .* its columns are: none"),
        ("image\na.png\n", "column of class names .* its columns are: image"),
        ("image,label\n", "there is only a header"),
        ("image,label\na.png\n", "2 columns in every row of .* but line 2 differs"),
        ("image,label\nnone.png,sad\n", r"none\.png \(there is no such file\)"),
        ("image,label\nbad.png,sad\n", r"1 image: bad\.png .*labels\.csv cannot be read"),
        ("x" * 140_000, "CSV file .* field larger than field limit"),
        ("image,label\na.png," + "x" * 140_000, "CSV file .* field larger than field limit"),
    ],
)
def test_a_csv_that_cannot_be_used_says_why(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(FacelexError, match=sentence):
        load_labelled(tmp_path / "labels.csv")


def test_a_csv_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xff\xd8\x00\x01")
    with pytest.raises(FacelexError, match="UTF-8"):
        load_labelled(tmp_path / "labels.csv")


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    for name in ("none.npz", "none.csv", "none"):
        with pytest.raises(FacelexError, match=rf"There is no dataset at .*{name}; .*--output .*none\.npz$"):
            load_labelled(tmp_path / name)


def test_a_folder_with_a_bad_picture_names_the_command_that_can_leave_it_out(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "happy" / "a.png", 50)
    (tmp_path / "photos" / "happy" / "bad.png").write_bytes(b"no image")
    with pytest.raises(FacelexError, match=r"bad\.png .* the option --skip-bad of 'facelex data prepare'"):
        load_labelled(tmp_path / "photos")


def test_a_name_of_a_dataset_means_it_even_beside_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("fer2013", "sketch", "sketch:70"):
        picture(tmp_path / name / "happy" / "1.png", 9)
    assert len(load_labelled("sketch:70")[0]) == 70
    with pytest.raises(FacelexError, match=r"no dataset at data.fer2013\.npz"):
        load_labelled("fer2013")
    assert len(load_labelled("./fer2013")[0]) == 1


def test_what_is_absent_is_said_before_options_that_do_not_suit_it(tmp_path: Path) -> None:
    with pytest.raises(FacelexError, match=r"There is no file or folder .*photoz\."):
        load_labelled(tmp_path / "photoz", find_faces=True)


def test_names_of_a_list_are_kept_for_the_model_to_be_matched(tmp_path: Path) -> None:
    picture(tmp_path / "1.png", 9)
    (tmp_path / "list.csv").write_text("image,label\n1.png,amused\n")
    dataset, _ = load_labelled(tmp_path / "list.csv", classes=EMOTIONS, mapping={"amused": "happy"})
    assert dataset.class_names == ("amused",)
