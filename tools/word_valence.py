"""Print how much of words' pleasantness their vectors hold: ``python tools/word_valence.py``.

A ridge regression from word vectors to the valence ratings of the PyPI package vaderSentiment (MIT; Hutto and
Gilbert 2014), tenfold: each word's valence is predicted from the other nine tenths. Random vectors of the
same shape stand beside it. Needs ``pip install vaderSentiment``.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from build_vocabulary import read_feelings
from numpy.typing import NDArray
from tell_mistakes import tell_mistakes

from facelex.errors import FacelexError
from facelex.vocabulary import Vocabulary
from facelex.word_controls import random_vectors


def read_valence() -> dict[str, float]:
    """Read the lexicon: each entry's mean rating, from -4 (negative) to 4 (positive)."""
    try:
        text = files("vaderSentiment").joinpath("vader_lexicon.txt").read_text(encoding="utf-8")
    except ModuleNotFoundError as error:
        raise FacelexError("Expected the ratings of a package: pip install vaderSentiment.") from error
    return {
        fields[0]: float(fields[1]) for fields in (line.split("\t") for line in text.splitlines() if line)
    }


def predicted_correlation(
    vectors: NDArray[np.float32], valence: NDArray[np.float64], folds: int = 10
) -> float:
    """Return Pearson's r between ratings and held-out predictions; ridge penalty 1 on unit vectors."""
    fold = np.random.default_rng(0).permutation(len(valence)) % folds
    predicted = np.empty(len(valence))
    for held_out in (fold == i for i in range(folds)):
        center, level = vectors[~held_out].mean(axis=0), valence[~held_out].mean()
        rows = (vectors[~held_out] - center).astype(np.float64)
        weights = np.linalg.solve(
            rows.T @ rows + np.eye(rows.shape[1]), rows.T @ (valence[~held_out] - level)
        )
        predicted[held_out] = (vectors[held_out] - center) @ weights + level
    return float(np.corrcoef(predicted, valence)[0, 1])


def main() -> None:
    """Print r for all rated words and for the feeling words."""
    vocabulary, rated = Vocabulary.packaged(), read_valence()
    feelings = {word for group in read_feelings().values() for word in group}
    for title, chosen in (("all rated words", set(rated)), ("rated feeling words", feelings & set(rated))):
        words = sorted(word for word in chosen if word in vocabulary)
        valence = np.array([rated[word] for word in words])
        vectors = np.stack([vocabulary.vector(word) for word in words])
        control = random_vectors(len(words), vocabulary.dim, seed=0)
        print(
            f"{title}: {len(words)} words, r = {predicted_correlation(vectors, valence):.2f} from "
            f"{vocabulary.name}, {predicted_correlation(control, valence):.2f} from random vectors"
        )


if __name__ == "__main__":
    tell_mistakes(main)
