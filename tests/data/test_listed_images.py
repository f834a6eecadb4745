"""Images that a CSV lists, made into a dataset as a folder's are."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_fer2013 import faces, official_csv, write
from PIL import Image

from facelex.cli.main import main
from facelex.data import prepare as prepare_module
from facelex.data.dataset import FaceDataset
from facelex.data.folder import read_folder
from facelex.data.listed import listed_files, read_listing
from facelex.data.options import AUTO, ReadOptions
from facelex.data.prepare import prepare, source_signature
from facelex.data.source import find_source
from facelex.data.splits import even_splits
from facelex.errors import FacelexError


def listing(folder: Path, text: str, count: int = 6) -> Path:
    (folder / "img").mkdir(parents=True, exist_ok=True)
    for number, face in enumerate(faces(count)):
        Image.fromarray(face).save(folder / "img" / f"{number}.png")
    table = folder / "labels.csv"
    table.write_text(text, encoding="utf-8")
    return table


def counts(dataset) -> list[int]:
    return [len(dataset.indices(split)) for split in ("train", "val", "test")]


def test_a_list_of_images_is_prepared_with_its_own_classes_and_splits(tmp_path: Path) -> None:
    rows = ["bored,train", "awake,train", "bored,val", "awake,val", "Bored,test"]
    table = listing(
        tmp_path,
        "note;Class;filename;Split\n" + "".join(
            f"x;{name};img/{number}.png;{split}\n"
            for number, (name, split) in enumerate(row.split(",") for row in rows)
        ),
    )  # fmt: skip
    prepared = prepare(table, tmp_path / "d.npz", ReadOptions(classes=AUTO))
    dataset = prepared.dataset
    assert dataset.class_names == ("Bored", "awake")
    assert dataset.labels.tolist() == [0, 1, 0, 1, 0]
    assert counts(dataset) == [2, 2, 1]
    np.testing.assert_array_equal(dataset.pixels, faces(6)[:5])
    assert list(prepared.notes) == ["No test image of: awake."]
    assert dataset.source == "images listed in labels.csv"


def test_a_list_without_splits_is_shared_out_as_a_folder_is(tmp_path: Path) -> None:
    text = "image\tlabel\n" + "".join(f"img/{number}.png\thappy\n" for number in range(20))
    dataset, notes = read_listing(listing(tmp_path / "a", text, 20), ReadOptions(seed=3))
    (tmp_path / "b" / "happy").mkdir(parents=True)
    for number, face in enumerate(faces(20)):
        Image.fromarray(face).save(tmp_path / "b" / "happy" / f"{number:02}.png")
    assert dataset.fingerprint == read_folder(tmp_path / "b", ReadOptions(seed=3))[0].fingerprint
    assert any("drawn with seed 3: 16 train, 2 val, 2 test" in note for note in notes)


def test_a_list_is_read_again_only_if_it_or_an_image_has_changed(tmp_path: Path) -> None:
    table, output = listing(tmp_path, "image,label\nimg/0.png,happy\nimg/1.png,sad\n"), tmp_path / "d.npz"
    assert not prepare(table, output).reused
    assert prepare(table, output).reused
    Image.fromarray(faces(1, seed=9)[0]).save(tmp_path / "img" / "1.png")
    assert not prepare(table, output).reused


def test_the_classes_of_a_list_are_those_of_the_options(tmp_path: Path) -> None:
    table = listing(tmp_path, "image,label\nimg/0.png,Joy\nimg/1.png,bored\n")
    with pytest.raises(FacelexError, match=r"Unknown class 'bored' in .*labels\.csv\..*--classes auto"):
        prepare(table, tmp_path / "d.npz")
    dataset, _ = read_listing(table, ReadOptions(classes=("bored", "happy"), split=(1, 0, 0)))
    assert dataset.labels.tolist() == [1, 0]


def test_an_image_of_a_list_that_cannot_be_read_is_named_or_left_out(tmp_path: Path) -> None:
    table = listing(tmp_path / "sub", "image,label\nimg/0.png,happy\n../far/gone.png,sad\n")
    with pytest.raises(
        FacelexError, match=r"1 image: \.\./far/gone\.png \(there is no such file\) .*--skip-bad"
    ):
        read_listing(table)
    dataset, notes = read_listing(table, ReadOptions(skip_bad=True, split=(1, 0, 0)))
    assert len(dataset) == 1
    assert any("gone.png" in note and "left out" in note for note in notes)


def test_votes_cannot_be_joined_to_a_list_of_images(tmp_path: Path) -> None:
    table = listing(tmp_path, "image,label\nimg/0.png,happy\n")
    votes = tmp_path / "votes.csv"
    votes.write_text("Usage\n")
    with pytest.raises(FacelexError, match=r"--ferplus is for FER2013's CSV, and .* lists images"):
        prepare(table, tmp_path / "d.npz", ReadOptions(ferplus=votes))


def test_columns_that_say_nothing_are_told_with_those_that_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = listing(tmp_path, "photo,mood\nimg/0.png,happy\n")
    assert main(["data", "prepare", str(table), "-o", str(tmp_path / "d.npz")]) == 2
    told = capsys.readouterr().err
    assert "or FER2013's column pixels, in" in told
    assert "its columns are: photo, mood. If it is called otherwise, say so with the option --columns" in told
    table.write_text("image,mood\nimg/0.png,happy\n")
    with pytest.raises(FacelexError, match=r"column of class names \(label, emotion, class, expression\)"):
        listed_files(table)


def test_one_picture_is_no_source(tmp_path: Path) -> None:
    listing(tmp_path, "")
    with pytest.raises(FacelexError, match=r"0\.png is one picture; give the folder"):
        prepare(tmp_path / "img" / "0.png", tmp_path / "d.npz")


def test_a_list_written_on_windows_names_its_images_with_backslashes(tmp_path: Path) -> None:
    table = listing(tmp_path, "image,label\nimg\\0.png,happy\n.\\img\\1.png,sad\n")
    assert [file.path for file in listed_files(table)[0]] == [
        tmp_path / f"img/{number}.png" for number in (0, 1)
    ]
    (tmp_path / "img\\0.png").write_bytes(b"a name that may have one elsewhere")
    assert listed_files(table)[0][0].path.name == "img\\0.png"


@pytest.mark.parametrize("verb", [("data", "prepare"), ("evaluate", "tiny", "--data")])
def test_a_list_in_another_encoding_is_told_so(
    verb: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "ansi.csv"
    table.write_bytes("image,label\nmüller.png,happy\n".encode("cp1252"))
    assert main([*verb, str(table)]) == 2
    assert "to be a CSV file in UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a" * 400, "im\0.png"])
def test_a_name_that_no_file_can_have_is_an_image_that_is_missing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = listing(tmp_path, f"image,label\n{name},happy\n")
    assert main(["data", "prepare", str(table), "-o", str(tmp_path / "d.npz")]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_columns_are_kept_beside_the_images_that_can_be_read(tmp_path: Path) -> None:
    rows = "".join(f"img/{n}.png,{'happy' if n % 2 else 'sad'},{20 + n},x\n" for n in range(6))
    table, output = listing(tmp_path, "image,label,Age,note\n" + rows), tmp_path / "d.npz"
    (tmp_path / "img" / "2.png").write_bytes(b"no picture")
    options = ReadOptions(skip_bad=True, keep=("age",))
    dataset = prepare(table, output, options).dataset
    assert {name: values.tolist() for name, values in dataset.attributes.items()} == {
        "age": ["20", "21", "23", "24", "25"]
    }
    held = FaceDataset.load(output)
    assert held.attributes["age"].tolist() == dataset.attributes["age"].tolist()
    assert held.fingerprint == read_listing(table, ReadOptions(skip_bad=True))[0].fingerprint
    assert prepare(table, output, options).reused
    assert not prepare(table, output, ReadOptions(skip_bad=True, keep=("age", "note"))).reused


def test_a_column_that_occurs_twice_is_not_kept(tmp_path: Path) -> None:
    table = listing(tmp_path, "image,label,age,Age\nimg/0.png,happy,3,4\n")
    assert len(listed_files(table)[0]) == 1
    with pytest.raises(FacelexError, match=r"one column 'age' in .* several"):
        listed_files(table, ReadOptions(keep=("age",)))


def test_files_prepared_before_columns_could_be_kept_are_still_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described: list[dict] = []

    def record(value: dict, **options: bool) -> str:
        described.append(value)
        return ""

    monkeypatch.setattr(prepare_module.json, "dumps", record)
    source_signature(find_source(listing(tmp_path, "image,label\nimg/0.png,happy\n")), ReadOptions())
    assert list(described[0]["options"]) == [
        "ferplus", "size", "classes", "split", "seed", "skip_bad", "find_faces",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("\nimg/0.png,happy\n\nimg/1.png\n", "columns in every row .* line 5 differs"),
        ("img/0.png,happy\n\n\nimg/1.png,\n", "a class name in every row .* line 5 has none"),
    ],
)
def test_a_fault_is_told_by_its_line_whatever_is_empty_before(
    tmp_path: Path, lines: str, message: str
) -> None:
    table = listing(tmp_path, "image,label\n" + lines)
    with pytest.raises(FacelexError, match=message):
        listed_files(table)


def test_classes_are_called_what_the_map_says_and_some_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "img/0.png,1\nimg/1.png,2\nimg/2.png,Contempt\nimg/3.png,sad\nimg/4.png,contempt\n"
    table, output = listing(tmp_path, "image,label\n" + rows), tmp_path / "d.npz"
    call = ["data", "prepare", str(table), "-o", str(output), "--split", "1,0,0"]
    assert main([*call, "--map", "1=joy,2=surprise,CONTEMPT=ignore"]) == 0
    assert "Left out, as --map says: 1 of Contempt, 1 of contempt." in capsys.readouterr().err
    dataset = FaceDataset.load(output)
    assert [dataset.class_names[code] for code in dataset.labels] == ["happy", "surprise", "sad"]
    assert main([*call, "--map", "1=joy,2=surprise,contempt=disgust"]) == 0  # another map reads anew
    assert len(FaceDataset.load(output)) == 5
    assert main([*call, "--map", "one=joy"]) == 2
    assert "Unknown class in --map 'one'" in capsys.readouterr().err
    assert main([*call, "--map", "1=ignore,2=ignore,contempt=ignore,sad=ignore"]) == 2
    assert "leaves out every image" in capsys.readouterr().err


def test_a_map_is_for_folders_too_and_not_for_fer2013(tmp_path: Path) -> None:
    for name in ("joyful", "sad"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.fromarray(faces(1)[0]).save(tmp_path / "photos" / name / "1.png")
    options = ReadOptions(mapping={"joyful": "happy"}, split=(1, 0, 0))
    dataset = prepare(tmp_path / "photos", tmp_path / "d.npz", options).dataset
    assert [dataset.class_names[code] for code in dataset.labels] == ["happy", "sad"]
    official = write(tmp_path / "fer2013.csv", official_csv())
    with pytest.raises(FacelexError, match="--map is for a folder of images or a CSV that lists images"):
        prepare(official, tmp_path / "e.npz", options)
    with pytest.raises(FacelexError, match="--together is for a CSV"):
        prepare(tmp_path / "photos", tmp_path / "e.npz", ReadOptions(together="subject"))


def test_nobody_is_in_two_splits_that_are_drawn(tmp_path: Path) -> None:
    people = [f"p{number // 6}" for number in range(120)]
    people[7] = people[8] = ""  # whose face it is is not known
    rows = "".join(
        f"img/{number}.png,{('happy', 'sad', 'angry')[number % 3]},{person}\n"
        for number, person in enumerate(people)
    )
    table = listing(tmp_path, "image,label,Subject\n" + rows, count=120)
    shutil.copy(tmp_path / "img" / "5.png", tmp_path / "img" / "77.png")  # one picture of two people
    plain, _ = read_listing(table)
    assert spread(plain.splits, people) > 5
    dataset, notes = read_listing(table, ReadOptions(together="subject", split=(0.5, 0.25, 0.25)))
    assert spread(dataset.splits, people) == 0
    assert dataset.attributes == {}  # who they are is not kept unless that is asked for
    kept, _ = read_listing(table, ReadOptions(together="subject", split=(0.5, 0.25, 0.25), keep=("subject",)))
    assert kept.attributes["subject"].tolist() == people
    assert (kept.splits == dataset.splits).all()
    assert not dataset.seen_in("test").any()  # images that are the same stay together as well
    assert all(len(dataset.indices(split)) > 10 for split in ("train", "val", "test"))
    assert any(
        note.startswith("Images with the same subject are in one split; of 1,000 draws") for note in notes
    )
    split = "image,label,subject,split\nimg/0.png,sad,a,train\nimg/1.png,sad,a,test\nimg/2.png,sad,b,val\n"
    _, notes = read_listing(listing(tmp_path, split), ReadOptions(together="subject"))
    assert "The images have splits; 1 of 2 values of subject occur in more than one." in notes


def by_person(folder: Path, shown: dict[str, str]) -> Path:
    """A list of three images of each class that a person shows, given the classes' initials."""
    names = {"a": "angry", "f": "fear", "h": "happy", "s": "sad"}
    rows = [(names[c], person) for person, classes in shown.items() for c in classes for _ in range(3)]
    lines = (f"img/{number}.png,{label},{person}\n" for number, (label, person) in enumerate(rows))
    return listing(folder, "image,label,subject\n" + "".join(lines), count=len(rows))


