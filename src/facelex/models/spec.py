"""What weights need to become a network again: the content of ``model.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from facelex.vocabulary.glove import vector_name


class ModelSpec(BaseModel):
    """Sizes, statistics and words of one network.

    What has a default was added later and is absent from older files. Fields that a newer version has added
    are ignored.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    format: int = 1
    image_encoder: str
    encoder_options: dict[str, Any] = {}
    classes: list[str]
    image_size: int
    """Side of the pictures in pixels."""
    mean: float
    """Of the training pixels in [0, 1]."""
    std: float
    hidden_dim: int
    embed_dim: int
    dropout: float
    temperature: float
    center_words: bool
    mix_words: bool
    has_words: bool
    has_projection: bool | None = None
    """Whether images are projected into the shared space; None: as ``has_words``."""
    word_vectors_shape: tuple[int, int, int] | None = None
    """Classes, words of each, dimensions of a vector."""
    text_encoder: str | None = None
    vocabulary: str | None = None
    words: dict[str, list[str]] = {}
    text_fit: str | None = None
    text_hidden_dim: int | None = None
    """Hidden width of a text projection that was fitted after training; None: ``hidden_dim``."""
    num_votes: int = 0
    """Width of the head that predicts annotators' votes; 0: there is none."""


MEANINGFUL = ("glove", "synonyms")
"""Text encoders whose vectors mean the words; a control's space answers no question in words."""


def vocabulary_name(vocabulary: str | None) -> str:
    """Name of the word vectors that a configuration's ``vocabulary`` stands for."""
    return "glove.6B.100d" if vocabulary in (None, "packaged") else vector_name(Path(vocabulary))
