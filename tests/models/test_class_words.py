"""The vectors that stand for classes, as the models want them."""

from __future__ import annotations

import pytest
import torch

from facelex.errors import FacelexError
from facelex.models.text import class_words, create_word_vectors
from facelex.vocabulary import Vocabulary
from facelex.word_controls import KINDS

WORDS = {"happy": ("joy", "delighted", "glad"), "sad": ("sorrow",)}


def test_classes_with_fewer_synonyms_repeat_theirs() -> None:
    vectors = create_word_vectors("synonyms", Vocabulary.packaged(), WORDS)
    assert vectors.shape == (2, 3, 100)
    assert torch.equal(vectors[1, 0], vectors[1, 2])
    assert not torch.equal(vectors[0, 0], vectors[0, 1])


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