def test_people_are_drawn_so_that_no_split_lacks_a_class_that_enough_of_them_show(tmp_path: Path) -> None:
    shown = {f"p{n}": "hs" for n in range(30)} | {"p3": "hsf", "p11": "hsf", "p29": "hsf"}
    table = by_person(tmp_path, shown)
    for seed in range(3):
        dataset, notes = read_listing(table, ReadOptions(together="subject", seed=seed, keep=("subject",)))
        for split in ("train", "val", "test"):
            rows = dataset.indices(split)
            assert len(np.unique(dataset.labels[rows])) == 3  # one of three people each: 1 draw in 23
        assert spread(dataset.splits, dataset.attributes["subject"].tolist()) == 0
        assert not any(" image of: " in note and not note.startswith("No image of") for note in notes)
    again, _ = read_listing(table, ReadOptions(together="subject", seed=2))
    assert (again.splits == dataset.splits).all()


def test_a_class_that_too_few_people_show_is_told_with_their_number(tmp_path: Path) -> None:
    shown = {f"p{n}": "hs" for n in range(18)} | {"p4": "hsf", "p5": "hsf", "p7": "hsa"}
    _, notes = read_listing(
        by_person(tmp_path, shown), ReadOptions(together="subject", split=(0.6, 0.2, 0.2))
    )
    lacking = [note for note in notes if note.startswith(("No train image", "No val image", "No test image"))]
    assert (
        sum(note.count("fear (2 values of subject)") for note in lacking) == 1
    )  # of three splits two have it
    assert sum(note.count("angry (1 value of subject)") for note in lacking) == 2
    assert not any("happy" in note or "sad" in note for note in lacking)


