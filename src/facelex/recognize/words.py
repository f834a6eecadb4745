"""Any word or phrase against a face: the text side of the shared space, and the score people see."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError, shorten
from facelex.vocabulary import Vocabulary
from facelex.vocabulary.vocabulary import UnknownWordsError

MAX_FAULTS = 10
"""Phrases of one call whose faults are told, a line each."""

_normal_cdf = np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2.0)), otypes=[np.float32])


@dataclass(frozen=True)
class TextProjection:
    """The MLP that brings word vectors into the space of faces, with the reference faces' statistics."""

    text_center: NDArray[np.float32]
    """``(D,)``"""
    text_weight1: NDArray[np.float32]
    """``(H, D)``, as torch's ``Linear`` has it."""
    text_bias1: NDArray[np.float32]
    """``(H,)``"""
    text_weight2: NDArray[np.float32]
    """``(E, H)``"""
    text_bias2: NDArray[np.float32]
    """``(E,)``"""
    feature_mean: NDArray[np.float32]
    """Mean of the reference faces' features, ``(E,)``."""
    feature_cov: NDArray[np.float32]
    """Their covariance, ``(E, E)``."""

    def encode(self, word_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the unit-length text features ``(W, E)`` of word vectors ``(W, D)``."""
        hidden = (normalize(word_vectors) - self.text_center) @ self.text_weight1.T + self.text_bias1
        return normalize(np.maximum(hidden, 0.0) @ self.text_weight2.T + self.text_bias2)

    def scores(
        self, image_features: NDArray[np.float32], text_features: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Score each face against each word.

        The cosine ``s = <v, u>`` alone would favour the words that are near to every face; so it is
        standardised with the mean ``m`` and covariance ``C`` of the reference faces' features:
        ``z = (s - <m, u>) / sqrt(u' C u)``, ``score = Phi(z)``.

        Args:
            image_features: Unit-length face features ``v``, ``(N, E)``.
            text_features: Unit-length text features ``u``, ``(W, E)``.

        Returns:
            ``(N, W)`` in [0, 1]: the share of reference faces that the word fits less well than this face.
        """
        deviation = self._deviations(text_features)
        z = (image_features @ text_features.T - self.feature_mean @ text_features.T) / deviation
        return _normal_cdf(z) if z.size else z.astype(np.float32)

    def correlations(
        self, text_features: NDArray[np.float32], others: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Correlate the cosines of words with those of other words, over the reference faces.

        Args:
            text_features: ``u``, ``(W, E)``.
            others: ``u'``, ``(O, E)``.

        Returns:
            ``u' C u / sqrt(u' C u' u C u)``, ``(W, O)`` in [-1, 1].
        """
        together = text_features @ self.feature_cov @ others.T
        apart = self._deviations(text_features)[:, None] * self._deviations(others)
        return np.clip(together / apart, -1, 1).astype(np.float32)

    def _deviations(self, text_features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standard deviation of each word's cosine over the reference faces, ``(W,)``."""
        spread = np.einsum("we,ef,wf->w", text_features, self.feature_cov, text_features)
        return np.sqrt(np.maximum(spread, 1e-12))


def normalize(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale the last axis to unit length; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)


def join_features(own: NDArray[np.float32], mirrored: NDArray[np.float32]) -> NDArray[np.float32]:
    """Join the features of faces with those of their mirror images, both ``(N, E)``: the sums, normalised.

    Whatever is compared with a recogniser's features is to be formed like this.
    """
    return normalize(own + mirrored)


def parse_words(words: Iterable[str] | str | None) -> tuple[str, ...]:
    """Return the words and phrases asked for, spaces tidied, each once, in order.

    Args:
        words: ``"bored, proud, barely hidden anger"``, an iterable of such words, or None for none.

    Raises:
        FacelexError: If a word is not text or is empty.
    """
    if words is None:
        return ()
    if not isinstance(words, Iterable):
        raise FacelexError(
            f"Expected words such as 'bored, proud' or a list of them, but got {words!r} of type "
            f"{type(words).__name__}. Put them into a list."
        )
    listed = words.split(",") if isinstance(words, str) else list(words)
    wrong = [word for word in listed if not isinstance(word, str)]
    if wrong:
        raise FacelexError(f"Expected words as text, but got {wrong[0]!r} of type {type(wrong[0]).__name__}.")
    tidy = [" ".join(word.split()) for word in listed]
    if not tidy or not all(tidy):
        given = shorten(repr(words if isinstance(words, str) else listed))
        raise FacelexError(
            f"Expected words such as 'bored, proud, barely hidden anger', but got {given}, where one is "
            "empty. Remove the spare comma, or leave the words out."
        )
    return tuple(dict.fromkeys(tidy))


class WordScorer:
    """Scores words for faces, each phrase's text features computed once."""

    def __init__(self, projection: TextProjection, vocabulary: Vocabulary) -> None:
        """Join a projection with the vocabulary its word vectors come from.

        Raises:
            FacelexError: If their widths differ.
        """
        width = len(projection.text_center)
        if vocabulary.dim != width:
            raise FacelexError(
                f"Expected a vocabulary with vectors of {width} numbers, as the model was trained with, but "
                f"got {vocabulary.dim}. Give the vectors it was trained with."
            )
        self.projection = projection
        self.vocabulary = vocabulary
        self._features = lru_cache(maxsize=64)(self._encode)

    def _encode(self, words: tuple[str, ...]) -> NDArray[np.float32]:
        faults: list[FacelexError] = []
        unknown: list[str] = []
        vectors = []
        for word in words:
            try:
                vectors.append(self.vocabulary.phrase(word))
            except UnknownWordsError as error:
                unknown += error.words
            except FacelexError as error:
                faults.append(error)
        if unknown:
            faults.insert(0, UnknownWordsError(self.vocabulary, unknown))
        if len(faults) > MAX_FAULTS:
            faults[MAX_FAULTS:] = [FacelexError(f"And {len(faults) - MAX_FAULTS} more.")]
        if faults:
            raise FacelexError("\n".join(map(str, faults)))
        return self.projection.encode(np.stack(vectors))

    def text_features(self, words: Iterable[str] | str) -> NDArray[np.float32]:
        """Return the unit-length features ``(W, E)`` of words.

        Raises:
            FacelexError: If words have no vector; all of them are named.
        """
        return self._features(parse_words(words))

    def scores(self, image_features: NDArray[np.float32], words: Iterable[str] | str) -> NDArray[np.float32]:
        """Return scores ``(N, W)`` in [0, 1] of words for unit-length face features ``(N, E)``."""
        return self.projection.scores(image_features, self.text_features(words))


def create_scorer(
    arrays: Mapping[str, NDArray[np.float32]], trained_with: str, vocabulary: Vocabulary | None = None
) -> WordScorer:
    """Build a scorer from a model's arrays and its vocabulary, the packaged one by default.

    Args:
        arrays: What `TextProjection` consists of.
        trained_with: Name of the word vectors the model was trained with.
        vocabulary: Those vectors, under whatever name; None where they are the packaged ones, which are then
            moved towards their synonyms (`Vocabulary.retrofitted`). Given ones are taken as they are.

    Raises:
        FacelexError: If none is given but the packaged ones are others, or the widths differ.
    """
    if vocabulary is None:
        vocabulary = Vocabulary.packaged()
        if trained_with != vocabulary.name:
            raise FacelexError(
                f"Expected the word vectors {trained_with!r}, which the model was trained with, but only the "
                f"packaged {vocabulary.name!r} are here. Give their file: --vocabulary FILE, in Python "
                "Recognizer(..., vocabulary=Vocabulary.from_glove(FILE))."
            )
        vocabulary = vocabulary.retrofitted()
    return WordScorer(TextProjection(**arrays), vocabulary)
