"""A text side fitted after training: in the run, afterwards, and with everything else unchanged."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_training import FACES, differing, tiny_config, weights

from facelex.data.dataset import FaceDataset
from facelex.data.sketch import sketch_dataset
from facelex.emotions import EMOTION_WORDS
from facelex.errors import FacelexError
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.run_folder import load_run_folder, merge_scores
from facelex.evaluation.score_records import read_split_scores
from facelex.evaluation.scores import score_predictions
from facelex.models.weights import load_model
from facelex.training import text_side
from facelex.training.config import load_config
from facelex.training.examples import check_dataset
from facelex.training.run import train_run
from facelex.training.text_side import fit_text_side, refit_run

SHORT = ("max_epochs_per_phase=1",)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return train_run(tiny_config(*SHORT), FACES, tmp_path_factory.mktemp("plain") / "run").folder


def test_a_run_with_text_fit_differs_in_its_text_side_only(plain, tmp_path):
    fitted = train_run(tiny_config(*SHORT, "model.text_fit=affect"), FACES, tmp_path / "run").folder
    changed = differing(plain, fitted)
    assert changed
    assert all(name.startswith(("text_projection.", "word_center")) for name in changed)
    assert load_model(fitted)[0].has_words
    assert json.loads((fitted / "model.json").read_text())["text_fit"] == "affect"


def test_refitting_a_finished_run_gives_what_fitting_within_it_gives(plain, tmp_path):
    within = train_run(tiny_config(*SHORT, "model.text_fit=blend"), FACES, tmp_path / "within").folder
    after = refit_run(plain, tmp_path / "after", "blend", FACES)
    for name, tensor in weights(within).items():
        torch.testing.assert_close(weights(after)[name], tensor, atol=1e-5, rtol=1e-4)
    assert not (after / "checkpoint.pt").exists()


def test_a_refitted_run_keeps_the_scores_of_its_labels(plain, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(plain, run)
    preds = Predictions.load(run / "predictions-val.npz")
    for split, digest in (("val", preds.weights), ("test", "0" * 64)):
        merge_scores(run, split, score_predictions(replace(preds, weights=digest)))
    scores = read_split_scores(load_run_folder(refit_run(run, tmp_path / "after", "blend", FACES)))
    assert list(scores) == ["val"]
    assert scores["val"].views == read_split_scores(load_run_folder(run))["val"].views


def test_a_blended_run_is_not_blended_twice(plain, tmp_path):
    once = refit_run(plain, tmp_path / "once", "blend", FACES)
    twice = refit_run(once, tmp_path / "twice", "blend", FACES)
    for name, tensor in weights(once).items():
        torch.testing.assert_close(weights(twice)[name], tensor, atol=1e-5, rtol=1e-4)


def test_a_run_without_its_trained_side_is_not_blended(plain, tmp_path):
    linear = refit_run(plain, tmp_path / "linear", "linear", FACES)
    with pytest.raises(FacelexError, match="was fitted as 'linear' in place of the trained one"):
        refit_run(linear, tmp_path / "blend", "blend", FACES)
    assert refit_run(linear, tmp_path / "affect", "affect", FACES).exists()


def test_a_run_from_before_text_fit_still_loads(plain, tmp_path):
    old = shutil.copytree(plain, tmp_path / "old")
    spec = json.loads((old / "model.json").read_text())
    del spec["text_fit"]
    (old / "model.json").write_text(json.dumps(spec))
    assert load_model(old)[0].has_words


def test_a_run_that_began_before_text_fit_can_be_resumed(tmp_path):
    folder = train_run(tiny_config(*SHORT), FACES, tmp_path / "run").folder
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    config = json.loads(state["config"])
    del config["model"]["text_fit"]
    torch.save(state | {"config": json.dumps(config)}, folder / "checkpoint.pt")
    for name in ("model.safetensors", "predictions-val.npz"):
        (folder / name).unlink()  # as if it had been killed before its end
    train_run(tiny_config(*SHORT), FACES, folder, resume=True)
    assert (folder / "model.safetensors").exists()


def test_a_checkpoint_of_another_version_is_refused_in_words(tmp_path):
    folder = train_run(tiny_config(*SHORT), FACES, tmp_path / "run").folder
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    config = json.loads(state["config"]) | {"warp": 9}
    torch.save(state | {"config": json.dumps(config)}, folder / "checkpoint.pt")
    (folder / "predictions-val.npz").unlink()
    with pytest.raises(FacelexError, match=r"another version of facelex.*Unknown key 'warp'"):
        train_run(tiny_config(*SHORT), FACES, folder, resume=True)


def test_a_dataset_that_is_not_the_runs_is_refused_and_nothing_written(plain, tmp_path):
    with pytest.raises(FacelexError, match="trained on another dataset"):
        refit_run(plain, tmp_path / "out", "affect", sketch_dataset(160))
    assert not list(tmp_path.iterdir())


def test_a_refitted_run_says_so_in_its_configuration(plain, tmp_path):
    folder = refit_run(plain, tmp_path / "out", "affect", FACES)
    assert load_config(folder / "config.yaml").model.text_fit == "affect"


def test_faces_for_the_fit_are_drawn_from_all_classes_though_labels_come_in_rounds(plain, monkeypatch):
    monkeypatch.setattr(text_side, "FIT_FACES", 40)
    model, spec = load_model(plain)
    faces = sketch_dataset(280)  # class ids 0 to 6 over and over: every seventh face is of one class
    index = faces.indices("train")
    fitted = []
    monkeypatch.setattr(
        text_side,
        "create_text_arrays",
        lambda kind, trained, features, labels, *_: fitted.append(labels) or trained,
    )
    fit_text_side(
        model, "linear", torch.from_numpy(faces.pixels[index]).unsqueeze(1),
        torch.from_numpy(faces.labels[index]), image_size=24, vocabulary="packaged", words=spec.words,
    )  # fmt: skip
    counts = np.bincount(fitted[0], minlength=7)
    assert counts.sum() == 40  # a draw that misses a class takes all of its faces besides
    assert counts.min() >= 1
    assert counts.max() <= 14


def test_a_class_without_faces_cannot_be_fitted(plain):
    model, spec = load_model(plain)
    index = FACES.indices("train")
    index = index[FACES.labels[index] > 0]
    with pytest.raises(FacelexError, match="none of angry"):
        fit_text_side(
            model, "linear", torch.from_numpy(FACES.pixels[index]).unsqueeze(1),
            torch.from_numpy(FACES.labels[index]), image_size=24, vocabulary="packaged", words=spec.words,
        )  # fmt: skip


def test_a_class_too_rare_for_the_draw_is_fitted_all_the_same(plain, monkeypatch):
    monkeypatch.setattr(text_side, "FIT_FACES", 40)
    model, spec = load_model(plain)
    index = FACES.indices("train")
    rare = index[FACES.labels[index] == 1][:1]
    index = np.concatenate([rare, index[FACES.labels[index] != 1]])
    drawn = torch.randperm(len(index), generator=torch.Generator().manual_seed(0))[:40]
    assert 0 not in drawn
    fit_text_side(
        model, "linear", torch.from_numpy(FACES.pixels[index]).unsqueeze(1),
        torch.from_numpy(FACES.labels[index]), image_size=24, vocabulary="packaged", words=spec.words,
    )  # fmt: skip


def test_a_run_whose_text_side_could_not_be_fitted_is_refused_before_it_trains(tmp_path):
    unseen = (FACES.labels == 1) & (FACES.splits == FACES.splits[FACES.indices("train")[0]])
    without = FaceDataset.create(
        FACES.pixels[~unseen], FACES.labels[~unseen], FACES.splits[~unseen], FACES.class_names, "some faces"
    )
    with pytest.raises(FacelexError, match=r"none of disgust\. .* or set model\.text_fit=null"):
        train_run(tiny_config(*SHORT, "model.text_fit=blend"), without, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    for setting in ("method=baseline", "model.text_fit=null"):
        check_dataset(tiny_config("model.text_fit=blend", setting), without)


def test_a_run_without_words_cannot_be_refitted(tmp_path):
    folder = train_run(tiny_config(*SHORT, "method=baseline"), FACES, tmp_path / "run").folder
    with pytest.raises(FacelexError, match="without words"):
        refit_run(folder, tmp_path / "out", "affect", FACES)


def test_text_fit_of_meaningless_vectors_is_refused():
    with pytest.raises(FacelexError, match="mean something"):
        tiny_config("model.text_fit=affect", "model.text_encoder=random")


def test_words_that_could_not_be_fitted_are_refused_before_training(tmp_path):
    words = sorted({word for given in EMOTION_WORDS.values() for word in given})
    rows = np.random.default_rng(0).normal(size=(len(words), 8))
    vectors = tmp_path / "other.vec"
    lines = (f"{word} {' '.join(f'{x:.4f}' for x in row)}" for word, row in zip(words, rows))
    vectors.write_text("\n".join(lines) + "\n")
    foreign = ("model.text_fit=blend", f"model.vocabulary={vectors}", "model.text_encoder=synonyms")
    with pytest.raises(FacelexError, match=r"English words, .*text_fit=null\.$"):
        train_run(tiny_config(*SHORT, *foreign), FACES, tmp_path / "run")
    unknown = ("model.text_fit=affect", "model.text_encoder=glove", "model.words.happy=[happy, qwxyz]")
    with pytest.raises(FacelexError, match="qwxyz"):
        train_run(tiny_config(*SHORT, *unknown), FACES, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_the_text_side_is_fitted_to_words_as_faces_are_asked_for_them(plain, monkeypatch, tmp_path):
    glove = tmp_path / "own.txt"
    glove.write_text("happy " + " ".join(["0.1"] * 100) + "\n")
    model, spec = load_model(plain)
    index = FACES.indices("train")
    fitted_to = []
    monkeypatch.setattr(
        text_side, "create_text_arrays", lambda kind, trained, *rest: fitted_to.append(rest[2]) or trained
    )
    for vocabulary in ("packaged", str(glove)):
        fit_text_side(
            model, "linear", torch.from_numpy(FACES.pixels[index]).unsqueeze(1),
            torch.from_numpy(FACES.labels[index]), image_size=24, vocabulary=vocabulary, words=spec.words,
        )  # fmt: skip
    assert [vocabulary.is_retrofitted for vocabulary in fitted_to] == [True, False]
