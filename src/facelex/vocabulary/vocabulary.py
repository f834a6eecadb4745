"""A word list with one vector a word, looked up by word, by phrase or by nearness."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from copy import copy
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError, shorten
from facelex.vocabulary import phrases
from facelex.vocabulary.thesaurus import MOBY_WEIGHT, WORDNET_WEIGHT, Related, Thesaurus

Vector = NDArray[np.float32]

PACKAGED = Path(__file__).parent.parent / "weights" / "glove-6b-100d.npz"
"""The packaged vocabulary; ``docs/words.md`` says what is in it and how it was made."""


MAX_CORRECTED = 8
"""Spellings are suggested for this many unknown words of a message; each search takes about 0.1 s."""
_PART = 4096
"""Words that are moved towards their synonyms at once."""
MAX_NAMED = 10
"""Unknown words that a message names; of more it says how many."""


class UnknownWordsError(FacelexError):
    """Words have no vector; the nearest known spellings are looked for when the message is read."""

    def __init__(self, vocabulary: Vocabulary, words: Sequence[str]) -> None:
        super().__init__(vocabulary, words)
        self.vocabulary = vocabulary
        self.words = tuple(dict.fromkeys(words))

    def __str__(self) -> str:
        named = []
        for i, word in enumerate(self.words[:MAX_NAMED]):
            near = nearest_spellings(phrases.fold(word), self.vocabulary.words) if i < MAX_CORRECTED else []
            hint = f" (nearest: {', '.join(map(repr, near))})" if near else ""
            named.append(f"{shorten(word)!r}{hint}")
        more = len(self.words) - MAX_NAMED
        count = "a word" if len(self.words) == 1 else f"{len(self.words)} words"
        return (
            f"No vector in {self.vocabulary.name} for {count}: {', '.join(named)}"
            f"{f' and {more} more' if more > 0 else ''}. Correct the spelling or use other words."
        )


class Vocabulary:
    """Words and their vectors, in order of how often the words are used.

    Args:
        words: The words, most frequent first; each once.
        vectors: Their vectors, ``(N, D)``, of any number type and length; only directions are kept.
        name: What the vectors are, for example ``"glove.6B.100d"``; a trained model remembers it.

    Example:
        >>> vocabulary = Vocabulary.packaged()
        >>> "wistful" in vocabulary, vocabulary.dim
        (True, 100)
        >>> vocabulary.phrase("barely hidden anger").shape
        (100,)
    """

    def __init__(self, words: Sequence[str], vectors: NDArray[np.generic], name: str) -> None:
        if vectors.ndim != 2 or len(vectors) != len(words):
            raise FacelexError(
                f"Expected one vector for each of {len(words)} words, an array of shape ({len(words)}, D), "
                f"but got one of shape {vectors.shape}."
            )
        self.words = tuple(words)
        self.name = name
        self._rows = vectors  # int8 codes where packaged: widened row by row, or at once by `vectors`
        self._thesaurus: Thesaurus | None = None
        self._index = {word: i for i, word in enumerate(self.words)}
        if len(self._index) < len(self.words):
            raise FacelexError("Expected each word once, but some come twice. Keep the first vector of each.")
        for i, word in enumerate(self.words):
            if not (word.isascii() and word.islower()):  # "Happy" is found as "happy" too, if that is no word
                folded = phrases.fold(word)
                if folded:
                    self._index.setdefault(folded, i)

    @staticmethod
    @cache
    def packaged() -> Vocabulary:
        """Return the vocabulary that comes with facelex, read from disk on the first call."""
        from facelex.vocabulary.packed import load_packed

        return Vocabulary(*load_packed(PACKAGED))

    @staticmethod
    def from_glove(path: str | Path, limit: int | None = None) -> Vocabulary:
        """Read a GloVe text file; see :func:`facelex.vocabulary.glove.read_glove` for what it accepts.

        Args:
            path: A text file, plain or inside .zip, .xz or .gz.
            limit: Read only this many words, the most frequent ones.

        Raises:
            FacelexError: If the file is missing, cut short, or not in GloVe's format; the line is named.
        """
        from facelex.vocabulary.glove import read_glove

        return Vocabulary(*read_glove(Path(path), limit))

    def retrofitted(self, thesaurus: Thesaurus | None = None) -> Vocabulary:
        """Return the same words with each one's vector moved towards those of its synonyms.

        That is how the recogniser asks faces for words: ``facelex.vocabulary.thesaurus`` says why and how,
        ``docs/open-vocabulary.md`` what it gains. Words without synonyms keep their vectors.

        Args:
            thesaurus: Of the language of the words; the packaged one, which is English, by default.

        Example:
            >>> plain = Vocabulary.packaged()
            >>> moved = plain.retrofitted()
            >>> plain.nearest("gleeful", 2)[1][0], moved.nearest("gleeful", 2)[1][0]
            ('maniacal', 'joyful')
        """
        moved = copy(self)
        vars(moved).pop("vectors", None)
        moved._thesaurus = thesaurus or Thesaurus.packaged()
        return moved

    def related(self, word: str) -> Related:
        """Return the words that one word is moved towards: none, unless the vocabulary is retrofitted."""
        if self._thesaurus is None:
            return Related((), ())
        found = self._thesaurus.related(phrases.fold(word))
        return Related(*(tuple(other for other in others if other in self._index) for others in found))

    @property
    def is_retrofitted(self) -> bool:
        """Whether words are moved towards their synonyms."""
        return self._thesaurus is not None

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._rows.shape[1])

    @cached_property
    def vectors(self) -> Vector:
        """All vectors at unit length, ``(N, D)`` float32, in the order of ``words``."""
        if self._thesaurus is None:
            return _unit_rows(self._rows)
        parts = range(0, len(self.words), _PART)
        return np.concatenate([self._unit(self.words[start : start + _PART]) for start in parts])

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and (word in self._index or phrases.fold(word) in self._index)

    def __repr__(self) -> str:
        return f"Vocabulary({self.name!r}, {len(self)} words of {self.dim} dimensions)"

    def vector(self, word: str) -> Vector:
        """Return the vector of one word, ``(D,)`` at unit length; case is ignored unless words differ in it.

        Raises:
            FacelexError: If the word is unknown; the nearest known spellings are named.
        """
        key = word if word in self._index else phrases.fold(word)
        if key not in self._index:
            raise UnknownWordsError(self, [word])
        return self._unit([key])[0]

    def phrase(self, text: str) -> Vector:
        """Return the vector of a word or phrase, ``(D,)``: the mean of the unit vectors of its words.

        Stop words and degree words ("a", "the", "very", "barely") say nothing about a face and are left out,
        unless there is nothing else. A mean has no word order and cannot negate, so "not happy" is refused
        rather than scored as "happy".

        Raises:
            FacelexError: If the text has no word, negates, or has unknown words; all of them are named.
        """
        return self._unit(self.phrase_words(text)).mean(axis=0)

    def phrase_words(self, text: str) -> list[str]:
        """Return the words of the vocabulary that :meth:`phrase` would average, in order.

        Example:
            >>> Vocabulary.packaged().phrase_words("A barely hidden, bitter-sweet smile!")
            ['hidden', 'bittersweet', 'smile']

        Raises:
            FacelexError: As :meth:`phrase`.
        """
        tokens = phrases.tokenize(text) if isinstance(text, str) else []
        if not tokens:
            came = shorten(text) if isinstance(text, str) else text
            raise FacelexError(f"Expected a word or phrase such as 'barely hidden anger', but got {came!r}.")
        found: list[str] = []
        unknown: list[str] = []
        for token in phrases.content_words(tokens, self._index, text):
            words = phrases.known_forms(token, self._index)
            found += [self.words[self._index[form]] for form in words]
            if not words:
                unknown.append(token)
        if unknown:
            raise UnknownWordsError(self, unknown)
        return found

    def nearest(self, query: str | NDArray[np.floating], k: int = 10) -> list[tuple[str, float]]:
        """Return the ``k`` words nearest to a word, phrase or vector, with their cosines, nearest first.

        Args:
            query: A word or phrase, whose own words are left out of the answer, or a vector ``(D,)``.
            k: How many.

        Raises:
            FacelexError: If a word is unknown, the vector has another length or ``k`` is no whole number.
        """
        if not isinstance(k, (int, np.integer)):
            raise FacelexError(f"Expected a whole number of words, such as k=10, but got {k!r}.")
        own: list[str] = []
        if isinstance(query, str):
            own = self.phrase_words(query)
            vector = self._unit(own).mean(axis=0)
        else:
            try:
                vector = np.asarray(query, dtype=np.float32)
            except (TypeError, ValueError):
                raise FacelexError(
                    f"Expected a word, a phrase or one vector, but got {type(query).__name__}. Ask for "
                    "several words one by one."
                ) from None
        if vector.shape != (self.dim,):
            raise FacelexError(f"Expected a vector of shape ({self.dim},), but got {vector.shape}.")
        norm = float(np.linalg.norm(vector))
        if not 0 < norm < np.inf:
            raise FacelexError(f"Expected a vector with a direction, but its length is {norm}.")
        cosines = self.vectors @ (vector / norm)
        cosines[[self._index[word] for word in own]] = -np.inf
        best = np.argsort(-cosines, kind="stable")[: max(0, min(k, len(self) - len(set(own))))]
        return [(self.words[i], float(cosines[i])) for i in best]

    def _unit(self, words: Sequence[str]) -> Vector:
        """Unit vectors of words ``(W, D)``, moved towards their synonyms if the vocabulary is retrofitted."""
        vectors = _unit_rows(self._rows[[self._index[word] for word in words]])
        if self._thesaurus is None or not words:
            return vectors
        relatives, synonyms = zip(*map(self.related, words))
        vectors += WORDNET_WEIGHT * self._directions(relatives, closest_first=True)
        vectors += MOBY_WEIGHT * self._directions(synonyms)
        return _unit_length(vectors)

    def _directions(self, lists: Sequence[Sequence[str]], closest_first: bool = False) -> Vector:
        """Mean direction of each list's words ``(W, D)``; zero where a list is empty or has none."""
        means = np.zeros((len(lists), self.dim), np.float32)
        counts = np.array([len(one) for one in lists])
        if counts.any():
            rows = [self._index[word] for one in lists for word in one]
            vectors = _unit_length(self._rows[rows].astype(np.float32))
            if closest_first:
                ranks = np.concatenate([np.arange(1, count + 1) for count in counts])
                vectors /= np.sqrt(ranks, dtype=np.float32)[:, None]
            starts = np.cumsum(counts) - counts
            means[counts > 0] = np.add.reduceat(vectors, starts[counts > 0])
        return _unit_length(means)


