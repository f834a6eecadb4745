"""From a model, sorted faces and words to how well the words find the faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError
from facelex.evaluation.bootstrap import RESAMPLES
from facelex.evaluation.labelled import load_labelled
from facelex.evaluation.networks import names_answers, names_run, onnx_file
from facelex.evaluation.onnx_model import answer_onnx
from facelex.evaluation.word_scores import (
    FEW,
    NAMES,
    RANDOM_VECTORS,
    SortedFaces,
    WordReport,
    phrases_by_class,
    score_words,
)
from facelex.recognize.model import Model, load_model
from facelex.recognize.words import WordScorer, create_scorer
from facelex.vocabulary import Vocabulary
from facelex.word_controls import class_word_vectors


@dataclass(frozen=True)
class WordEvaluation:
    """What a check of words has found, and sentences for the user."""

    report: WordReport
    notes: tuple[str, ...] = ()


def evaluate_words(
    model: str | Path,
    words: str | Mapping[str, str | Sequence[str]] = NAMES,
    split: str = "test",
    data: str | Path | None = None,
    *,
    flip: bool = True,
    seed: int = 0,
    threads: int | None = None,
    vocabulary: Vocabulary | str | Path | None = None,
    find_faces: bool = False,
) -> WordEvaluation:
    """Measure how well words find faces that somebody has sorted by them.

    Faces are scored as the recogniser does it: each with its mirror image where the model says that this
    helps it.

    Args:
        model: An ``.onnx`` file, ``hf:owner/name``, ``shipped``, ``small``, ``tiny`` or ``ferplus``.
        words: Which classes of the data are asked for, by which words; see ``word_scores.phrases_by_class``.
        split: ``train``, ``val`` or ``test``.
        data: Sorted faces, see ``load_labelled``; by default ``fer2013``.
        flip: Look at the mirror image too.
        seed: Seed of bootstrap and random vectors, 0 or more.
        threads: Threads of the model; by default the physical cores.
        vocabulary: Word vectors that the model was trained with, or their GloVe file, if they are not the
            packaged ones.
        find_faces: The data are photos in a folder or a list: cut their faces out, see ``load_labelled``.

    Raises:
        FacelexError: If the model knows no words, a word or class is unknown, there are not faces of two
            classes, or the data cannot be read.
    """
    if seed < 0:
        raise FacelexError(f"Expected a seed of 0 or more, but got {seed}.")
    network = _open(model, threads)
    scorer = _scorer(network, vocabulary)
    place = "fer2013" if data is None else data
    dataset, notes = load_labelled(place, network.metadata.crop_size, find_faces=find_faces)
    asked = phrases_by_class(words, dataset.class_names)
    rows = _rows(dataset, split, asked)
    asked = {name: phrases for name, phrases in asked.items() if phrases}
    class_word_vectors(scorer.vocabulary, asked)  # unknown words are said before the faces are looked at
    flip = flip and network.metadata.flip
    faces = _ask(network, dataset, rows, flip)
    found, choice = score_words(faces, asked, scorer, seed=seed)
    labels = np.unique(faces.labels).tolist()
    report = WordReport(
        model=network.title,
        split=split,
        classes=list(network.classes),
        fingerprint=dataset.fingerprint,
        view="flip" if flip else "single",
        seed=seed,
        resamples=RESAMPLES,
        random_vectors=RANDOM_VECTORS,
        vocabulary=scorer.vocabulary.name,
        moved=scorer.vocabulary.is_retrofitted,
        count=len(rows),
        words=found,
        not_asked=[dataset.class_names[label] for label in labels if dataset.class_names[label] not in asked],
        few_faces=[word.name for word in found if word.count < FEW],
        choice=choice,
    )
    if network.stale_words is not None:
        notes.append(network.stale_words)
    return WordEvaluation(report, tuple(notes))


def _open(model: str | Path, threads: int | None) -> Model:
    what = "a run folder" if names_run(model) else "a file of answers" if names_answers(model) else ""
    if what:
        raise FacelexError(
            f"Expected an exported model with --words, but {model} is {what}. A run's model is written with: "
            "facelex export RUN -o model.onnx"
        )
    return load_model(onnx_file(model), threads=threads)


def _scorer(network: Model, vocabulary: Vocabulary | str | Path | None) -> WordScorer:
    arrays, trained_with = network.word_side()
    vectors = Vocabulary.from_glove(vocabulary) if isinstance(vocabulary, str | Path) else vocabulary
    return create_scorer(arrays, trained_with, vectors)


def _rows(dataset: FaceDataset, split: str, asked: Mapping[str, Sequence[str]]) -> NDArray[np.int64]:
    """Return the faces that are looked at: those of a split, but for classes that are left out."""
    left_out = [dataset.class_names.index(name) for name, phrases in asked.items() if not phrases]
    rows = dataset.indices(split)
    rows = rows[~np.isin(dataset.labels[rows], left_out)]
    found = [dataset.class_names[label] for label in np.unique(dataset.labels[rows])]
    if len(found) < 2 or not any(asked.get(name) for name in found):
        raise FacelexError(
            f"Expected faces of a class that is asked for and of another in the split {split!r} of "
            f"{dataset.source}, but got {', '.join(found) or 'none'}. Choose another with --split, or "
            "look at --words."
        )
    return rows


def _ask(network: Model, dataset: FaceDataset, rows: NDArray[np.int64], flip: bool) -> SortedFaces:
    probs, features = answer_onnx(network, dataset.pixels[rows], flip=flip)
    assert features is not None
    return SortedFaces(features, probs, network.classes, dataset.labels[rows], dataset.class_names)
