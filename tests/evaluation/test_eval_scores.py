import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from evaluation_fakes import make_predictions
from rich.console import Console

from facelex.errors import FacelexError
from facelex.evaluation import metrics
from facelex.evaluation.scores import (
    merge_scores,
    percent_interval,
    read_scores,
    render_scores,
    score_predictions,
)


def shown(scores: dict, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render_scores(scores))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_scores_are_plain_json_without_nan() -> None:
    scores = score_predictions(make_predictions(60, votes=np.zeros((60, 10), np.uint8)))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert scores["views"]["single"]["official"]["ferplus"]["kl"] is None  # nobody voted


def test_official_and_deduplicated_scores_are_those_of_their_examples() -> None:
    preds = make_predictions(300)
    scores = score_predictions(preds)
    for view in ("single", "flip"):
        right = preds.view_probs(view).argmax(axis=1) == preds.labels
        entry = scores["views"][view]
        assert entry["official"]["accuracy"]["value"] == pytest.approx(right.mean())
        assert entry["deduplicated"]["accuracy"]["value"] == pytest.approx(right[~preds.seen].mean())
        assert entry["deduplicated"]["count"] == int((~preds.seen).sum())
        assert np.sum(entry["official"]["confusion"]) == 300
        supports = [row["support"] for row in entry["official"]["per_class"].values()]
        assert supports == np.bincount(preds.labels, minlength=7).tolist()


def test_the_same_predictions_and_seed_give_the_same_scores() -> None:
    assert score_predictions(make_predictions(80), seed=3) == score_predictions(make_predictions(80), seed=3)


def test_a_given_temperature_is_scored_beside_the_raw_probabilities() -> None:
    preds = make_predictions(2000, sharpness=3.0)
    entry = score_predictions(preds, temperature=3.0)["views"]["single"]["official"]
    assert entry["calibrated"]["temperature"] == 3.0
    assert entry["calibrated"]["ece"] < entry["ece"] / 2
    calibrated = preds.view_probs("single", 3.0)
    expected = metrics.nll_per_example(calibrated, preds.labels).mean()
    assert entry["calibrated"]["nll"]["value"] == pytest.approx(expected)
    assert "calibrated" not in score_predictions(preds)["views"]["single"]["official"]


def test_calibration_is_fitted_on_val_and_never_on_test() -> None:
    assert "calibration" in score_predictions(make_predictions(200, split="val"))["views"]["flip"]
    assert "calibration" not in score_predictions(make_predictions(200, split="test"))["views"]["flip"]


def test_no_example_at_all_is_scored_as_unknown_and_still_printed() -> None:
    scores = score_predictions(make_predictions(10).subset(np.zeros(10, bool)))
    assert scores["views"]["single"]["official"]["accuracy"]["value"] is None
    assert "–" in shown(scores)


def test_the_table_fits_eighty_columns_and_holds_the_numbers() -> None:
    scores = score_predictions(make_predictions(500, split="val", temperature=1.3))
    text = shown(scores)
    entry = scores["views"]["flip"]
    for name in ("official", "deduplicated"):
        assert percent_interval(entry[name]["accuracy"]) in text
        assert percent_interval(entry[name]["macro_f1"]) in text
    assert "Most confused" in text
    assert "unsure" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_an_undefined_interval_is_a_dash() -> None:
    assert percent_interval({"value": None, "low": None, "high": None, "level": 0.95}) == "–"
    assert percent_interval({"value": 0.5, "low": None, "high": None, "level": 0.95}) == "50.00"
    assert (
        percent_interval({"value": 0.5, "low": 0.25, "high": 0.75, "level": 0.95}) == "50.00 [25.00, 75.00]"
    )


def test_merging_keeps_other_splits_and_replaces_its_own(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    merge_scores(path, "val", {"a": 1})
    merge_scores(path, "test", {"b": 2})
    merge_scores(path, "val", {"a": 3})
    assert read_scores(path) == {"val": {"a": 3}, "test": {"b": 2}}


@pytest.mark.parametrize(
    ("text", "sentence"), [("{", "cannot be read"), ("[1]", "JSON object, but got list")]
)
def test_a_damaged_scores_file_is_left_alone(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "scores.json"
    path.write_text(text)
    with pytest.raises(FacelexError, match=sentence):
        merge_scores(path, "test", {})
    assert path.read_text() == text


def test_intervals_hold_their_values() -> None:
    entry = score_predictions(make_predictions(200))["views"]["single"]["official"]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "nll", "brier"):
        assert entry[name]["low"] <= entry[name]["value"] <= entry[name]["high"]
        assert not math.isclose(entry[name]["low"], entry[name]["high"])
