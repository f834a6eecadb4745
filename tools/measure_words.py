"""Measure how far scores for arbitrary words can be trusted, as Markdown tables (docs/open-vocabulary.md).

    python tools/train_heldout.py                     # seven small networks, one emotion left out of each
    python tools/measure_words.py heldout runs/heldout  # does the seventh word find its faces?
    python tools/measure_words.py model runs/NAME     # votes (contempt too), pleasantness, new synonyms

``--text`` says where the text side comes from: ``trained`` takes the network's own as training left it (of a
network with ``text_fit: blend``, without what was added), the others are fitted to its image features
(`facelex.models.text_fit`); ``blend`` adds the two. Two are controls: ``random`` gives every word a random
vector, ``shuffled`` gives each trained class the words of another. A model may be a run folder or an ONNX
file. Words are asked for as the recogniser does, moved towards their synonyms; ``--plain`` takes their
vectors as they are. The fit takes the same vectors, as training does; ``--fit-plain`` takes them as they are,
as training did for `shipped`, `small` and `tiny`. Everything is measured on ``val`` unless ``--split test``
is given. ``model`` needs ``pip install vaderSentiment``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from build_vocabulary import read_feelings
from numpy.typing import NDArray
from tell_mistakes import tell_mistakes
from word_valence import read_valence

from facelex.data.dataset import FaceDataset
from facelex.emotions import EMOTION_WORDS, EMOTIONS, FERPLUS_COLUMNS, emotion_index
from facelex.errors import FacelexError
from facelex.evaluation.open_vocabulary import (
    auc,
    contrast_between,
    held_out_scores,
    monte_carlo_p,
    pearson,
    spearman,
)
from facelex.models.prediction import images_from_pixels
from facelex.models.text_fit import TEXT_FITS, create_text_arrays, trained_part, trained_text_arrays
from facelex.models.weights import load_model
from facelex.recognize.model import load_model as load_onnx
from facelex.recognize.words import TextProjection, join_features, normalize
from facelex.run_files import has_weights
from facelex.vocabulary import Vocabulary
from facelex.word_affect import AFFECT_WORDS
from facelex.word_controls import random_vectors, shuffled

Floats = NDArray[np.float32]

CONTEMPT = ("contempt", "contemptuous", "scorn", "scornful", "disdain", "disdainful")
"""Six words, as each of the seven emotions has; no face was trained with them."""
UNHAPPY = ("angry", "disgust", "fear", "sad")
TRAIN_FACES = 3000
"""Training faces that a text side is fitted to."""
CONTROLS = ("random", "shuffled")
CONTROL_SEEDS = 20


class FaceSpace(NamedTuple):
    """Faces in the shared space, and how words get there."""

    classes: tuple[str, ...]
    features: Floats
    """Of the split's faces, unit length, ``(N, E)``."""
    projection: TextProjection
    vocabulary: Vocabulary

    def similarity(self, vectors: Floats) -> Floats:
        """Cosines ``(N, W)`` of faces and word vectors ``(W, D)``."""
        return self.features @ self.projection.encode(vectors).T

    def scores(self, vectors: Floats) -> Floats:
        """Scores ``(N, W)`` as the recogniser gives them."""
        return self.projection.scores(self.features, self.projection.encode(vectors))


