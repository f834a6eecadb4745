"""Words from the packaged vocabulary through the scorer, and any text at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_recognition import EMBED, TinyVocabulary, word_arrays

from facelex.errors import FacelexError
from facelex.recognize.words import (
    TextProjection,
    WordScorer,
    create_scorer,
    join_features,
    parse_words,
)
from facelex.vocabulary import vocabulary


@pytest.fixture(scope="module")
def scorer() -> WordScorer:
    return create_scorer(word_arrays(width=100), "glove.6B.100d")


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(5, EMBED)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_text_features_are_unit_length_and_follow_the_words_order(scorer):
    both = scorer.text_features("happy, barely hidden anger")
    assert both.shape == (2, EMBED)
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(scorer.text_features(["barely hidden anger", "happy"]), both[::-1])


def test_a_reference_like_population_gets_evenly_spread_scores():
    """The score is the share of reference faces that fit less well: uniform over the reference itself."""
    arrays = word_arrays()
    rng = np.random.default_rng(4)
    faces = rng.multivariate_normal(arrays["feature_mean"], arrays["feature_cov"], size=20_000).astype(
        np.float32
    )
    projection = TextProjection(**arrays)
    text = projection.encode(np.stack([TinyVocabulary().phrase(word) for word in ("bored", "proud")]))
    scores = projection.scores(faces, text)
    np.testing.assert_allclose(
        np.quantile(scores, (0.1, 0.5, 0.9), axis=0).T, [[0.1, 0.5, 0.9]] * 2, atol=0.02
    )


def test_scores_of_no_faces_and_of_a_degenerate_reference_are_finite(scorer, features):
    assert scorer.scores(features[:0], "happy").shape == (0, 1)
    flat = word_arrays() | {"feature_cov": np.zeros((EMBED, EMBED), np.float32)}
    scores = TextProjection(**flat).scores(features, features[:2])
    assert np.isfinite(scores).all()


def test_unknown_words_of_a_list_are_all_named(scorer):
    with pytest.raises(FacelexError, match=r"(?s)hapiness.*zzqqy"):
        scorer.text_features("hapiness, zzqqy, sad")


def test_many_unknown_words_are_counted_rather_than_all_looked_up(scorer, monkeypatch):
    searched = []
    monkeypatch.setattr(vocabulary, "nearest_spellings", lambda word, words: searched.append(word) or [])
    junk = [f"qzx{chr(97 + i)}vw" for i in range(26)]
    with pytest.raises(FacelexError) as caught:
        scorer.text_features([*junk, " ".join(junk[:3]), "sad", "not happy"])
    first, second = str(caught.value).split("\n")
    assert first.startswith("No vector in glove.6B.100d for 26 words: 'qzxavw', 'qzxbvw', ")
    assert first.endswith("'qzxjvw' and 16 more. Correct the spelling or use other words.")
    assert second.startswith("Cannot negate")
    assert searched == junk[: vocabulary.MAX_CORRECTED]
    with pytest.raises(FacelexError) as caught:
        scorer.text_features([f"not {word}" for word in scorer.vocabulary.words[5000:5040]])
    assert str(caught.value).count("\n") == 10
    assert str(caught.value).endswith("And 30 more.")


@pytest.mark.parametrize("words", ["x" * 90_000, "not " + "happy " * 9000, "," * 90_000, ["?" * 90_000]])
def test_long_texts_are_not_repeated_whole(scorer, words):
    with pytest.raises(FacelexError) as caught:
        scorer.text_features(words)
    assert len(str(caught.value)) < 1000


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40), st.lists(st.one_of(st.text(max_size=12), st.integers(), st.none()), max_size=5)
    )
)
def test_any_words_are_scored_in_unit_range_or_refused(scorer, words):
    rows = np.eye(EMBED, dtype=np.float32)
    try:
        scores = scorer.scores(rows, words)
    except FacelexError:
        return
    assert scores.shape == (EMBED, len(parse_words(words)))
    assert ((scores >= 0) & (scores <= 1)).all()


def test_joined_features_are_the_mean_direction_of_both_views():
    own, mirrored = (np.float32([[3, 4], [1, 0]]) / np.float32([[5], [1]]), np.float32([[0.8, 0.6], [-1, 0]]))
    joined = join_features(own, mirrored)
    np.testing.assert_allclose(joined[0], np.sqrt([0.5, 0.5]), rtol=1e-6)
    np.testing.assert_array_equal(joined[1], [0, 0])  # opposite ones leave nothing
    assert joined.dtype == np.float32
