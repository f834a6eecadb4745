"""A linear text side in closed form, fitted to a finished image side.

Training sees seven points of the space of words; whatever a projection learns between them is chance. The map
here says what happens between them. A word's affinity to class c is the inner product of their word features
phi; its place among faces is the mean of the classes' directions, weighted by affinity::

    u(w) = normalize( sum_c <phi(w), phi(c)> r_c )

That is ConSE (Norouzi et al. 2014, https://arxiv.org/abs/1312.5650) seen from the text side, or ESZSL
(Romera-Paredes and Torr 2015, http://proceedings.mlr.press/v37/romera-paredes15.html) with an infinite
penalty on the word side. The direction r_c is that of a ridge regression from image features to "is of class
c", so that ``<v, u>`` estimates the affinity-weighted sum of class probabilities.

Word features phi are the vector less the mean feeling word (``linear``), and with ``affect`` also its
pleasantness and arousal (`facelex.word_affect`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from facelex.errors import FacelexError, unknown_name
from facelex.models.dual_encoder import DualEncoder
from facelex.models.heads import ProjectionHead
from facelex.vocabulary import Vocabulary
from facelex.word_affect import AFFECT_WORDS, fit_affect
from facelex.word_controls import class_word_vectors

TEXT_FITS: tuple[str, ...] = ("linear", "affect", "blend")
"""Kinds of a fitted text side; ``blend`` adds ``affect`` to the trained one."""

AFFECT_WEIGHTS = (1.0, 0.5)
"""Weights of pleasantness and arousal beside word vectors of mean length 1; chosen on held-out emotions."""

FEWEST_RATED = 20
"""Rated words (`AFFECT_WORDS`) that a vocabulary must know for pleasantness to be told from them."""

RIDGE = 0.1
"""Penalty on the image side, relative to the mean variance of a feature."""


def check_vocabulary(vocabulary: Vocabulary) -> None:
    """Refuse a vocabulary by which no text side could be fitted, before a network is trained.

    Raises:
        FacelexError: If it lacks most of the English words whose pleasantness is known.
    """
    known = len(_rated_words(vocabulary))
    if known < FEWEST_RATED:
        raise FacelexError(
            f"Expected a vocabulary of English words, by whose pleasantness the text side is fitted, but it "
            f"knows {known} of those that are rated. Leave the text side as trained: model.text_fit=null."
        )


def create_text_arrays(
    kind: str,
    trained: Mapping[str, NDArray[np.float32]],
    image_features: NDArray[np.floating],
    labels: NDArray[np.integer],
    vocabulary: Vocabulary,
    words_by_class: Mapping[str, Sequence[str]],
) -> dict[str, NDArray[np.float32]]:
    """Build any kind of text side; arguments as in `fit_text_arrays`, and the five arrays of the trained one.

    Raises:
        FacelexError: If the kind or a word is unknown.
    """
    if kind not in TEXT_FITS:
        raise unknown_name("fit of the text side", kind, TEXT_FITS)
    fitted = fit_text_arrays(
        "affect" if kind == "blend" else kind, image_features, labels, vocabulary, words_by_class
    )
    if kind != "blend":
        return fitted
    vectors = np.stack([vocabulary.phrase(word) for words in words_by_class.values() for word in words])
    return blend_text_arrays(trained, fitted, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def fit_text_arrays(
    kind: str,
    image_features: NDArray[np.floating],
    labels: NDArray[np.integer],
    vocabulary: Vocabulary,
    words_by_class: Mapping[str, Sequence[str]],
) -> dict[str, NDArray[np.float32]]:
    """Fit the text side to training faces.

    Args:
        kind: ``linear`` or ``affect``.
        image_features: Unit-length features of training faces, ``(N, E)``.
        labels: Their class ids, ``(N,)``, in the order of ``words_by_class``; every class occurs.
        vocabulary: Source of the word vectors.
        words_by_class: Words of each class, in label order.

    Returns:
        ``text_center (D,)``, ``text_weight1 (2E, D)``, ``text_bias1 (2E,)``, ``text_weight2 (E, 2E)`` and
        ``text_bias2 (E,)``: the linear map written as a two-layer perceptron, since x = relu(x) - relu(-x).

    Raises:
        FacelexError: If the kind or a word is unknown, or a class has no face.
    """
    if kind not in ("linear", "affect"):
        raise unknown_name("fit of the text side", kind, ("linear", "affect"))
    check_faces_of_classes(labels, list(words_by_class))
    weights, bias, center = _word_features(kind, vocabulary)
    vectors = class_word_vectors(vocabulary, words_by_class).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    class_features = (vectors - center) @ weights + bias  # (K, P)
    to_shared = class_features.T @ _class_directions(image_features, labels, len(vectors))  # (P, E)
    matrix, offset = (weights @ to_shared).T, bias @ to_shared  # (E, D), (E,)
    scale = np.abs(matrix).max()
    matrix, offset, identity = matrix / scale, offset / scale, np.eye(len(matrix))
    arrays = {
        "text_center": center,
        "text_weight1": np.concatenate([matrix, -matrix]),
        "text_bias1": np.concatenate([offset, -offset]),
        "text_weight2": np.concatenate([identity, -identity], axis=1),
        "text_bias2": np.zeros(len(matrix)),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def check_faces_of_classes(labels: NDArray[np.integer], class_names: Sequence[str]) -> None:
    """Raise if a class has no face among ``labels``, ``(N,)``, to which a text side could be fitted.

    Raises:
        FacelexError: Naming the classes without one.
    """
    absent = [name for number, name in enumerate(class_names) if not (labels == number).any()]
    if absent:
        raise FacelexError(
            f"The text side is fitted to faces of every class, but there is none of {', '.join(absent)}. "
            "Train with faces of it, or set model.text_fit=null."
        )


def trained_text_arrays(model: DualEncoder) -> dict[str, NDArray[np.float32]]:
    """Return a model's own text side in the same five arrays.

    Raises:
        ValueError: If the model has no words.
    """
    projection = model.text_projection
    if projection is None:
        raise ValueError("This model was trained without words, so it has no text side.")
    tensors = {
        "text_center": model.word_center,
        "text_weight1": projection.hidden.weight,
        "text_bias1": projection.hidden.bias,
        "text_weight2": projection.out.weight,
        "text_bias2": projection.out.bias,
    }
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}  # type: ignore[operator]


def trained_part(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return the trained side of a ``blend``, up to a positive factor, which the unit length takes away.

    The hidden units of the fitted side come last, two for each dimension, and it has no output bias.
    """
    count = len(arrays["text_bias1"]) - 2 * len(arrays["text_bias2"])
    assert count > 0, "no blend: too few hidden units for two sides"
    return {
        **arrays,
        "text_weight1": arrays["text_weight1"][:count],
        "text_bias1": arrays["text_bias1"][:count],
        "text_weight2": arrays["text_weight2"][:, :count],
    }


