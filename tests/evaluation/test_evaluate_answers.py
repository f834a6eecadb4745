"""Answers in files, named in place of networks: an earlier evaluation's, another tool's."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from facelex.cli.main import main
from facelex.data.dataset import FaceDataset
from facelex.emotions import EMOTIONS
from facelex.evaluation.evaluate import evaluate
from facelex.evaluation.predictions import Predictions

pytestmark = pytest.mark.usefixtures("torch_side")

Made = tuple[FaceDataset, Path]
Captured = pytest.CaptureFixture[str]
DOCUMENT = Path(__file__).parents[2] / "docs" / "evaluation.md"


def error_of(capsys: Captured, *argv: object) -> str:
    assert main([str(arg) for arg in argv]) == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture
def labels(faces: Made) -> np.ndarray:
    """What the 70 test faces of the dataset show."""
    return faces[0].labels[faces[0].indices("test")]


def answers(path: Path, labels: np.ndarray, wrong: int = 10, /, **changes: object) -> Path:
    """Write a file as another tool would, with numpy alone; the first ``wrong`` answers are one class off."""
    named = np.where(np.arange(len(labels)) < wrong, (labels + 1) % 7, labels)
    probs = np.full((len(labels), 7), 0.05) + 0.65 * np.eye(7)[named]
    np.savez(path, **({"probs": probs, "labels": labels, "classes": EMOTIONS} | changes))
    return path


def test_what_one_evaluation_has_written_is_scored_alike_without_model_and_faces(
    onnx_file: Path, faces: Made, tmp_path: Path, capsys: Captured
) -> None:
    file = tmp_path / "mine.npz"
    argv = ["evaluate", str(onnx_file), "--data", str(faces[1]), "--ten-crop", "--format", "json"]
    assert main([*argv, "-o", str(file)]) == 0
    first = json.loads(capsys.readouterr().out)
    for data in ([], ["--data", str(faces[1])]):
        assert main(["evaluate", str(file), *data, "--ten-crop", "--format", "json"]) == 0
        assert json.loads(capsys.readouterr().out) == first


def test_answers_of_another_tool_are_compared_with_a_model(
    onnx_file: Path, faces: Made, labels: np.ndarray, tmp_path: Path, capsys: Captured
) -> None:
    theirs = answers(tmp_path / "theirs.npz", labels)
    argv = ["evaluate", str(onnx_file), str(theirs), "--data", str(faces[1])]
    assert main([*argv, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    members = json.loads(out)["members"]
    assert [member["name"] for member in members] == ["nearest", "theirs"]
    pair = members[1]["views"]["single"]["official"]["to_first"]
    assert (pair["only_first"], pair["only_own"]) == (10, 0)
    assert pair["difference"]["value"] == pytest.approx(-10 / 70)
    assert pair["p_value"] == pytest.approx(stats.binomtest(0, 10).pvalue)
    assert list(json.loads(out)["views"]) == ["single"]
    assert "deduplicated" not in json.loads(out)["views"]["single"]
    assert "theirs holds no answers for the view with mirror image: left out." in err
    assert "copies of pictures that theirs was trained on is not known" in err
    assert main(argv) == 0
    assert "-14.29 [" in capsys.readouterr().out


def test_a_run_is_compared_with_answers_about_its_own_dataset(
    make_run: Callable[..., Path], labels: np.ndarray, tmp_path: Path
) -> None:
    run = make_run()
    seen = np.arange(70) < 5
    theirs = answers(tmp_path / "theirs.npz", labels, model="lab", seen=seen)
    found = evaluate([run, theirs])
    assert [member.model for member in found.members] == ["fake-run", "lab"]
    views = found.split_scores.members[1].views["single"]
    assert (views.official.to_first.only_first, views.deduplicated.to_first.only_first) == (10, 5)
    assert found.predictions.fingerprint != ""


def test_two_files_alone_are_compared(labels: np.ndarray, tmp_path: Path, capsys: Captured) -> None:
    files = [answers(tmp_path / f"{n}.npz", labels, n) for n in (4, 9)]
    assert main(["evaluate", *map(str, files), "--format", "json"]) == 0
    second = json.loads(capsys.readouterr().out)["members"][1]["views"]["single"]["official"]
    assert (second["to_first"]["only_first"], second["to_first"]["only_own"]) == (5, 0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"labels": np.roll(np.arange(70) % 7, 1)}, "the labels of 70 differ: number 1 is "),
        ({"split": "val"}, "about test in {file}, but they are about val. Add --split val"),
        ({"fingerprint": "0" * 64}, "about different datasets (000000000000 and "),
        ({"classes": EMOTIONS[::-1]}, "the same classes in the same order, but "),
    ],
)
def test_answers_about_other_faces_or_in_another_order_are_refused_before_anybody_is_asked(
    make_run: Callable[..., Path],
    labels: np.ndarray,
    tmp_path: Path,
    capsys: Captured,
    torch_side: list[Path],
    changes: dict[str, object],
    sentence: str,
) -> None:
    run, file = make_run(), answers(tmp_path / "theirs.npz", labels, **changes)
    assert sentence.format(file=file) in error_of(capsys, "evaluate", run, file)
    assert torch_side == []
    fewer = answers(tmp_path / "fewer.npz", labels[:50])
    assert f"{fewer} has 50 of test and made for tests 70 of test" in error_of(capsys, "evaluate", run, fewer)
    assert sorted(path.name for path in run.iterdir() if path.suffix == ".npz") == []


def test_files_about_other_faces_than_each_other_are_refused(
    labels: np.ndarray, tmp_path: Path, capsys: Captured
) -> None:
    mine = answers(tmp_path / "mine.npz", labels)
    turned = answers(tmp_path / "turned.npz", labels[::-1])
    said = error_of(capsys, "evaluate", mine, turned)
    assert "Expected answers about the same examples in the same order, but the labels of" in said
    fewer = answers(tmp_path / "fewer.npz", labels[:50])
    assert "mine has 70 of test and fewer 50 of test" in error_of(capsys, "evaluate", mine, fewer)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"labels": np.array(["happy"] * 70)}, "labels as whole numbers, .* but got .*'happy'"),
        ({"labels": np.full(70, 0.5)}, r"labels as whole numbers, .* but got \[0\.5, 0\.5, 0\.5\]"),
        ({"labels": np.full(70, 7)}, r"labels in 0\.\.6, but got 7\.\.7"),
        ({"labels": np.int64(3)}, r"labels of shape \(n,\), one a face, but got \(\)"),
        ({"temperature": [1.0, 2.0]}, r"temperature to be one number, but got float64 of shape \(2,\)"),
        ({"split": "dev"}, "split in .* to be one of train, val, test, but got 'dev'"),
        ({"classes": np.arange(7)}, "classes as a list of names, but got int64"),
        ({"classes": "angry"}, r"classes as a list of names, but got <U5 of shape \(\)"),
        ({"probs": np.ones((70, 7))}, "pass probabilities, not logits"),
        ({"probs": np.ones((7, 70)) / 70}, r"probs of shape \(70, 7\), but got \(7, 70\)"),
        ({"seen": np.zeros(3, bool)}, r"seen of shape \(70,\), but got \(3,\)"),
    ],
)
def test_a_file_that_holds_something_else_is_one_sentence(
    labels: np.ndarray, tmp_path: Path, capsys: Captured, changes: dict[str, object], sentence: str
) -> None:
    said = error_of(capsys, "evaluate", answers(tmp_path / "theirs.npz", labels, **changes))
    assert re.search(sentence, said), said
    assert str(tmp_path / "theirs.npz") in said


def test_files_that_hold_no_answers_are_refused(faces: Made, tmp_path: Path, capsys: Captured) -> None:
    assert "Expected arrays probs, classes" not in error_of(capsys, "evaluate", tmp_path / "none.npz")
    assert "Expected arrays probs, classes in" in error_of(capsys, "evaluate", faces[1])
    empty = answers(tmp_path / "empty.npz", np.zeros(0, int))
    assert "but it has none" in error_of(capsys, "evaluate", empty)


def test_groups_and_other_class_names_need_the_faces(
    labels: np.ndarray, faces: Made, tmp_path: Path, capsys: Captured
) -> None:
    file = answers(tmp_path / "theirs.npz", labels)
    for option in (["--by", "gender"], ["--map", "happy=sad"], ["--find-faces"], ["--other-data"]):
        assert "Name the faces with --data" in error_of(capsys, "evaluate", file, *option)
    ignored = ["--data", faces[1], "--map", "happy=ignore"]
    assert "70 of test and made for tests 60 of test" in error_of(capsys, "evaluate", file, *ignored)
    kept = answers(tmp_path / "kept.npz", labels[labels != 3])
    assert len(evaluate(kept, data=faces[1], mapping={"happy": "ignore"}).predictions) == 60


def test_what_is_scored_is_never_written_over(
    onnx_file: Path, faces: Made, labels: np.ndarray, tmp_path: Path, capsys: Captured
) -> None:
    file = answers(tmp_path / "theirs.npz", labels)
    before = file.read_bytes(), faces[1].read_bytes()
    argv = ("evaluate", onnx_file, file, "--data", faces[1], "-o")
    for output in (file, faces[1]):
        assert "would replace what is scored" in error_of(capsys, *argv, output)
    assert (file.read_bytes(), faces[1].read_bytes()) == before


def test_the_documented_program_writes_a_file_that_is_compared(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (program,) = re.findall(r"```python\n(import csv\n.*?)```", DOCUMENT.read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = [{"image": f"{i}.png", "label": EMOTIONS[i % 3]} for i in range(12)]
    for row in rows:
        Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(row["image"])
    said = [dict(zip(EMOTIONS, rng.dirichlet(np.ones(7)).tolist())) for _ in rows]
    for name, table in (("faces.csv", rows), ("theirs.csv", said)):
        with Path(name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
    exec(program, {})
    preds = Predictions.load("theirs.npz")
    named = [max(answer, key=answer.get) for answer in said]
    assert [EMOTIONS[k] for k in preds.probs.argmax(axis=1)] == named
    found = evaluate([onnx_file, "theirs.npz"], data="faces.csv")
    right = np.mean([name == row["label"] for name, row in zip(named, rows)])
    accuracy = found.split_scores.members[1].views["single"].official.accuracy
    assert accuracy.value == pytest.approx(right)
