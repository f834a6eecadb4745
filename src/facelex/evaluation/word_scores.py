"""How well words find the faces that somebody has sorted by them: one's own check before relying on a word.

Each word is asked to tell the faces of its class from all others (`open_vocabulary.auc`). Its number stands
beside those of random vectors in its place and of the model's own classes, since almost any direction in a
space of faces separates something from something.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelex.data.mapping import IGNORE
from facelex.errors import FacelexError, unknown_name
from facelex.evaluation import metrics
from facelex.evaluation.bootstrap import RESAMPLES, Interval, confusion_interval
from facelex.evaluation.open_vocabulary import auc, auc_interval, midranks, monte_carlo_p, rank_auc
from facelex.recognize.words import WordScorer, parse_words
from facelex.records import json_values
from facelex.word_controls import class_word_vectors, random_vectors

Floats = NDArray[np.float32]

NAMES = "names"
"""In place of words: every class of the data is asked for by its own name."""
RANDOM_VECTORS = 999
"""Random vectors that a word is compared with; the least p they allow is 0.001."""
FEW = 10
"""Of fewer faces than this any number says next to nothing."""
_BLOCK = 100


@dataclass(frozen=True)
class PhraseScores:
    """One phrase of several that stand for a class; as in `WordScores`."""

    phrase: str
    auc: Interval
    p_value: float


@dataclass(frozen=True, kw_only=True)
class WordScores:
    """How well the words of a class find its faces.

    Attributes:
        name: The class of the data.
        phrases: What the model was asked for; of several the mean of their unit vectors.
        count: Faces of the class.
        auc: Chance that a face of the class scores above one of another class.
        p_value: Monte Carlo p of that among random vectors in place of the word.
        random_auc: Mean of the random vectors' AUC.
        class_aucs: The same chance for the probability of each of the model's own classes.
        best_class: The class with the highest; None where there is no face to find.
        recall: Share of the class's faces for which its words fit best of all asked; NaN for one word.
        each: Each phrase by itself where there are several.
    """

    name: str
    phrases: list[str]
    count: int
    auc: Interval
    p_value: float
    random_auc: float
    class_aucs: dict[str, float]
    best_class: str | None
    recall: float
    each: list[PhraseScores] | None = None


@dataclass(frozen=True)
class ChoiceScores:
    """The choice of the best fitting word for each face of an asked class.

    Attributes:
        names: The classes, each a word or several.
        count: Faces.
        balanced_accuracy: Mean over the classes of the share chosen rightly.
        chance: What guessing has.
        confusion: Counts, one list a true class.
    """

    names: list[str]
    count: int
    balanced_accuracy: Interval
    chance: float
    confusion: list[list[int]]


@dataclass(frozen=True, kw_only=True)
class WordReport:
    """What a check of words has found.

    Attributes:
        model: Name of the model.
        split: ``train``, ``val`` or ``test``.
        classes: The model's own.
        fingerprint: Of the dataset.
        view: ``flip`` where each face was averaged with its mirror image, else ``single``.
        seed: Of bootstrap and random vectors.
        resamples: Bootstrap resamples.
        random_vectors: How many.
        vocabulary: Name of the word vectors.
        moved: Whether words were moved towards their synonyms, as `Vocabulary.retrofitted` does.
        count: Faces in all.
        words: In the order asked.
        not_asked: Classes whose faces are among the others only.
        few_faces: Classes asked for with fewer than `FEW` faces.
        choice: None where one word alone was asked for.
    """

    model: str
    split: str
    classes: list[str]
    fingerprint: str
    view: str
    seed: int
    resamples: int
    random_vectors: int
    vocabulary: str
    moved: bool
    count: int
    words: list[WordScores]
    not_asked: list[str]
    few_faces: list[str]
    choice: ChoiceScores | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON; NaN as None."""
        plain: dict[str, Any] = json_values(self)
        for word in plain["words"]:
            word.setdefault("best_class", None)
        return plain


@dataclass(frozen=True)
class SortedFaces:
    """What a model has said about faces that somebody has sorted.

    Attributes:
        features: Of unit length, ``(n, E)``.
        probs: Probabilities of the model's own classes, ``(n, K)``.
        classes: Their names.
        labels: Ids of the faces' classes, ``(n,)``.
        names: Names of these, as the data have them.
    """

    features: Floats
    probs: Floats
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    names: tuple[str, ...]


