"""The closed-form text side: against plain loops, through the network, and on words it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facelex.emotions import EMOTION_WORDS, EMOTIONS
from facelex.errors import FacelexError
from facelex.models.dual_encoder import DualEncoder
from facelex.models.registry import create_image_encoder
from facelex.models.text_fit import (
    create_text_arrays,
    fit_text_arrays,
    replace_text_projection,
    trained_part,
    trained_text_arrays,
)
from facelex.recognize.words import TextProjection
from facelex.vocabulary import Vocabulary
from facelex.word_affect import AFFECT_WORDS, fit_affect


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.packaged()


@pytest.fixture(scope="module")
def faces():
    """Features of 700 made-up faces around seven directions, with their labels."""
    rng = np.random.default_rng(0)
    centers, labels = rng.standard_normal((7, 16)), np.arange(700) % 7
    features = centers[labels] + rng.standard_normal((700, 16))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32), labels


def projection_of(arrays, features):
    return TextProjection(
        **arrays, feature_mean=features.mean(0), feature_cov=np.cov(features.T).astype(np.float32)
    )


@pytest.mark.parametrize("kind", ["linear", "affect"])
def test_each_class_word_fits_its_own_faces_best(kind, vocabulary, faces):
    features, labels = faces
    projection = projection_of(fit_text_arrays(kind, features, labels, vocabulary, EMOTION_WORDS), features)
    vectors = np.stack([np.mean([vocabulary.phrase(w) for w in EMOTION_WORDS[c]], axis=0) for c in EMOTIONS])
    scores = projection.scores(features, projection.encode(vectors))
    means = np.stack([scores[labels == c].mean(0) for c in range(7)])  # (face class, word)
    assert (means.argmax(axis=1) == np.arange(7)).sum() >= 6  # surprise and fear may share a word's favour


def test_the_perceptron_is_exactly_the_linear_map(vocabulary, faces):
    arrays = fit_text_arrays("affect", *faces, vocabulary, EMOTION_WORDS)
    projection = projection_of(arrays, faces[0])
    vector = vocabulary.phrase("bored")
    half = len(arrays["text_bias1"]) // 2
    linear = arrays["text_weight1"][:half] @ (vector - arrays["text_center"]) + arrays["text_bias1"][:half]
    np.testing.assert_allclose(projection.encode(vector[None])[0], linear / np.linalg.norm(linear), atol=1e-5)


def test_the_direction_of_a_word_is_the_affinity_weighted_mean_of_the_classes(vocabulary, faces):
    """With balanced classes and ``linear``: an independent computation, word by word."""
    features, labels = faces
    arrays = fit_text_arrays("linear", features, labels, vocabulary, EMOTION_WORDS)
    anchors = np.stack([vocabulary.vector(w) for ws in AFFECT_WORDS.values() for w in ws.split()])
    center = anchors.mean(0)
    x = features - features.mean(0)
    cov = x.T @ x / len(x)
    ridge = cov + 0.1 * np.trace(cov) / 16 * np.eye(16)
    expected = np.zeros(16)
    for index, name in enumerate(EMOTIONS):
        mean = np.mean([vocabulary.vector(w) for w in EMOTION_WORDS[name]], axis=0)
        affinity = (mean / np.linalg.norm(mean) - center) @ (vocabulary.vector("bored") - center)
        expected += affinity * np.linalg.solve(ridge, x.T @ ((labels == index) - 1 / 7) / len(x))
    found = projection_of(arrays, features).encode(vocabulary.vector("bored")[None])[0]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-4)


def test_a_model_with_the_fit_answers_as_the_arrays_do(vocabulary, faces):
    model = DualEncoder(
        create_image_encoder("tiny_cnn"), 7, torch.randn(7, 1, 100), hidden_dim=40, embed_dim=16
    ).eval()
    arrays = fit_text_arrays("affect", *faces, vocabulary, EMOTION_WORDS)
    replace_text_projection(model, arrays)
    vectors = np.stack([vocabulary.vector(w) for w in ("bored", "proud")])
    with torch.no_grad():
        found = model.encode_words(torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(found, projection_of(arrays, faces[0]).encode(vectors), atol=1e-5)


def test_a_blend_is_the_sum_of_both_sides_at_equal_mean_length(vocabulary, faces):
    model = DualEncoder(
        create_image_encoder("tiny_cnn"), 7, torch.randn(7, 1, 100), hidden_dim=20, embed_dim=16
    ).eval()
    trained = trained_text_arrays(model)
    fitted = fit_text_arrays("affect", *faces, vocabulary, EMOTION_WORDS)
    vectors = np.stack([vocabulary.vector(w) for ws in EMOTION_WORDS.values() for w in ws])

    def lengthy(arrays, x):
        hidden = arrays["text_weight1"] @ (x - arrays["text_center"]) + arrays["text_bias1"]
        return arrays["text_weight2"] @ np.maximum(hidden, 0) + arrays["text_bias2"]

    word, total = vocabulary.vector("bored"), np.zeros(16)
    for side in (trained, fitted):
        total += lengthy(side, word) / np.mean([np.linalg.norm(lengthy(side, x)) for x in vectors])
    replace_text_projection(model, create_text_arrays("blend", trained, *faces, vocabulary, EMOTION_WORDS))
    with torch.no_grad():
        found = model.encode_words(torch.from_numpy(word[None])).numpy()[0]
    np.testing.assert_allclose(found, total / np.linalg.norm(total), atol=1e-5)


def test_the_trained_side_can_be_taken_out_of_a_blend(vocabulary, faces):
    model = DualEncoder(
        create_image_encoder("tiny_cnn"), 7, torch.randn(7, 1, 100), hidden_dim=20, embed_dim=16
    ).eval()
    trained = trained_text_arrays(model)
    again = trained_part(create_text_arrays("blend", trained, *faces, vocabulary, EMOTION_WORDS))
    vectors = np.stack([vocabulary.vector(word) for word in ("bored", "proud", "angry")])
    found, expected = (projection_of(arrays, faces[0]).encode(vectors) for arrays in (again, trained))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_model_without_words_has_no_text_side():
    model = DualEncoder(create_image_encoder("tiny_cnn"), 7)
    with pytest.raises(ValueError, match="without words"):
        trained_text_arrays(model)


def test_an_unknown_fit_is_named(vocabulary, faces):
    with pytest.raises(FacelexError, match="'afect'"):
        create_text_arrays("afect", {}, *faces, vocabulary, EMOTION_WORDS)


def test_affect_places_words_it_has_not_seen_as_people_would(vocabulary):
    affect = fit_affect(vocabulary)
    place = {w: affect(vocabulary.vector(w)) for w in ("happy", "miserable", "furious", "calm", "terrified")}
    assert place["happy"][0] > 0.5 > -0.3 > place["miserable"][0]
    assert place["furious"][1] > 0.3 > -0.2 > place["calm"][1]
    assert place["terrified"][0] < 0


def test_affect_is_fitted_without_a_word_of_the_classes():
    anchors = [word for words in AFFECT_WORDS.values() for word in words.split()]
    assert len(anchors) == len(set(anchors))
    assert not set(anchors) & {word for words in EMOTION_WORDS.values() for word in words}
