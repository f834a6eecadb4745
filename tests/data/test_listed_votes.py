"""Lists of images that several people judged: the votes on each class, and the label that most chose."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facelex.cli.main import main
from facelex.data.dataset import FaceDataset
from facelex.data.listed import listed_files, read_listing
from facelex.data.options import AUTO, ReadOptions
from facelex.data.prepare import prepare
from facelex.data.sketch import sketch_dataset
from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError
from facelex.evaluation.labelled import load_labelled

TALLY = """\
image,happy,sad,unknown
0.png,3,1,1
1.png,0,4,0
2.png,2,2,1
3.png,1,0,4
4.png,0,0,0
"""
RATERS = """\
image,ann,bo,cy,di,ed
0.png,Happy,joy,sadness,happy,unknown
1.png,sad,sad,,sad,sad
2.png,sad,happy,happy,sad,unknown
3.png,unknown,happy,unknown,Unknown,unknown
4.png,,,,,
"""
LINES = [line.split(",") for line in RATERS.splitlines()[1:]]
ROWS = "image,choice\n" + "".join(f"{image},{vote}\n" for image, *votes in LINES for vote in votes)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for number, face in enumerate(sketch_dataset(6).pixels):
        Image.fromarray(face).save(tmp_path / f"{number}.png")
    return tmp_path / "list.csv"


def voted(dataset: FaceDataset) -> dict[str, list[float]]:
    """Votes on the classes that have any."""
    assert dataset.votes is not None
    named = zip(dataset.votes.names, dataset.votes.counts.T.tolist())
    return {name: counts for name, counts in named if any(counts)}


@pytest.mark.parametrize(
    ("text", "votes"), [(TALLY, ()), (RATERS, ("Ann", "bo", "cy", "di", "ed")), (ROWS, ("choice",))]
)
def test_votes_by_class_by_rater_and_by_row_are_the_same(
    table: Path, text: str, votes: tuple[str, ...]
) -> None:
    table.write_text(text)
    dataset, notes = read_listing(table, ReadOptions(votes=votes, split=(1, 0, 0)))
    assert [dataset.class_names[code] for code in dataset.labels] == ["happy", "sad"]
    assert voted(dataset) == {"happy": [3, 0], "sad": [1, 4]}
    assert dataset.class_names == EMOTIONS
    assert (
        "Left out, since no class has the most votes: 1 mostly for unknown, 1 tied, 1 without votes." in notes
    )
    assert notes[0].startswith("The label is what most votes in the columns ")


def test_votes_of_raters_are_learned_from_and_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn, rng = sketch_dataset(70), np.random.default_rng(0)
    rows = ["image,split,one,two,three"]
    for number, (face, label, code) in enumerate(zip(drawn.pixels, drawn.labels, drawn.splits)):
        Image.fromarray(face).save(tmp_path / f"{number}.png")
        says = [EMOTIONS[label], EMOTIONS[label], EMOTIONS[rng.integers(7)]]
        rows.append(f"{number}.png,{('train', 'val', 'test')[code]},{','.join(says)}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    output, run = tmp_path / "votes.npz", tmp_path / "run"
    votes = ["--votes", "one,two,three"]
    assert main(["data", "prepare", str(tmp_path / "list.csv"), "-o", str(output), *votes]) == 0
    dataset = FaceDataset.load(output)
    assert dataset.votes is not None
    assert dataset.votes.counts.sum(axis=1).tolist() == [3] * 70
    np.testing.assert_array_equal(dataset.labels, drawn.labels)
    assert main(["data", "prepare", str(tmp_path / "list.csv"), "-o", str(output), *votes]) == 0
    assert "is up to date" in capsys.readouterr().out
    assert main(["data", "info", str(output)]) == 0
    assert "votes: angry, disgust, fear, happy, sad, surprise, neutral" in capsys.readouterr().out
    phase = "methods.baseline=[{name: c, epochs: 1, losses: {cross_entropy: 1, votes: 0.5}}]"
    small = ["model.image_encoder=tiny_cnn", "image_size=24", "vote_weight=0.5", phase]
    settings = itertools.chain.from_iterable(("--set", setting) for setting in small)
    assert main(["train", "--config", "sketch", "--data", str(output), "-o", str(run), *settings]) == 0
    assert main(["evaluate", str(run)]) == 0
    assert "votes for the answer" in capsys.readouterr().out
    assert main(["evaluate", "tiny", "--data", str(output)]) == 0
    assert "votes KL divergence" in capsys.readouterr().out


def test_the_file_of_ferplus_lists_pictures_with_votes(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table.write_text(
        "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
        "Training,0.png,4,0,0,1,3,2,0,0,0,0\nPublicTest,1.png,0,2,0,0,0,0,0,5,3,0\n"
        "PrivateTest,2.png,0,9,0,0,0,0,0,1,0,0\nTraining,,0,0,0,0,0,0,0,0,0,10\n"
    )
    call = [
        "data",
        "prepare",
        str(table),
        "-o",
        str(table.with_suffix(".npz")),
        "--columns",
        "image=Image name",
    ]
    assert main(call) == 0
    told = capsys.readouterr().err
    assert "Left out: 1 row without an image." in told
    assert "no class has the most votes: 1 mostly for contempt." in told
    dataset = FaceDataset.load(table.with_suffix(".npz"))
    assert [dataset.class_names[code] for code in dataset.labels] == ["neutral", "happy"]
    assert dataset.splits.tolist() == [0, 2]
    assert voted(dataset) == {
        "angry": [3, 0],
        "disgust": [2, 0],
        "happy": [0, 9],
        "sad": [1, 0],
        "neutral": [4, 0],
    }
    scored, _ = load_labelled(table.with_suffix(".npz"))
    assert scored.fingerprint == dataset.fingerprint
    assert main([*call, "--classes", "auto", "--force"]) == 0
    assert FaceDataset.load(table.with_suffix(".npz")).class_names == ("contempt", "happiness", "neutral")


def test_columns_of_votes_are_called_otherwise_or_ignored_by_the_map(table: Path) -> None:
    table.write_text(
        "fileName,A,H,X,emoVote\n0.png,0.25,0.5,0.25,H\n1.png,0.6,0.1,0.3,A\n2.png,0.2,0.2,0.6,X\n"
    )
    options = ReadOptions(mapping={"a": "angry", "H": "happy", "x": "ignore"}, split=(1, 0, 0))
    dataset, notes = read_listing(table, options)
    assert voted(dataset) == {"angry": pytest.approx([0.25, 0.6]), "happy": pytest.approx([0.5, 0.1])}
    assert "Left out, since no class has the most votes: 1 mostly for x." in notes
    with pytest.raises(FacelexError, match="Unknown class 'x' in"):
        read_listing(table, ReadOptions(votes=("A", "H", "X"), mapping={"a": "angry", "h": "happy"}))


def test_raters_may_give_numbers_that_the_map_calls_classes(table: Path) -> None:
    table.write_text("image,r1,r2,r3\n0.png,1,1,2\n1.png,2,2,2\n")
    options = ReadOptions(votes=("r1", "r2", "r3"), mapping={"1": "bored", "2": "awake"}, classes=AUTO)
    dataset = prepare(table, table.with_suffix(".npz"), options).dataset
    assert dataset.class_names == ("awake", "bored")
    assert voted(FaceDataset.load(table.with_suffix(".npz"))) == {"awake": [1, 3], "bored": [2, 0]}


def test_what_is_no_class_is_one_choice_however_it_is_spelled(table: Path) -> None:
    table.write_text("image,a,b,c,d,e\n0.png,happy,happy,Unknown,unknown,UNKNOWN\n1.png,sad,,,,\n")
    _, notes = read_listing(table, ReadOptions(votes=tuple("abcde"), split=(1, 0, 0)))
    assert "Left out, since no class has the most votes: 1 mostly for unknown." in notes


def test_a_list_without_a_header_has_numbered_columns_of_votes(table: Path) -> None:
    table.write_text("0.png,3,1\n1.png,0,4\n")
    mapping = {"2": "happy", "3": "sad"}
    options = ReadOptions(votes=("2", "3"), columns={"image": "1"}, mapping=mapping, split=(1, 0, 0))
    assert voted(read_listing(table, options)[0]) == {"happy": [3, 0], "sad": [1, 4]}


def test_a_column_label_is_used_unless_votes_are_asked_for(table: Path) -> None:
    table.write_text("image,label,happy,sad\n0.png,fear,3,1\n")
    dataset, _ = read_listing(table, ReadOptions(split=(1, 0, 0)))
    assert (dataset.class_names[dataset.labels[0]], dataset.votes) == ("fear", None)
    dataset, notes = read_listing(table, ReadOptions(votes=("happy", "sad"), split=(1, 0, 0)))
    assert dataset.class_names[dataset.labels[0]] == "happy"
    assert (
        notes[0]
        == "The label is what most votes in the columns happy, sad say; the column label is not used."
    )


def test_what_is_read_of_an_image_in_several_rows_is_that_of_the_first(table: Path) -> None:
    table.write_text("image,label,age\n0.png,happy,20\n1.png,sad,30\n0.png,happy,\n")
    options = ReadOptions(votes=("label",), keep=("age",), split=(1, 0, 0))
    dataset, _ = read_listing(table, options)
    assert voted(dataset) == {"happy": [2, 0], "sad": [0, 1]}
    assert dataset.attributes["age"].tolist() == ["20", "30"]
    assert [file.path.name for file in listed_files(table, options)[0]] == ["0.png", "1.png"]


@pytest.mark.parametrize(
    ("text", "votes", "fault"),
    [
        (TALLY.replace("4,0\n", "-4,0\n"), (), "votes in .* as numbers of 0 or more, .* line 3 has '-4'"),
        (TALLY.replace("4,0\n", "many,0\n"), (), "line 3 has 'many'"),
        (TALLY.replace("sad", "sda"), ("happy", "sda"), "Unknown class 'sda' in .* Did you mean 'sad'"),
        (TALLY, ("happy", "sadd"), "Unknown column in .* 'sadd'. Did you mean 'sad'"),
        (RATERS.replace("sadness", "sadd"), ("ann", "cy"), "Unknown class 'sadd' in .* Did you mean 'sad'"),
        (TALLY.replace("sad", "happy"), ("happy",), "one column 'happy' in .* but it has several"),
        ("image,split,vote\n0.png,train,sad\n0.png,test,sad\n", ("vote",), "one split .* line 3"),
        ("image,happy,sad\n0.png,1,1\n1.png,,\n", (), "got none: 1 tied, 1 without votes"),
        ("image,happy,sad\n,1,1\n", (), "but no row names one"),
        ("image,happy\n0.png,1\n", (), "Expected a column of class names .* columns are: image, happy"),
    ],
)  # fmt: skip
def test_votes_that_cannot_be_read_are_told(
    table: Path, text: str, votes: tuple[str, ...], fault: str
) -> None:
    table.write_text(text)
    with pytest.raises(FacelexError, match=fault):
        read_listing(table, ReadOptions(votes=votes))


def test_votes_are_for_lists_alone(table: Path) -> None:
    (table.parent / "happy").mkdir()
    with pytest.raises(FacelexError, match=r"--votes is for a CSV that lists images, and .* is a folder"):
        prepare(table.parent, table.with_suffix(".npz"), ReadOptions(votes=("a",)))


def test_votes_by_class_are_scored_without_being_prepared(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table.write_text("image,joy,sadness\n0.png,3,1\n1.png,0,4\n2.png,1,1\n")
    dataset, notes = load_labelled(table)
    assert dataset.class_names == ("joy", "sadness")
    assert voted(dataset) == {"joy": [3, 0], "sadness": [1, 4]}
    assert "Left out, since no class has the most votes: 1 tied." in notes
    assert main(["evaluate", "tiny", "--data", str(table), "--map", "joy=sad,sadness=sad"]) == 0
    scored = capsys.readouterr()
    assert "1 tied" in scored.err
    (line, _) = (line for line in scored.out.splitlines() if "votes for the answer" in line)
    assert line.split()[-1] == "100.00"  # both are sad to the model, and so are all votes
