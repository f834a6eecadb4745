"""Lists of images that several people judged: the votes on each class, and the label that most chose."""

import itertools
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facelex.cli.main import main
from facelex.data.dataset import FaceDataset
from facelex.data.listed import listed_files, read_listing
from facelex.data.options import AUTO, ReadOptions
from facelex.data.prepare import LATER_OPTIONS, prepare
from facelex.data.sketch import sketch_dataset
from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError
from facelex.evaluation.evaluate import evaluate
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
CODES = "image,ann,bo\n0.png,0,3.0\n1.png,7,\n2.png,3,3\n"
ROWS = "image,choice\n" + "".join(f"{image},{vote}\n" for image, *votes in LINES for vote in votes)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for number, face in enumerate(sketch_dataset(6).pixels):
        Image.fromarray(face).save(tmp_path / f"{number}.png")
    return tmp_path / "list.csv"


def read(table: Path, text: str, **options: Any) -> FaceDataset:
    table.write_text(text)
    return read_listing(table, ReadOptions(split=(1, 0, 0), **options))[0]


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
    assert FaceDataset.load(table.with_suffix(".npz")).class_names == (
        "anger", "contempt", "disgust", "happiness", "neutral", "sadness",
    )  # fmt: skip


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
        (TALLY.replace("4,0\n", "many,0\n"), (), "line 3 has 'many'.* leave it empty where"),
        (TALLY.replace("3,1,1", "many,1,1"), (), "numbers of 0 or more, since most .* line 2 has 'many'"),
        (TALLY.replace("4,0\n", '"1,000",0\n'), (), "such as 3 or 0.8, .* line 3 has '1,000'"),
        (TALLY.replace("4,0\n", "80%,0\n"), (), "all written alike .* line 3 has '80%'"),
        (TALLY.replace("4,0\n", "1e300,0\n"), (), "none above a billion, but line 3 has '1e300'"),
        (TALLY.replace("4,0\n", "1e400,0\n"), (), "line 3 has '1e400'"),
        (TALLY.replace("4,0\n", "true,0\n"), (), "line 3 has 'true'"),
        ('image,happy,sad\n0.png,"1,000","2,000"\n', (), "line 2 has '1,000'"),
        (RATERS.replace("joy", "4"), ("ann", "bo"), "names of classes, .* line 2 has '4'.* --map 4=CLASS"),
        (CODES, ("ann", "bo"), r"called like classes, .* \(0 to 7\), but got ann, bo .* --map 0=CLASS"),
        (TALLY.replace("sad", "sda"), ("happy", "sda"), "Unknown class 'sda' in .* Did you mean 'sad'"),
        (TALLY, ("happy", "sadd"), "Unknown column in .* 'sadd'. Did you mean 'sad'"),
        (RATERS.replace("sadness", "sadd"), ("ann", "cy"), "Unknown class 'sadd' in .* Did you mean 'sad'"),
        (TALLY.replace("sad", "happy"), ("happy",), "one column 'happy' in .* but it has several"),
        ("image,split,vote\n0.png,train,sad\n0.png,test,sad\n", ("vote",), "one split .* 0.png, .* line 3"),
        ("image,happy,sad\n0.png,1,1\n1.png,,\n", (), "got none: 1 tied, 1 without votes"),
        ("image,happy,sad\n,1,1\n", (), "but no row names one"),
        ("image,a,b\n0.png,NA,\n", ("a", "b"), "got none: 1 without votes"),
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
    assert "tied" not in scored.err
    (line, _) = (line for line in scored.out.splitlines() if "votes for the answer" in line)
    assert line.split()[-1] == "100.00"  # both are sad to the model, and so are all votes


def test_classes_that_nobodys_majority_names_keep_their_votes(table: Path) -> None:
    text = "image,happy,sad,fear,angry,unknown\n0.png,3,2,0,0,1\n1.png,4,0,0,0,0\n2.png,1,0,0,1,0\n"
    dataset = read(table, text, classes=AUTO)
    assert dataset.class_names == ("happy", "sad")
    assert voted(dataset) == {"happy": [3, 4], "sad": [2, 0]}
    assert load_labelled(table)[0].votes is not None
    assert voted(load_labelled(table)[0]) == voted(dataset)
    unelected = read(table, text, classes=("sad", "happy"), mapping={"fear": "ignore", "angry": "ignore"})
    assert (unelected.class_names, unelected.labels.tolist()) == (("sad", "happy"), [1, 1])
    with pytest.raises(FacelexError, match=r"No image in .* is of the class 'fear'"):
        read(table, text, classes=("happy", "sad", "fear", "angry"))


