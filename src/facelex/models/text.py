"""Word vectors of the classes: GloVe, means over synonyms, and the controls a claim about words needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from facelex.emotions import EMOTION_WORDS, canonical_name
from facelex.errors import FacelexError
from facelex.vocabulary import Vocabulary
from facelex.word_controls import class_word_vectors, label_word_vectors


def create_word_vectors(
    kind: str, vocabulary: Vocabulary, words_by_class: Mapping[str, Sequence[str]], *, seed: int = 0
) -> Tensor:
    """Build the frozen vectors that stand for the classes.

    Args:
        kind: ``glove`` (each class's first word), ``synonyms`` (all its words) or a control with the same
            shape and no meaning: ``random``, ``orthogonal``, ``shuffled``, ``one_hot``.
        vocabulary: Where words have their vectors.
        words_by_class: Words of each class, in label order.
        seed: Seed of the controls' random numbers.

    Returns:
        Vectors ``(K, W, D)`` float32 of unit length (``shuffled``: means of such). ``W = 1`` except for
        ``synonyms``, where rows of zeros fill up classes with fewer words.

    Raises:
        FacelexError: If the kind or a word is unknown or a class has no words; all such words are named.
    """
    if kind == "synonyms":
        class_word_vectors(vocabulary, words_by_class)  # names every fault at once
        vectors = [
            F.normalize(torch.stack([torch.from_numpy(vocabulary.phrase(word)) for word in words]).float())
            for words in words_by_class.values()
        ]
        return pad_sequence(vectors, batch_first=True)
    vectors_2d = label_word_vectors(kind, vocabulary, words_by_class, vocabulary.dim, seed)
    return torch.from_numpy(vectors_2d).float().unsqueeze(1)


def class_words(
    class_names: Sequence[str], given: Mapping[str, Sequence[str]] | None = None
) -> dict[str, tuple[str, ...]]:
    """Words of each class in label order: the given ones, else the packaged ones, else the class name itself.

    The packaged ones are found in any spelling of an emotion ("Happiness", "anger"). Where classes tell two
    spellings of one apart ("calm" and "neutral"), only that of `EMOTIONS` has them.

    Raises:
        FacelexError: If words are given for something that is no class.
    """
    given = given or {}
    unknown = sorted(set(given) - set(class_names))
    if unknown:
        raise FacelexError(
            f"Words are given for {', '.join(map(repr, unknown))}, but the classes are "
            f"{', '.join(class_names)}."
        )
    meanings = [canonical_name(name) for name in class_names]
    keys = [key if meanings.count(key) == 1 else name for name, key in zip(class_names, meanings)]
    return {
        name: tuple(given.get(name, EMOTION_WORDS.get(key, (name,)))) for name, key in zip(class_names, keys)
    }


def load_vocabulary(name: str) -> Vocabulary:
    """The packaged vocabulary, or a GloVe text file by path."""
    return Vocabulary.packaged() if name == "packaged" else Vocabulary.from_glove(Path(name))


def asked_vocabulary(name: str) -> Vocabulary:
    """The same as the recogniser asks faces for its words: the packaged ones moved towards their synonyms."""
    vocabulary = load_vocabulary(name)
    return vocabulary.retrofitted() if name == "packaged" else vocabulary
