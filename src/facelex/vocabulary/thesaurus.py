"""Words that dictionaries relate to a word, towards which its vector can be moved.

A word's vector says which words it occurs with, so "gleeful" lies by "maniacal", since both are said of
laughter. Dictionaries know better: WordNet has "jubilant", "joyful" and "elated" for it. The vector is moved
there in one step of retrofitting (Faruqui et al. 2015, section 2, https://aclanthology.org/N15-1184), where
each dictionary's words count by their mean direction and not by their number::

    moved(w) = normalize( v(w) + normalize( sum_r v(r) / sqrt(rank(r)) ) + 0.5 normalize( sum_m v(m) ) )

over the relatives r that WordNet has, the closest first, and the synonyms m of Moby's thesaurus.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError
from facelex.npz import read_npz
from facelex.vocabulary.packed import words_digest
from facelex.vocabulary.phrases import base_forms

PACKAGED = Path(__file__).parent.parent / "weights" / "thesaurus.npz"
"""The packaged thesaurus; ``docs/words.md`` says what is in it and how it was made."""

WORDNET_WEIGHT = 1.0
MOBY_WEIGHT = 0.5
"""Of each dictionary's mean direction, beside the word's own vector of length 1; chosen on PublicTest."""


class Related(NamedTuple):
    """What dictionaries relate to a word, as far as the thesaurus' words go."""

    wordnet: tuple[str, ...]
    """Synonyms, words of similar meaning, of the same stem and of wider meaning, the closest first."""
    moby: tuple[str, ...]
    """Synonyms, those in the middle of all that Moby lists first."""


class Lists(NamedTuple):
    """For each of N words some others, by their numbers."""

    starts: NDArray[np.int64]
    """Where each word's list begins, and where the last ends, ``(N + 1,)``."""
    numbers: NDArray[np.int32]
    """All lists, one after the other."""

    @staticmethod
    def of(lists: Sequence[Sequence[int]]) -> Lists:
        """Put lists together."""
        starts = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
        return Lists(starts, np.array([number for one in lists for number in one], np.int32))

    def __getitem__(self, word: int) -> NDArray[np.int32]:  # type: ignore[override]
        return self.numbers[self.starts[word] : self.starts[word + 1]]


class Thesaurus:
    """Related words of a word list.

    Args:
        words: The words, each once.
        wordnet: Relatives of each.
        moby: Synonyms of each.

    Example:
        >>> Thesaurus.packaged().related("gleeful").wordnet
        ('jubilant', 'joyous', 'joyful', 'elated')
    """

    def __init__(self, words: Sequence[str], wordnet: Lists, moby: Lists) -> None:
        self.words = words
        self._lists = (wordnet, moby)

    @staticmethod
    @cache
    def packaged() -> Thesaurus:
        """Return the thesaurus of the packaged vocabulary's words, read from disk on the first call.

        Raises:
            FacelexError: If its file is missing or damaged.
        """
        from facelex.vocabulary.vocabulary import Vocabulary

        words = Vocabulary.packaged().words
        return Thesaurus(words, *load_lists(PACKAGED, words))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def related(self, word: str) -> Related:
        """Return what is related to a word; its base form and what is related to that, if a dictionary has
        no other ("petrify" for "petrified"); nothing, if it has neither.
        """
        return Related(*(self._of_one(lists, word) for lists in self._lists))

    def _of_one(self, lists: Lists, word: str) -> tuple[str, ...]:
        for form in (word, *base_forms(word)):
            number = self._numbers.get(form)
            if number is not None and len(lists[number]):
                others = [self.words[other] for other in lists[number]]
                return tuple(other for other in (form, *others) if other != word)
        return ()


def load_lists(path: Path, words: Sequence[str]) -> tuple[Lists, Lists]:
    """Read the lists of both dictionaries.

    Args:
        path: What :func:`save_lists` wrote.
        words: The words that it was written for.

    Raises:
        FacelexError: If the file is missing, damaged, or was made for other words.
    """
    try:
        arrays = read_npz(path)
        if str(arrays["words_digest"]) != words_digest(words):
            raise ValueError("it was made for another vocabulary")
        lists = []
        for name in ("wordnet", "moby"):
            counts = arrays[f"{name}_counts"].astype(np.int64)
            numbers = arrays[f"{name}_bytes"].astype(np.int32)  # (3, M): the lowest byte of each first
            starts = np.concatenate([[0], np.cumsum(counts)])
            lists.append(Lists(starts, numbers[0] | numbers[1] << 8 | numbers[2] << 16))
            if len(counts) != len(words) or starts[-1] != numbers.shape[1]:
                raise ValueError("its lists are cut short")
        return lists[0], lists[1]
    except (OSError, KeyError, IndexError, ValueError) as error:
        raise FacelexError(
            f"Cannot read the thesaurus {path.name}: {error}. Install facelex again."
        ) from error


def fingerprint(wordnet: Lists, moby: Lists) -> str:
    """Return the SHA-256 over both dictionaries' lists: what the file says, whichever zlib packed it."""
    digest = hashlib.sha256()
    for lists in (wordnet, moby):
        digest.update(lists.starts.astype(np.int64).tobytes() + lists.numbers.astype(np.int32).tobytes())
    return digest.hexdigest()


def save_lists(path: Path, words: Sequence[str], wordnet: Lists, moby: Lists) -> None:
    """Write the lists of both dictionaries, beside their place first.

    Args:
        path: Where to.
        words: The words that the numbers mean.
        wordnet: Relatives of each word, at most 255.
        moby: Synonyms of each word, at most 255.
    """
    arrays: dict[str, NDArray[np.generic]] = {"words_digest": np.asarray(words_digest(words))}
    for name, lists in (("wordnet", wordnet), ("moby", moby)):
        numbers = lists.numbers
        arrays[f"{name}_counts"] = np.diff(lists.starts).astype(np.uint8)
        arrays[f"{name}_bytes"] = np.stack([numbers >> shift & 255 for shift in (0, 8, 16)]).astype(np.uint8)
    beside = path.with_name(f"{path.name}.partial.npz")
    np.savez_compressed(beside, **arrays)  # type: ignore[arg-type]
    beside.replace(path)