def test_a_model_counts_votes_by_what_their_names_mean_to_it(table: Path) -> None:
    text = "image,happy,happiness,sad,angry\n0.png,2,2,3,0\n1.png,0,0,3,1\n"
    table.write_text(text.replace("2,2,3", "1,3,3"))
    kept, _ = load_labelled(table, classes=EMOTIONS)
    assert [kept.class_names[code] for code in kept.labels] == ["happiness", "sad"]
    prepared = read(table, text)
    assert [prepared.class_names[code] for code in prepared.labels] == ["happy", "sad"]
    scored = evaluate("tiny", data=table, flip=False)
    labels = [scored.predictions.classes[code] for code in scored.predictions.labels]
    assert labels == ["happy", "sad"]
    assert "Several names are taken for happy: happiness, happy." in scored.notes
    assert scored.predictions.votes is not None
    assert scored.predictions.votes.on(("happy", "sad", "angry")).tolist() == [[4, 3, 0], [0, 3, 1]]


def test_the_map_of_an_evaluation_goes_before_the_count(table: Path) -> None:
    table.write_text("image,happy,amused,bored,sad\n0.png,2,2,0,3\n1.png,0,0,4,3\n2.png,0,0,1,3\n")
    scored = evaluate("tiny", data=table, flip=False, mapping={"Amused": "happy", "bored": "ignore"})
    assert [scored.predictions.classes[code] for code in scored.predictions.labels] == ["happy", "sad"]
    table.write_text("image,happy,amused,sad\n0.png,2,0,1\n")
    unused = evaluate("tiny", data=table, flip=False, mapping={"amused": "happy"})
    assert len(unused.predictions) == 1
    with pytest.raises(FacelexError, match="class of the data in --map 'amussed'"):
        evaluate("tiny", data=table, mapping={"amussed": "happy"})


@pytest.mark.parametrize("winner", ["2,1,9", "9,1,2"])
@pytest.mark.parametrize("mapping", [{}, {"contempt": "ignore"}])
def test_contempt_is_no_class_of_a_model_whoever_won(
    table: Path, winner: str, mapping: dict[str, str]
) -> None:
    table.write_text(f"image,happy,sad,contempt\n0.png,{winner}\n1.png,1,4,0\n")
    scored = evaluate("tiny", data=table, flip=False, mapping=mapping)
    assert len(scored.predictions) == (2 if winner.startswith("9") else 1)
    as_sad = evaluate("tiny", data=table, flip=False, mapping={"contempt": "sad"})
    labels = [as_sad.predictions.classes[code] for code in as_sad.predictions.labels]
    assert labels == ["happy" if winner.startswith("9") else "sad", "sad"]


PLAIN = "image,happy,sad\n0.png,0.8,0.2\n1.png,0,1\n"


@pytest.mark.parametrize(
    "text",
    [
        "image,happy,sad\n0.png,80%,20 %\n1.png,0%,100.0%\n",
        "image;happy;sad\n0.png;0,8;0,2\n1.png;0;1\n",
        "image;happy;sad\n0.png;0,800;0,200\n1.png;0,000;1,000\n",
        "image;happy;sad\n0.png;80,0%;20,0%\n1.png;0%;100%\n",
        "image,happy,sad\n0.png,0.8,0.2\n1.png,NaN,1\n",
    ],
)
def test_shares_may_be_written_per_cent_and_with_a_decimal_comma(table: Path, text: str) -> None:
    assert read(table, text).fingerprint == read(table, PLAIN).fingerprint


@pytest.mark.parametrize("yes_no", [("True", "False"), ("x", ""), ("✓", "-"), ("TRUE", "NA")])
def test_ticks_are_votes(table: Path, yes_no: tuple[str, str]) -> None:
    yes, no = yes_no
    dataset = read(table, f"image,happy,sad\n0.png,{yes},{no}\n1.png,{no},{yes}\n0.png,{yes},{yes}\n")
    assert voted(dataset) == {"happy": [2, 0], "sad": [1, 1]}
    answers = "image,a,b\n0.png,True,true\n1.png,false,False\n"
    raters = read(table, answers, votes=("a", "b"), mapping={"true": "happy", "false": "sad"})
    assert voted(raters) == {"happy": [2, 0], "sad": [0, 2]}


