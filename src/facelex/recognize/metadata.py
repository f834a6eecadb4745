"""What an exported network says of itself: the metadata of its ONNX file, read and written here alone."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError
from facelex.recognize.words import TextProjection
from facelex.records import read_record

FORMAT = 1
"""Files of a higher one are refused: they would be read wrongly. What is merely added does not raise it."""
INFO, ARRAYS = "facelex", "facelex_arrays"
"""The properties of the ONNX file that hold the record, as JSON, and the arrays of `TextProjection`."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The record of an exported network; what has a default may be absent from a file.

    Attributes:
        name: What the network is called.
        classes: Class names in the order of the logits.
        image_size: Side of the pictures that the network takes, pixels.
        crop_size: Side of the crops that faces are cut out as: that of the pictures it was trained with. A
            network that takes smaller images than its dataset holds gets these scaled, as in its training.
        temperature: Divides the logits, before the softmax, for calibrated probabilities.
        unsure_below: Probability under which an answer should read "unsure".
        flip: Whether to look at the mirror image too.
        framing: What differs from ``framing.DEFAULT_FRAMING``.
        words: The words of each class that it was trained with.
        embed_dim: Length of the features; None without words.
        word_dim: Length of the word vectors; None without words.
        vocabulary: Name of the word vectors; None without words.
        words_stale: Whether it was trained on labels alone after its faces had been aligned with words.
        precision: How its numbers are stored, and what that cost.
        scores: Headline numbers of the splits it was evaluated on.
        training: How the weights came to be.
        card: The model card in Markdown.
        added: By name what a later version of the same format says besides.
    """

    name: str | None = None
    classes: list[str]
    image_size: int
    crop_size: int
    temperature: float = 1.0
    unsure_below: float = 0.4
    flip: bool = True
    framing: dict[str, Any] = field(default_factory=dict)
    words: dict[str, list[str]] = field(default_factory=dict)
    embed_dim: int | None = None
    word_dim: int | None = None
    vocabulary: str | None = None
    words_stale: bool = False
    precision: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    card: str | None = None
    added: dict[str, Any] = field(default_factory=dict)

    def recorded(self, *names: str) -> Mapping[str, Any]:
        """An object within the record of its training, empty where that has none: others may write it."""
        found: Any = self.training
        for name in names:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON, ``words_stale`` where it is true."""
        held = {name: getattr(self, name) for name in _NAMES if self.words_stale or name != "words_stale"}
        return {"format": FORMAT, **held, **self.added}

    def to_properties(
        self, arrays: Mapping[str, NDArray[np.float32]] | None = None, *, half: bool = False
    ) -> dict[str, str]:
        """Return what the ONNX file is to hold.

        Args:
            arrays: What `TextProjection` consists of, None for a network without words.
            half: Store the projection's weights as float16.
        """
        properties = {INFO: json.dumps(self.to_json())}
        if arrays is not None:
            properties[ARRAYS] = _encode_arrays(arrays, half)
        return properties


_NAMES = tuple(one.name for one in fields(Metadata) if one.name != "added")


def read_metadata(properties: Mapping[str, str], place: str) -> Metadata:
    """Read what an ONNX file holds.

    Args:
        properties: Of the file.
        place: Its path, for messages.

    Raises:
        FacelexError: If facelex has not exported it, or a newer version has, or something in it is damaged.
    """
    if INFO not in properties:
        raise FacelexError(
            f"Expected a model exported by facelex, but {place!r} lacks its metadata. Write one with: "
            "facelex export RUN -o model.onnx"
        )
    try:
        info = json.loads(properties[INFO])
        found = info.pop("format")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise FacelexError(f"The metadata of {place!r} is damaged. Export the model again.") from error
    if isinstance(found, int) and found > FORMAT:
        raise FacelexError(
            f"Expected a model of format {FORMAT}, but {place!r} has {found}: a newer version of facelex "
            "exported it. Update facelex, or export the run with this version."
        )
    if found != FORMAT:
        raise unusable(place, [f"its format is {found!r}"])
    absent = [name for name in _RECORDS if not isinstance(info.get(name), dict)]
    absent += [name for name in ("framing", "words") if info.get(name) is None]
    for name in absent:
        info.pop(name, None)
    known = {name: info.pop(name) for name in _NAMES if name in info}
    try:
        metadata: Metadata = read_record(
            Metadata, {"crop_size": known.get("image_size"), **known, "added": info}
        )
    except FacelexError as error:
        raise unusable(place, [str(error).rstrip(".")]) from error
    faults = _faults(metadata)
    if faults:
        raise unusable(place, faults)
    return metadata


_RECORDS = ("precision", "scores", "training")
"""What only tells of the past: where another program has written something else, it is read as nothing."""


def _faults(metadata: Metadata) -> list[str]:
    """Say which values a network cannot have."""
    fits = {
        "classes": len(metadata.classes) > 0,
        "image_size": 8 <= metadata.image_size <= 1024,
        "crop_size": 8 <= metadata.crop_size <= 1024,
        "temperature": 0 < metadata.temperature < math.inf,
        "unsure_below": 0 <= metadata.unsure_below < math.inf,
    }
    return [f"its {name} is {getattr(metadata, name)!r}" for name, good in fits.items() if not good]


def unusable(place: str, faults: Sequence[str]) -> FacelexError:
    """Build the error for a file that is no model, for the reasons ``faults``."""
    return FacelexError(f"{place!r} is not a usable model: {'; '.join(faults)}. Export the model again.")


def read_arrays(properties: Mapping[str, str], place: str) -> dict[str, NDArray[np.float32]] | None:
    """Read what `TextProjection` consists of; None where an ONNX file holds none of it.

    Args:
        properties: Of the file.
        place: What messages call it.

    Raises:
        FacelexError: If they are damaged.
    """
    if ARRAYS not in properties:
        return None
    names = [one.name for one in fields(TextProjection)]
    try:
        with np.load(io.BytesIO(base64.b64decode(properties[ARRAYS])), allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name], dtype=np.float32) for name in names}
        width, hidden, embed = len(arrays["text_center"]), *arrays["text_weight2"].shape[::-1]
        shapes = [(width,), (hidden, width), (hidden,), (embed, hidden), (embed,), (embed,), (embed, embed)]
        if [arrays[name].shape for name in names] != shapes:
            raise ValueError("shapes differ")
    except Exception as error:  # a zip inside base64 inside a foreign file
        raise FacelexError(f"The word arrays in {place!r} are damaged. Export the model again.") from error
    return arrays


def _encode_arrays(arrays: Mapping[str, NDArray[np.float32]], half: bool) -> str:
    """Base64 of a compressed npz."""
    stored: dict[str, Any] = {
        key: value.astype(np.float16) if half and key.startswith("text_") else value
        for key, value in arrays.items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **stored)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
