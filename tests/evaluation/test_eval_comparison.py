import math
from dataclasses import replace

import numpy as np
import pytest
from evaluation_fakes import make_predictions
from hypothesis import given, settings
from hypothesis import strategies as st

from facelex.errors import FacelexError
from facelex.evaluation.comparison import (
    compare_predictions,
    holm,
    incomplete_beta,
    mcnemar_exact,
    mean_over_seeds,
    paired_examples,
    paired_seeds,
    t_quantile,
    t_tail,
)

stats = pytest.importorskip("scipy.stats")


@given(st.integers(0, 400), st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_mcnemar_is_the_two_sided_binomial_test(only_a: int, only_b: int) -> None:
    expected = stats.binomtest(only_a, only_a + only_b, 0.5).pvalue if only_a + only_b else 1.0
    assert mcnemar_exact(only_a, only_b) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_by_hand_and_with_counts_beyond_a_float() -> None:
    assert mcnemar_exact(1, 5) == pytest.approx(2 * (1 + 6) / 64)
    assert mcnemar_exact(0, 0) == mcnemar_exact(7, 7) == 1.0
    assert mcnemar_exact(1500, 1600) == pytest.approx(stats.binomtest(1500, 3100, 0.5).pvalue, rel=1e-9)


@pytest.mark.parametrize("degrees", [1, 2, 4, 9, 30, 200])
def test_students_t_agrees_with_scipy(degrees: int) -> None:
    for t in (0.0, 0.3, 1.0, 2.5, 12.0):
        assert t_tail(t, degrees) == pytest.approx(stats.t.sf(t, degrees), rel=1e-9)
    for probability in (0.5, 0.75, 0.975, 0.9995):
        assert t_quantile(probability, degrees) == pytest.approx(
            stats.t.ppf(probability, degrees), rel=1e-8, abs=1e-9
        )


@given(st.floats(0.1, 50), st.floats(0.1, 50), st.floats(0, 1))
@settings(max_examples=80, deadline=None)
def test_incomplete_beta_agrees_with_scipy(a: float, b: float, x: float) -> None:
    special = pytest.importorskip("scipy.special")
    assert incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-8, abs=1e-12)


def test_paired_seeds_agree_with_scipys_paired_t_test() -> None:
    a, b = np.array([0.66, 0.671, 0.659, 0.668, 0.662]), np.array([0.672, 0.675, 0.668, 0.671, 0.677])
    ours, theirs = paired_seeds(a, b), stats.ttest_rel(b, a)
    low, high = theirs.confidence_interval(0.95)
    assert ours.count == 5
    assert ours.difference.value == pytest.approx((b - a).mean())
    assert [ours.difference.low, ours.difference.high] == pytest.approx([low, high])
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert ours.standard_deviation == pytest.approx(np.std(b - a, ddof=1))


def test_one_pair_of_seeds_has_a_difference_but_no_interval() -> None:
    result = paired_seeds(np.array([0.6]), np.array([0.7]))
    assert result.difference.value == pytest.approx(0.1)
    assert math.isnan(result.difference.low)
    assert math.isnan(result.p_value)


def test_equal_scores_do_not_differ_and_no_scores_say_nothing() -> None:
    unknown = paired_seeds(np.array([0.6, np.nan]), np.array([0.6, 0.7]))
    assert np.isnan(unknown.difference.value)
    assert np.isnan(unknown.p_value)
    same = paired_seeds(np.array([0.6, 0.7]), np.array([0.6, 0.7]))
    assert (same.difference.low, same.difference.high, same.p_value) == (0, 0, 1)
    assert math.isnan(paired_seeds(np.zeros(0), np.zeros(0)).difference.value)