@pytest.mark.parametrize("nothing", ["NA", "n/a", "NaN", "null", "None", "-", "<NA>"])
def test_who_has_not_answered_has_no_vote(table: Path, nothing: str) -> None:
    table.write_text(f"image,a,b,c\n0.png,happy,{nothing},{nothing}\n1.png,{nothing},{nothing},{nothing}\n")
    options = ReadOptions(votes=tuple("abc"), classes=AUTO, split=(1, 0, 0))
    dataset, notes = read_listing(table, options)
    assert voted(dataset) == {"happy": [1]}
    assert "Left out, since no class has the most votes: 1 without votes." in notes
    named = read(table, table.read_text(), votes=tuple("abc"), classes=("happy", nothing))
    assert voted(named) == {nothing: [2, 3], "happy": [1, 0]}
    mapped = read(table, table.read_text(), votes=tuple("abc"), mapping={nothing: "neutral"})
    assert voted(mapped) == {"happy": [1, 0], "neutral": [2, 3]}


def test_every_code_of_raters_needs_a_name(table: Path) -> None:
    codes = {"0": "sad", "3": "happy"}
    with pytest.raises(
        FacelexError, match=r"each number in the columns ann, bo .* '7' of line 3. Add 7=CLASS"
    ):
        read(table, CODES, votes=("ann", "bo"), mapping=codes)
    assert voted(read(table, CODES, votes=("ann", "bo"), mapping=codes | {"7": "happy"})) == {"happy": [1, 2]}
    named = read(table, CODES.replace("3.0", "0"), votes=("ann", "bo"), classes=("0", "3", "7"))
    assert voted(named) == {"0": [2, 0, 0], "3": [0, 0, 2], "7": [0, 1, 0]}


def test_numbers_in_columns_of_unknown_names_are_told(table: Path) -> None:
    table.write_text("image,bored,awake\n0.png,3,1\n1.png,0,4\n")
    options = ReadOptions(votes=("bored", "awake"), classes=AUTO, split=(1, 0, 0))
    dataset, notes = read_listing(table, options)
    assert voted(dataset) == {"bored": [3, 0], "awake": [1, 4]}
    assert any(
        "The numbers in bored, awake are taken for votes on classes of these names" in n for n in notes
    )


def test_names_that_are_one_class_are_told(table: Path) -> None:
    table.write_text("image,neutral,calm,sad\n0.png,1,1,0\n1.png,0,0,2\n")
    dataset, notes = read_listing(table, ReadOptions(split=(1, 0, 0)))
    assert "Several names are taken for neutral: neutral, calm." in notes
    assert voted(dataset) == {"sad": [0, 2], "neutral": [2, 0]}


def test_a_header_is_no_row_of_votes(table: Path) -> None:
    table.write_text("image,happy,sad\n0.png,3,1\n1.png,0,4\n")
    with pytest.raises(FacelexError, match="since --columns has numbers, but got 'image' and 'happy', 'sad'"):
        read_listing(table, ReadOptions(votes=("2", "3"), columns={"image": "1"}))


def test_faces_of_one_picture_have_votes_of_their_own(table: Path) -> None:
    table.write_text(
        "image,vote,x,y,width,height\n0.png,sad,1,1,9,9\n0.png,happy,20,1,9,9\n0.png,sad,1,1,9,9\n"
    )
    files, _ = listed_files(table, ReadOptions(votes=("vote",), find_faces=True))
    assert [file.votes for file in files] == [{"sad": 2}, {"happy": 1}]


def test_what_is_no_class_elsewhere_may_be_one_of_the_options(table: Path) -> None:
    dataset = read(table, TALLY, classes=("sad", "happy", "Unknown"))
    assert voted(dataset) == {"sad": [1, 4, 0], "happy": [3, 0, 1], "Unknown": [1, 0, 4]}
    scorned = TALLY.replace("unknown", "contempt")
    assert voted(read(table, scorned, classes=("sad", "happy"))) == {"sad": [1, 4], "happy": [3, 0]}
    assert read(table, scorned, classes=("sad", "happy", "contempt")).labels.tolist() == [1, 0, 2]


def test_options_that_came_later_leave_older_files_up_to_date() -> None:
    first = {"ferplus", "size", "classes", "split", "seed", "skip_bad", "find_faces"}
    assert {field.name for field in fields(ReadOptions)} == first | {*LATER_OPTIONS}
