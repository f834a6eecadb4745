"""Build the packaged thesaurus from WordNet and Moby's thesaurus, and say how large it is.

    python tools/build_thesaurus.py WORDNET/dict moby/words.txt -o src/facelex/weights/thesaurus.npz

For every word of the packaged vocabulary: its relatives in WordNet, over all its senses, those of frequent
senses and of close relations first, and of the synonyms that Moby lists those nearest to the mean of all. A
word that one of them lacks has a base form, if there is one: of several ("hat" and "hate" for "hates") that
whose vector is nearest. ``docs/words.md`` names the files used and the fingerprint the command must print.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facelex.vocabulary import Vocabulary
from facelex.vocabulary.phrases import base_forms
from facelex.vocabulary.thesaurus import Lists, Thesaurus, load_thesaurus, save_thesaurus

MOST_RELATIVES = 12
MOST_SYNONYMS = 10
"""Of a word; four times as many changed nothing."""
FEWEST_SYNONYMS = 2

RELATIONS = {"&": 1.0, "+": 1.0, "@": 0.5, "^": 0.5}
"""WordNet's pointers that are followed, beside the words of the same sense (1.0): similar to, derivationally
related, hypernym, see also."""
_KINDS = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
"""Parts of speech by the number in a sense key; adjectives and their satellites are in one file."""


class Synset(NamedTuple):
    """A sense and the words that have it."""

    words: list[str]
    pointers: list[tuple[str, tuple[str, str], int, int]]
    """Relation, the other synset, and the words on both sides, counted from 1; 0 means all."""


class Sense(NamedTuple):
    """One of a word's senses."""

    synset: tuple[str, str]
    """Part of speech and place in its file."""
    count: int
    """How often it was met in WordNet's tagged texts."""


def read_wordnet(folder: Path) -> tuple[dict[tuple[str, str], Synset], dict[str, list[Sense]]]:
    """Read WordNet's database files (wndb(5WN), senseidx(5WN)): synsets by place, and each word's senses."""
    synsets = {}
    for kind, name in (("n", "noun"), ("v", "verb"), ("a", "adj"), ("r", "adv")):
        for line in (folder / f"data.{name}").read_text(encoding="latin-1").splitlines():
            if not line.startswith("  "):  # the licence
                synsets[kind, line[:8]] = _parse_synset(line.partition(" | ")[0].split())
    senses = defaultdict(list)
    for line in (folder / "index.sense").read_text(encoding="latin-1").splitlines():
        key, place, _, count = line.split()
        word, _, lexical = key.partition("%")
        senses[_spaced(word)].append(Sense((_KINDS[lexical[0]], place), int(count)))
    return synsets, dict(senses)


def _parse_synset(fields: list[str]) -> Synset:
    end = 4 + 2 * int(fields[3], 16)
    words = [_spaced(word.partition("(")[0].lower()) for word in fields[4:end:2]]
    pointers = []
    for i in range(end + 1, end + 1 + 4 * int(fields[end]), 4):
        relation, place, kind, sides = fields[i : i + 4]
        pointers.append((relation, (kind.replace("s", "a"), place), int(sides[:2], 16), int(sides[2:], 16)))
    return Synset(words, pointers)


def _spaced(word: str) -> str:
    return word.replace("_", " ")


def relatives(
    word: str, synsets: Mapping[tuple[str, str], Synset], senses: Mapping[str, list[Sense]]
) -> Counter[str]:
    """Weigh what WordNet relates to a word, over all its senses."""
    found: Counter[str] = Counter()
    for sense in senses.get(word, ()):
        synset, weight = synsets[sense.synset], 1 + math.log1p(sense.count)
        own = synset.words.index(word) + 1
        for other in synset.words:
            found[other] += weight  # type: ignore[assignment]
        for relation, place, source, target in synset.pointers:
            if relation in RELATIONS and source in (0, own):
                others = synsets[place].words
                for other in others if source == 0 else [others[target - 1]]:
                    found[other] += RELATIONS[relation] * weight  # type: ignore[assignment]
    return found


def read_moby(path: Path) -> dict[str, list[str]]:
    """Read Moby's thesaurus: a line a word, which comes first, then its synonyms, with commas between."""
    lines = (line.lower().split(",") for line in path.read_text(encoding="latin-1").splitlines())
    return {words[0]: words[1:] for words in lines}


def build(wordnet: Path, moby: Path, vocabulary: Vocabulary) -> Thesaurus:
    """Find the relatives, synonyms and base forms of every word among the words of a vocabulary."""
    synsets, senses = read_wordnet(wordnet)
    thesaurus = read_moby(moby)
    numbers = {word: number for number, word in enumerate(vocabulary.words)}
    vectors = vocabulary.vectors
    found_relatives, found_synonyms = [], []
    for word, number in numbers.items():
        weights = {numbers[w]: x for w, x in relatives(word, synsets, senses).items() if w in numbers}
        weights.pop(number, None)
        found_relatives.append(sorted(weights, key=lambda other: (-weights[other], other))[:MOST_RELATIVES])
        listed = dict.fromkeys(numbers[w] for w in thesaurus.get(word, ()) if w in numbers)
        listed.pop(number, None)
        others = np.array(list(listed), dtype=np.int64)
        if len(others) < FEWEST_SYNONYMS:
            others = others[:0]
        nearest = np.argsort(-(vectors[others] @ vectors[others].sum(axis=0)), kind="stable")
        found_synonyms.append(others[nearest[:MOST_SYNONYMS]].tolist())
    bases = np.full(len(vocabulary), -1, np.int32)
    for word, number in numbers.items():
        if not (found_relatives[number] and found_synonyms[number]):
            forms = [numbers[form] for form in base_forms(word) if form in numbers]
            forms = [form for form in forms if found_relatives[form] or found_synonyms[form]]
            if forms:
                bases[number] = forms[int((vectors[forms] @ vectors[number]).argmax())]
    return Thesaurus(vocabulary.words, Lists.of(found_relatives), Lists.of(found_synonyms), bases)


def main() -> None:
    """Build, write, read back and report."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("wordnet", type=Path, help="folder of WordNet's database files")
    parser.add_argument("moby", type=Path, help="Moby's thesaurus as text")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()

    vocabulary = Vocabulary.packaged()
    built = build(arguments.wordnet, arguments.moby, vocabulary)
    save_thesaurus(arguments.output, built)

    assert load_thesaurus(arguments.output, vocabulary.words).fingerprint == built.fingerprint
    for name, lists in zip(("WordNet", "Moby"), built.lists):
        with_any = int((np.diff(lists.starts) > 0).sum())
        print(f"{name:12} {len(lists.numbers):,} words for {with_any:,} of {len(vocabulary):,}")
    print(f"base forms   {int((built.bases >= 0).sum()):,}")
    print(f"size         {arguments.output.stat().st_size:,} bytes")
    print(f"fingerprint  {built.fingerprint}")


if __name__ == "__main__":
    from tell_mistakes import tell_mistakes

    tell_mistakes(main)
