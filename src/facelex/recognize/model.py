"""The ONNX file of a network, ready to run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from facelex.errors import FacelexError, did_you_mean, require, shorten
from facelex.recognize.metadata import Metadata, read_arrays, read_metadata, unusable
from facelex.recognize.sessions import session_options
from facelex.recognize.words import join_features

_WEIGHTS = Path(__file__).parents[1] / "weights"
PACKAGED = {
    "shipped": _WEIGHTS / "default.onnx",
    "small": _WEIGHTS / "small.onnx",
    "tiny": _WEIGHTS / "tiny.onnx",
    "ferplus": _WEIGHTS / "ferplus.onnx",
}
"""The models of the package by name: the one that is taken by default, two smaller and faster ones, and
one of the size of `small` that has learned what FER+'s taggers say, not FER2013's labels."""
FACES_AT_ONCE = 32
"""Images in one run of the network. More are no faster on two cores, and each takes 2.5 MB while it runs."""


@dataclass(frozen=True)
class Model:
    """An emotion model ready to run."""

    session: onnxruntime.InferenceSession
    metadata: Metadata
    name: str
    """File name, for messages."""

    @property
    def title(self) -> str:
        """What the network is called, or else its file."""
        return self.metadata.name or self.name

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return tuple(self.metadata.classes)

    @property
    def image_size(self) -> int:
        """Side of the square pictures that the network takes, pixels."""
        return self.metadata.image_size

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """The metadata as plain values."""
        return self.metadata.to_json()

    @cached_property
    def has_features(self) -> bool:
        """Whether the model was trained with words and so gives features."""
        return "image_features" in (output.name for output in self.session.get_outputs())

    @cached_property
    def arrays(self) -> dict[str, NDArray[np.float32]] | None:
        """The text projection and the reference statistics; None for a model without words.

        Raises:
            FacelexError: If the metadata holds them in no readable form.
        """
        return read_arrays(self.session.get_modelmeta().custom_metadata_map, self.name)

    def require_features(self, what: str) -> None:
        """Refuse what needs a model that was trained with words; ``what`` begins the sentence.

        Raises:
            FacelexError: If it was trained without.
        """
        if not self.has_features:
            raise FacelexError(
                f"{what} need a model trained with words, but {self.name!r} only knows its "
                f"{len(self.classes)} classes. Use the shipped model or another multimodal one."
            )

    def word_side(self) -> tuple[dict[str, NDArray[np.float32]], str]:
        """Return what scores of words need: `arrays`, and the name of the word vectors they are for.

        Raises:
            FacelexError: If there are none.
        """
        self.require_features("Words")
        if self.arrays is None or self.metadata.vocabulary is None:
            what = "holds no text projection" if self.arrays is None else "does not name its word vectors"
            raise FacelexError(f"{self.name!r} {what}. Export the model again.")
        return self.arrays, self.metadata.vocabulary

    @property
    def stale_words(self) -> str | None:
        """What is to be said of its scores of words if they are stale."""
        if not self.metadata.words_stale:
            return None
        return (
            f"Scores of words by the model {self.name!r} are stale: after its faces had been aligned with "
            "words, it was trained on labels alone."
        )

    def run(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Run the network, `FACES_AT_ONCE` images at a time.

        Args:
            images: Grey faces in [0, 1], ``(B, 1, S, S)``.

        Returns:
            Logits ``(B, K)`` and unit-length features ``(B, E)``, or None for a model without words.
        """
        names = ["logits", "image_features"] if self.has_features else ["logits"]
        parts = (images[start : start + FACES_AT_ONCE] for start in range(0, len(images), FACES_AT_ONCE))
        batches = [self.session.run(names, {"images": np.ascontiguousarray(part)}) for part in parts]
        if not batches:
            widths = (len(self.classes), self.metadata.embed_dim or 0)
            batches = [[np.zeros((0, width), np.float32) for width in widths[: len(names)]]]
        logits, *features = (np.concatenate(rows) for rows in zip(*batches))
        return logits, features[0] if features else None

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``softmax(logits / temperature)``: the calibrated probabilities, ``(B, K)``.

        Raises:
            FacelexError: If the model is broken and its logits are not finite.
        """
        if not np.isfinite(logits).all():
            raise FacelexError(f"The model {self.name!r} gives logits that are not finite. Export it again.")
        scaled = logits.astype(np.float64) / self.metadata.temperature
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

    def answer(
        self, images: NDArray[np.float32], *, flip: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Read faces, with ``flip`` each together with its mirror image.

        Args:
            images: Grey faces in [0, 1], ``(N, S, S)``.
            flip: Return the mean of both pictures' probabilities, and their features joined.

        Returns:
            Calibrated probabilities ``(N, K)`` and unit-length features ``(N, E)``, or None for a model
            without words.
        """
        logits, features = self.run(images[:, None])
        probabilities = self.probabilities(logits)
        if not flip:
            return probabilities, features
        logits, mirrored = self.run(images[:, None, :, ::-1])
        probabilities = (probabilities + self.probabilities(logits)) * np.float32(0.5)
        if features is None or mirrored is None:
            return probabilities, None
        return probabilities, join_features(features, mirrored)


