"""Build the packaged vocabulary from a GloVe text file, and say how faithful it is.

    python tools/build_vocabulary.py glove.6B.100d.txt \
        --dictionary american-english-large --dictionary british-english-large \
        -o src/facelex/weights/glove-6b-100d.npz

Kept are the most frequent alphabetic words, the words of the dictionaries (plain lists, one word a line) and
the feeling words of ``tools/feeling_words.txt``, as far as the GloVe file has them. ``docs/words.md`` names
the dictionaries used and the fingerprint the command must print.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelex.emotions import EMOTION_WORDS
from facelex.vocabulary.glove import read_glove
from facelex.vocabulary.packed import fingerprint, load_packed, save_packed

FEELINGS = Path(__file__).parent / "feeling_words.txt"


def read_feelings(path: Path = FEELINGS) -> dict[str, list[str]]:
    """Read the feeling words by group."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {group: words.split() for group, _, words in (line.partition(":") for line in lines)}


def choose_words(words: list[str], dictionary: set[str], must: set[str], most_frequent: int) -> list[int]:
    """Return the rows to keep, in the order of ``words`` (most frequent first).

    Single letters are left out and ``most_frequent`` counts alphabetic words only, so that GloVe files
    without numbers and punctuation give the same choice.
    """
    alphabetic = [word for word in words if re.fullmatch("[a-z]{2,}", word)]
    chosen = must | set(alphabetic[:most_frequent]) | dictionary.intersection(alphabetic)
    return [i for i, word in enumerate(words) if word in chosen]


def unit_rows(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale rows to unit length."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def neighbour_overlap(
    true: NDArray[np.float32], coded: NDArray[np.float32], rows: NDArray[np.intp], k: int = 10
) -> float:
    """Return the mean share of each row's ``k`` nearest neighbours that coding keeps."""
    neighbours = []
    for vectors in (true, coded):
        cosines = vectors[rows] @ vectors.T
        cosines[np.arange(len(rows)), rows] = -np.inf
        neighbours.append(np.argpartition(-cosines, k, axis=1)[:, :k])
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(*neighbours, strict=True)]))


def main() -> None:
    """Build, write, read back and report."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("glove", type=Path, help="GloVe text file, plain or .zip, .xz, .gz")
    parser.add_argument("--dictionary", type=Path, action="append", default=[], help="word list, repeatable")
    parser.add_argument("--most-frequent", type=int, default=10_000, help="words kept whatever they are")
    parser.add_argument("--step", type=float, default=0.018, help="rounding step at unit length")
    parser.add_argument("--name", default="glove.6B.100d")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()

    words, vectors, _ = read_glove(arguments.glove)
    dictionary: set[str] = set()
    for path in arguments.dictionary:
        dictionary.update(path.read_text(encoding="utf-8").split())
    feelings = {word for group in read_feelings().values() for word in group}
    feelings |= {word for group in EMOTION_WORDS.values() for word in group}
    rows = choose_words(words, dictionary, feelings, arguments.most_frequent)
    kept = [words[i] for i in rows]
    save_packed(arguments.output, kept, vectors[rows], arguments.name, arguments.step)

    read_words, codes, _ = load_packed(arguments.output)
    assert read_words == kept
    true, coded = unit_rows(vectors[rows]), unit_rows(codes.astype(np.float32))
    cosines = np.einsum("nd,nd->n", true, coded)
    sample = np.random.default_rng(0).choice(len(kept), size=min(1000, len(kept)), replace=False)
    emotional = np.flatnonzero(np.isin(kept, sorted(feelings)))
    print(f"words                      {len(kept)} of {len(words)}")
    print(f"feeling words              {len(emotional)} of {len(feelings)}; not in the file: "
          f"{', '.join(sorted(feelings - set(kept)))}")  # fmt: skip
    print(f"size                       {arguments.output.stat().st_size} bytes")
    print(f"cosine to the original     mean {cosines.mean():.5f}, least {cosines.min():.5f}")
    for rows_of, chosen in ((f"{len(sample)} random words", sample), ("the feeling words", emotional)):
        print(f"10 nearest neighbours kept {neighbour_overlap(true, coded, chosen):.3f} of {rows_of}")
    print(f"fingerprint                {fingerprint(read_words, codes)}")


if __name__ == "__main__":
    from tell_mistakes import tell_mistakes

    tell_mistakes(main)
