"""A new network that begins with the weights of a finished one, from a run folder or an exported file."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import FACES, StopAfter, differing, tiny_config, two_phases, weights
from torch import nn

from facelex.data.dataset import FaceDataset
from facelex.data.sketch import sketch_dataset
from facelex.errors import FacelexError
from facelex.evaluation.predictions import Predictions
from facelex.models.dual_encoder import DualEncoder
from facelex.models.registry import create_image_encoder, list_image_encoders
from facelex.models.text_fit import replace_text_projection, trained_part, trained_text_arrays
from facelex.models.weights import create_model, load_model
from facelex.recognize.model import load_model as load_onnx
from facelex.run_files import predictions_file
from facelex.training import starting_point
from facelex.training.cells import check_cells, list_cells
from facelex.training.config import RunConfig, load_config
from facelex.training.export import export_run
from facelex.training.model_spec import class_vectors, describe_model
from facelex.training.run import train_run
from facelex.training.starting_point import open_starting_point
from facelex.training.unfolding import unfold

TRAIN = FACES.indices("train")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    train_run(
        tiny_config(*two_phases(2, 8), "optimizer.lr=0.3", "model.text_fit=blend"),
        FACES,
        folder,
        accelerator="cpu",
    )
    return folder


@pytest.fixture(scope="module")
def file(finished: Path) -> Callable[[str], Path]:
    def export(precision: str) -> Path:
        path = finished.parent / f"{precision}.onnx"
        if not path.exists():
            export_run(finished, path, precision=precision)  # type: ignore[arg-type]
        return path

    return export


def build(name: Path | str, config: RunConfig, dataset: FaceDataset = FACES):
    words = class_vectors(config, dataset.class_names)
    train = dataset.indices("train")
    spec = describe_model(config, dataset, train, words)
    return open_starting_point(str(name)).build(spec, words, dataset.pixels[train])


@torch.inference_mode()
def answers(model: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.from_numpy(FACES.pixels[FACES.indices("val")]).unsqueeze(1).float() / 255
    output = model.eval()(torch.nn.functional.interpolate(images, 24, mode="bilinear", antialias=True))
    return output.logits.softmax(1), output.image_features @ output.text_features.T


def test_a_run_folder_gives_the_very_network(finished: Path) -> None:
    model, spec = build(finished, tiny_config())
    theirs, their_spec = load_model(finished)
    for ours, expected in zip(answers(model), answers(theirs)):
        torch.testing.assert_close(ours, expected)
    assert (spec.mean, spec.std) == (their_spec.mean, their_spec.std)
    assert spec.text_hidden_dim == their_spec.text_hidden_dim != their_spec.hidden_dim


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("fp16", 1e-3), ("int8", 0.05)])
def test_an_exported_file_is_taken_apart_again(
    precision: str, tolerance: float, finished: Path, file: Callable[[str], Path]
) -> None:
    model, _ = build(file(precision), tiny_config())
    for ours, expected in zip(answers(model), answers(load_model(finished)[0])):
        torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance)


def test_normalisation_behind_a_folded_convolution_has_the_statistics_of_the_faces(
    file: Callable[[str], Path],
) -> None:
    """So that training, which normalises by the batch, begins with the answers of evaluation."""
    model, _ = build(file("fp32"), tiny_config())
    images = torch.from_numpy(FACES.pixels[TRAIN]).unsqueeze(1).float() / 255
    images = torch.nn.functional.interpolate(images, 24, mode="bilinear", antialias=True)
    with torch.no_grad():
        evaluated = model.eval().image_encoder(model.normalize_pixels(images))
        trained = model.train().image_encoder(model.normalize_pixels(images))
    assert float((evaluated - trained).norm() / evaluated.norm()) < 0.02


def test_classifier_rows_go_by_name_and_new_classes_begin_at_random(finished: Path) -> None:
    names = ("neutral", "anger", "bored")
    kept = np.isin(FACES.labels, [0, 1, 2])
    fewer = dataclasses.replace(
        FACES,
        pixels=FACES.pixels[kept], labels=FACES.labels[kept], splits=FACES.splits[kept],
        groups=FACES.groups[kept],
        class_names=names,
    )  # fmt: skip
    config = tiny_config("model.words={neutral: [calm], anger: [angry], bored: [bored]}")
    model, _ = build(finished, config, fewer)
    source, their_spec = load_model(finished)
    weight, theirs, known = (
        model.classifier.linear.weight,
        source.classifier.linear.weight,
        their_spec.classes,
    )
    for row, name in enumerate(("neutral", "angry")):
        torch.testing.assert_close(weight[row], theirs[known.index(name)])
    assert all(not torch.equal(weight[2], other) for other in theirs)
    assert model.word_vectors.shape[0] == 3


def test_a_class_of_that_very_name_goes_before_another_spelling(finished: Path) -> None:
    """ "calm" is a spelling of neutral only where nobody tells the two apart."""
    names = (*FACES.class_names[:6], "calm", "neutral")
    start = open_starting_point(str(finished))
    told_apart = dataclasses.replace(
        start,
        classes=names,
        tensors=start.tensors
        | {
            "classifier.linear.weight": torch.arange(64.0)
            .repeat(8, 1)
            .mul(torch.arange(8.0).view(-1, 1))[:, :32]
        }
        | {"classifier.linear.bias": torch.arange(8.0)},
    )
    assert [told_apart._known(name, names) for name in names[6:]] == [[6], [7]]
    assert start._known("calm", names) == []  # neutral itself is there
    assert start._known("calm", names[:7]) == [6]


def test_a_run_without_words_takes_the_faces_side(finished: Path) -> None:
    model, spec = build(finished, tiny_config("method=baseline"))
    assert not model.has_words
    assert spec.text_hidden_dim is None
    torch.testing.assert_close(
        model.image_encoder.state_dict(), load_model(finished)[0].image_encoder.state_dict()
    )


@pytest.mark.parametrize("name", list_image_encoders())
def test_every_encoder_runs_each_normalisation_right_behind_its_convolution(name: str) -> None:
    """Or a file in which the two are one could not be taken apart again."""
    spec = describe_model(tiny_config(f"model.image_encoder={name}"), FACES, TRAIN, None)
    model = create_model(dataclasses.replace(spec, has_words=False), None)
    modules = dict(model.image_encoder.named_modules(prefix="image_encoder"))
    folded = {key: torch.zeros(m.out_channels) for key, m in modules.items() if isinstance(m, nn.Conv2d)}
    norms = {key for key, module in modules.items() if isinstance(module, nn.BatchNorm2d)}
    assert unfold(model, folded, torch.rand(2, 1, 32, 32)) == norms


@pytest.mark.parametrize("exported", [False, True])
def test_a_blended_text_side_is_not_blended_again(
    exported: bool, finished: Path, file: Callable[[str], Path]
) -> None:
    """A network that will be blended itself takes only the trained side; its length counts for nothing."""
    model, spec = build(file("fp32") if exported else finished, tiny_config("model.text_fit=blend"))
    theirs, their_spec = load_model(finished)
    trained = trained_part(trained_text_arrays(theirs))
    assert spec.text_hidden_dim == len(trained["text_bias1"]) == their_spec.hidden_dim
    assert theirs.text_projection is not None
    words = torch.randn(5, theirs.text_projection.hidden.in_features)
    blended = project_words(model, words)
    replace_text_projection(theirs, trained)
    torch.testing.assert_close(blended, project_words(theirs, words), rtol=1e-3, atol=1e-4)


@torch.inference_mode()
def project_words(model: DualEncoder, words: torch.Tensor) -> torch.Tensor:
    assert model.text_projection is not None
    return torch.nn.functional.normalize(model.eval().text_projection(words), dim=-1)


def test_another_space_or_other_vectors_leave_the_words_at_random(finished: Path) -> None:
    theirs, _ = load_model(finished)
    for change in ("model.embed_dim=12", "model.text_encoder=random", "model.hidden_dim=20"):
        model, spec = build(finished, tiny_config(change))
        assert spec.text_hidden_dim is None
        ours, others = (network.image_projection.state_dict() for network in (model, theirs))
        assert all(
            o.shape != t.shape or not torch.equal(o, t) for o, t in zip(ours.values(), others.values())
        )
        torch.testing.assert_close(model.classifier.state_dict(), theirs.classifier.state_dict())


def test_another_face_network_is_refused_with_the_settings_that_would_do(
    finished: Path, file: Callable[[str], Path]
) -> None:
    for source in (finished, file("int8")):
        with pytest.raises(
            FacelexError, match=r"Set model.image_encoder=tiny_cnn and 'model.encoder_options={}'"
        ):
            build(source, tiny_config("model.image_encoder=slim_s"))


@pytest.mark.parametrize("names", [FACES.class_names, (*FACES.class_names[:6], "bored")])
def test_a_graph_that_does_not_answer_as_its_file_is_refused(
    names: tuple[str, ...], file: Callable[[str], Path]
) -> None:
    start = open_starting_point(str(file("fp32")))
    spoiled = dataclasses.replace(start, folded_biases={n: b + 9 for n, b in start.folded_biases.items()})
    dataset = dataclasses.replace(FACES, class_names=names)
    spec = describe_model(tiny_config("method=baseline"), dataset, TRAIN, None)
    with pytest.raises(FacelexError, match="does not answer as that does"):
        spoiled.build(spec, None, FACES.pixels[TRAIN])


@pytest.mark.parametrize("then", [True, False])
def test_weights_serve_a_network_that_pools_otherwise(
    then: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told from weights that are wrong by a twin with the source's own pooling."""
    monkeypatch.setattr(starting_point, "TOLERANCE", 1e-4)  # hardly trained, so both are near to chance
    slim = ("method=baseline", "model.image_encoder=slim_s")
    first, second = (f"model.encoder_options={{width: 0.1, blur_pool: {blur}}}" for blur in (not then, then))
    train_run(tiny_config(*slim, first), FACES, tmp_path / "run", accelerator="cpu")
    start = open_starting_point(str(tmp_path / "run"))
    theirs, _ = load_model(tmp_path / "run")
    spec = describe_model(tiny_config(*slim, second), FACES, TRAIN, None)
    with caplog.at_level(logging.WARNING, logger="facelex"):
        model, _ = start.build(spec, None, FACES.pixels[TRAIN])
    assert "another blur_pool" in caplog.text
    assert spec.encoder_options["blur_pool"] is then
    ours = model.image_encoder.state_dict()
    torch.testing.assert_close(ours, theirs.image_encoder.state_dict())
    spoiled = dataclasses.replace(start, answer=lambda images: start.answer(images)[:, ::-1].copy())
    with pytest.raises(FacelexError, match="does not answer as that does"):
        spoiled.build(spec, None, FACES.pixels[TRAIN])