def test_val_that_is_set_aside_from_train_has_whole_people_and_every_class(tmp_path: Path) -> None:
    shown = {f"p{n}": "h" for n in range(20)} | {"p6": "hf", "p7": "hf"}
    table = by_person(tmp_path, shown)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0] + ",split", *(line + ",train" for line in lines[1:])]) + "\n")
    dataset, _ = read_listing(table, ReadOptions(together="subject", keep=("subject",)))
    assert spread(dataset.splits, dataset.attributes["subject"].tolist()) == 0
    for split in ("train", "val"):
        assert len(np.unique(dataset.labels[dataset.indices(split)])) == 2


def test_the_draw_that_is_kept_is_the_most_even_of_all(tmp_path: Path) -> None:
    """Eight people, of whom four are to be train: with a thousand draws the best of the 70 ways is found."""
    labels = np.repeat(np.arange(8) % 3, [9, 2, 5, 1, 7, 3, 4, 8])
    groups = np.repeat(np.arange(8), [9, 2, 5, 1, 7, 3, 4, 8])

    def unevenness(train: np.ndarray) -> tuple[int, float]:
        shares = np.array([[np.mean(part[labels == c]) for c in range(3)] for part in (train, ~train)])
        return int((shares == 0).sum()), float(((shares - 0.5) ** 2).sum())

    ways = [unevenness(np.isin(groups, people)) for people in itertools.combinations(range(8), 4)]
    drawn = unevenness(even_splits(labels, groups, (0.5, 0.5, 0.0), seed=1) == 0)
    assert drawn == pytest.approx(min(ways))
    few = [unevenness(even_splits(labels, groups, (0.5, 0.5, 0.0), s, draws=1) == 0) for s in range(9)]
    assert max(few) > min(ways)


