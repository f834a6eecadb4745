from __future__ import annotations

import numpy as np
import pytest

from facelex.data.sketch import EXPRESSIONS, draw_face, sketch_dataset
from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError


def test_every_emotion_has_an_expression_of_its_own() -> None:
    assert tuple(EXPRESSIONS) == EMOTIONS
    assert len(set(EXPRESSIONS.values())) == 7


def test_equal_seeds_draw_equal_faces_and_other_seeds_others() -> None:
    first = sketch_dataset(21, seed=5)
    assert sketch_dataset(21, seed=5).fingerprint == first.fingerprint
    assert sketch_dataset(21, seed=6).fingerprint != first.fingerprint


def test_larger_set_begins_with_the_smaller_one() -> None:
    small, large = sketch_dataset(14), sketch_dataset(30)
    assert (large.pixels[:14] == small.pixels).all()
    assert (large.splits[:14] == small.splits).all()


def test_classes_are_even_in_every_split_and_no_face_is_drawn_twice_or_blank() -> None:
    dataset = sketch_dataset(140)
    for split, each in (("train", 16), ("val", 2), ("test", 2)):
        assert np.bincount(dataset.labels[dataset.indices(split)]).tolist() == [each] * 7
    assert len(set(dataset.groups)) == 140
    assert not dataset.blank().any()


def edge_features(pixels: np.ndarray) -> np.ndarray:
    """Strength of edges by direction, in a grid of 15 x 15 cells."""
    x = pixels.astype(float)
    down, across = np.diff(x, axis=1)[:, :45, :45], np.diff(x, axis=2)[:, :45, :45]
    slanted = down * across
    kinds = [np.maximum(m, 0) for m in (down, -down)] + [
        np.sqrt(np.maximum(m, 0)) for m in (slanted, -slanted)
    ]
    cells = [kind.reshape(-1, 15, 3, 15, 3).mean(axis=(2, 4)).reshape(len(x), -1) for kind in kinds]
    features = np.concatenate(cells, axis=1)
    features = (features - features.mean(axis=1, keepdims=True)) / features.std(axis=1, keepdims=True)
    return np.concatenate([features, np.ones((len(x), 1))], axis=1)


def test_expression_can_be_learned_from_edges_but_a_linear_model_makes_mistakes() -> None:
    dataset = sketch_dataset(1400)
    x, y = edge_features(dataset.pixels), np.eye(7)[dataset.labels]
    train, test = dataset.indices("train"), np.concatenate([dataset.indices("val"), dataset.indices("test")])
    ridge = x[train].T @ x[train] + 1000 * np.eye(x.shape[1])
    weights = np.linalg.solve(ridge, x[train].T @ y[train])
    accuracy = np.mean((x[test] @ weights).argmax(axis=1) == dataset.labels[test])
    assert 0.6 < accuracy < 0.95  # chance is 0.14


def test_smile_curves_the_mouth_up_and_sadness_down() -> None:
    def mouth(emotion: str) -> np.ndarray:
        drawn = [draw_face(emotion, np.random.default_rng((1, i))).astype(float) for i in range(60)]
        return np.mean([(face - face.mean()) / face.std() for face in drawn], axis=0)[28:44]

    difference = mouth("happy") - mouth("sad")  # dark strokes are negative
    corners = difference[:6, [15, 16, 17, 30, 31, 32]].mean()
    assert corners < -0.1  # a smile's corners are above, where a sad mouth has only skin


@pytest.mark.parametrize("count", [0, -1, 1_000_001])
def test_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(FacelexError, match="from 1 to 1,000,000"):
        sketch_dataset(count)


def test_negative_seed_is_refused() -> None:
    with pytest.raises(FacelexError, match="seed of 0 or more"):
        sketch_dataset(1, seed=-1)
