"""Class vectors from words, and the controls that share their shape but not their meaning."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facelex import Vocabulary
from facelex.emotions import EMOTION_WORDS
from facelex.errors import FacelexError
from facelex.word_controls import KINDS, class_word_vectors, label_word_vectors, orthogonal_vectors, shuffled

SEVEN = len(EMOTION_WORDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_one_float32_vector_a_class_and_repeats_with_its_seed(kind: str) -> None:
    first, again = (
        label_word_vectors(kind, Vocabulary.packaged(), EMOTION_WORDS, 100, seed=3) for _ in range(2)
    )
    assert first.shape == (SEVEN, 100)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert (np.linalg.norm(first, axis=1) > 0.3).all()


@pytest.mark.parametrize("kind", ["random", "orthogonal", "shuffled"])
def test_controls_differ_between_seeds(kind: str) -> None:
    one, other = (
        label_word_vectors(kind, Vocabulary.packaged(), EMOTION_WORDS, seed=seed) for seed in (1, 2)
    )
    assert not np.array_equal(one, other)


def test_glove_is_the_first_word_and_synonyms_the_mean() -> None:
    vocabulary = Vocabulary.packaged()
    words = {"happy": ["joy", "happy"], "sad": ["grief"]}
    joy, happy, grief = map(vocabulary.vector, ("joy", "happy", "grief"))
    np.testing.assert_allclose(label_word_vectors("glove", vocabulary, words), [joy, grief], atol=1e-6)
    np.testing.assert_allclose(class_word_vectors(vocabulary, words), [(joy + happy) / 2, grief], atol=1e-6)


def test_phrase_among_the_words_counts_as_one_word_of_unit_length() -> None:
    vocabulary = Vocabulary.packaged()
    (row,) = class_word_vectors(vocabulary, {"happy": ["bright smile"]})
    phrase = vocabulary.phrase("bright smile")
    np.testing.assert_allclose(row, phrase / np.linalg.norm(phrase), atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_shuffled_keeps_every_vector_and_leaves_none_in_place(seed: int, count: int) -> None:
    rows = np.arange(count, dtype=np.float32)[:, None]
    order = shuffled(rows, seed)[:, 0]
    assert sorted(order) == list(range(count))
    assert not (order == np.arange(count)).any()


@given(st.integers(0, 2**32 - 1))
def test_orthogonal_vectors_are_orthonormal(seed: int) -> None:
    rows = orthogonal_vectors(7, 20, seed)
    np.testing.assert_allclose(rows @ rows.T, np.eye(7), atol=1e-5)


def test_controls_without_words_need_no_vocabulary_and_take_any_width() -> None:
    assert label_word_vectors("one_hot", None, EMOTION_WORDS, 7).tolist() == np.eye(7).tolist()
    assert label_word_vectors("random", None, EMOTION_WORDS, 31).shape == (SEVEN, 31)


def test_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(FacelexError, match=r"Unknown kind .* 'shufled'\. Did you mean 'shuffled'"):
        label_word_vectors("shufled", None, EMOTION_WORDS, 7)


@pytest.mark.parametrize(
    ("kind", "dim", "message"),
    [
        ("glove", 50, "the vocabulary's 100 dimensions, but got dim=50"),
        ("one_hot", 6, "at least 7 dimensions for 7 one_hot vectors, but got dim=6"),
        ("orthogonal", 6, "at least 7 dimensions"),
    ],
)
def test_width_that_does_not_fit_is_refused(kind: str, dim: int, message: str) -> None:
    with pytest.raises(FacelexError, match=message):
        label_word_vectors(kind, Vocabulary.packaged(), EMOTION_WORDS, dim)


def test_missing_vocabulary_or_width_is_named() -> None:
    with pytest.raises(FacelexError, match="'synonyms' need a vocabulary"):
        label_word_vectors("synonyms", None, EMOTION_WORDS)
    with pytest.raises(FacelexError, match="'random' need dim"):
        label_word_vectors("random", None, EMOTION_WORDS)


def test_all_faults_of_a_word_list_are_reported_together() -> None:
    words = {"happy": ["joyy"], "sad": [], "fear": "afraid", "angry": ["furiouss", "rage"]}
    with pytest.raises(FacelexError) as caught:
        class_word_vectors(Vocabulary.packaged(), words)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines if ":" in line and "No vector" in line] == ["happy", "angry"]
    assert "class 'sad', but got []" in str(caught.value)
    assert "class 'fear', but got 'afraid'" in str(caught.value)