def spread(splits: np.ndarray, people: list[str]) -> int:
    """How many people are in more than one split."""
    places = {(person, code) for person, code in zip(people, splits.tolist()) if person}
    return len(places) - len({person for person, _ in places})


def test_columns_that_are_called_otherwise_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "Image,SubDirectory_filePath,mood,part\nx,img/0.png,happy,train\ny,img/1.png,sad,test\n"
    table, output = listing(tmp_path, text), tmp_path / "d.npz"
    call = ["data", "prepare", str(table), "-o", str(output)]
    columns = "image=subDirectory_filePath, label=Mood,split=part"
    assert main([*call, "--columns", columns]) == 0
    dataset = FaceDataset.load(output)
    assert [dataset.class_names[code] for code in dataset.labels] == ["happy", "sad"]
    assert dataset.splits.tolist() == [0, 2]
    np.testing.assert_array_equal(dataset.pixels, faces(6)[:2])
    assert main([*call, "--columns", columns]) == 0
    assert "is up to date" in capsys.readouterr().out
    assert main([*call, "--columns", columns.replace("part", "fold")]) == 2
    told = capsys.readouterr().err
    assert "'fold'" in told
    assert "Known: image, mood, part, subdirectory_filepath." in told
    assert len(FaceDataset.load(output)) == 2  # nothing is lost