def open_spaces(
    place: Path,
    dataset: FaceDataset,
    split: str,
    texts: Sequence[str],
    asked: Vocabulary,
    fitted_to: Vocabulary,
) -> dict[str, list[FaceSpace]]:
    """Encode a split's faces, and build each text side that is wanted (controls once a seed).

    Text sides are fitted to words of one vocabulary and asked for those of another. The reference faces of
    the scores are those of ``val`` whose class the model knows.
    """
    encode, classes, trained = _image_side(place)
    if not trained:
        raise FacelexError(f"{place} was trained without words, so there is nothing to measure.")
    if not {*classes} <= {*EMOTIONS} or dataset.class_names != EMOTIONS:
        raise FacelexError(f"Expected a model and a dataset of {', '.join(EMOTIONS)}. Choose others.")
    known = np.isin(np.array(dataset.class_names)[dataset.labels], classes)
    index = dataset.indices("val")
    val = encode(dataset.pixels[index])
    features = val if split == "val" else encode(dataset.pixels[dataset.indices(split)])
    reference = val[known[index]]
    statistics = {
        "feature_mean": reference.mean(0),
        "feature_cov": np.cov(reference, rowvar=False, bias=True).astype(np.float32),
    }
    fitted = bool(set(texts) - {"trained"})
    train = dataset.indices("train")
    train = np.sort(np.random.default_rng(0).permutation(train[known[train]])[: TRAIN_FACES if fitted else 1])
    labels = np.array([classes.index(dataset.class_names[label]) for label in dataset.labels[train]])
    train_features = encode(dataset.pixels[train])
    words = {name: EMOTION_WORDS[name] for name in classes}

    def space(text: str, seed: int) -> FaceSpace:
        own, own_asked, chosen, kind = fitted_to, asked, words, text
        if text == "random":
            own, kind = random_vocabulary(seed), "linear"
            own_asked = own
        if text == "shuffled":
            order = _derangement(len(classes), seed)
            chosen, kind = {name: words[classes[i]] for name, i in zip(classes, order)}, "linear"
        arrays = (
            trained
            if text == "trained"
            else create_text_arrays(kind, trained, train_features, labels, own, chosen)
        )
        return FaceSpace(classes, features, TextProjection(**arrays, **statistics), own_asked)

    return {
        text: [space(text, seed) for seed in range(CONTROL_SEEDS if text in CONTROLS else 1)]
        for text in texts
    }


def _fitted_to(arguments: argparse.Namespace, asked: Vocabulary) -> Vocabulary:
    return Vocabulary.packaged() if arguments.fit_plain else asked


def random_vocabulary(seed: int) -> Vocabulary:
    """Every word that names an emotion or holds up the fit, with a random vector."""
    words = sorted(
        {word for words in EMOTION_WORDS.values() for word in words}
        | {word for words in AFFECT_WORDS.values() for word in words.split()}
        | set(CONTEMPT)
    )
    return Vocabulary(words, random_vectors(len(words), 100, seed), f"random {seed}")


def measure_held_out(arguments: argparse.Namespace, dataset: FaceDataset, vocabulary: Vocabulary) -> None:
    """Print one row for each emotion left out: each text side's AUC, then the details of each."""
    labels = dataset.labels[dataset.indices(arguments.split)]
    areas: dict[str, dict[str, NDArray[np.float64]]] = {}
    details: dict[str, list[str]] = {text: [] for text in arguments.text if text not in CONTROLS}
    for name in EMOTIONS:
        folder = arguments.place / f"{arguments.kind}-s{arguments.seed}-without-{name}"
        if not has_weights(folder):
            continue
        own = labels == EMOTIONS.index(name)
        spaces = open_spaces(
            folder, dataset, arguments.split, arguments.text, vocabulary, _fitted_to(arguments, vocabulary)
        )
        areas[name] = {text: np.array([_area(one, name, own) for one in spaces[text]]) for text in spaces}
        for text in details:
            details[text].append(_held_out_row(name, spaces[text][0], labels))
    if not areas:
        raise FacelexError(
            f"{arguments.place} holds no finished run such as {arguments.kind}-s{arguments.seed}-without-"
            f"{EMOTIONS[0]}. Train them with tools/train_heldout.py."
        )
    print("| left out | " + " | ".join(arguments.text) + " |\n|---|" + "---|" * len(arguments.text))
    for name, found in areas.items():
        print(f"| {name} | " + " | ".join(_spread(found[text]) for text in arguments.text) + " |")
    means = {text: np.mean([found[text] for found in areas.values()], axis=0) for text in arguments.text}
    print("| mean | " + " | ".join(_spread(means[text]) for text in arguments.text) + " |")
    for text, rows in details.items():
        print(
            f"\n{text}\n\n| left out | AUC | single words | above other feeling words | two words | recall |"
        )
        print("|---|---|---|---|---|---|\n" + "\n".join(rows))


