"""The tools that train and measure, given what they cannot use."""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from facelex.data.dataset import FaceDataset
from facelex.data.sketch import sketch_dataset
from facelex.errors import FacelexError
from facelex.evaluation.predictions import Predictions
from facelex.files import write_text
from facelex.recognize.words import TextProjection
from facelex.training.config import RunConfig, load_config
from facelex.vocabulary import Vocabulary

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        (
            "tools/measure_words",
            "heldout nowhere --data faces.npz",
            "nowhere holds no finished run such as synonyms-s0-without-angry.",
        ),
        ("tools/measure_words", "model nowhere --data faces.npz", "nowhere holds no finished run"),
        ("tools/train_heldout", "--set modle.dropout=0 --data faces.npz", "Unknown key 'modle'"),
        ("tools/refit_words", "nowhere -o new --data faces.npz", "nowhere holds no finished run"),
        ("tools/try_hypotheses", "--only nosuch --data faces.npz", "Unknown change 'nosuch'."),
        (
            "tools/try_hypotheses",
            "missing.yaml --data faces.npz",
            "No such file or directory: missing.yaml.",
        ),
        ("tools/try_hypotheses", "list.yaml --data faces.npz", "Expected list.yaml to hold 'config'"),
        ("tools/word_geometry", "--glove missing.txt", "missing.txt"),
        ("tools/ferplus_faces", "missing.npz -o new.npz", "missing.npz"),
        ("tools/ferplus_faces", "faces.npz -o new.npz", "Expected a dataset with FER+ votes, but "),
        ("tools/build_vocabulary", "missing.txt -o new.npz", "missing.txt"),
        (
            "tools/build_vocabulary",
            "glove.txt --dictionary missing -o new.npz",
            "No such file or directory: ",
        ),
        ("tools/measure_detectors", "missing.jpg", "missing.jpg"),
        ("tools/measure_detectors", "glove.txt", "glove.txt"),
        ("tools/measure_detectors", "--detectors nosuch", "nosuch"),
        ("tools/measure_framing", "frame missing.npz", "missing.npz"),
        ("tools/pack_centerface", "missing.onnx new.onnx", "No such file or directory: missing.onnx."),
        ("benchmarks/training", "accuracy --data missing.npz", "missing.npz"),
        ("benchmarks/training", "limits --encoders nosuch", "Unknown image encoder 'nosuch'."),
        ("benchmarks/training", "steps --encoders nosuch", "Unknown image encoder 'nosuch'."),
        ("benchmarks/front", "tiny --data missing.npz", "missing.npz"),
        ("benchmarks/front", "missing.onnx --data sketch:70", "missing.onnx"),
    ],
)
def test_a_mistake_on_any_script_is_one_line_and_exit_code_2(
    script: str,
    arguments: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    sketch_dataset(70).save(Path("faces.npz"))
    write_text(Path("list.yaml"), "[1, 2]")
    write_text(Path("glove.txt"), "".join(f"{word} 0.5 0.25\n" for word in ("good", "bad")))
    path = TOOLS.parent / f"{script}.py"
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.setattr(sys, "argv", [str(path), *arguments.split()])
    assert expected in complaint_of(path, monkeypatch, capsys)


def complaint_of(script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a script ends with."""
    monkeypatch.syspath_prepend(str(TOOLS))
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(script), run_name="__main__")
    message = capsys.readouterr().err
    assert caught.value.code == 2
    assert message.startswith(f"{script.stem}: ")
    assert len(message.splitlines()) == 1
    return message


def test_votes_are_measured_with_every_draw_of_a_control(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    measure_words = importlib.import_module("measure_words")
    rng = np.random.default_rng(0)
    features = measure_words.normalize(rng.standard_normal((60, 4), np.float32))
    projection = TextProjection(
        text_center=np.zeros(100, np.float32),
        text_weight1=rng.standard_normal((8, 100), np.float32),
        text_bias1=np.zeros(8, np.float32),
        text_weight2=rng.standard_normal((4, 8), np.float32),
        text_bias2=np.zeros(4, np.float32),
        feature_mean=np.zeros(4, np.float32),
        feature_cov=np.eye(4, dtype=np.float32),
    )
    draws = [
        measure_words.FaceSpace((), features, projection, measure_words.random_vocabulary(seed))
        for seed in range(3)
    ]
    votes = rng.multinomial(10, np.full(10, 0.1), size=60).astype(np.uint8)
    measure_words._print_votes(draws, votes)
    contempt = capsys.readouterr().out.splitlines()[-1].split(" | ")
    shares = votes[:, :8] / votes[:, :8].sum(1, keepdims=True)
    areas = []
    for draw in draws:
        vector = measure_words.mean_vector(draw.vocabulary, measure_words.CONTEMPT)
        areas.append(measure_words.auc(draw.similarity(vector[None])[:, 0], shares[:, 7]))
    assert contempt[0] == "| contempt"
    assert contempt[2] == f"{np.mean(areas):.3f} ± {np.std(areas, ddof=1):.2f}"


def test_figures_of_another_plan_or_of_other_faces_do_not_stand_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(TOOLS))
    try_hypotheses = importlib.import_module("try_hypotheses")
    plan = {"config": "sketch", "set": [], "changes": {"slow": {"set": ["optimizer.lr=0.01"]}}}
    faces = sketch_dataset(70)
    faces.save(Path("faces.npz"))
    sketch_dataset(70, seed=1).save(Path("others.npz"))
    folders = {name: Path(f"runs/hypotheses/{name}-e2-s0") for name in ("base", "slow")}
    for name, folder in folders.items():
        fake_run(folder, try_hypotheses.read_config(plan, name, 2, 0), faces.fingerprint)
        write_text(folder / "metrics.csv", "phase,epoch,seconds\nclassify,1,2.0\nclassify,2,3.0\n")
        answers = np.eye(2, dtype=np.float32)
        nothing = np.zeros(2, bool)
        Predictions(answers, np.array([0, 1]), nothing, ("a", "b"), mirror_probs=answers).save(
            folder / "predictions-val.npz"
        )

    def table(*more: str) -> None:
        monkeypatch.setattr(sys, "argv", ["try_hypotheses", "plan.yaml", "--epochs", "2", *more])
        try_hypotheses.main()

    write_text(Path("plan.yaml"), yaml.safe_dump(plan))
    for more in (("--no-train",), ("--no-train", "--data", "faces.npz"), ("--data", "faces.npz")):
        table(*more)
        assert "| slow | 100.00 | +0.00 | 1.00 |" in capsys.readouterr().out
    for more in (("--no-train", "--data", "others.npz"), ("--data", "others.npz")):
        with pytest.raises(FacelexError, match="base-e2-s0 is finished, but on another dataset"):
            table(*more)
    write_text(folders["slow"] / "environment.json", '{"dataset": {"fingerprint": "another"}}')
    with pytest.raises(FacelexError, match="slow-e2-s0 is finished, but on another dataset"):
        table("--no-train")
    (folders["slow"] / "model.safetensors").unlink()  # what a run leaves that was killed at its very end
    table("--no-train")
    assert "| slow |" not in capsys.readouterr().out
    (folders["slow"] / "model.safetensors").touch()
    plan["changes"] = {"slow": {"set": ["optimizer.lr=0.02"]}}
    write_text(Path("plan.yaml"), yaml.safe_dump(plan))
    with pytest.raises(FacelexError, match="slow-e2-s0 is finished, but with other settings of optimizer"):
        table("--no-train")


def fake_run(folder: Path, config: RunConfig, fingerprint: str) -> None:
    """What a finished run leaves, as far as tables ask for it, but for its answers."""
    write_text(folder / "config.yaml", yaml.safe_dump(config.model_dump(mode="json")))
    write_text(folder / "environment.json", json.dumps({"dataset": {"fingerprint": fingerprint}}))
    for name in ("model.safetensors", "model.json"):
        (folder / name).touch()


def test_a_network_without_one_emotion_is_trained_unless_that_very_one_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(TOOLS))
    train_heldout = importlib.import_module("train_heldout")
    faces = sketch_dataset(70)
    faces.save(Path("faces.npz"))
    sketch_dataset(70, seed=1).save(Path("others.npz"))
    trained: list[str] = []

    def train_run(config: RunConfig, dataset: FaceDataset, folder: Path, **where: Any) -> Any:
        assert where["resume"]
        assert len(dataset.class_names) == 6
        trained.append(folder.name)
        return SimpleNamespace(val_accuracy=0.5)

    monkeypatch.setattr(train_heldout, "train_run", train_run)

    def train(*more: str) -> None:
        arguments = ["--kind", "random", "--leave-out", "angry", "fear", "--data", "faces.npz", *more]
        monkeypatch.setattr(sys, "argv", ["train_heldout", *arguments])
        trained.clear()
        train_heldout.main()

    whole, begun = (Path(f"runs/heldout/random-s0-without-{name}") for name in ("angry", "fear"))
    settings = ["seed=0", "model.text_encoder=random", "model.mix_words=false"]
    for folder, name in ((whole, "angry"), (begun, "fear")):
        fingerprint = train_heldout.without_class(faces, name).fingerprint
        fake_run(folder, load_config("heldout", settings), fingerprint)
    (whole / "predictions-val.npz").touch()
    (begun / "model.safetensors").unlink()
    train()
    assert trained == ["random-s0-without-fear"]
    for more, wrong in ((("--set", "batch_size=9"), "other settings of batch_size"),
                        (("--data", "others.npz"), "another dataset")):  # fmt: skip
        with pytest.raises(FacelexError, match=f"without-angry is finished, but (with|on) {wrong}"):
            train(*more)
        assert trained == []


def test_a_network_killed_while_it_was_written_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    measure_words = importlib.import_module("measure_words")
    folder = tmp_path / "synonyms-s0-without-angry"
    folder.mkdir()
    (folder / "model.json").touch()
    arguments = SimpleNamespace(
        place=tmp_path, kind="synonyms", seed=0, split="val", text=["trained"], fit_plain=False
    )
    with pytest.raises(FacelexError, match="holds no finished run such as synonyms-s0-without-angry"):
        measure_words.measure_held_out(arguments, sketch_dataset(70), Vocabulary.packaged())


def test_words_are_measured_with_the_text_side_that_training_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    measure_words = importlib.import_module("measure_words")
    shapes = {
        "text_center": 3,
        "text_weight1": (9, 3),
        "text_bias1": 9,
        "text_weight2": (2, 9),
        "text_bias2": 2,
    }
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    assert measure_words._as_trained(arrays, None, Path("run")) is arrays
    left = measure_words._as_trained(arrays, "blend", Path("run"))  # of nine hidden units four were added
    assert [left[name].shape for name in ("text_weight1", "text_bias1", "text_weight2")] == [
        (5, 3),
        (5,),
        (2, 5),
    ]
    with pytest.raises(FacelexError, match=r"text side of run is fitted \(affect\)"):
        measure_words._as_trained(arrays, "affect", Path("run"))