@pytest.mark.parametrize("counts", [(2400, 2410, 2390), (2400, 2407)])
def test_differences_that_are_equal_by_chance_have_neither_interval_nor_p_value(
    counts: tuple[int, ...],
) -> None:
    a = np.array(counts) / 3589
    result = paired_seeds(a, (np.array(counts) + 10) / 3589)
    assert result.difference.value == pytest.approx(10 / 3589)
    assert np.isnan([result.difference.low, result.difference.high, result.p_value]).all()


def test_the_mean_over_seeds_has_the_interval_of_one_sample() -> None:
    scores = np.array([0.66, 0.671, 0.659])
    low, high = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    interval = mean_over_seeds(scores)
    assert [interval.value, interval.low, interval.high] == pytest.approx([scores.mean(), low, high])


def test_scores_without_a_partner_are_refused() -> None:
    with pytest.raises(FacelexError, match="one score a seed for both methods"):
        paired_seeds(np.zeros(3), np.zeros(2))


def test_the_paired_bootstrap_agrees_with_resampling_examples_one_by_one() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(500) < 0.65, rng.random(500) < 0.7
    result = paired_examples(a, b, resamples=4000)
    differences = b.astype(int) - a.astype(int)
    means = differences[rng.integers(0, 500, (4000, 500))].mean(axis=1)
    assert result.difference.value == pytest.approx(differences.mean())
    assert [result.difference.low, result.difference.high] == pytest.approx(
        np.quantile(means, [0.025, 0.975]), abs=0.006
    )
    assert (result.only_a, result.only_b) == (int((a & ~b).sum()), int((b & ~a).sum()))


@pytest.mark.parametrize("differ", [False, True])
def test_examples_that_all_differ_alike_give_no_interval(differ: bool) -> None:
    result = paired_examples(np.full(11, False), np.full(11, differ))
    assert result.difference.value == float(differ)
    assert math.isnan(result.difference.low)
    assert result.p_value == (2 / 2**11 if differ else 1)


def test_pairing_is_sharper_than_two_separate_intervals() -> None:
    rng = np.random.default_rng(1)
    a = rng.random(3589) < 0.7
    b = a | (rng.random(3589) < 0.05)  # B mends a few of A's mistakes and makes none
    result = paired_examples(a, b)
    assert result.difference.low > 0
    assert result.p_value < 1e-6


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_swapping_the_models_turns_the_difference_round(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random(80) < 0.5, rng.random(80) < 0.6
    one, other = paired_examples(a, b), paired_examples(b, a)
    assert one.difference.value == pytest.approx(-other.difference.value)
    assert one.p_value == other.p_value


def test_predictions_are_compared_on_the_same_view_with_or_without_duplicates() -> None:
    a, b = make_predictions(300, sharpness=1.0), make_predictions(300, sharpness=2.0)
    assert compare_predictions(a, b, "single").difference.value == 0  # sharpening names the same classes
    assert compare_predictions(a, b, deduplicated=True).count == int((~a.seen).sum())


def test_what_either_model_has_seen_is_left_out_of_both() -> None:
    a = make_predictions(300)
    b = replace(a, seen=np.roll(a.seen, 1))
    assert (a.seen != b.seen).any()
    for one, other in ((a, b), (b, a)):
        assert compare_predictions(one, other, deduplicated=True).count == int((~a.seen & ~b.seen).sum())
        with pytest.raises(FacelexError, match="Expected to know which examples fake was trained on"):
            compare_predictions(one, replace(other, seen=None), deduplicated=True)


def test_predictions_on_other_data_or_examples_are_not_compared() -> None:
    a = make_predictions(50)
    with pytest.raises(FacelexError, match=r"fake and fake are about different datasets \(f{12} and 0{12}"):
        compare_predictions(a, make_predictions(50, fingerprint="0" * 64))
    with pytest.raises(FacelexError, match="50 of test and fake 40 of test"):
        compare_predictions(a, make_predictions(40))


def test_holm_by_hand_keeps_order_and_never_lowers_a_p_value() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.04, np.nan, 0.03]) == pytest.approx([0.06, np.nan, 0.06], nan_ok=True)
