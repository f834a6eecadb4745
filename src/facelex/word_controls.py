"""One vector for each class: from its words, or from a control without their meaning.

Whether words help can only be said against vectors of the same shape that mean nothing: random, orthogonal,
shuffled (the true vectors, each given to another class) and one-hot ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError, unknown_name
from facelex.vocabulary import Vocabulary

WordsByClass = Mapping[str, Sequence[str]]
Vectors = NDArray[np.float32]


def label_word_vectors(
    kind: str,
    vocabulary: Vocabulary | None,
    words_by_class: WordsByClass,
    dim: int | None = None,
    seed: int = 0,
) -> Vectors:
    """Build one word vector for each class.

    Args:
        kind: ``glove`` (the class's first word), ``synonyms`` (the mean of all its words), or a control:
            ``random``, ``orthogonal``, ``one_hot``, ``shuffled`` (``synonyms``, each vector given to another
            class) and ``shuffled_glove`` (the same of ``glove``).
        vocabulary: Source of the vectors; the controls ``random``, ``orthogonal`` and ``one_hot`` need none.
        words_by_class: Words or phrases of each class, in label order.
        dim: Length of the vectors; by default, and always for vectors from words, the vocabulary's.
        seed: Seed of the controls' randomness.

    Returns:
        Vectors in label order, ``(K, D)`` float32, of unit length or the mean of unit vectors.

    Raises:
        FacelexError: If the kind or a word is unknown, or ``dim`` does not fit.
    """
    if kind not in KINDS:
        raise unknown_name("kind of word vectors", kind, KINDS)
    if kind in _FROM_WORDS:
        if vocabulary is None:
            raise FacelexError(f"Word vectors of kind {kind!r} need a vocabulary, but got none.")
        if dim not in (None, vocabulary.dim):
            raise FacelexError(
                f"Expected the vocabulary's {vocabulary.dim} dimensions, but got dim={dim}. Leave dim out."
            )
        return _FROM_WORDS[kind](vocabulary, words_by_class, seed)
    if dim is None:
        if vocabulary is None:
            raise FacelexError(f"Word vectors of kind {kind!r} need dim or a vocabulary, but got neither.")
        dim = vocabulary.dim
    return _WITHOUT_WORDS[kind](len(words_by_class), dim, seed)


def class_word_vectors(vocabulary: Vocabulary, words_by_class: WordsByClass) -> Vectors:
    """Return the mean of the unit vectors of each class's words, ``(K, D)``.

    A phrase among the words counts as one word, at unit length.

    Raises:
        FacelexError: If a class has no words, or words are unknown; every fault is named, one a line.
    """
    rows: list[Vectors] = []
    faults: list[str] = []
    for label, words in words_by_class.items():
        if isinstance(words, str) or not words:
            faults.append(f"Expected a list of words for the class {label!r}, but got {words!r}.")
            continue
        vectors = []
        for word in words:
            try:
                vectors.append(_unit(vocabulary.phrase(word)))
            except FacelexError as error:
                faults.append(f"{label}: {error}")
        if vectors:
            rows.append(np.mean(vectors, axis=0))
    if faults:
        raise FacelexError("\n".join(faults))
    return np.stack(rows).astype(np.float32)


def random_vectors(num_classes: int, dim: int, seed: int) -> Vectors:
    """Return random directions of unit length, ``(K, D)``: Gaussian numbers, normalised."""
    return _unit(np.random.default_rng(seed).standard_normal((num_classes, dim)))


def orthogonal_vectors(num_classes: int, dim: int, seed: int) -> Vectors:
    """Return random directions at right angles to each other, ``(K, D)`` of unit length.

    Raises:
        FacelexError: If there are more classes than dimensions.
    """
    _check_room(num_classes, dim, "orthogonal")
    basis, triangle = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, num_classes)))
    return (basis * np.sign(np.diag(triangle))).T.astype(np.float32)  # signs: uniform over rotations


def one_hot(num_classes: int, dim: int) -> Vectors:
    """Return the first ``K`` unit vectors of ``D`` dimensions, ``(K, D)``.

    Raises:
        FacelexError: If there are more classes than dimensions.
    """
    _check_room(num_classes, dim, "one_hot")
    return np.eye(num_classes, dim, dtype=np.float32)


def shuffled(vectors: Vectors, seed: int) -> Vectors:
    """Give every class another class's vector, ``(K, D)``: a random derangement of the rows.

    Raises:
        FacelexError: If there is only one class.
    """
    count = len(vectors)
    if count < 2:
        raise FacelexError("Expected two classes or more to shuffle, but got one.")
    rng = np.random.default_rng(seed)
    while True:  # a permutation is a derangement with probability 1/e
        order = rng.permutation(count)
        if not (order == np.arange(count)).any():
            return vectors[order]


def _first_words(vocabulary: Vocabulary, words_by_class: WordsByClass) -> Vectors:
    return class_word_vectors(vocabulary, {label: words[:1] for label, words in words_by_class.items()})


def _unit(vectors: NDArray[np.floating]) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def _check_room(num_classes: int, dim: int, kind: str) -> None:
    if num_classes > dim:
        raise FacelexError(
            f"Expected at least {num_classes} dimensions for {num_classes} {kind} vectors, but got dim={dim}."
        )


_FROM_WORDS: dict[str, Callable[[Vocabulary, WordsByClass, int], Vectors]] = {
    "glove": lambda vocabulary, words, seed: _first_words(vocabulary, words),
    "synonyms": lambda vocabulary, words, seed: class_word_vectors(vocabulary, words),
    "shuffled": lambda vocabulary, words, seed: shuffled(class_word_vectors(vocabulary, words), seed),
    "shuffled_glove": lambda vocabulary, words, seed: shuffled(_first_words(vocabulary, words), seed),
}
_WITHOUT_WORDS: dict[str, Callable[[int, int, int], Vectors]] = {
    "random": random_vectors,
    "orthogonal": orthogonal_vectors,
    "one_hot": lambda num_classes, dim, seed: one_hot(num_classes, dim),
}
KINDS: tuple[str, ...] = (*_FROM_WORDS, *_WITHOUT_WORDS)
"""Names of the kinds of word vectors."""
