from collections.abc import Callable
from pathlib import Path

import pytest

from facelex.errors import FacelexError
from facelex.evaluation.networks import open_network
from facelex.evaluation.run_folder import merge_scores, read_scores


def test_merging_keeps_other_splits_and_replaces_its_own(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    merge_scores(path, "val", {"a": 1})
    merge_scores(path, "test", {"b": 2})
    merge_scores(path, "val", {"a": 3})
    assert read_scores(path) == {"val": {"a": 3}, "test": {"b": 2}}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "cannot be read"),
        (b"\xff{}", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"[1]", "JSON object, but got list"),
        (b'{"test": null}', "scores of each split, but got null for 'test'"),
        (b'{"test": [1]}', r"scores of each split, but got \[1\] for 'test'"),
    ],
)
def test_a_damaged_scores_file_is_left_alone(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "scores.json"
    path.write_bytes(content)
    with pytest.raises(FacelexError, match=rf"{sentence}.* Remove it; 'facelex evaluate' writes it again"):
        merge_scores(path, "test", {})
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["environment.json", "model.json"])
@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_file_that_a_run_needs_is_to_be_restored_and_not_removed(
    make_run: Callable[..., Path], name: str, content: str
) -> None:
    run = make_run()
    (run / name).write_text(content)
    with pytest.raises(FacelexError, match=rf"{name} to hold .* Restore it from a copy") as caught:
        open_network(run)
    assert "emove" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ['{"classes": 7}', '{"classes": [1]}', '{"classes": ["a"], "image_size": null}']
)
def test_a_description_of_the_weights_that_makes_no_sense_is_named(
    make_run: Callable[..., Path], content: str
) -> None:
    run = make_run()
    (run / "model.json").write_text(content)
    with pytest.raises(FacelexError, match=r"model\.json is damaged: expected a list of class names"):
        open_network(run)