def test_a_normalisation_that_is_nowhere_is_refused(file: Callable[[str], Path]) -> None:
    """As where a convolution has a bias of its own, which the exporter names otherwise."""
    start = open_starting_point(str(file("fp32")))
    lost = dict(start.folded_biases)
    lost.popitem()
    spec = describe_model(tiny_config("method=baseline"), FACES, TRAIN, None)
    with pytest.raises(FacelexError, match=r"what became of image_encoder\.layers\.\d+ is not known"):
        dataclasses.replace(start, folded_biases=lost).build(spec, None, FACES.pixels[TRAIN])


def test_images_of_another_size_start_from_a_file_as_well(file: Callable[[str], Path]) -> None:
    model, spec = build(file("int8"), tiny_config("image_size=32"))
    assert spec.image_size == 32
    theirs = load_model(file("int8").parent / "run")[0].classifier.linear.bias
    torch.testing.assert_close(model.classifier.linear.bias, theirs, atol=0.01, rtol=0)


def test_a_file_without_a_record_of_its_training_says_what_it_can(file: Callable[[str], Path]) -> None:
    start = dataclasses.replace(open_starting_point(str(file("fp32"))), image_encoder=None)
    with pytest.raises(FacelexError, match=r"Set model\.image_encoder and model\.encoder_options to"):
        start.check_encoder(torch.nn.Conv2d(1, 3, 3))


