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
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError
from facelex.npz import read_npz
from facelex.vocabulary.packed import words_digest

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


@dataclass(frozen=True, eq=False)
class Lists:
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

    def __getitem__(self, word: int) -> NDArray[np.int32]:
        return self.numbers[self.starts[word] : self.starts[word + 1]]


class Thesaurus:
    """Related words of a word list.

    Args:
        words: The words, each once, N of them.
        wordnet: Relatives of each.
        moby: Synonyms of each.
        bases: The number of each word's base form, which stands in where a dictionary lacks the word itself;
            -1 for none, ``(N,)``.

    Example:
        >>> Thesaurus.packaged().related("gleeful").wordnet
        ('jubilant', 'joyous', 'joyful', 'elated')
    """

    def __init__(self, words: Sequence[str], wordnet: Lists, moby: Lists, bases: NDArray[np.integer]) -> None:
        self.words = words
        self.lists = (wordnet, moby)
        self.bases = bases

    @staticmethod
    @cache
    def packaged() -> Thesaurus:
        """Return the thesaurus of the packaged vocabulary's words, read from disk on the first call.

        Raises:
            FacelexError: If its file is missing or damaged.
        """
        from facelex.vocabulary.vocabulary import Vocabulary

        words = Vocabulary.packaged().words
        return load_thesaurus(PACKAGED, words)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 over lists and base forms: what a file says, whichever zlib packed it."""
        digest = hashlib.sha256()
        for lists in self.lists:
            digest.update(lists.starts.astype(np.int64).tobytes() + lists.numbers.astype(np.int32).tobytes())
        digest.update(self.bases.astype(np.int32).tobytes())
        return digest.hexdigest()

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def related(self, word: str) -> Related:
        """Return what is related to a word: nothing, where it is not known.

        Of a dictionary that has the word's base form alone ("soothe" for "soothed") it is that, and what is
        related to it.
        """
        number = self._numbers.get(word)
        if number is None:
            return Related((), ())
        return Related(*(self._of_one(lists, number) for lists in self.lists))

    def _of_one(self, lists: Lists, number: int) -> tuple[str, ...]:
        base = int(self.bases[number])
        others = lists[number].tolist()
        if not others and base >= 0 and len(lists[base]):
            others = [base, *lists[base].tolist()]
        return tuple(self.words[other] for other in others if other != number)


def load_thesaurus(path: Path, words: Sequence[str]) -> Thesaurus:
    """Read a thesaurus.

    Args:
        path: What :func:`save_thesaurus` wrote.
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
            counts, numbers = arrays[f"{name}_counts"], _joined(arrays[name])
            starts = np.concatenate([[0], np.cumsum(counts.astype(np.int64))])
            if len(counts) != len(words) or starts[-1] != len(numbers):
                raise ValueError("its lists are cut short")
            lists.append(Lists(starts, numbers))
        bases = np.full(len(words), -1, np.int32)
        bases[_joined(arrays["inflected"])] = _joined(arrays["bases"])
        return Thesaurus(words, lists[0], lists[1], bases)
    except (OSError, KeyError, IndexError, ValueError) as error:
        raise FacelexError(
            f"Cannot read the thesaurus {path.name}: {error}. Install facelex again."
        ) from error


def _joined(planes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Numbers ``(M,)`` from their bytes ``(3, M)``, the lowest of each first."""
    low, middle, high = planes.astype(np.int32)
    return low | middle << 8 | high << 16


def _parted(numbers: NDArray[np.integer]) -> NDArray[np.uint8]:
    """The bytes of numbers, apart: those that are nearly all zero then take no room."""
    return np.stack([numbers >> shift & 255 for shift in (0, 8, 16)]).astype(np.uint8)


def save_thesaurus(path: Path, thesaurus: Thesaurus) -> None:
    """Write a thesaurus, beside its place first; of each word at most 255 others in each list."""
    arrays: dict[str, NDArray[Any]] = {"words_digest": np.asarray(words_digest(thesaurus.words))}
    for name, lists in zip(("wordnet", "moby"), thesaurus.lists):
        arrays[f"{name}_counts"] = np.diff(lists.starts).astype(np.uint8)
        arrays[name] = _parted(lists.numbers)
    inflected = np.flatnonzero(thesaurus.bases >= 0)
    arrays |= {"inflected": _parted(inflected), "bases": _parted(thesaurus.bases[inflected])}
    beside = path.with_name(f"{path.name}.partial.npz")
    np.savez_compressed(beside, **arrays)  # type: ignore[arg-type]
    beside.replace(path)
