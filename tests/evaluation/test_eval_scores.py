import json
import math

import numpy as np
import pytest
from evaluation_fakes import make_predictions

from facelex.data.votes import Votes
from facelex.evaluation import metrics
from facelex.evaluation.scores import score_predictions


def test_scores_are_plain_json_without_nan() -> None:
    scores = score_predictions(make_predictions(60, votes=Votes(np.zeros((60, 10)))))
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


def test_every_score_of_no_example_is_unknown() -> None:
    entry = score_predictions(make_predictions(9).subset(np.zeros(9, bool)))["views"]["single"]["official"]
    for name in ("ece", "mce", "area_under_risk_coverage"):
        assert entry[name] is None


def test_intervals_hold_their_values() -> None:
    entry = score_predictions(make_predictions(200))["views"]["single"]["official"]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "nll", "brier"):
        assert entry[name]["low"] <= entry[name]["value"] <= entry[name]["high"]
        assert not math.isclose(entry[name]["low"], entry[name]["high"])
