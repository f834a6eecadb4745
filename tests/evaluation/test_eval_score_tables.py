import io
import math
from dataclasses import replace

import numpy as np
from evaluation_fakes import make_predictions
from rich.console import Console

from facelex.emotions import EMOTIONS
from facelex.evaluation.bootstrap import Interval
from facelex.evaluation.ensemble import member_scores
from facelex.evaluation.score_records import SplitScores
from facelex.evaluation.score_tables import percent_interval, render_scores
from facelex.evaluation.scores import score_split


def shown(scores: SplitScores, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render_scores(scores))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_no_example_at_all_is_scored_as_unknown_and_still_printed() -> None:
    scores = score_split(make_predictions(10).subset(np.zeros(10, bool)))
    assert math.isnan(scores.views["single"].official.accuracy.value)
    assert "–" in shown(scores)


def test_the_table_fits_eighty_columns_and_holds_the_numbers() -> None:
    scores = score_split(make_predictions(500, split="val", temperature=1.3))
    text = shown(scores)
    for _, part in scores.views["flip"].sets:
        assert percent_interval(part.accuracy) in text
        assert percent_interval(part.macro_f1) in text
    assert "Most confused" in text
    assert "unsure" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_differences_of_members_are_shown_in_eighty_columns() -> None:
    first = make_predictions(500, model="runs/a-name-of-some-length")
    second = replace(first, model="runs/another-name-of-some-length", probs=np.roll(first.probs, 1, axis=0))
    scores = replace(score_split(first, resamples=20), members=member_scores([first, second]))
    text = shown(scores)
    for view in ("single", "flip"):
        for part in ("official", "deduplicated"):
            pair = getattr(scores.members[1].views[view], part).to_first
            assert percent_interval(pair.difference, sign="+") in text
            assert f" {pair.only_own} : {pair.only_first} " in text
    assert "<0.001" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_an_undefined_interval_is_a_dash() -> None:
    assert percent_interval(Interval(math.nan, math.nan, math.nan)) == "–"
    assert percent_interval(Interval(0.5, math.nan, math.nan)) == "50.00"
    assert percent_interval(Interval(0.5, 0.25, 0.75)) == "50.00 [25.00, 75.00]"


def test_names_that_look_like_markup_are_printed_as_they_are() -> None:
    classes = ("[red]", "[/x]", *EMOTIONS[2:])
    preds = make_predictions(100, classes=classes, model="vgg[aug]")
    names = ("[b]one", "[i]two")
    scores = replace(score_split(preds), members=member_scores([replace(preds, model=n) for n in names]))
    text = shown(scores)
    assert "Accuracy less that of [b]one" in text
    assert text.count("[i]two") == 3  # alone, and beside the first in two views
    assert "vgg[aug] on test" in text
    for name in ("[red]", "[/x]"):
        assert text.count(name) >= 3  # by class, and as a row and a column of the confusion matrix
    assert "[b]one" in text