def _area(space: FaceSpace, name: str, own: NDArray[np.bool_]) -> float:
    return float(auc(space.similarity(mean_vector(space.vocabulary, EMOTION_WORDS[name])[None])[:, 0], own))


def _held_out_row(name: str, space: FaceSpace, labels: NDArray[np.int64]) -> str:
    own, words = labels == EMOTIONS.index(name), EMOTION_WORDS[name]
    vectors = np.stack([mean_vector(space.vocabulary, EMOTION_WORDS[c]) for c in EMOTIONS])
    result = held_out_scores(space.scores(vectors), labels, EMOTIONS.index(name))
    singles = auc(space.similarity(np.stack([space.vocabulary.phrase(word) for word in words])), own)
    others = auc(space.similarity(feeling_vectors(space.vocabulary, words)), own)
    return (
        f"| {name} | {result.auc:.3f} | {singles.mean():.3f} ({singles.min():.2f}-{singles.max():.2f}) | "
        f"{100 * (others < result.auc).mean():.0f} % | {result.pairwise:.2f} | "
        f"{result.recall:.2f}, seen {result.seen_recall:.2f}, harmonic {result.harmonic:.2f} |"
    )


def _spread(values: NDArray[np.float64]) -> str:
    return f"{values.mean():.3f}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else "")


def measure_model(arguments: argparse.Namespace, dataset: FaceDataset, vocabulary: Vocabulary) -> None:
    """Print how words follow people's votes, and how their scores follow pleasantness."""
    spaces = open_spaces(
        arguments.place,
        dataset,
        arguments.split,
        arguments.text,
        vocabulary,
        _fitted_to(arguments, vocabulary),
    )
    rows = dataset.indices(arguments.split)
    for text in arguments.text:
        space = spaces[text][0]
        print(f"\n## text side: {text}\n")
        if dataset.votes is not None and dataset.votes.of_ferplus:
            _print_votes(spaces[text], dataset.votes.counts[rows])
        if text != "random":
            _print_valence(space, dataset.labels[rows], vocabulary)
            _print_new_synonyms(space, dataset.labels[rows], vocabulary)


def _print_votes(spaces: Sequence[FaceSpace], votes: NDArray[np.uint8]) -> None:
    """Of a control the AUC of all draws, and the rest of the first."""
    emotions = [c for c in FERPLUS_COLUMNS if c not in ("unknown", "NF")]
    counts = votes[:, : len(emotions)].astype(np.float64)
    voted = counts.sum(1) > 0
    shares = counts[voted] / counts[voted].sum(1, keepdims=True)
    spaces = [one._replace(features=one.features[voted]) for one in spaces]
    space, vocabulary = spaces[0], spaces[0].vocabulary
    vectors = np.stack([mean_vector(vocabulary, EMOTION_WORDS[c]) for c in EMOTIONS])
    of_classes = space.similarity(vectors)
    randoms = space.similarity(random_vectors(500, vocabulary.dim, 1))
    print(
        "| vote | faces with it | AUC of its words | single words | Spearman | random vectors | p | "
        "other feeling words | best of the seven |\n|---|---|---|---|---|---|---|---|---|"
    )
    for column, name in enumerate(emotions):
        share = shares[:, column]
        words = CONTEMPT if name == "contempt" else EMOTION_WORDS[EMOTIONS[emotion_index(name)]]
        own = [one.similarity(mean_vector(one.vocabulary, words)[None])[:, 0] for one in spaces]
        singles = auc(space.similarity(np.stack([vocabulary.phrase(word) for word in words])), share)
        areas = np.array([float(auc(scores, share)) for scores in own])
        controls, seven = auc(randoms, share), auc(of_classes, share)
        spread = f"{controls.mean():.2f} ± {controls.std():.2f}"
        others = auc(space.similarity(other_feelings(vocabulary, words)), share)
        best = int(seven.argmax())
        print(
            f"| {name} | {(share > 0).sum():,} | {_spread(areas)} | {singles.mean():.3f} ("
            f"{singles.min():.2f}-{singles.max():.2f}) | {spearman(own[0], share):.2f} | {spread} | "
            f"{monte_carlo_p(areas[0], controls):.3f} | {100 * (others >= areas[0]).mean():.1f} % | "
            f"{EMOTIONS[best]} {seven[best]:.3f} |"
        )