def test_columns_of_a_list_without_a_header_are_numbered(tmp_path: Path) -> None:
    table = listing(tmp_path, "happy;IMG/0.png\nsad;IMG/1.png\n")
    (tmp_path / "img").rename(tmp_path / "IMG")  # names of the first row are no header in lower case
    options = ReadOptions(columns={"label": "1", "image": "2"}, split=(1, 0, 0))
    dataset = prepare(table, tmp_path / "d.npz", options).dataset
    assert [dataset.class_names[code] for code in dataset.labels] == ["happy", "sad"]
    with pytest.raises(FacelexError, match=r"Unknown column in .* '3'\. Known: 1, 2\."):
        listed_files(table, ReadOptions(columns={"label": "3", "image": "2"}))


@pytest.mark.parametrize("columns", ["photo=image", "image", "image=", "image=a,image=b"])
def test_columns_that_cannot_be_named_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: str
) -> None:
    table = listing(tmp_path, "image,label\nimg/0.png,happy\n")
    assert main(["data", "prepare", str(table), "--columns", columns]) == 2
    assert "Expected --columns as pairs such as 'image=photo,label=mood'" in capsys.readouterr().err


def test_columns_are_for_lists_alone(tmp_path: Path) -> None:
    official = write(tmp_path / "fer2013.csv", official_csv())
    for source in (official, tmp_path):
        with pytest.raises(FacelexError, match="--columns is for a CSV that lists images"):
            prepare(source, tmp_path / "d.npz", ReadOptions(columns={"image": "usage"}))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("before", ["", "\n", "  \n\n", ",,\n"])
def test_a_list_is_read_in_what_spreadsheets_and_shells_write(
    tmp_path: Path, encoding: str, before: str
) -> None:
    table, output = listing(tmp_path, ""), tmp_path / "d.npz"
    (tmp_path / "img" / "0.png").rename(tmp_path / "img" / "zoë.png")
    text = f"{before}image,label,note\nimg/zoë.png,happy,\n,,\nimg/1.png,sad,x\n,,\n"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    table.write_bytes((mark + text).encode(encoding))
    assert main(["data", "prepare", str(table), "-o", str(output), "--split", "1,0,0"]) == 0
    dataset = FaceDataset.load(output)
    assert [dataset.class_names[code] for code in dataset.labels] == ["happy", "sad"]
    np.testing.assert_array_equal(dataset.pixels, faces(6)[:2])