@pytest.mark.parametrize("training", ["by hand", {"settings": ["a"]}, {"settings": {"model": None}}, None])
def test_a_record_of_training_that_is_no_object_is_passed_over(
    training: object, file: Callable[[str], Path], tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(file("fp32")))
    (entry,) = [entry for entry in model.metadata_props if entry.key == "facelex"]
    entry.value = json.dumps(json.loads(entry.value) | {"training": training})
    onnx.save(model, str(tmp_path / "odd.onnx"))
    start = open_starting_point(str(tmp_path / "odd.onnx"))
    assert (start.image_encoder, dict(start.encoder_options), start.text_fit) == (None, {}, None)


def test_a_table_finds_an_encoder_that_cannot_start_before_it_trains(finished: Path, tmp_path: Path) -> None:
    cells = list_cells(["tiny_cnn", "slim_s"], ["baseline"], [0], tmp_path)
    with pytest.raises(FacelexError, match=r"cannot start from it\. Set model\.image_encoder=tiny_cnn"):
        check_cells(cells, tiny_config(f"start_from={finished}"))
    check_cells(cells[:1], tiny_config(f"start_from={finished}"))


@pytest.mark.parametrize("name", ["nothing.onnx", "no/run"])
def test_a_missing_start_is_named(name: str) -> None:
    with pytest.raises(FacelexError, match=f"Expected a run folder.* got {name}"):
        open_starting_point(name)


