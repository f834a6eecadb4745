"""What network a configuration makes for a dataset, as `ModelSpec` and the vectors of its words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError
from facelex.models.spec import ModelSpec
from facelex.models.text import class_words, create_word_vectors, load_vocabulary
from facelex.models.text_fit import check_vocabulary
from facelex.training.config import RunConfig
from facelex.word_controls import class_word_vectors


def class_vectors(config: RunConfig, class_names: Sequence[str]) -> Tensor | None:
    """Vectors of each class's words, ``(K, W, D)``; None for a method without words.

    Raises:
        FacelexError: If a class has no words that the vocabulary knows; all such classes are named.
    """
    if not config.has_words:
        return None
    vocabulary = load_vocabulary(config.model.vocabulary)
    words = class_words(class_names, config.model.words)
    try:
        vectors = create_word_vectors(config.model.text_encoder, vocabulary, words, seed=config.seed)
        if config.model.text_fit:
            class_word_vectors(vocabulary, words)
    except FacelexError as error:
        raise FacelexError(
            f"{error}\nGive such a class words of its own: --set 'model.words.CLASS=[word, other word]'."
        ) from error
    if config.model.text_fit:
        check_vocabulary(vocabulary)
    return vectors


def describe_model(
    config: RunConfig, dataset: FaceDataset, train_index: NDArray[np.int64], words: Tensor | None
) -> ModelSpec:
    """Say what network a configuration makes for a dataset.

    Args:
        config: The run's.
        dataset: Whose classes it names.
        train_index: The examples whose pixels give mean and standard deviation.
        words: ``(K, W, D)`` word vectors of the classes, or None for a method without words.
    """
    mean, std = _pixel_statistics(dataset.pixels[train_index])
    return ModelSpec(
        image_encoder=config.model.image_encoder,
        encoder_options=dict(config.model.encoder_options),
        classes=list(dataset.class_names),
        image_size=config.image_size,
        mean=round(mean, 4),
        std=round(max(std, 1e-3), 4),
        hidden_dim=config.model.hidden_dim,
        embed_dim=config.model.embed_dim,
        dropout=config.model.dropout,
        temperature=config.model.temperature,
        center_words=config.model.center_words,
        mix_words=config.model.mix_words,
        text_fit=None if words is None else config.model.text_fit,
        has_words=words is not None,
        has_projection=config.has_projection,
        word_vectors_shape=None if words is None else _three(words.shape),
        text_encoder=None if words is None else config.model.text_encoder,
        vocabulary=None if words is None else config.model.vocabulary,
        num_votes=len(dataset.votes.names) if config.predicts_votes and dataset.votes is not None else 0,
        words={k: list(v) for k, v in class_words(dataset.class_names, config.model.words).items()},
    )


def _three(shape: Sequence[int]) -> tuple[int, int, int]:
    classes, count, dim = shape
    return classes, count, dim


def _pixel_statistics(pixels: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation in [0, 1], from counts, which need no copy in floating point."""
    counts = np.zeros(256, np.int64)
    for start in range(0, len(pixels), 1024):
        counts += np.bincount(pixels[start : start + 1024].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = float((counts * values).sum() / counts.sum())
    return mean, math.sqrt(float((counts * (values - mean) ** 2).sum() / counts.sum()))