def test_a_list_in_utf_16_without_a_mark_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = listing(tmp_path, "")
    table.write_bytes("image,label\nimg/0.png,happy\n".encode("utf-16-le"))
    assert main(["data", "prepare", str(table), "-o", str(tmp_path / "d.npz")]) == 2
    assert "looks like UTF-16 without its mark. Save it as UTF-8." in capsys.readouterr().err


def test_a_fault_below_rows_without_anything_is_told_by_its_line(tmp_path: Path) -> None:
    table = listing(tmp_path, "\nimage,label\nimg/0.png,happy\n,\nimg/1.png,\n")
    with pytest.raises(FacelexError, match=r"a class name in every row .* line 5 has none"):
        listed_files(table)


def test_columns_are_named_in_any_case_from_python_too(tmp_path: Path) -> None:
    text = "Photo,Mood,Subject\nimg/0.png,happy,Ann\nimg/1.png,sad,Bo\nimg/2.png,sad,Ann\n"
    table, output = listing(tmp_path, text), tmp_path / "d.npz"
    options = ReadOptions(
        columns={"image": "Photo", "label": " Mood"},
        together="Subject",
        keep=("Mood",),
        split=(0.5, 0.5, 0.0),
    )
    dataset = prepare(str(table), str(output), options).dataset
    assert dataset.splits[0] == dataset.splits[2] != dataset.splits[1]
    assert {name: values.tolist() for name, values in dataset.attributes.items()} == {
        "mood": ["happy", "sad", "sad"]  # a column that is used and kept
    }
    call = ["data", "prepare", str(table), "-o", str(output), "--columns", "image=photo,label=MOOD"]
    assert main([*call, "--together", "SUBJECT", "--keep", "mood", "--split", "0.5,0.5,0"]) == 0
    assert prepare(table, output, options).reused  # the same, however it is spelled
    direct, _ = read_listing(
        table, ReadOptions(columns=options.columns, together="Subject", keep=("Subject",))
    )
    assert direct.attributes["subject"].tolist() == ["Ann", "Bo", "Ann"]
    with pytest.raises(FacelexError, match=r"Unknown use of a column 'labels'\. Did you mean 'label'"):
        prepare(table, output, ReadOptions(columns={"labels": "Mood", "image": "Photo"}))


def test_columns_may_be_numbers_in_python(tmp_path: Path) -> None:
    table = listing(tmp_path, "img/0.png,happy\nimg/1.png,sad\n")
    columns: dict = {"image": 1, "label": 2}
    dataset = prepare(table, tmp_path / "d.npz", ReadOptions(columns=columns, split=(1, 0, 0))).dataset
    assert len(dataset) == 2


def test_the_column_that_is_not_found_is_told_with_what_there_is_and_how_to_name_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = listing(tmp_path, "photo,mood\nimg/0.png,happy\n")
    call = ["data", "prepare", str(table), "-o", str(tmp_path / "d.npz"), "--columns", "image=photo"]
    assert main(call) == 2
    told = capsys.readouterr().err
    assert "but its columns are: photo, mood." in told  # as the file calls them
    assert "--columns label=NAME of 'facelex data prepare'" in told
    for option in ("--keep", "--together"):
        assert main([*call[:-1], "image=photo,label=mood", option, "Moods"]) == 2
        assert "'moods'. Did you mean 'mood'?" in capsys.readouterr().err


def test_a_header_that_numbers_pass_over_is_told(tmp_path: Path) -> None:
    text = "photo,mood\nimg/0.png,happy\nimg/1.png,happy\n"
    table = listing(tmp_path, text)
    columns = {"image": "1", "label": "2"}
    with pytest.raises(FacelexError, match=r"got 'photo' and 'mood'\. If it is a header"):
        listed_files(table, ReadOptions(columns=columns))
    table.write_text(text.replace("mood", "happy"))  # an image that is missing, not a header
    assert len(listed_files(table, ReadOptions(columns=columns))[0]) == 3
