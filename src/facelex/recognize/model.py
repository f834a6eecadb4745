"""The ONNX file: its session, and the metadata that travels inside it."""

from __future__ import annotations

import base64
import io
import json
import math
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
from facelex.recognize.sessions import session_options

_WEIGHTS = Path(__file__).parents[1] / "weights"
PACKAGED = {
    "shipped": _WEIGHTS / "default.onnx",
    "small": _WEIGHTS / "small.onnx",
    "tiny": _WEIGHTS / "tiny.onnx",
}
"""The models of the package by name: the one that is taken by default, and two smaller and faster ones."""
FACES_AT_ONCE = 32
"""Images in one run of the network. More are no faster on two cores, and each takes 2.5 MB while it runs."""
FORMAT = 1
ARRAYS = (
    "text_center", "text_weight1", "text_bias1", "text_weight2", "text_bias2", "feature_mean", "feature_cov",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """An emotion model ready to run."""

    session: onnxruntime.InferenceSession
    info: Mapping[str, Any]
    """The ``facelex`` metadata."""
    name: str
    """File name, for messages."""

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return tuple(self.info["classes"])

    @cached_property
    def image_size(self) -> int:
        """Side of the square face crop in pixels."""
        return int(self.info["image_size"])

    @property
    def crop_size(self) -> int:
        """Side of the crops that faces are cut out as, pixels: that of the pictures it was trained with.

        A network that takes smaller images than its dataset holds gets these scaled, as in its training.
        """
        return int(self.info.get("crop_size", self.image_size))

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
        encoded = self.session.get_modelmeta().custom_metadata_map.get("facelex_arrays")
        return None if encoded is None else _read_arrays(encoded, self.name)

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

    def word_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return `arrays`, which scores of words need.

        Raises:
            FacelexError: If there are none.
        """
        self.require_features("Words")
        if self.arrays is None:
            raise FacelexError(f"{self.name!r} holds no text projection. Export the model again.")
        return self.arrays

    @property
    def stale_words(self) -> str | None:
        """What is to be said of its scores of words if they are stale."""
        if not self.info.get("words_stale"):
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
            widths = (len(self.classes), int(self.info.get("embed_dim") or 0))
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
        scaled = logits.astype(np.float64) / float(self.info["temperature"])
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def load_model(model: str | os.PathLike[str] | None = None, *, threads: int | None = None) -> Model:
    """Open an exported model.

    Args:
        model: Path of an ONNX file; ``"shipped"``, ``"small"`` or ``"tiny"`` for a model of the package;
            ``"hf:owner/name"`` for ``model.onnx`` of a repository on the Hugging Face Hub; None for the
            shipped one.
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
    return Model(session, _read_info(session, path), path.name)


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


def _read_info(session: onnxruntime.InferenceSession, path: Path) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get("facelex")
    if text is None:
        raise FacelexError(
            f"Expected a model exported by facelex, but {str(path)!r} lacks its metadata. Write one "
            "with: facelex export RUN -o model.onnx"
        )
    try:
        info = json.loads(text)
        found = info["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise FacelexError(f"The metadata of {str(path)!r} is damaged. Export the model again.") from error
    if found != FORMAT:
        raise FacelexError(
            f"Expected model format {FORMAT}, but {str(path)!r} has {found}. Update facelex or export "
            "it again."
        )
    faults = _info_faults(info) or _graph_faults(session, info)
    if faults:
        raise FacelexError(
            f"{str(path)!r} is not a usable model: {'; '.join(faults)}. Export the model again."
        )
    return {"temperature": 1.0, "unsure_below": 0.4, "flip": True, **info}


def _info_faults(info: dict[str, Any]) -> list[str]:
    faults = []
    classes = info.get("classes")
    if not (isinstance(classes, list) and classes and all(isinstance(name, str) for name in classes)):
        faults.append("its classes are not a list of names")
    for name in ("image_size", "crop_size"):
        size = info.get(name, info.get("image_size"))
        if not (isinstance(size, int) and 8 <= size <= 1024):
            faults.append(f"its {name} is {size!r}")
    for name in ("temperature", "unsure_below"):
        value = info.get(name, 1.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            faults.append(f"its {name} is {value!r}")
    if info.get("temperature", 1.0) == 0:
        faults.append("its temperature is 0")
    return faults


def _graph_faults(session: onnxruntime.InferenceSession, info: dict[str, Any]) -> list[str]:
    inputs = {value.name: value.shape for value in session.get_inputs()}
    outputs = {value.name: value.shape for value in session.get_outputs()}
    if list(inputs) != ["images"] or "logits" not in outputs:
        return [f"it takes {list(inputs)} and gives {list(outputs)}, not images and logits"]
    side, count = info["image_size"], len(info["classes"])
    faults = []
    if not _fits(inputs["images"], (None, 1, side, side)):
        faults.append(f"its images have shape {inputs['images']}, not (B, 1, {side}, {side})")
    if not _fits(outputs["logits"], (None, count)):
        faults.append(f"its logits have shape {outputs['logits']} for {count} classes")
    return faults


def _fits(shape: Sequence[int | str | None], expected: Sequence[int | None]) -> bool:
    """Return whether a graph's shape, with names where any size goes, allows the expected one."""
    fixed = [size if isinstance(size, int) else None for size in shape]
    known = (a == b for a, b in zip(fixed, expected) if a is not None)
    return len(fixed) == len(expected) and all(known)


def _read_arrays(encoded: str, name: str) -> dict[str, NDArray[np.float32]]:
    try:
        with np.load(io.BytesIO(base64.b64decode(encoded)), allow_pickle=False) as archive:
            arrays = {key: np.asarray(archive[key], dtype=np.float32) for key in ARRAYS}
        width, hidden, embed = len(arrays["text_center"]), *arrays["text_weight2"].shape[::-1]
        shapes = [(width,), (hidden, width), (hidden,), (embed, hidden), (embed,), (embed,), (embed, embed)]
        if [arrays[key].shape for key in ARRAYS] != shapes:
            raise ValueError("shapes differ")
    except Exception as error:  # a zip inside base64 inside a foreign file
        raise FacelexError(f"The word arrays in {name!r} are damaged. Export the model again.") from error
    return arrays
