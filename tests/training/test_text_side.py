"""A text side fitted after training: in the run, afterwards, and with everything else unchanged."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from tiny_training import FACES, differing, tiny_config, weights

from facelex.errors import FacelexError
from facelex.training.run import train_run
from facelex.training.text_side import refit_run
from facelex.training.weights import load_model

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
    train_run(tiny_config(*SHORT), FACES, folder, resume=True)


def test_a_run_without_words_cannot_be_refitted(tmp_path):
    folder = train_run(tiny_config(*SHORT, "method=baseline"), FACES, tmp_path / "run").folder
    with pytest.raises(FacelexError, match="without words"):
        refit_run(folder, tmp_path / "out", "affect", FACES)


def test_text_fit_of_meaningless_vectors_is_refused():
    with pytest.raises(FacelexError, match="mean something"):
        tiny_config("model.text_fit=affect", "model.text_encoder=random")