def load_model(model: str | os.PathLike[str] | None = None, *, threads: int | None = None) -> Model:
    """Open an exported model.

    Args:
        model: Path of an ONNX file; ``"shipped"``, ``"small"``, ``"tiny"`` or ``"ferplus"`` for a model of
            the package; ``"hf:owner/name"`` for ``model.onnx`` of a repository on the Hugging Face Hub;
            None for the shipped one.
        threads: Threads one batch is computed with, at most one for each processor of the machine; by
            default the physical cores this process may use.

    Raises:
        FacelexError: If there is no such file, or it is not a model that facelex exported.
        MissingExtraError: If ``hf:`` is asked for without huggingface_hub.
    """
    options = session_options(threads)
    path = find_model(model)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has its own exceptions for each way a foreign file can be wrong
        raise FacelexError(
            f"Expected an ONNX model, but {str(path)!r} is none that ONNX Runtime can read "
            f"({str(error).splitlines()[0][:200]}). Write one with: facelex export RUN -o model.onnx"
        ) from error
    metadata = read_metadata(session.get_modelmeta().custom_metadata_map, str(path))
    faults = _graph_faults(session, metadata)
    if faults:
        raise unusable(str(path), faults)
    return Model(session, metadata, path.name)


def find_model(model: str | os.PathLike[str] | None) -> Path:
    """Return the file of a model, given as to :func:`load_model`.

    Raises:
        FacelexError: If there is no such file.
    """
    name = "shipped" if model is None else os.fspath(model)
    if name in PACKAGED:
        path = PACKAGED[name]
        if not path.is_file():
            raise FacelexError(
                f"This installation lacks the model {name!r} (weights/{path.name}). Install it again, or "
                "name a model file: --model model.onnx, Recognizer('model.onnx')."
            )
        return path
    if name.startswith("hf:"):
        return _from_hub(name[3:])
    path = Path(name)
    if os.path.isdir(path):  # noqa: PTH112 - as below
        raise FacelexError(
            f"Expected a model file, but {shorten(name)!r} is a folder. If it is a run, write its model "
            f"with: facelex export {shlex.quote(name)} -o model.onnx"
        )
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises where a name is too long
        folder = path.parent
        nearby = [entry.name for entry in folder.glob("*.onnx")] if os.path.isdir(folder) else []  # noqa: PTH112
        hint = (
            did_you_mean(path.name, nearby if path.parent.name else [*nearby, *PACKAGED])
            or f" Check the path, or name a model of the package: {', '.join(PACKAGED)}."
        )
        raise FacelexError(f"No model file at {shorten(name)!r}.{hint}")
    return path


def _from_hub(repository: str) -> Path:
    hub = require("huggingface_hub", "hub", "A model named hf:owner/name")
    owner, _, name = repository.partition("/")
    if not owner or not name or "/" in name:
        raise FacelexError(f"Expected a model as hf:owner/name, but got {shorten('hf:' + repository)!r}.")
    try:
        return Path(hub.hf_hub_download(repository, "model.onnx"))
    except Exception as error:  # no network, no such repository, no such file, no access
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FacelexError(
            f"Could not get model.onnx of {repository!r} from the Hugging Face Hub: {reason} Check the "
            "name and the connection, or name a local file."
        ) from error


def _graph_faults(session: onnxruntime.InferenceSession, metadata: Metadata) -> list[str]:
    """Say in what a graph is not what its metadata say."""
    inputs = {value.name: value.shape for value in session.get_inputs()}
    outputs = {value.name: value.shape for value in session.get_outputs()}
    if list(inputs) != ["images"] or "logits" not in outputs:
        return [f"it takes {list(inputs)} and gives {list(outputs)}, not images and logits"]
    side, count = metadata.image_size, len(metadata.classes)
    faults = []
    if not _fits(inputs["images"], (None, 1, side, side)):
        faults.append(f"its images have shape {inputs['images']}, not (B, 1, {side}, {side})")
    if not _fits(outputs["logits"], (None, count)):
        faults.append(f"its logits have shape {outputs['logits']} for {count} classes")
    features = outputs.get("image_features")
    if features is not None and not (metadata.embed_dim and _fits(features, (None, metadata.embed_dim))):
        faults.append(f"its image_features have shape {features} for an embed_dim of {metadata.embed_dim}")
    return faults


def _fits(shape: Sequence[int | str | None], expected: Sequence[int | None]) -> bool:
    """Return whether a graph's shape, with names where any size goes, allows the expected one."""
    fixed = [size if isinstance(size, int) else None for size in shape]
    known = (a == b for a, b in zip(fixed, expected) if a is not None)
    return len(fixed) == len(expected) and all(known)