def nearest_spellings(word: str, words: Iterable[str], k: int = 3) -> list[str]:
    """Return up to ``k`` of ``words`` that are spelled most like ``word``; of equals, those that come first.

    Likeness is ``difflib``'s ratio, tried only on words of about the same length that share letter pairs,
    which keeps a search of a hundred thousand words to a fraction of a second.
    """
    pairs = _letter_pairs(word)
    matcher = difflib.SequenceMatcher(b=word, autojunk=False)
    scored: list[tuple[float, int, str]] = []
    for i, known in enumerate(words):
        if abs(len(known) - len(word)) > 2 or 3 * len(pairs & _letter_pairs(known)) < len(pairs):
            continue
        matcher.set_seq1(known)
        ratio = matcher.ratio()
        if ratio >= 0.7:
            scored.append((-ratio, i, known))
    return [known for _, _, known in sorted(scored)[:k]]


def _letter_pairs(word: str) -> set[str]:
    return {word[i : i + 2] for i in range(len(word) - 1)} | {word[:1], word[-1:]}


def _unit_length(vectors: Vector) -> Vector:
    """Scale rows to unit length; zero, where others cancel each other out, stays zero."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return vectors / np.maximum(norms, 1e-12)[:, None]


def _unit_rows(rows: NDArray[np.generic]) -> Vector:
    vectors = rows.astype(np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    if not norms.all():
        raise FacelexError(f"Expected vectors with a direction, but row {int(norms.argmin())} is all zeros.")
    vectors /= norms[:, None]
    return vectors