@pytest.mark.parametrize("source", ["run", "int8"])
def test_training_goes_on_from_there_and_is_recorded(
    source: str, finished: Path, file: Callable[[str], Path], tmp_path: Path
) -> None:
    start = finished if source == "run" else file("int8")
    settings = [f"start_from={start}", "optimizer.lr=1e-6", "schedule.name=constant"]
    train_run(tiny_config(*two_phases(1, 1), *settings), FACES, tmp_path / "on", accelerator="cpu")
    ours, theirs = (
        Predictions.load(predictions_file(run, "val")).probs for run in (tmp_path / "on", finished)
    )
    change, said = np.abs(ours - theirs).mean(), np.abs(theirs - 1 / 7).mean()
    assert change < 0.2 * said  # steps this small change next to nothing
    environment = json.loads((tmp_path / "on" / "environment.json").read_text())
    (digest,) = environment["start_from"]
    export_run(tmp_path / "on", tmp_path / "on.onnx")
    info = load_onnx(tmp_path / "on.onnx").info
    record = info["training"]
    assert record["start_sha256"] == [digest]
    assert "another network, whose own training pictures may be among those" in info["card"]
    assert str(finished.parent) not in json.dumps(record)


def test_a_run_that_was_interrupted_ends_with_the_same_bits(finished: Path, tmp_path: Path) -> None:
    config = tiny_config(*two_phases(1, 2), f"start_from={finished}", "model.text_fit=null")
    train_run(config, FACES, tmp_path / "whole", accelerator="cpu")
    with pytest.raises(KeyboardInterrupt):
        train_run(config, FACES, tmp_path / "parts", accelerator="cpu", reporter=StopAfter(2))
    train_run(config, FACES, tmp_path / "parts", accelerator="cpu", resume=True)
    assert not differing(tmp_path / "whole", tmp_path / "parts")
    wide = weights(tmp_path / "whole")["text_projection.hidden.weight"]
    assert wide.shape[0] == load_model(finished)[1].text_hidden_dim


def test_resuming_from_another_network_under_the_same_name_is_refused(finished: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"
    config = tiny_config(*two_phases(1, 2), f"start_from={start}")
    start.symlink_to(finished)
    with pytest.raises(KeyboardInterrupt):
        train_run(config, FACES, tmp_path / "run", accelerator="cpu", reporter=StopAfter(2))
    start.unlink()
    train_run(tiny_config(*two_phases(1, 1)), sketch_dataset(150, seed=1), start, accelerator="cpu")
    with pytest.raises(FacelexError, match="another network under the name that start_from gives"):
        train_run(config, FACES, tmp_path / "run", accelerator="cpu", resume=True)


def test_finetune_describes_the_shipped_network() -> None:
    config = load_config("finetune", [])
    encoder = create_image_encoder(config.model.image_encoder, **config.model.encoder_options)
    assert config.start_from is not None
    open_starting_point(config.start_from).check_encoder(encoder)
