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

from facelex.errors import unknown_name
from facelex.models.dual_encoder import DualEncoder
from facelex.vocabulary import Vocabulary
from facelex.word_affect import AFFECT_WORDS, fit_affect
from facelex.word_controls import class_word_vectors

TEXT_FITS: tuple[str, ...] = ("linear", "affect")
"""Word features of a fitted text side."""

AFFECT_WEIGHTS = (0.5, 0.25)
"""Weights of pleasantness and arousal beside word vectors of mean length 1; chosen on held-out emotions."""

RIDGE = 0.1
"""Penalty on the image side, relative to the mean variance of a feature."""


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
        FacelexError: If the kind or a word is unknown.
    """
    if kind not in TEXT_FITS:
        raise unknown_name("fit of the text side", kind, TEXT_FITS)
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


def replace_text_projection(model: DualEncoder, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Put a fitted text side in the place of a model's trained one.

    Hidden units that the fit does not need are set to zero.

    Raises:
        ValueError: If the model has no words, or fewer hidden units than twice the width of the shared space.
    """
    projection = model.text_projection
    if projection is None:
        raise ValueError("This model was trained without words, so it has no text side to replace.")
    used, hidden = len(arrays["text_bias1"]), projection.hidden.out_features
    if used > hidden:
        raise ValueError(f"Expected hidden_dim of at least {used}, twice embed_dim, but got {hidden}.")
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    with torch.no_grad():
        for parameter in projection.parameters():
            parameter.zero_()
        model.word_center.copy_(tensors["text_center"])  # type: ignore[operator]
        projection.hidden.weight[:used] = tensors["text_weight1"]
        projection.hidden.bias[:used] = tensors["text_bias1"]
        projection.out.weight[:, :used] = tensors["text_weight2"]
        projection.out.bias.copy_(tensors["text_bias2"])


def _word_features(
    kind: str, vocabulary: Vocabulary
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The affine map from word vectors to features: weights ``(D, P)``, bias ``(P,)``, center ``(D,)``."""
    anchors = [word for words in AFFECT_WORDS.values() for word in words.split() if word in vocabulary]
    feelings = np.stack([vocabulary.vector(word) for word in anchors]).astype(np.float64)
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
    weight = 1 / np.bincount(labels, minlength=num_classes)[labels] / num_classes  # (N,), sums to 1
    targets = np.eye(num_classes)[labels] - 1 / num_classes
    centered = features - weight @ features
    covariance = (centered * weight[:, None]).T @ centered
    penalty = RIDGE * np.trace(covariance) / len(covariance)
    directions = np.linalg.solve(
        covariance + penalty * np.eye(len(covariance)), (centered * weight[:, None]).T @ targets
    )
    return directions.T
