"""What a word will look for in faces, told from the model alone: which emotions' words it goes with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from facelex.errors import FacelexError
from facelex.recognize.words import WordScorer, parse_words
from facelex.word_controls import class_word_vectors


@dataclass(frozen=True)
class WordMeaning:
    """How a model understands a word or phrase.

    Attributes:
        word: As it was asked for.
        read_as: The words of the vocabulary that its vector is the mean of.
        related: Words of the dictionaries that these were moved towards, the closest first.
        likeness: Each class to the correlation, over the reference faces, of the word's scores with those of
            the class's own words, in [-1, 1]: 1 orders faces alike, -1 the other way round.
    """

    word: str
    read_as: tuple[str, ...]
    related: tuple[str, ...]
    likeness: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, under the names of the fields."""
        likeness = {name: round(value, 4) for name, value in self.likeness.items()}
        return {
            "word": self.word,
            "read_as": list(self.read_as),
            "related": list(self.related),
            "likeness": likeness,
        }


def describe_words(
    scorer: WordScorer, words_by_class: Mapping[str, Sequence[str]], words: Iterable[str] | str
) -> list[WordMeaning]:
    """Say which of the classes each word goes with.

    Args:
        scorer: A model's text side.
        words_by_class: The words that each class was trained with.
        words: What is asked for.

    Returns:
        One for each word, in order.

    Raises:
        FacelexError: If a word is not known, or none of the classes' words are.
    """
    asked = parse_words(words)
    features = scorer.text_features(asked)
    names, vectors = [], []
    for name, own in words_by_class.items():
        with suppress(FacelexError):  # of a class whose words these vectors lack nothing can be said
            vectors.append(class_word_vectors(scorer.vocabulary, {name: own}))
            names.append(name)
    if not names:
        raise FacelexError(
            f"Expected word vectors that hold the words of the model's classes, but {scorer.vocabulary.name} "
            "has none of them. Give those that it was trained with."
        )
    projection = scorer.projection
    likeness = projection.correlations(features, projection.encode(np.concatenate(vectors)))
    meanings = []
    for word, row in zip(asked, likeness):
        read_as = tuple(scorer.vocabulary.phrase_words(word))
        related = [other for one in read_as for others in scorer.vocabulary.related(one) for other in others]
        meanings.append(
            WordMeaning(word, read_as, tuple(dict.fromkeys(related)), dict(zip(names, map(float, row))))
        )
    return meanings
