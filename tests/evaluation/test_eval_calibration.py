import numpy as np
import pytest
from evaluation_fakes import make_predictions
from hypothesis import given, settings
from hypothesis import strategies as st

from facelex.evaluation.calibration import (
    apply_temperature,
    fit_temperature,
    risk_coverage,
    softmax,
    suggest_unsure_below,
    temperature_nll,
)
from facelex.evaluation.metrics import nll_per_example, reliability
from facelex.evaluation.scores import calibrate


def test_softmax_survives_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[1e4, 1e4 - 1]])), [[1 / (1 + np.e**-1), 1 / (1 + np.e)]])


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_sharpened_logits(sharpness: float) -> None:
    preds = make_predictions(20000, sharpness=sharpness)
    fitted = fit_temperature(preds.log_views("single"), preds.labels)
    assert fitted == pytest.approx(sharpness, rel=0.05)
    calibrated = apply_temperature(preds.probs, fitted)
    assert reliability(calibrated, preds.labels).ece < 0.015
    assert (calibrated.argmax(axis=1) == preds.probs.argmax(axis=1)).all()


@pytest.mark.parametrize("views", ["single", "flip"])
def test_the_fit_agrees_with_scipy_and_no_neighbour_is_better(views: str) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    preds = make_predictions(600, sharpness=2.2)
    logits = preds.log_views(views)
    found = optimize.minimize_scalar(
        lambda t: temperature_nll(logits, preds.labels, t),
        bounds=(0.05, 20),
        method="bounded",
        options={"xatol": 1e-8},
    )
    fitted = fit_temperature(logits, preds.labels)
    assert fitted == pytest.approx(found.x, rel=1e-3)
    best = temperature_nll(logits, preds.labels, fitted)
    assert (
        best
        <= min(temperature_nll(logits, preds.labels, fitted * factor) for factor in (0.97, 1, 1.03)) + 1e-9
    )


@given(st.integers(0, 2**31), st.floats(0.3, 5))
@settings(max_examples=25, deadline=None)
def test_fitting_never_makes_the_fitted_split_worse(seed: int, sharpness: float) -> None:
    preds = make_predictions(60, seed=seed, sharpness=sharpness)
    logits = preds.log_views("single")
    fitted = fit_temperature(logits, preds.labels)
    assert temperature_nll(logits, preds.labels, fitted) <= temperature_nll(logits, preds.labels, 1.0) + 1e-6


def test_the_likelihood_at_one_is_the_plain_one() -> None:
    preds = make_predictions(100)
    expected = nll_per_example(preds.probs, preds.labels).mean()
    assert temperature_nll(preds.log_views("single"), preds.labels, 1.0) == pytest.approx(expected, abs=1e-6)


def test_no_example_leaves_probabilities_as_they_are() -> None:
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, np.int64)) == 1.0
    assert suggest_unsure_below(np.zeros((0, 3)), np.zeros(0, np.int64)) == 0.0


def test_risk_coverage_by_hand_with_a_tie() -> None:
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.6, 0.4]])
    curve = risk_coverage(probs, np.array([0, 0, 1, 1]))
    assert curve.threshold.tolist() == [0.9, 0.8, 0.6]
    assert curve.coverage.tolist() == [0.25, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 3, 0.5])
    assert curve.area == pytest.approx((0 + 2 / 3 + 0.5) / 4)


@given(st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_risk_coverage_does_not_depend_on_order_and_ends_at_the_error_rate(seed: int) -> None:
    preds = make_predictions(40, seed=seed)
    order = np.random.default_rng(seed).permutation(40)
    one, other = (
        risk_coverage(preds.probs, preds.labels),
        risk_coverage(preds.probs[order], preds.labels[order]),
    )
    np.testing.assert_allclose(one.risk, other.risk)
    assert one.coverage[-1] == 1
    assert one.risk[-1] == pytest.approx((preds.probs.argmax(axis=1) != preds.labels).mean())


def test_the_threshold_keeps_the_promised_accuracy_with_the_largest_coverage() -> None:
    preds = make_predictions(3000)
    threshold = suggest_unsure_below(preds.probs, preds.labels, answered_accuracy=0.8)
    confidence, right = preds.probs.max(axis=1), preds.probs.argmax(axis=1) == preds.labels
    assert right[confidence >= threshold].mean() >= 0.8
    lower = np.unique(confidence[confidence < threshold])
    assert all(right[confidence >= t].mean() < 0.8 for t in lower)


def test_a_model_that_is_always_or_never_right_is_always_or_never_sure() -> None:
    probs = softmax(np.random.default_rng(0).normal(size=(50, 3)))
    assert suggest_unsure_below(probs, probs.argmax(axis=1)) == 0.0
    assert suggest_unsure_below(probs, probs.argmin(axis=1)) == 1.0


def test_calibrate_reports_what_its_threshold_achieves() -> None:
    preds = make_predictions(2000, sharpness=2.0, split="val")
    fit = calibrate(preds, "flip")
    probs = preds.view_probs("flip", fit.temperature)
    answered = probs.max(axis=1) >= fit.unsure_below
    assert fit.coverage == pytest.approx(answered.mean())
    assert fit.answered_accuracy == pytest.approx((probs.argmax(axis=1) == preds.labels)[answered].mean())
    assert fit.answered_accuracy >= 0.8
