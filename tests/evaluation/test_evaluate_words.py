"""Words checked on faces that somebody has sorted by them."""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from facelex.cli.main import main
from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError
from facelex.evaluation.evaluate_words import evaluate_words
from facelex.evaluation.labelled import load_labelled
from facelex.evaluation.word_scores import phrases_by_class
from facelex.evaluation.word_tables import render_words
from facelex.word_controls import random_vectors

Captured = pytest.CaptureFixture[str]
WORDS = ("bored", "engaged", "weary", "proud", "happy", "sad")
DIM, SIDE = 6, 12


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


VECTORS = dict(zip(WORDS, unit(np.random.default_rng(3).normal(size=(len(WORDS), DIM)))))
TO_LOGITS = np.random.default_rng(4).normal(size=(DIM, 2)) * 3


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    """The vectors of `WORDS` as a GloVe file."""
    lines = [" ".join([word, *(f"{x:.8f}" for x in vector)]) for word, vector in VECTORS.items()]
    (tmp_path / "glove.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "glove.txt"


@pytest.fixture
def worded(tmp_path: Path) -> Path:
    """A model whose features are the brightness of six bands of a face; words enter as their vectors."""
    onnx = pytest.importorskip("onnx")
    helper, proto = onnx.helper, onnx.TensorProto
    bands = np.kron(np.eye(DIM), np.ones((2 * SIDE, 1))) / (2 * SIDE)  # (144, 6)

    def constant(name: str, values: np.ndarray) -> object:
        return onnx.numpy_helper.from_array(np.asarray(values, np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("MatMul", ["flat", "bands"], ["bright"]),
            helper.make_node("Sub", ["bright", "grey"], ["raw"]),
            helper.make_node("LpNormalization", ["raw"], ["image_features"], axis=1, p=2),
            helper.make_node("MatMul", ["image_features", "weights"], ["logits"]),
        ],
        "worded",
        [helper.make_tensor_value_info("images", proto.FLOAT, ["batch", 1, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("logits", proto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("image_features", proto.FLOAT, ["batch", DIM]),
        ],
        [constant("bands", bands), constant("grey", np.full(1, 0.5)), constant("weights", TO_LOGITS)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    arrays = {
        "text_center": np.zeros(DIM),
        "text_weight1": np.concatenate([np.eye(DIM), -np.eye(DIM)]),  # relu(w) - relu(-w) = w
        "text_bias1": np.zeros(2 * DIM),
        "text_weight2": np.concatenate([np.eye(DIM), -np.eye(DIM)], axis=1),
        "text_bias2": np.zeros(DIM),
        "feature_mean": np.zeros(DIM),
        "feature_cov": np.eye(DIM) / DIM,
    }
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array.astype(np.float32) for name, array in arrays.items()})
    info = {
        "format": 1, "name": "worded", "classes": ["happy", "sad"], "image_size": SIDE, "temperature": 1.5,
        "embed_dim": DIM, "word_dim": DIM, "vocabulary": "mine",
    }  # fmt: skip
    properties = {
        "facelex": json.dumps(info),
        "facelex_arrays": base64.b64encode(buffer.getvalue()).decode(),
    }
    helper.set_model_props(model, properties)
    onnx.save(model, tmp_path / "worded.onnx")
    return tmp_path / "worded.onnx"


def sorted_faces(folder: Path, counts: dict[str, int], noise: float = 0.6) -> tuple[Path, dict]:
    """Write faces sorted by words, each as bright in its bands as its word's vector says, but for noise.

    Returns the folder and each class's true features.
    """
    rng = np.random.default_rng(0)
    features = {}
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        wanted = unit(VECTORS.get(name, np.zeros(DIM)) + noise * rng.normal(size=(count, DIM)))
        bands = np.rint(255 * (0.5 + 0.45 * wanted)).astype(np.uint8)  # (count, 6)
        for k, row in enumerate(bands):
            Image.fromarray(np.repeat(np.repeat(row, 2)[:, None], SIDE, axis=1)).save(
                folder / name / f"{k:03}.png"
            )
        features[name] = unit(bands / 255 - 0.5)
    return folder, features


def scored(capsys: Captured, *argv: object) -> dict:
    assert main(["evaluate", *map(str, argv), "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def error_of(capsys: Captured, *argv: object) -> str:
    assert main(["evaluate", *map(str, argv)]) == 2
    return " ".join(capsys.readouterr().err.split())


def test_words_are_scored_as_plain_loops_and_scikit_learn_score_them(
    worded: Path, glove: Path, tmp_path: Path, capsys: Captured
) -> None:
    folder, features = sorted_faces(tmp_path / "faces", {"bored": 25, "engaged": 30, "proud": 12})
    argv = (worded, "--data", folder, "--vocabulary", glove)
    report = scored(capsys, *argv, "--words", "names")
    everyone = np.concatenate(list(features.values()))
    names = np.repeat(list(features), [len(rows) for rows in features.values()])
    logits = everyone @ TO_LOGITS / 1.5
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    cosines = np.stack([everyone @ VECTORS[name] for name in features], axis=1)
    randoms = everyone @ random_vectors(999, DIM, 0).T
    assert report["count"] == 67
    assert (report["vocabulary"], report["moved"]) == (
        glove.stem,
        False,
    )  # given vectors are taken as they are
    assert [word["name"] for word in report["words"]] == list(features)
    for column, word in enumerate(report["words"]):
        own = names == word["name"]
        assert word["count"] == own.sum()
        area = roc_auc_score(own, cosines[:, column])
        assert word["auc"]["value"] == pytest.approx(area, abs=2e-3)
        wins = (randoms[own][:, None] > randoms[~own][None]).mean(axis=(0, 1))
        assert word["random_auc"] == pytest.approx(wins.mean(), abs=2e-3)
        assert word["p_value"] == pytest.approx((1 + (wins >= area).sum()) / 1000, abs=3e-3)
        aucs = {name: roc_auc_score(own, probs[:, k]) for k, name in enumerate(("happy", "sad"))}
        assert word["class_aucs"] == pytest.approx(aucs, abs=2e-3)
        assert word["best_class"] == max(aucs, key=aucs.get)
    chosen = np.array(list(features))[cosines.argmax(axis=1)]
    choice = report["choice"]
    assert choice["balanced_accuracy"]["value"] == pytest.approx(
        balanced_accuracy_score(names, chosen), abs=0.02
    )
    assert choice["chance"] == pytest.approx(1 / 3)
    assert np.array(choice["confusion"]).sum(axis=1).tolist() == [25, 30, 12]
    assert [word["recall"] for word in report["words"]] == pytest.approx(
        [choice["confusion"][k][k] / n for k, n in enumerate((25, 30, 12))]
    )


def test_several_words_of_a_class_are_one_by_their_mean_and_shown_one_by_one(
    worded: Path, glove: Path, tmp_path: Path, capsys: Captured
) -> None:
    folder, features = sorted_faces(tmp_path / "faces", {"Tired": 20, "engaged": 20, "other": 9}, noise=0.9)
    argv = (worded, "--data", folder, "--vocabulary", glove, "--words", "tired=bored|weary")
    report = scored(capsys, *argv)
    (word,) = report["words"]
    everyone = np.concatenate([features[name] for name in ("Tired", "engaged", "other")])
    own = np.arange(len(everyone)) < 20
    for found, vector in (
        (word, (VECTORS["bored"] + VECTORS["weary"]) / 2),
        (word["each"][0], VECTORS["bored"]),
        (word["each"][1], VECTORS["weary"]),
    ):
        assert found["auc"]["value"] == pytest.approx(roc_auc_score(own, everyone @ vector), abs=5e-3)
    assert [one["phrase"] for one in word["each"]] == ["bored", "weary"]
    assert report["not_asked"] == ["engaged", "other"]
    assert "choice" not in report  # between one word and none


def test_the_table_says_how_to_read_it_and_where_faces_are_few(
    worded: Path, glove: Path, tmp_path: Path, capsys: Captured
) -> None:
    folder, _ = sorted_faces(tmp_path / "faces", {"bored": 20, "engaged": 9, "sad": 15, "blank": 3})
    words = "bored=bored|weary,engaged,sad=ignore"
    argv = ["evaluate", str(worded), "--data", str(folder), "--vocabulary", str(glove), "--words", words]
    out = tmp_path / "report.json"
    assert main([*argv, "-o", str(out)]) == 0
    text, said = capsys.readouterr()
    assert all(len(line) <= 80 for line in text.splitlines())
    flat = " ".join(text.split())
    assert "worded on test, 32 faces, with mirror image" in flat
    assert "Fewer than 10 faces: engaged (9). Their numbers show next to nothing" in flat
    assert "Not asked for, but among the other faces: blank." in flat
    assert "picked on these faces" in flat
    assert "Choice of the best fitting of 2 words, 29 faces" in flat
    assert "guessing 50.00 %" in flat
    report = json.loads(out.read_text())
    assert report["few_faces"] == ["engaged"]
    assert f"{report['words'][0]['auc']['value']:.2f} [" in text
    assert "Written" in said
    assert main([*argv, "--no-flip", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["view"] == "single"


def test_words_that_tell_all_faces_apart_have_no_interval(worded: Path, glove: Path, tmp_path: Path) -> None:
    folder, _ = sorted_faces(tmp_path / "faces", {"bored": 12, "engaged": 12}, noise=0.05)
    report = evaluate_words(worded, data=folder, vocabulary=glove).report
    assert [word.auc.value for word in report.words] == [1, 1]
    assert np.isnan([word.auc.low for word in report.words]).all()
    assert report.choice is not None
    assert report.choice.balanced_accuracy.value == 1


def test_classes_the_model_does_not_have_are_said_to_be_words_perhaps(
    worded: Path, tmp_path: Path, capsys: Captured
) -> None:
    folder, _ = sorted_faces(tmp_path / "faces", {"bored": 2, "engaged": 2})
    assert "measure how well it finds them with --words names" in error_of(capsys, worded, "--data", folder)


def test_what_cannot_be_asked_is_one_sentence(
    worded: Path,
    glove: Path,
    onnx_file: Path,
    make_run: Callable[..., Path],
    tmp_path: Path,
    capsys: Captured,
) -> None:
    folder, _ = sorted_faces(tmp_path / "faces", {"bored": 3, "engagd": 3})
    data = ("--data", folder, "--vocabulary", glove)
    words = (*data, "--words", "names")
    assert "engagd" in error_of(capsys, worded, *words)  # no vector
    for text, sentence in {
        "engaged": "Unknown class of the data in --words 'engaged'. Did you mean 'engagd'?",
        "bored=": "got 'bored='",
        "bored=a||b": "got 'bored=a||b'",
        "bored,bored=sad": "Expected each class once in --words, but got bored again",
        "bored=ignore": "Expected words to ask for with --words, but got 'bored=ignore'",
        "bored,engagd=ignore": "of a class that is asked for and of another",
    }.items():
        assert sentence in error_of(capsys, worded, *data, "--words", text)
    asked = (*data, "--words", "bored")
    for option in (["--map", "bored=sad"], ["--by", "x"], ["--ten-crop"], ["--other-data"]):
        assert f"--words without {option[0]}," in error_of(capsys, worded, *asked, *option)
    assert "one model with --words, but got 2" in error_of(capsys, worded, onnx_file, *asked)
    assert "end in .json with --words" in error_of(capsys, worded, *asked, "-o", tmp_path / "p.npz")
    assert "--vocabulary with --words alone" in error_of(capsys, worded, *data)
    assert "Give their file: --vocabulary FILE" in error_of(capsys, worded, *data[:2], "--words", "bored")
    assert "trained with words, but 'nearest.onnx' only knows its 7" in error_of(capsys, onnx_file, *asked)
    run = make_run()
    assert f"{run} is a run folder" in error_of(capsys, run, *asked)
    np.savez(tmp_path / "theirs.npz", probs=np.ones((1, 1)), labels=[0], classes=["a"])
    assert "is a file of answers" in error_of(capsys, tmp_path / "theirs.npz", *asked)
    assert "class that is asked for and of another in the split 'val'" in error_of(
        capsys, worded, *asked, "--split", "val"
    )


def test_a_dataset_prepared_is_scored_split_by_split(worded: Path, glove: Path, tmp_path: Path) -> None:
    folder, _ = sorted_faces(tmp_path / "faces", {"bored": 8, "engaged": 8})
    report = evaluate_words(worded, data=folder, vocabulary=glove).report
    dataset, _ = load_labelled(folder, SIDE)
    splits = np.repeat([2, 1], [16, 16]).astype(np.uint8)
    both = FaceDataset.create(
        np.concatenate([dataset.pixels, 255 - dataset.pixels]),
        np.tile(dataset.labels, 2),
        splits,
        dataset.class_names,
        "both",
    )
    both.save(tmp_path / "both.npz")
    again = evaluate_words(worded, data=tmp_path / "both.npz", vocabulary=glove).report
    assert again.words == report.words
    turned = evaluate_words(worded, split="val", data=tmp_path / "both.npz", vocabulary=glove).report
    assert turned.words[0].auc.value == pytest.approx(1 - report.words[0].auc.value, abs=0.02)


def test_a_word_without_faces_in_the_split_is_unknown(worded: Path, glove: Path, tmp_path: Path) -> None:
    folder, _ = sorted_faces(tmp_path / "faces", {"engaged": 8, "sad": 8})
    dataset, _ = load_labelled(folder, SIDE)
    names = ("engaged", "sad", "bored")
    FaceDataset.create(dataset.pixels, dataset.labels, dataset.splits, names, "x").save(tmp_path / "x.npz")
    found = evaluate_words(worded, data=tmp_path / "x.npz", vocabulary=glove)
    absent = found.report.words[2]
    assert (absent.name, absent.count, absent.best_class) == ("bored", 0, None)
    assert np.isnan([absent.auc.value, absent.p_value, absent.recall]).all()
    json.dumps(found.report.to_json(), allow_nan=False)
    console = Console(file=io.StringIO(), width=80)
    console.print(render_words(found.report))
    assert "bored (0)" in console.file.getvalue()


def test_words_are_read_from_text_and_from_python_alike() -> None:
    names = ("bored", "Engaged", "sad")
    assert phrases_by_class(" Names ", names) == {name: (name,) for name in names}
    found = {"Engaged": ("wide  awake".replace("  ", " "), "attentive"), "bored": ("bored",), "sad": ()}
    assert phrases_by_class("engaged=wide  awake| attentive, bored,sad=ignore", names) == found
    given = {"engaged": ["wide awake", "attentive"], "bored": "bored", "sad": "ignore"}
    assert phrases_by_class(given, names) == found
    with pytest.raises(FacelexError, match="Unknown class of the data in --words 'proud'"):
        phrases_by_class({"proud": "proud"}, names)


def test_words_are_scored_without_torch_and_scipy(worded: Path, glove: Path, tmp_path: Path) -> None:
    folder, _ = sorted_faces(tmp_path / "faces", {"bored": 3, "engaged": 3})
    argv = ["evaluate", worded, "--data", folder, "--vocabulary", glove, "--words", "names"]
    code = (
        "import sys\n"
        "for name in ('torch', 'matplotlib', 'yaml', 'scipy', 'sklearn'): sys.modules[name] = None\n"
        "from facelex.cli.main import main\n"
        f"sys.exit(main({[str(arg) for arg in argv]!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "AUC" in done.stdout
