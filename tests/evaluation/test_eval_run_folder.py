import json
from collections.abc import Callable
from pathlib import Path

import pytest
from evaluation_fakes import SPEC

from facelex.errors import FacelexError
from facelex.evaluation.networks import open_network
from facelex.evaluation.run_folder import (
    RunFolder,
    TrainedOn,
    load_run_folder,
    merge_scores,
    read_scores,
    read_trained_on,
)


def test_merging_keeps_other_splits_and_replaces_its_own(tmp_path: Path) -> None:
    merge_scores(tmp_path, "val", {"a": 1})
    merge_scores(tmp_path, "test", {"b": 2})
    merge_scores(tmp_path, "val", {"a": 3})
    assert read_scores(tmp_path) == {"val": {"a": 3}, "test": {"b": 2}}


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
        merge_scores(tmp_path, "test", {})
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
    ("change", "said"),
    [
        ({"classes": 7}, "Expected a list at classes, but got 7"),
        ({"classes": [1]}, r"Expected text at classes\[0\], but got 1"),
        ({"classes": []}, "Expected class names and a size"),
        ({"image_size": None}, "Expected a whole number at image_size, but got null"),
        ({"center_words": 1}, "Expected true or false at center_words, but got 1"),
        ({"word_vectors_shape": [7, 6]}, r"Expected a list of 3 at word_vectors_shape, but got \[7, 6\]"),
    ],
)
def test_a_description_of_the_weights_that_makes_no_sense_is_named(
    make_run: Callable[..., Path], change: dict[str, object], said: str
) -> None:
    run = make_run()
    (run / "model.json").write_text(json.dumps(SPEC | change))
    with pytest.raises(FacelexError, match=rf"model\.json is damaged\. {said}.* Restore it from a copy"):
        open_network(run)


@pytest.mark.parametrize(
    "content",
    ["a: 2020-13-45", "{[1]: 2}", "[" * 5000, "- 1", ""],
    ids=["date", "key", "deep", "list", "empty"],
)
def test_a_damaged_configuration_is_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(FacelexError, match=r"config\.yaml is damaged: it .*name the dataset with --data"):
        load_run_folder(tmp_path)


@pytest.mark.parametrize("record", [None, 5, [], {"size": 0}, {"size": "48"}])
def test_a_dataset_that_is_not_described_is_unknown(record: object) -> None:
    assert TrainedOn.read(record) == TrainedOn()
    assert RunFolder(Path(), environment={"dataset": record}).trained_on == TrainedOn()


def test_what_a_run_was_trained_on_is_read_though_its_other_files_are_damaged(
    make_run: Callable[..., Path],
) -> None:
    run = make_run()
    known = load_run_folder(run).trained_on
    assert known.fingerprint
    for name in ("config.yaml", "metrics.csv", "scores.json", "model.json"):
        (run / name).write_text("[")
    assert read_trained_on(run) == known
