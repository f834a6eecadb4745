"""The vectors that stand for classes, as the models want them."""

from __future__ import annotations

import pytest
import torch

from facelex.emotions import EMOTION_WORDS
from facelex.errors import FacelexError
from facelex.models.dual_encoder import DualEncoder
from facelex.models.registry import create_image_encoder
from facelex.models.text import class_words, create_word_vectors
from facelex.vocabulary import Vocabulary
from facelex.word_controls import KINDS, class_word_vectors

WORDS = {"happy": ("joy", "delighted", "glad"), "sad": ("sorrow",)}


def test_zeros_fill_up_classes_with_fewer_synonyms() -> None:
    vectors = create_word_vectors("synonyms", Vocabulary.packaged(), WORDS)
    assert vectors.shape == (2, 3, 100)
    lengths = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(vectors.norm(dim=-1), lengths)


def test_the_models_class_vectors_are_the_means_that_everything_else_works_with() -> None:
    words = {"happy": ("joy", "quiet delight", "glad"), "sad": ("deep sorrow", "grief")}
    vectors = create_word_vectors("synonyms", Vocabulary.packaged(), words)
    model = DualEncoder(create_image_encoder("tiny_cnn"), 2, vectors)
    expected = torch.from_numpy(class_word_vectors(Vocabulary.packaged(), words))
    torch.testing.assert_close(model.class_word_vectors(), expected)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"synonyms"}))
def test_every_other_kind_gives_one_unit_vector_a_class(kind: str) -> None:
    vectors = create_word_vectors(kind, Vocabulary.packaged(), WORDS)
    assert vectors.shape == (2, 1, 100)
    if kind != "shuffled":  # a mean of unit vectors
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2, 1))


def test_all_unknown_words_and_empty_classes_are_named_together() -> None:
    words = {"happy": ("joyfull", "glad", "delihgted"), "sad": ()}
    with pytest.raises(FacelexError) as caught:
        create_word_vectors("synonyms", Vocabulary.packaged(), words)
    message = str(caught.value)
    assert "'joyfull' (nearest: 'joyfully', 'joyful')" in message
    assert "'delihgted'" in message
    assert "Expected a list of words for the class 'sad', but got ()" in message


def test_words_for_what_is_no_class_are_refused() -> None:
    with pytest.raises(FacelexError, match="'hapy', but the classes are happy, sad"):
        class_words(("happy", "sad"), {"hapy": ("joy",)})


def test_an_emotion_has_its_packaged_words_in_any_spelling() -> None:
    assert class_words(("Anger", "Happiness", "Bored"), {"Anger": ("rage",)}) == {
        "Anger": ("rage",),
        "Happiness": EMOTION_WORDS["happy"],
        "Bored": ("Bored",),
    }


def test_spellings_that_the_classes_tell_apart_keep_their_own_words() -> None:
    assert class_words(("calm", "neutral", "Joy", "happiness")) == {
        "calm": ("calm",),
        "neutral": EMOTION_WORDS["neutral"],
        "Joy": ("Joy",),
        "happiness": ("happiness",),
    }
