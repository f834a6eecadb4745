"""Print how the classes' word vectors lie: ``python tools/word_geometry.py --kind synonyms``."""

from __future__ import annotations

import argparse

import numpy as np
from tell_mistakes import tell_mistakes

from facelex.emotions import EMOTION_WORDS
from facelex.vocabulary import Vocabulary
from facelex.word_controls import KINDS, label_word_vectors


def main() -> None:
    """Print one table before centring and one after, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, default="synonyms", help="what stands for a class")
    parser.add_argument("--glove", help="a GloVe text file; the packaged vocabulary by default")
    parser.add_argument("--seed", type=int, default=0, help="of the random controls")
    arguments = parser.parse_args()

    vocabulary = Vocabulary.from_glove(arguments.glove) if arguments.glove else Vocabulary.packaged()
    vectors = label_word_vectors(arguments.kind, vocabulary, EMOTION_WORDS, vocabulary.dim, arguments.seed)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for title, rows in (("as they are", vectors), ("centred", vectors - vectors.mean(axis=0))):
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        cosines = rows @ rows.T
        others = cosines[~np.eye(len(rows), dtype=bool)]
        span = f"mean cosine {others.mean():.2f}, from {others.min():.2f} to {others.max():.2f}"
        print(f"\n{arguments.kind}, {title}: {span}\n")
        print("| |", " | ".join(EMOTION_WORDS), "|")
        print("|---" * (len(rows) + 1) + "|")
        for label, row in zip(EMOTION_WORDS, cosines, strict=True):
            print(f"| {label} |", " | ".join(f"{cosine:.2f}" for cosine in row), "|")


if __name__ == "__main__":
    tell_mistakes(main)