def blend_text_arrays(
    trained: Mapping[str, NDArray[np.float32]],
    fitted: Mapping[str, NDArray[np.float32]],
    word_vectors: NDArray[np.floating],
) -> dict[str, NDArray[np.float32]]:
    """Add a trained and a fitted text side, before their sum is brought to unit length.

    The trained one knows its own words better, the fitted one is surer between them.

    Args:
        trained: The five arrays of a trained side with H hidden units.
        fitted: Those of a fitted side with G.
        word_vectors: Unit vectors ``(N, D)`` over which both sides are to have the same mean length.

    Returns:
        Five arrays with H + G hidden units.
    """
    scales = [
        1 / np.linalg.norm(_before_normalizing(side, word_vectors), axis=1).mean()
        for side in (trained, fitted)
    ]
    moved = fitted["text_weight1"] @ (trained["text_center"] - fitted["text_center"])  # one center for both
    arrays = {
        "text_center": trained["text_center"],
        "text_weight1": np.concatenate([trained["text_weight1"], fitted["text_weight1"]]),
        "text_bias1": np.concatenate([trained["text_bias1"], fitted["text_bias1"] + moved]),
        "text_weight2": np.concatenate(
            [scales[0] * trained["text_weight2"], scales[1] * fitted["text_weight2"]], axis=1
        ),
        "text_bias2": scales[0] * trained["text_bias2"] + scales[1] * fitted["text_bias2"],
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def replace_text_projection(model: DualEncoder, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Put another text side in the place of a model's own, with as many hidden units as it needs.

    Raises:
        ValueError: If the model has no words.
    """
    old = model.text_projection
    if old is None:
        raise ValueError("This model was trained without words, so it has no text side to replace.")
    hidden_dim, in_features = arrays["text_weight1"].shape
    device = old.out.weight.device
    new = ProjectionHead(in_features, hidden_dim, old.out.out_features, old.dropout.p).to(device)
    tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
    with torch.no_grad():
        model.word_center.copy_(tensors["text_center"])  # type: ignore[operator]
        new.hidden.weight.copy_(tensors["text_weight1"])
        new.hidden.bias.copy_(tensors["text_bias1"])
        new.out.weight.copy_(tensors["text_weight2"])
        new.out.bias.copy_(tensors["text_bias2"])
    model.text_projection = new.train(model.training)


def _before_normalizing(
    arrays: Mapping[str, NDArray[np.float32]], word_vectors: NDArray[np.floating]
) -> NDArray[np.float32]:
    hidden = (word_vectors - arrays["text_center"]) @ arrays["text_weight1"].T + arrays["text_bias1"]
    return np.maximum(hidden, 0) @ arrays["text_weight2"].T + arrays["text_bias2"]


def _rated_words(vocabulary: Vocabulary) -> list[str]:
    return [word for words in AFFECT_WORDS.values() for word in words.split() if word in vocabulary]


def _word_features(
    kind: str, vocabulary: Vocabulary
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The affine map from word vectors to features: weights ``(D, P)``, bias ``(P,)``, center ``(D,)``."""
    feelings = np.stack([vocabulary.vector(word) for word in _rated_words(vocabulary)]).astype(np.float64)
    center = feelings.mean(axis=0)
    spread = np.sqrt(np.square(feelings - center).sum(axis=1).mean())
    weights, bias = np.eye(vocabulary.dim) / spread, np.zeros(vocabulary.dim)
    if kind == "affect":
        affect, share = fit_affect(vocabulary), np.array(AFFECT_WEIGHTS)
        weights = np.concatenate([weights, affect.weights * share], axis=1)
        bias = np.concatenate([bias, affect(center) * share])
    return weights, bias, center


def _class_directions(
    image_features: NDArray[np.floating], labels: NDArray[np.integer], num_classes: int
) -> NDArray[np.float64]:
    """Ridge regression from features to class indicators, ``(K, E)``, all classes weighing the same."""
    features = image_features.astype(np.float64)
    counts = np.bincount(labels, minlength=num_classes)
    weight = 1 / counts[labels] / (counts > 0).sum()  # (N,), sums to 1
    targets = np.eye(num_classes)[labels] - 1 / num_classes
    centered = features - weight @ features
    covariance = (centered * weight[:, None]).T @ centered
    penalty = RIDGE * np.trace(covariance) / len(covariance)
    directions = np.linalg.solve(
        covariance + penalty * np.eye(len(covariance)), (centered * weight[:, None]).T @ targets
    )
    return directions.T
