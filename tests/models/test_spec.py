"""The description of a run's weights: written, read again, and refused where a newer version wrote it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from facelex.errors import FacelexError
from facelex.models.spec import ModelSpec, read_spec
from facelex.run_files import SPEC, WEIGHTS

LEAST = ModelSpec(
    image_encoder="tiny_cnn", classes=["happy", "überrascht"], image_size=48, mean=0.5, std=0.25,
    hidden_dim=8, embed_dim=8, dropout=0.25, temperature=0.1, center_words=True, mix_words=False,
    has_words=True,
)  # fmt: skip
FULL = replace(
    LEAST, encoder_options={"width": 0.5, "blur_pool": True}, has_projection=True,
    word_vectors_shape=(2, 3, 100), text_encoder="synonyms", vocabulary="packaged",
    words={"happy": ["joy"]}, text_fit="blend", text_hidden_dim=16, num_votes=10,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / WEIGHTS).touch()
    return tmp_path


@pytest.mark.parametrize("spec", [LEAST, FULL])
def test_what_is_written_is_read_again(folder: Path, spec: ModelSpec) -> None:
    (folder / SPEC).write_text(spec.to_text(), encoding="utf-8")
    assert read_spec(folder) == spec


def test_an_older_file_lacks_what_came_later_and_a_newer_one_may_say_more(folder: Path) -> None:
    early = ("image_encoder", "classes", "image_size", "mean", "std", "hidden_dim", "embed_dim", "dropout",
             "temperature", "center_words", "mix_words", "has_words")  # fmt: skip
    held = json.loads(LEAST.to_text())
    (folder / SPEC).write_text(json.dumps({name: held[name] for name in early} | {"later": 1}))
    assert read_spec(folder) == LEAST


def test_a_newer_format_is_not_guessed_at(folder: Path) -> None:
    (folder / SPEC).write_text(json.dumps(json.loads(LEAST.to_text()) | {"format": 2}))
    with pytest.raises(FacelexError, match=r"to have format 1, but got 2: a newer version .* Update facelex"):
        read_spec(folder)


def test_without_weights_the_description_is_no_finished_run(tmp_path: Path) -> None:
    (tmp_path / SPEC).write_text(LEAST.to_text(), encoding="utf-8")
    with pytest.raises(FacelexError, match="holds no finished run"):
        read_spec(tmp_path)