def _print_valence(space: FaceSpace, labels: NDArray[np.int64], vocabulary: Vocabulary) -> None:
    rated = read_valence()
    used = {w for words in EMOTION_WORDS.values() for w in words}
    used |= {w for words in AFFECT_WORDS.values() for w in words.split()}
    feelings = {word for group in read_feelings().values() for word in group}
    happy, unhappy = labels == EMOTIONS.index("happy"), np.isin(labels, [EMOTIONS.index(c) for c in UNHAPPY])
    print("\n| words | number | Pearson | Spearman | sign right | unpleasant | random vectors (Pearson) |")
    print("|---|---|---|---|---|---|---|")
    pools = {
        "feeling words": feelings & set(rated),
        "1,000 rated words": set(
            _sample(sorted(w for w in rated if w in vocabulary and w not in used), 1000)
        ),
    }
    for title, pool in pools.items():
        words = sorted(word for word in pool if word in vocabulary and word not in used)
        valence = np.array([rated[word] for word in words])
        contrast = contrast_between(
            space.scores(np.stack([vocabulary.vector(w) for w in words])), happy, unhappy
        )
        controls = [
            pearson(
                contrast_between(
                    space.scores(random_vectors(len(words), vocabulary.dim, seed)), happy, unhappy
                ),
                valence,
            )
            for seed in range(3)
        ]
        right = float((np.sign(contrast) == np.sign(valence)).mean())
        unpleasant = float((valence < 0).mean())  # what "unpleasant" for every word would have right
        print(
            f"| {title} | {len(words):,} | {pearson(contrast, valence):.2f} | "
            f"{spearman(contrast, valence):.2f} | "
            f"{100 * right:.0f} % | {100 * unpleasant:.0f} % | {', '.join(f'{r:.2f}' for r in controls)} |"
        )


def _print_new_synonyms(space: FaceSpace, labels: NDArray[np.int64], vocabulary: Vocabulary) -> None:
    """Words of the seven groups of feelings that neither training nor the text fit has seen."""
    used = {w for words in EMOTION_WORDS.values() for w in words}
    used |= {w for words in AFFECT_WORDS.values() for w in words.split()}
    print("\n| emotion | new synonyms | AUC: mean | middle half | worst |\n|---|---|---|---|---|")
    means, below, count = [], 0, 0
    for name in EMOTIONS:
        words = [w for w in read_feelings().get(name, []) if w in vocabulary and w not in used]
        if not words:
            continue
        areas = auc(
            space.similarity(np.stack([vocabulary.vector(w) for w in words])), labels == EMOTIONS.index(name)
        )
        low, high = np.quantile(areas, [0.25, 0.75])
        worst = ", ".join(f"{words[i]} {areas[i]:.2f}" for i in np.argsort(areas)[:3])
        print(f"| {name} | {len(words)} | {areas.mean():.3f} | {low:.2f}-{high:.2f} | {worst} |")
        means.append(areas.mean())
        below, count = below + int((areas < 0.5).sum()), count + len(words)
    print(f"| mean | {count} | {np.mean(means):.3f} | | {below} below 0.5 |")


def mean_vector(vocabulary: Vocabulary, words: Sequence[str]) -> Floats:
    """Mean of the unit vectors of words, ``(D,)``."""
    return np.mean([normalize(vocabulary.phrase(word)) for word in words], axis=0).astype(np.float32)


def feeling_vectors(vocabulary: Vocabulary, without: Sequence[str]) -> Floats:
    """Vectors of every feeling word but some, ``(W, D)``."""
    words = {word for group in read_feelings().values() for word in group if word in vocabulary}
    return np.stack([vocabulary.vector(word) for word in sorted(words - set(without))])


