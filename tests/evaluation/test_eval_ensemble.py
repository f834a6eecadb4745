from dataclasses import replace

import numpy as np
import pytest
from evaluation_fakes import make_crop_probs, make_predictions
from scipy import stats

from facelex.errors import FacelexError
from facelex.evaluation.ensemble import mean_predictions, member_scores
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.scores import score_split


def members(count: int = 3, **changes: object) -> list[Predictions]:
    """Networks that differ in what they say about the same examples."""
    truth = make_predictions(200)
    return [
        make_predictions(200, seed, labels=truth.labels, seen=truth.seen, model=f"m{seed}", **changes)
        for seed in range(count)
    ]


def test_the_mean_is_plain_and_of_uncalibrated_probabilities() -> None:
    a, b, c = members(temperature=3.0)
    mean = mean_predictions([a, b, c])
    for view in ("single", "flip"):
        expected = (a.view_probs(view) + b.view_probs(view) + c.view_probs(view)) / 3
        np.testing.assert_allclose(mean.view_probs(view), expected, atol=1e-6)
    assert mean.temperature == 1.0
    assert mean.members == ("m0", "m1", "m2")


def test_the_ten_crop_view_of_the_mean_is_the_mean_of_the_ten_crop_views() -> None:
    several = [
        make_predictions(
            30, seed, labels=np.zeros(30), seen=np.zeros(30), crop_probs=make_crop_probs(30, seed)
        )
        for seed in (0, 1)
    ]
    expected = np.mean([member.view_probs("ten_crop") for member in several], axis=0)
    np.testing.assert_allclose(mean_predictions(several).view_probs("ten_crop"), expected, atol=1e-6)


def test_the_mean_holds_only_what_every_member_was_asked() -> None:
    a, b = members(2)
    assert mean_predictions([a, b.only(["single"])]).views == ("single",)
    crops = make_crop_probs(200)
    wide = make_predictions(200, labels=a.labels, seen=a.seen, crop_probs=crops, window=0.9)
    narrow = make_predictions(200, labels=a.labels, seen=a.seen, crop_probs=crops, window=0.8)
    assert mean_predictions([wide, narrow]).views == ("single", "flip")


def test_the_order_of_members_does_not_matter() -> None:
    a, b, c = members()
    np.testing.assert_allclose(
        mean_predictions([a, b, c]).probs, mean_predictions([c, a, b]).probs, atol=1e-7
    )


def test_each_member_is_scored_as_it_would_be_alone() -> None:
    several = members()
    for scores, member in zip(member_scores(several, seed=0, resamples=50), several):
        alone = score_split(member, resamples=50).views
        assert scores.name == member.model
        for view in ("single", "flip"):
            assert scores.views[view].official.accuracy == alone[view].official.accuracy
            assert scores.views[view].deduplicated.accuracy == alone[view].deduplicated.accuracy


def test_each_member_is_compared_with_the_first_on_the_same_examples() -> None:
    """Against plain counts, scipy's binomial test and resampling the examples one by one."""
    several = members()
    rng = np.random.default_rng(1)
    rows = {"official": np.ones(200, bool), "deduplicated": ~several[0].seen}
    scores = member_scores(several, seed=0)
    for view in ("single", "flip"):
        right = [one.view_probs(view).argmax(axis=1) == one.labels for one in several]
        for part, chosen in rows.items():
            assert getattr(scores[0].views[view], part).to_first is None
            p_values = []
            for own, found in zip(right[1:], scores[1:]):
                first, own = right[0][chosen], own[chosen]
                pair = getattr(found.views[view], part).to_first
                assert (pair.only_first, pair.only_own) == ((first & ~own).sum(), (own & ~first).sum())
                assert pair.difference.value == pytest.approx(own.mean() - first.mean())
                gains = own.astype(int) - first.astype(int)
                means = gains[rng.integers(0, len(gains), (4000, len(gains)))].mean(axis=1)
                ends = [pair.difference.low, pair.difference.high]
                assert ends == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.015)
                alone = pair.only_first + pair.only_own
                assert pair.p_value == pytest.approx(stats.binomtest(pair.only_own, alone).pvalue)
                p_values.append(pair.p_value)
            small, large = sorted(p_values)
            adjusted = sorted(getattr(one.views[view], part).to_first.adjusted_p_value for one in scores[1:])
            assert adjusted == pytest.approx([min(1, 2 * small), max(min(1, 2 * small), large)])


def test_of_two_members_p_is_not_adjusted_and_unknown_copies_are_not_left_out() -> None:
    a, b = (replace(one, seen=None) for one in members(2))
    pair = member_scores([a, b], resamples=50)[1].views["flip"]
    assert pair.deduplicated is None
    assert pair.official.to_first.adjusted_p_value == pair.official.to_first.p_value


def test_a_mean_knows_what_it_has_seen_if_all_members_do() -> None:
    a, b = members(2)
    b = replace(b, seen=np.roll(a.seen, 1))
    np.testing.assert_array_equal(mean_predictions([a, b]).seen, a.seen | b.seen)
    assert mean_predictions([a, replace(b, seen=None)]).seen is None


def test_networks_that_answered_different_questions_are_refused() -> None:
    a, b = members(2)
    classes = (*a.classes[1:], a.classes[0])
    with pytest.raises(FacelexError, match=r"same classes in the same order, but m0 knows angry.* Leave one"):
        mean_predictions([a, make_predictions(200, 1, labels=a.labels, classes=classes)])
    others = {
        "m0 and fake are about different datasets": {"fingerprint": "0" * 64},
        "m0 has 200 of test and fake 200 of val": {"split": "val"},
        "the labels of 200 differ: number 1 is": {"labels": (a.labels + 1) % 7},
    }
    for sentence, changes in others.items():
        with pytest.raises(FacelexError, match=f"same examples in the same order, but {sentence}"):
            mean_predictions([a, make_predictions(200, 1, **({"labels": a.labels} | changes))])
    with pytest.raises(FacelexError, match="m0 has 200 of test and m1 100 of test"):
        mean_predictions([a, b.subset(np.arange(100))])


def test_answers_that_do_not_name_their_dataset_are_averaged_with_those_that_do() -> None:
    a, b = members(2)
    mean = mean_predictions([replace(a, fingerprint="", votes=None), b])
    assert mean.fingerprint == b.fingerprint
    assert mean.votes is b.votes
