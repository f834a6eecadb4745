import math
import warnings

import numpy as np
import pytest
from evaluation_fakes import make_predictions
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from facelex.data.votes import Votes
from facelex.emotions import EMOTIONS, FERPLUS_COLUMNS
from facelex.errors import FacelexError
from facelex.evaluation import metrics
from facelex.evaluation.calibration import softmax

LABELS = hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 4))


def votes(**counts: int) -> np.ndarray:
    row = np.zeros((1, 10), np.uint8)
    for name, count in counts.items():
        row[0, FERPLUS_COLUMNS.index(name)] = count
    return row


@pytest.mark.parametrize("seed", range(5))
def test_scores_of_named_classes_agree_with_sklearn(seed: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, 5, 80), rng.integers(0, 7 if seed % 2 else 4, 80)
    confusion = metrics.confusion_matrix(labels, predicted, 7)
    names = list(range(7))
    assert (confusion == sklearn.confusion_matrix(labels, predicted, labels=names)).all()
    assert metrics.accuracy(confusion) == pytest.approx(sklearn.accuracy_score(labels, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class that is named but never true
        balanced = sklearn.balanced_accuracy_score(labels, predicted)
    assert metrics.balanced_accuracy(confusion) == pytest.approx(balanced)
    assert metrics.macro_f1(confusion) == pytest.approx(sklearn.f1_score(labels, predicted, average="macro"))
    expected = sklearn.precision_recall_fscore_support(labels, predicted, labels=names, zero_division=0)
    np.testing.assert_allclose(metrics.precision(confusion), expected[0])
    np.testing.assert_allclose(np.nan_to_num(metrics.recall(confusion)), expected[1])
    np.testing.assert_allclose(np.nan_to_num(metrics.f1(confusion)), expected[2])


@pytest.mark.parametrize(
    ("bins", "mean", "largest"), [(1, 0.212528, 0.212528), (10, 0.212528, 0.320478), (15, 0.213763, 0.338732)]
)
def test_calibration_error_is_what_torchmetrics_found(bins: int, mean: float, largest: float) -> None:
    """multiclass_calibration_error of torchmetrics 1.9.0, norms l1 and max.

    Written down, for where it is installed every process that trains loads it, and SciPy with it.
    """
    preds = make_predictions(500, sharpness=2.0)
    found = metrics.reliability(preds.probs, preds.labels, bins)
    assert (found.ece, found.mce) == pytest.approx((mean, largest), abs=1e-5)


def test_log_loss_and_brier_agree_with_sklearn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    preds = make_predictions(300)
    probs = preds.probs.astype(np.float64) / preds.probs.sum(axis=1, keepdims=True, dtype=np.float64)
    expected = sklearn.log_loss(preds.labels, probs, labels=list(range(7)))
    assert metrics.nll_per_example(probs, preds.labels).mean() == pytest.approx(expected)
    by_class = [np.mean((probs[:, k] - (preds.labels == k)) ** 2) for k in range(7)]
    assert metrics.brier_per_example(probs, preds.labels).mean() == pytest.approx(sum(by_class))


def test_a_certain_mistake_costs_much_but_not_infinitely() -> None:
    probs = np.array([[1.0, 0.0]])
    assert 80 < metrics.nll_per_example(probs, np.array([1]))[0] < 100
    assert metrics.brier_per_example(probs, np.array([1]))[0] == 2


def test_reliability_bins_by_hand() -> None:
    probs = np.array([[0.9, 0.1], [0.7, 0.3], [0.3, 0.7], [0.5, 0.5]])
    bins = metrics.reliability(probs, np.array([0, 1, 1, 0]), bins=2)  # 0.5 belongs to the first bin
    assert bins.count.tolist() == [1, 3]
    assert bins.confidence.tolist() == pytest.approx([0.5, (0.9 + 0.7 + 0.7) / 3])
    assert bins.accuracy.tolist() == pytest.approx([1, 2 / 3])
    assert bins.ece == pytest.approx((0.5 + 3 * abs(2 / 3 - 2.3 / 3)) / 4)
    assert bins.mce == pytest.approx(0.5)


def test_no_example_gives_nan_rather_than_a_number() -> None:
    empty = np.zeros((3, 3), np.int64)
    for metric in (metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1):
        assert math.isnan(metric(empty))
    bins = metrics.reliability(np.zeros((0, 3)), np.zeros(0, np.int64))
    assert math.isnan(bins.ece)
    assert bins.count.sum() == 0


def test_an_absent_class_does_not_count_unless_it_is_named() -> None:
    only_two = np.array([[3, 1, 0], [1, 5, 0], [0, 0, 0]])
    assert metrics.balanced_accuracy(only_two) == pytest.approx((3 / 4 + 5 / 6) / 2)
    assert metrics.macro_f1(only_two) == pytest.approx((6 / 8 + 10 / 12) / 2)
    named = np.array([[3, 0, 1], [1, 5, 0], [0, 0, 0]])
    assert metrics.balanced_accuracy(named) == pytest.approx((3 / 4 + 5 / 6) / 2)
    assert metrics.macro_f1(named) == pytest.approx((6 / 8 + 10 / 11 + 0) / 3)


def test_one_class_answered_right_is_perfect() -> None:
    confusion = metrics.confusion_matrix(np.zeros(4, np.int64), np.zeros(4, np.int64), 1)
    assert (
        metrics.accuracy(confusion)
        == metrics.macro_f1(confusion)
        == metrics.balanced_accuracy(confusion)
        == 1
    )


@given(LABELS, st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_scores_do_not_depend_on_order_or_on_names_of_classes(labels: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted = rng.integers(0, 5, len(labels))
    order, rename = rng.permutation(len(labels)), rng.permutation(5)
    one = metrics.confusion_matrix(labels, predicted, 5)
    other = metrics.confusion_matrix(rename[labels[order]], rename[predicted[order]], 5)
    for metric in (metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1):
        value = metric(one)
        assert metric(other) == pytest.approx(value)
        assert 0 <= value <= 1


@given(LABELS, st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_metrics_of_a_stack_are_those_of_each_matrix(labels: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stack = np.stack([metrics.confusion_matrix(labels, rng.integers(0, 5, len(labels)), 5) for _ in range(3)])
    for metric in (metrics.accuracy, metrics.recall, metrics.precision, metrics.f1, metrics.macro_f1):
        np.testing.assert_allclose(metric(stack), np.stack([metric(matrix) for matrix in stack]))


@given(st.integers(0, 2**31), st.floats(0.1, 8))
@settings(max_examples=40, deadline=None)
def test_calibration_error_lies_between_the_overall_gap_and_one(seed: int, sharpness: float) -> None:
    preds = make_predictions(50, seed=seed, sharpness=sharpness)
    bins = metrics.reliability(preds.probs, preds.labels)
    right = preds.probs.argmax(axis=1) == preds.labels
    gap = abs(preds.probs.max(axis=1).mean(dtype=np.float64) - right.mean())
    assert gap - 1e-9 <= bins.ece <= bins.mce + 1e-9 <= 1 + 1e-6


def test_confused_pairs_are_ordered_by_how_often() -> None:
    confusion = np.array([[5, 2, 0], [4, 1, 0], [0, 2, 8]])
    assert metrics.confused_pairs(confusion) == [(1, 0, 4, 0.8), (0, 1, 2, 2 / 7), (2, 1, 2, 0.2)]


@pytest.mark.parametrize(
    ("row", "majority"),
    [
        (votes(happiness=8, neutral=2), "happiness"),
        (votes(happiness=5, neutral=5), None),  # half is no majority
        (votes(happiness=5, neutral=1, sadness=1, fear=1, anger=1, contempt=1), "happiness"),  # outliers go
        (votes(happiness=4, neutral=3, sadness=2, fear=1), None),
        (votes(unknown=9, anger=1), None),
        (votes(NF=10), None),
        (votes(contempt=6, neutral=4), "contempt"),
        (votes(), None),
        (votes(fear=1), None),
    ],
)
def test_ferplus_majority_follows_the_published_rule(row: np.ndarray, majority: str | None) -> None:
    expected = -1 if majority is None else FERPLUS_COLUMNS.index(majority)
    assert metrics.ferplus_majority(row).tolist() == [expected]


def test_ferplus_accuracy_counts_contempt_as_wrong_and_leaves_out_undecided_faces() -> None:
    rows = np.concatenate([votes(happiness=9), votes(anger=9), votes(contempt=9), votes(sadness=5, fear=5)])
    probs = np.full((4, 7), 0.05)
    probs[:, EMOTIONS.index("happy")] = 0.7
    scores = metrics.ferplus_scores(probs, Votes(rows), EMOTIONS)
    assert (scores.majority_count, scores.majority_accuracy) == (3, pytest.approx(1 / 3))
    assert (scores.known_count, scores.known_accuracy) == (2, 0.5)


def test_ferplus_cross_entropy_and_divergence_by_hand() -> None:
    rows = np.concatenate([votes(happiness=3, neutral=1, unknown=6), votes(NF=10)])
    probs = np.tile(softmax(np.arange(7.0)), (2, 1))
    scores = metrics.ferplus_scores(probs, Votes(rows), EMOTIONS)
    happy, neutral = probs[0, EMOTIONS.index("happy")], probs[0, EMOTIONS.index("neutral")]
    assert scores.votes_count == 1
    assert scores.cross_entropy == pytest.approx(-0.75 * math.log(happy) - 0.25 * math.log(neutral))
    assert scores.kl == pytest.approx(0.75 * math.log(0.75 / happy) + 0.25 * math.log(0.25 / neutral))


def test_ferplus_divergence_vanishes_when_the_model_says_what_the_taggers_said() -> None:
    row = votes(happiness=5, neutral=3, sadness=2)
    probs = np.zeros((1, 7))
    for name, share in (("happy", 0.5), ("neutral", 0.3), ("sad", 0.2)):
        probs[0, EMOTIONS.index(name)] = share
    assert metrics.ferplus_scores(probs, Votes(row), EMOTIONS).kl == pytest.approx(0, abs=1e-9)


def test_ferplus_asks_a_model_that_knows_contempt_about_it() -> None:
    classes = ("contempt", *reversed(EMOTIONS))
    rows = np.concatenate([votes(contempt=9, NF=1), votes(anger=9), votes(contempt=2, happiness=6)])
    probs = np.full((3, 8), 0.05)
    for row, name in enumerate(("contempt", "contempt", "happy")):
        probs[row, classes.index(name)] = 0.65
    scores = metrics.ferplus_scores(probs, Votes(rows), classes)
    assert (scores.majority_count, scores.majority_accuracy) == (3, pytest.approx(2 / 3))
    assert (scores.known_count, scores.known_accuracy) == (3, pytest.approx(2 / 3))
    expected = [-math.log(0.65), -math.log(0.05), -0.25 * math.log(0.05) - 0.75 * math.log(0.65)]
    assert scores.cross_entropy == pytest.approx(np.mean(expected))


def test_ferplus_with_no_decided_face_is_nan() -> None:
    scores = metrics.ferplus_scores(np.full((1, 7), 1 / 7), Votes(votes()), EMOTIONS)
    assert scores.majority_count == scores.votes_count == 0
    assert math.isnan(scores.majority_accuracy)
    assert math.isnan(scores.kl)


def test_agreement_with_votes_by_hand() -> None:
    votes_of = Votes(np.array([[3, 1, 6], [1, 1, 0], [0, 0, 9]]), ("joy", "sad", "unknown"))
    probs = np.array([[0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    scores = metrics.vote_scores(probs, votes_of, ("sad", "happy"))
    assert scores.count == 2  # nobody named a class of the third
    assert (scores.agreement, scores.best_agreement) == (pytest.approx(0.625), pytest.approx(0.625))
    expected = [-0.75 * math.log(0.8) - 0.25 * math.log(0.2), -0.5 * math.log(0.6 * 0.4)]
    assert scores.cross_entropy == pytest.approx(np.mean(expected))
    entropy = [-0.75 * math.log(0.75) - 0.25 * math.log(0.25), math.log(2)]
    assert scores.kl == pytest.approx(np.mean(expected) - np.mean(entropy))
    assert metrics.vote_scores(probs[:, ::-1], votes_of, ("sad", "happy")).agreement == pytest.approx(0.375)


def test_bins_below_one_are_refused() -> None:
    with pytest.raises(FacelexError, match="at least 1 confidence bin, but got 0"):
        metrics.reliability(np.ones((1, 1)), np.zeros(1, np.int64), bins=0)
