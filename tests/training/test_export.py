from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_training import FACES, tiny_config, two_phases

from facelex.cli.main import main
from facelex.errors import FacelexError
from facelex.evaluation.calibration import apply_temperature
from facelex.evaluation.predictions import Predictions
from facelex.models.weights import load_model as load_weights
from facelex.recognize.model import Model, load_model
from facelex.recognize.recognizer import Recognizer
from facelex.training import export, onnx_graph
from facelex.training.export import export_run
from facelex.training.run import train_run

VAL = FACES.indices("val")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "words"
    train_run(tiny_config(*two_phases()), FACES, folder, accelerator="cpu")
    return folder


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "baseline"
    train_run(tiny_config("method=baseline", "max_epochs_per_phase=2"), FACES, folder, accelerator="cpu")
    return folder


@pytest.fixture(scope="module", autouse=True)
def traced_once() -> Any:
    """Trace each network once: that is what takes seconds."""
    graphs: dict[tuple[float, bool], Any] = {}
    trace = onnx_graph.create_graph

    def create(model: Any, size: int, *, with_features: bool) -> Any:
        key = (float(model.classifier.linear.weight.detach().sum()), with_features)
        if key not in graphs:
            graphs[key] = trace(model, size, with_features=with_features).SerializeToString()
        return onnx.load_from_string(graphs[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "create_graph", create)
        yield


@pytest.fixture(scope="module")
def files(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    return {
        precision: export_run(run, folder / f"{precision}.onnx", precision=precision)
        for precision in export.PRECISIONS
    }


def test_few_validation_faces_are_warned_of(
    run: Path,
    baseline: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for folder, what in ((run, "Temperature, the scale of word scores and"), (baseline, "Temperature and")):
        caplog.clear()
        export_run(folder, tmp_path / "model.onnx")
        assert f"{what} the threshold of unsure rest on {len(VAL)} validation faces alone" in caplog.text
    monkeypatch.setattr(export, "FEW_FACES", len(VAL))
    caplog.clear()
    export_run(run, tmp_path / "model.onnx")
    assert not caplog.text


def test_recognizer_answers_as_the_run_does(run: Path, files: dict[str, Path]) -> None:
    recognizer = Recognizer(files["fp32"], threads=1)
    temperature = recognizer.info["temperature"]
    expected = Predictions.load(run / "predictions-val.npz").view_probs("flip", temperature)
    crops = FACES.pixels[VAL]
    assert crops.shape[1] == recognizer.info["crop_size"] > recognizer.info["image_size"]
    np.testing.assert_allclose(recognizer.classify(crops), expected, atol=1e-4)
    single = apply_temperature(Predictions.load(run / "predictions-val.npz").probs, temperature)
    np.testing.assert_allclose(recognizer.classify(crops, flip=False), single, atol=1e-4)
    (face,) = recognizer.predict(crops[0], detect=False)
    np.testing.assert_allclose(list(face.probabilities.values()), expected[0], atol=1e-4)


def test_words_that_faces_have_drifted_away_from_are_said_to_be_stale(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels_last = tiny_config(*two_phases(1, 1), "methods.multimodal.1.losses={cross_entropy: 1}")
    train_run(labels_last, FACES, tmp_path / "r", accelerator="cpu")
    for folder, stale in ((run, False), (tmp_path / "r", True)):
        recognizer = Recognizer(export_run(folder, tmp_path / "m.onnx"), threads=1)
        assert ("words_stale" in recognizer.info) == ("are stale" in recognizer.info["card"]) == stale
        recognizer.predict(FACES.pixels[0], words="bored", detect=False)
        assert ("are stale" in caplog.text) == stale


def test_words_mean_the_same_as_in_pytorch(run: Path, files: dict[str, Path]) -> None:
    model, _ = load_weights(run)
    words = ["bored", "proud", "anger"]
    recognizer = Recognizer(files["fp32"], threads=1)
    vocabulary = recognizer._scorer.vocabulary  # the packaged words, moved towards their synonyms
    with torch.inference_mode():
        vectors = torch.from_numpy(np.stack([vocabulary.phrase(word) for word in words])).float()
        expected = model.encode_words(vectors).numpy()
    np.testing.assert_allclose(recognizer._scorer.text_features(words), expected, atol=1e-5)


def test_word_scores_of_the_reference_faces_are_centred(files: dict[str, Path]) -> None:
    """Each word's score is a share of the reference faces: over those faces themselves z is standard."""
    network = load_model(files["fp32"])
    arrays = network.arrays
    assert arrays is not None
    assert (arrays["text_center"].shape, arrays["feature_cov"].shape) == ((100,), (8, 8))
    recognizer = Recognizer(files["fp32"], threads=1)
    size = recognizer.info["image_size"]
    images = export._images(FACES, VAL, size)[:, 0]
    features = recognizer.embed(images)
    np.testing.assert_allclose(features.mean(0), arrays["feature_mean"], atol=1e-5)
    text = recognizer._scorer.text_features(["bored", "happy", "furious"])
    similarity = features @ text.T
    z = (similarity - arrays["feature_mean"] @ text.T) / np.sqrt(
        np.einsum("we,ef,wf->w", text, arrays["feature_cov"], text)
    )
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(z.std(0), 1, atol=1e-2)
    assert np.abs(recognizer.score_words(features, ["bored"]).mean() - 0.5) < 0.15


def test_graph_takes_any_number_of_faces(files: dict[str, Path]) -> None:
    for path in files.values():
        network: Model = load_model(path)
        size = network.image_size
        for count in (1, 2, 5):
            logits, features = network.run(
                np.random.default_rng(0).random((count, 1, size, size), np.float32)
            )
            assert logits.shape == (count, 7)
            assert features is not None
            assert features.shape == (count, 8)
            np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-3)
        shape = network.session.get_inputs()[0].shape
        assert isinstance(shape[0], str)
        assert shape[1:] == [1, size, size]


def test_file_says_nothing_of_the_machine_it_was_made_on(run: Path, files: dict[str, Path]) -> None:
    for path in files.values():
        content = path.read_bytes()
        for place in (
            str(run.parent),
            str(Path(export.__file__).parents[2]),
            str(Path.home()) + "/",
            "site-packages",
        ):
            assert place.encode() not in content, place
        model = onnx.load(str(path))
        assert model.opset_import[0].version >= 18
        assert {entry.key for entry in model.metadata_props} == {"facelex", "facelex_arrays"}
        assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


def test_metadata_holds_calibration_scores_and_training_record(
    run: Path, tmp_path: Path, files: dict[str, Path]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    from facelex.evaluation.scores import calibrate, score_predictions

    preds = Predictions.load(run / "predictions-val.npz")
    scores = score_predictions(preds)
    outdated = scores | {"weights": "0" * 64}
    (copy / "scores.json").write_text(json.dumps({"test": scores, "val": outdated}))
    environment = json.loads((copy / "environment.json").read_text())
    environment["dataset"]["source"] = "FER2013 from /home/someone/fer2013.csv, C:\\Users\\me\\votes.csv"
    (copy / "environment.json").write_text(json.dumps(environment))
    path = export_run(copy, tmp_path / "m.onnx", name="mine", card="# Mine")
    info = load_model(path).info
    assert (info["format"], info["name"], info["card"], info["flip"]) == (1, "mine", "# Mine", True)
    kept = ("count", "accuracy", "balanced_accuracy", "macro_f1", "ece")
    assert list(info["scores"]) == ["test"]
    for part, found in info["scores"]["test"]["single"].items():
        assert found == {key: scores["views"]["single"][part][key] for key in kept}
    assert info["training"]["dataset"]["source"] == "FER2013 from fer2013.csv, votes.csv"
    assert info["training"]["epochs"] == 4
    assert info["training"]["settings"]["optimizer"]["name"] == "sgd"
    assert "data" not in info["training"]["settings"]
    assert "command" not in json.dumps(info)
    assert (info["embed_dim"], info["word_dim"], info["vocabulary"]) == (8, 100, "glove.6B.100d")
    assert info["words"]["happy"]
    fit = calibrate(preds, "flip")
    assert info["temperature"] == pytest.approx(fit.temperature, abs=1e-3)
    assert info["unsure_below"] == pytest.approx(fit.unsure_below, abs=1e-2)
    default = load_model(files["fp32"]).info["card"]
    assert "not what a person feels" in default
    assert "drawn faces" in default


def test_loss_of_accuracy_is_measured_on_the_file_that_is_written(run: Path, files: dict[str, Path]) -> None:
    labels = FACES.labels[VAL]
    for precision, path in files.items():
        measured = load_model(path).info["precision"]
        recognizer = Recognizer(path, threads=1)
        crops = export._images(FACES, VAL, recognizer.info["image_size"])[:, 0]
        right = (recognizer.classify(crops).argmax(1) == labels).mean()
        assert measured["name"] == precision
        assert measured["val_accuracy"] == pytest.approx(right, abs=1 / len(VAL) + 1e-9)
        preds = Predictions.load(run / "predictions-val.npz").view_probs("flip")
        assert measured["val_accuracy_pytorch"] == pytest.approx((preds.argmax(1) == labels).mean())
    changes = [load_model(path).info["precision"]["mean_probability_change"] for path in files.values()]
    assert changes[0] < 1e-5
    assert changes[0] < changes[1] < 1e-3
    assert changes[1] < changes[2] < 0.1


def test_half_weights_are_stored_half_and_cast_once_at_loading(
    files: dict[str, Path], tmp_path: Path
) -> None:
    def weight_bytes(path: Path) -> int:
        return sum(
            onnx.numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(str(path)).graph.initializer
        )

    assert weight_bytes(files["fp16"]) < 0.55 * weight_bytes(files["fp32"])
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(str(files["fp16"]), options, providers=["CPUExecutionProvider"])
    loaded = onnx.load(str(tmp_path / "loaded.onnx"))
    assert "Cast" in {node.op_type for node in onnx.load(str(files["fp16"])).graph.node}
    assert "Cast" not in {node.op_type for node in loaded.graph.node}


def test_int8_holds_integers_a_scale_a_channel(files: dict[str, Path]) -> None:
    model = onnx.load(str(files["int8"]))
    kinds = [node.op_type for node in model.graph.node]
    assert "QuantizeLinear" in kinds
    eights = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4]
    assert len(eights) == 3  # the convolutions of tiny_cnn
    scales = [t for t in model.graph.initializer if t.name.endswith("_scale") and list(t.dims) == [32]]
    assert scales


def test_run_without_words_has_logits_only(baseline: Path, tmp_path: Path) -> None:
    path = export_run(baseline, tmp_path / "m.onnx")
    network = load_model(path)
    assert not network.has_features
    assert network.arrays is None
    recognizer = Recognizer(path)
    assert recognizer.classify(FACES.pixels[VAL]).shape == (len(VAL), 7)
    with pytest.raises(FacelexError, match="trained with words"):
        recognizer.score_words(np.zeros((1, 8), np.float32), ["bored"])


def test_blurs_are_written_as_8_bit_convolutions_and_learn_on_from_the_file(tmp_path: Path) -> None:
    """A runtime averages windows in 32 bits only; the constant kernels are no weights of the network."""
    blurred = ("method=baseline", "image_size=40", "model.image_encoder=slim_s", "max_epochs_per_phase=1",
               "model.encoder_options={width: 0.1, blur_pool: true}")  # fmt: skip
    train_run(tiny_config(*blurred), FACES, tmp_path / "run", accelerator="cpu")
    export_run(tmp_path / "run", tmp_path / "blurred.onnx", precision="int8", data=None)
    graph = onnx.load(str(tmp_path / "blurred.onnx")).graph
    kinds = [node.op_type for node in graph.node]
    assert "AveragePool" not in kinds
    assert kinds.count("Conv") == 12  # eight of the network
    kernels = [tensor for tensor in graph.initializer if len(tensor.dims) == 4]
    assert {kernel.data_type for kernel in kernels} == {onnx.TensorProto.INT8}
    start = f"start_from={tmp_path / 'blurred.onnx'}"
    for name, change in (("again", ()), ("plain", ("model.encoder_options={width: 0.1}",))):
        train_run(tiny_config(*blurred, *change, start), FACES, tmp_path / name, accelerator="cpu")


def test_meaningless_control_answers_no_words(tmp_path: Path) -> None:
    config = tiny_config("model.text_encoder=random", "max_epochs_per_phase=1")
    train_run(config, FACES, tmp_path / "r", accelerator="cpu")
    info = load_model(export_run(tmp_path / "r", tmp_path / "m.onnx")).info
    assert (info["words"], info["vocabulary"], info["training"]["text_encoder"]) == ({}, None, "random")


def test_graph_that_differs_from_pytorch_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = onnx_graph.GraphSession.run
    monkeypatch.setattr(
        onnx_graph.GraphSession, "run", lambda self, images: [rows + 3e-3 for rows in answer(self, images)]
    )
    with pytest.raises(FacelexError, match=r"differs from PyTorch by 0\.003"):
        export_run(run, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_weight_beyond_half_precision_is_refused() -> None:
    weight = onnx.numpy_helper.from_array(np.full((8, 8), 1e5, np.float32), "w")
    graph = onnx.helper.make_graph([], "g", [], [], [weight])
    with pytest.raises(FacelexError, match="too large for float16"):
        onnx_graph.halve_weights(onnx.helper.make_model(graph))


def test_mistakes_exit_with_2_and_write_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished, ignore=shutil.ignore_patterns("model.*"))
    output = str(tmp_path / "m.onnx")
    for arguments, expected in (
        ([str(unfinished), "-o", output], "continue it with --resume"),
        ([str(tmp_path / "none"), "-o", output], "there is no such folder"),
        ([str(run), "-o", str(tmp_path / "m.bin")], "ends in .onnx"),
        ([str(run), "-o", output, "--data", "sketch:140"], "was trained on the dataset"),
        ([str(run), "-o", output, "--card", str(tmp_path / "no.md")], "Cannot read the model card"),
        ([str(run), "-o", output, "--threads", "0"], "--threads of at least 1"),
    ):
        assert main(["export", *arguments]) == 2
        assert expected in " ".join(capsys.readouterr().err.split())
    assert main(["export", str(run), "-o", output, "--precision", "fp8"]) == 2
    assert not Path(output).exists()


def test_command_says_what_the_precision_cost(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), "-o", str(tmp_path / "m.onnx"), "--precision", "fp16"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "fp16; validation accuracy" in printed
    assert "(PyTorch " in printed
