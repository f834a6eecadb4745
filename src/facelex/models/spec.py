"""What weights need to become a network again: the content of ``model.json``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from facelex.errors import FacelexError
from facelex.records import read_json_object, read_record
from facelex.run_files import SPEC, require_weights
from facelex.vocabulary.glove import vector_name

FORMAT = 1
"""Descriptions of a higher one are refused: a newer version wrote them, and they would be read wrongly."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Sizes, statistics and words of one network.

    What has a default was added later and is absent from older files. Fields that a newer version has added
    are ignored.
    """

    format: int = FORMAT
    image_encoder: str
    encoder_options: dict[str, Any] = field(default_factory=dict)
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
    words: dict[str, list[str]] = field(default_factory=dict)
    text_fit: str | None = None
    text_hidden_dim: int | None = None
    """Hidden width of a text projection that was fitted after training; None: ``hidden_dim``."""
    num_votes: int = 0
    """Width of the head that predicts annotators' votes; 0: there is none."""

    def to_text(self) -> str:
        """Return what ``model.json`` holds."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)


def read_spec(folder: Path) -> ModelSpec:
    """Read the description of a run's final weights.

    Raises:
        FacelexError: If the folder holds no finished run, a newer version wrote it or the file is damaged.
    """
    require_weights(folder)
    path = folder / SPEC
    remedy = "Restore it from a copy, for it says what the weights need, or train again."
    found = read_json_object(path, remedy)
    version = found.get("format", FORMAT)
    if isinstance(version, int) and version > FORMAT:
        raise FacelexError(
            f"Expected {path} to have format {FORMAT}, but got {version}: a newer version of facelex wrote "
            "it. Update facelex."
        )
    try:
        spec: ModelSpec = read_record(ModelSpec, found)
        if not spec.classes or spec.image_size < 1:
            raise FacelexError("Expected class names and a size of at least 1 pixel, but got another.")
    except FacelexError as error:
        raise FacelexError(f"{path} is damaged. {error} {remedy}") from error
    return spec


MEANINGFUL = ("glove", "synonyms")
"""Text encoders whose vectors mean the words; a control's space answers no question in words."""


def vocabulary_name(vocabulary: str | None) -> str:
    """Name of the word vectors that a configuration's ``vocabulary`` stands for."""
    return "glove.6B.100d" if vocabulary in (None, "packaged") else vector_name(Path(vocabulary))
