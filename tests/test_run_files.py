"""What it means which files of a run folder are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from facelex.errors import FacelexError
from facelex.evaluation.run_folder import load_run_folder
from facelex.run_files import (
    CHECKPOINT,
    SPEC,
    WEIGHTS,
    has_begun,
    has_weights,
    is_complete,
    is_record,
    is_run_folder,
    predictions_file,
    require_weights,
)


@pytest.mark.parametrize("missing", [WEIGHTS, SPEC, None])
def test_final_weights_are_there_with_the_description_that_they_need(
    tmp_path: Path, missing: str | None
) -> None:
    (tmp_path / "metrics.csv").write_text("phase,epoch\n")
    for name in {WEIGHTS, SPEC} - {missing}:
        (tmp_path / name).touch()
    assert has_weights(tmp_path) == load_run_folder(tmp_path).finished == (missing is None)
    assert has_begun(tmp_path) == (missing is None)
    if missing:
        with pytest.raises(FacelexError, match=rf"run: {missing} is not there\. Restore it from a copy"):
            require_weights(tmp_path)
        (tmp_path / CHECKPOINT).touch()
        told = {
            WEIGHTS: rf"run: {WEIGHTS} is not there\. The run has not finished",
            SPEC: rf"has final weights, but lacks {SPEC}, .* --resume, which writes it again",
        }
        with pytest.raises(FacelexError, match=told[missing]):
            require_weights(tmp_path)


def test_a_run_is_complete_with_its_last_file(tmp_path: Path) -> None:
    for path in (tmp_path / WEIGHTS, tmp_path / SPEC, predictions_file(tmp_path, "test")):
        path.touch()
    assert has_weights(tmp_path)
    assert not is_complete(tmp_path)
    predictions_file(tmp_path, "val").touch()
    assert is_complete(tmp_path)


def test_a_checkpoint_alone_is_something_to_go_on_from(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).touch()
    assert has_begun(tmp_path)
    assert not is_run_folder(tmp_path)  # nothing in it says what was trained
    with pytest.raises(FacelexError, match=r"are not there\. The run .*: continue it with --resume"):
        require_weights(tmp_path)


def test_a_folder_without_a_run_is_named_as_such(tmp_path: Path) -> None:
    assert not has_begun(tmp_path)
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(
            FacelexError, match=r"holds no finished run: .*Name a folder that 'facelex train' w"
        ):
            require_weights(folder)


def test_all_that_a_run_writes_is_its_own_record() -> None:
    for name in ("config.yaml", "environment.json", "metrics.csv", "checkpoint.pt", "model.safetensors",
                 "model.json", "scores.json", "predictions-val.npz"):  # fmt: skip
        assert is_record(name)
    assert not is_record("scores-of-mine.json")
