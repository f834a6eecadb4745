import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from evaluation_fakes import make_crop_probs, make_predictions

from facelex.data.votes import Votes
from facelex.errors import FacelexError
from facelex.evaluation.ensemble import member_scores
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.score_records import SplitScores
from facelex.evaluation.scores import score_split

EVERYTHING = make_predictions(40, split="val", temperature=1.5, crop_probs=make_crop_probs(40))


def as_json(scores: SplitScores) -> Any:
    return json.loads(json.dumps(scores.to_json(), allow_nan=False))


@pytest.mark.parametrize(
    "preds",
    [
        EVERYTHING,
        replace(EVERYTHING, split="test", temperature=1.0, votes=None, mirror_probs=None),
        EVERYTHING.subset(np.zeros(40, bool)),
        replace(EVERYTHING, votes=Votes(np.ones((40, 2)), ("happy", "sad"))),
    ],
    ids=["everything", "as little as can be", "no example", "other votes"],
)
def test_what_is_written_is_what_is_read(preds: Predictions) -> None:
    scores = score_split(preds, resamples=20)
    scores = replace(scores, members=member_scores([preds, preds], resamples=20))
    written = as_json(scores)
    assert as_json(SplitScores.from_json(written)) == written


def test_keys_of_a_later_version_are_passed_over() -> None:
    written = as_json(score_split(EVERYTHING, resamples=20))
    later = json.loads(json.dumps(written))
    later["novel"] = later["views"]["single"]["official"]["novel"] = 1
    assert as_json(SplitScores.from_json(later)) == written


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("views", [], r"Expected an object at views, but got \[\]"),
        ("views", {}, "Expected views among single, flip, ten_crop, but got none"),
        ("views", None, "Expected an object at views, but got null"),
        ("views.single", "x", 'Expected an object at views.single, but got "x"'),
        ("views.single.official.ece", "x", 'a number at views.single.official.ece, but got "x"'),
        ("views.single.official.count", 1.5, r"a whole number at views.single.official.count, but got 1.5"),
        ("views.single.official.count", True, "a whole number at views.single.official.count, but got true"),
        (
            "views.single.deduplicated.accuracy",
            {"value": 1},
            "Expected low, high at views.single.dedu",
        ),
        ("views.single.official.confusion", [[1]], "7 x 7 counts at views.single.official.confusion"),
        ("views.single.official.reliability.count", [1], "bins between all edges at views.single.official"),
        ("views.single.official.per_class.fear.f1", [], r"a number at .*per_class.fear.f1, but got \[\]"),
        ("classes", None, "Expected a list at classes, but got null"),
        ("classes", [1], r"Expected text at classes\[0\], but got 1"),
        ("model", 7, "Expected text at model, but got 7"),
    ],
)
def test_a_score_that_makes_no_sense_is_named(place: str, value: object, sentence: str) -> None:
    written = as_json(score_split(EVERYTHING, resamples=20))
    *path, last = place.split(".")
    entry = written
    for key in path:
        entry = entry[key]
    entry[last] = value
    with pytest.raises(FacelexError, match=sentence):
        SplitScores.from_json(written)


def test_a_view_of_another_name_is_refused() -> None:
    written = as_json(score_split(EVERYTHING, resamples=20))
    written["views"]["double"] = written["views"].pop("single")
    with pytest.raises(FacelexError, match=r"among single, flip, ten_crop, but got .*double"):
        SplitScores.from_json(written)