def phrases_by_class(
    words: str | Mapping[str, str | Sequence[str]], names: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Read which classes of the data are asked for, and by which words.

    Args:
        words: ``names`` for every class by its own name; ``"bored=bored|weary,engaged"`` for some classes, by
            the words after the equals sign, parted by ``|``, or by their names; ``ignore`` as the word leaves
            the faces of a class out. Or the same as a mapping from class to word or words.
        names: Classes of the data.

    Returns:
        Phrases by class, in the order asked; none for a class that is left out.

    Raises:
        FacelexError: If a class is none of the data's or comes twice, or a word is empty.
    """
    if isinstance(words, str):
        pairs = [(name, (name,)) for name in names] if words.strip().lower() == NAMES else _pairs(words)
    else:
        pairs = [
            (name, parse_words([value] if isinstance(value, str) else value)) for name, value in words.items()
        ]
    spelt = {name.lower(): name for name in names}
    found: dict[str, tuple[str, ...]] = {}
    for given, phrases in pairs:
        name = spelt.get(given.lower())
        if name is None:
            raise unknown_name("class of the data in --words", given, names)
        if name in found:
            raise FacelexError(
                f"Expected each class once in --words, but got {name} again. Join its words: {name}=one|two."
            )
        found[name] = () if phrases == (IGNORE,) else phrases
    if not any(found.values()):
        raise FacelexError(f"Expected words to ask for with --words, but got {words!r}. Try --words {NAMES}.")
    return found


def _pairs(text: str) -> list[tuple[str, tuple[str, ...]]]:
    pairs = []
    for item in text.split(","):
        name, equals, phrases = (part.strip() for part in item.partition("="))
        listed = [phrase.strip() for phrase in phrases.split("|")] if equals else [name]
        if not name or not all(listed):
            raise FacelexError(
                f"Expected --words {NAMES}, or classes and their words such as 'bored=bored|weary,engaged', "
                f"but got {item!r}."
            )
        pairs.append((name, parse_words(listed)))
    return pairs


def score_words(
    faces: SortedFaces,
    asked: Mapping[str, Sequence[str]],
    scorer: WordScorer,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[list[WordScores], ChoiceScores | None]:
    """Score the words of some classes, each by itself and in the choice among all.

    Args:
        faces: Sorted faces, of two classes or more.
        asked: Phrases by class of the data.
        scorer: The model's text side.
        seed: Seed of bootstrap and random vectors.
        resamples: Bootstrap resamples.

    Raises:
        FacelexError: If a word is not known; all of them are named.
    """
    vectors = class_word_vectors(scorer.vocabulary, asked)  # (W, D)
    marks = np.stack([faces.labels == faces.names.index(name) for name in asked], axis=1)  # (n, W)
    fits = _similarity(faces, scorer, vectors)
    controls = _random_aucs(faces, scorer, marks, seed)  # (R, W)
    choice = _choice(faces, scorer, vectors, marks, list(asked), seed, resamples)
    recalls = metrics.recall(np.array(choice.confusion)) if choice else np.full(len(asked), math.nan)
    words = []
    for place, (name, phrases) in enumerate(asked.items()):
        own, random_aucs = marks[:, place], controls[:, place]
        class_aucs = auc(faces.probs, own)
        area = auc_interval(fits[:, place], own, seed, resamples)
        words.append(
            WordScores(
                name=name,
                phrases=list(phrases),
                count=int(own.sum()),
                auc=area,
                p_value=_p_value(area, random_aucs),
                random_auc=float(random_aucs.mean()),
                class_aucs=dict(zip(faces.classes, class_aucs.tolist())),
                best_class=faces.classes[int(class_aucs.argmax())] if own.any() else None,
                recall=float(recalls[place]),
                each=_each(faces, scorer, phrases, own, random_aucs, seed, resamples),
            )
        )
    return words, choice


def _similarity(faces: SortedFaces, scorer: WordScorer, vectors: Floats) -> Floats:
    """Cosines of faces and words, ``(n, W)``: they order faces as the scores do, which round near 1."""
    return faces.features @ scorer.projection.encode(vectors).T


def _random_aucs(
    faces: SortedFaces, scorer: WordScorer, marks: NDArray[np.bool_], seed: int
) -> NDArray[np.float64]:
    """AUC of random word vectors for each class, ``(R, W)``; some vectors at a time, for memory's sake."""
    vectors = random_vectors(RANDOM_VECTORS, scorer.vocabulary.dim, seed)
    blocks = (vectors[start : start + _BLOCK] for start in range(0, len(vectors), _BLOCK))
    return np.concatenate([rank_auc(midranks(_similarity(faces, scorer, block)), marks) for block in blocks])


def _p_value(area: Interval, random_aucs: NDArray[np.float64]) -> float:
    return math.nan if math.isnan(area.value) else monte_carlo_p(area.value, random_aucs)


def _each(
    faces: SortedFaces,
    scorer: WordScorer,
    phrases: Sequence[str],
    own: NDArray[np.bool_],
    random_aucs: NDArray[np.float64],
    seed: int,
    resamples: int,
) -> list[PhraseScores] | None:
    if len(phrases) < 2:
        return None
    fits = faces.features @ scorer.text_features(phrases).T
    areas = [auc_interval(column, own, seed, resamples) for column in fits.T]
    return [PhraseScores(phrase, area, _p_value(area, random_aucs)) for phrase, area in zip(phrases, areas)]


def _choice(
    faces: SortedFaces,
    scorer: WordScorer,
    vectors: Floats,
    marks: NDArray[np.bool_],
    names: list[str],
    seed: int,
    resamples: int,
) -> ChoiceScores | None:
    """Let each face of the asked classes choose the word that fits it best, by the score that users see."""
    if len(names) < 2:
        return None
    rows = marks.any(axis=1)
    scores = scorer.projection.scores(faces.features[rows], scorer.projection.encode(vectors))
    confusion = metrics.confusion_matrix(marks[rows].argmax(axis=1), scores.argmax(axis=1), len(names))
    accuracy = confusion_interval(metrics.balanced_accuracy, confusion, seed, resamples, stratified=True)
    return ChoiceScores(names, int(rows.sum()), accuracy, 1 / len(names), confusion.tolist())
