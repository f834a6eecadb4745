"""Pleasantness and arousal of a word, read from its vector.

Word vectors put opposites side by side, because they occur in the same sentences ("happy" and "sad":
cosine 0.68). Faces do not: what people mistake for one another lies close in pleasantness and arousal, the
two axes of Russell's circumplex (1980, https://doi.org/10.1037/h0077714). Both can be read from word vectors
by a linear map. The one here is fitted to a small list of our own, which holds none of the words that stand
for a class, and works for any vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facelex.vocabulary import Vocabulary

AFFECT_WORDS: dict[tuple[int, int], str] = {
    (1, 1): (
        "excited ecstatic thrilled enthusiastic exhilarated elated energetic lively exuberant jubilant "
        "triumphant celebration playful laughing dancing passionate cheering victorious eager vibrant"
    ),
    (1, 0): (
        "pleasant lovely wonderful delightful friendly kind love affection grateful hopeful proud glad "
        "pleased satisfied enjoyment fun beautiful charming warmth admiration"
    ),
    (1, -1): (
        "serene peaceful relaxed tranquil contented comfortable restful soothing gentle cozy mellow tender "
        "serenity quietude leisurely snug"
    ),
    (-1, 1): (
        "panic horrified screaming frantic hysterical enraged hostile violent agony alarmed tense threatened "
        "vengeful agitated frenzied desperate horror menacing ferocious hatred"
    ),
    (-1, 0): (
        "unpleasant awful horrible nasty ugly cruel painful hurt suffering ashamed guilty humiliated bitter "
        "jealous worried anxious disappointed insulted nauseated resentful"
    ),
    (-1, -1): (
        "gloomy depressed lonely bored tired weary hopeless dull lethargic despondent listless melancholy "
        "dejected resigned forlorn bleak mournful exhausted wistful"
    ),
    (0, 1): "alert intense awake sudden urgent frenetic startling explosive feverish",
    (0, -1): "sleepy quiet still slow drowsy silent idle sedate motionless",
}
"""(Pleasantness, arousal) to words; placed by eye, before any face was scored with them."""


class Affect(NamedTuple):
    """A linear map from word vectors to (pleasantness, arousal)."""

    weights: NDArray[np.float64]
    """``(D, 2)``"""
    bias: NDArray[np.float64]
    """``(2,)``"""

    def __call__(self, word_vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return pleasantness and arousal ``(N, 2)``, about -1 to 1, of unit vectors ``(N, D)``."""
        return np.asarray(word_vectors, dtype=np.float64) @ self.weights + self.bias


def fit_affect(vocabulary: Vocabulary, penalty: float = 1.0) -> Affect:
    """Fit by ridge regression to those of `AFFECT_WORDS` that the vocabulary knows.

    Args:
        vocabulary: Source of the vectors.
        penalty: Of the ridge, for unit vectors.
    """
    known = [
        (word, place) for place, words in AFFECT_WORDS.items() for word in words.split() if word in vocabulary
    ]
    vectors = np.stack([vocabulary.vector(word) for word, _ in known]).astype(np.float64)
    places = np.array([place for _, place in known], dtype=np.float64)
    center, level = vectors.mean(axis=0), places.mean(axis=0)
    rows = vectors - center
    weights = np.linalg.solve(rows.T @ rows + penalty * np.eye(rows.shape[1]), rows.T @ (places - level))
    return Affect(weights, level - center @ weights)