def other_feelings(vocabulary: Vocabulary, words: Sequence[str]) -> Floats:
    """Vectors of the feeling words of all groups that hold none of ``words``, ``(W, D)``."""
    groups = [group for group in read_feelings().values() if not set(group) & set(words)]
    known = sorted({word for group in groups for word in group if word in vocabulary} - set(words))
    return np.stack([vocabulary.vector(word) for word in known])


def _image_side(place: Path):  # type: ignore[no-untyped-def]
    """Return the encoder of faces, the class names and the arrays of the text side."""
    if place.suffix == ".onnx":
        onnx = load_onnx(place, threads=1)
        arrays = {key: value for key, value in (onnx.arrays or {}).items() if key.startswith("text_")}
        text_fit = onnx.metadata.recorded("settings", "model").get("text_fit")
        return (
            (lambda pixels: _encode(pixels, onnx.image_size, lambda x: onnx.run(x)[1])),
            onnx.classes,
            _as_trained(arrays, text_fit, place) if arrays else {},
        )
    model, spec = load_model(place)

    @torch.inference_mode()
    def run(images: Floats) -> Floats:
        return model(torch.from_numpy(images)).image_features.numpy()

    return (
        (lambda pixels: _encode(pixels, spec.image_size, run)),
        tuple(spec.classes),
        _as_trained(trained_text_arrays(model), spec.text_fit, place) if spec.has_words else {},
    )


def _as_trained(arrays: dict[str, Floats], text_fit: str | None, place: Path) -> dict[str, Floats]:
    """The text side as training left it, before a closed form was added."""
    if text_fit in (None, "blend"):
        return trained_part(arrays) if text_fit else arrays
    raise FacelexError(f"The text side of {place} is fitted ({text_fit}), so the trained one is gone.")


def _encode(pixels: NDArray[np.uint8], size: int, run) -> Floats:  # type: ignore[no-untyped-def]
    """Features of faces with their mirror images, as the recogniser forms them."""
    parts = []
    for start in range(0, len(pixels), 256):
        batch = torch.from_numpy(np.ascontiguousarray(pixels[start : start + 256])).unsqueeze(1)
        images = np.ascontiguousarray(images_from_pixels(batch, size).numpy())
        parts.append(join_features(run(images), run(np.ascontiguousarray(images[..., ::-1]))))
    return np.concatenate(parts)


def _derangement(count: int, seed: int) -> NDArray[np.int64]:
    """An order in which nothing keeps its place, as in `facelex.word_controls.shuffled`."""
    return shuffled(np.arange(count, dtype=np.float32)[:, None], seed)[:, 0].astype(np.int64)


def _sample(words: list[str], count: int) -> list[str]:
    return [words[i] for i in np.random.default_rng(0).permutation(len(words))[:count]]


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["heldout", "model"])
    parser.add_argument("place", type=Path, help="folder of train_heldout.py's runs; a run, or an ONNX file")
    parser.add_argument("--text", default=["trained"], nargs="+", choices=["trained", *TEXT_FITS, *CONTROLS])
    parser.add_argument(
        "--kind", default="synonyms", help="heldout: word vectors that the runs were trained with"
    )
    parser.add_argument("--seed", type=int, default=0, help="heldout: seed of the runs")
    parser.add_argument("--plain", action="store_true", help="vectors of words as they are")
    parser.add_argument("--fit-plain", action="store_true", help="fit to vectors of words as they are")
    parser.add_argument("--split", default="val", choices=["val", "test"])
    parser.add_argument("--data", default="data/fer2013.npz")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measure = measure_held_out if arguments.what == "heldout" else measure_model
    vocabulary = Vocabulary.packaged()
    measure(
        arguments,
        FaceDataset.load(arguments.data),
        vocabulary if arguments.plain else vocabulary.retrofitted(),
    )


if __name__ == "__main__":
    tell_mistakes(main)
