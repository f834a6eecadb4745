"""What can be scored, behind one call: the PyTorch weights of a run folder or an ONNX file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError, require
from facelex.evaluation.onnx_model import predict_onnx
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.run_folder import RunFolder, TrainedOn, load_run_folder, weights_digest
from facelex.models.spec import read_spec
from facelex.recognize.model import PACKAGED, find_model, load_model
from facelex.run_files import is_run_folder, require_weights

Classify = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From faces of any size, ``(n, H, W)``, to uncalibrated probabilities, ``(n, K)``."""


@dataclass(frozen=True)
class Network:
    """A network that can be asked about faces, or whose answers lie in a file already.

    Attributes:
        name: Name of the run or the model.
        source: As the caller named it.
        classes: Class names in the order of its answers.
        image_size: Side of the faces it was made for, pixels.
        load: Loads the weights; called only when something must be computed.
        temperature: Its own calibration, None for a run, which has none.
        run: The run folder, None for an ONNX file.
        fingerprint: Fingerprint of the dataset it was trained on, empty where it does not say.
        dataset: One line on where that dataset came from, likewise.
        crop_size: Side of that dataset's faces, which the network gets scaled to ``image_size``; None where
            it does not say.
        given: The answers of a file, which stand for a network that is not at hand; it cannot be asked then.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    image_size: int
    load: Callable[[], Classify]
    temperature: float | None = None
    run: RunFolder | None = None
    fingerprint: str = ""
    dataset: str = ""
    crop_size: int | None = None
    given: Predictions | None = None


def open_network(model: str | Path, *, threads: int | None = None) -> Network:
    """Open a run folder, an ``.onnx`` file, ``hf:owner/name`` or, by its name, a model of the package.

    Args:
        model: The network to open.
        threads: Threads of an ONNX model; by default the physical cores.

    Raises:
        FacelexError: If it is none of them, or a run without final weights.
    """
    if names_run(model):
        return _open_run(load_run_folder(model), str(model))
    network = load_model(onnx_file(model), threads=threads)
    trained_on = TrainedOn.read(network.metadata.recorded("dataset"))

    def answer(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return predict_onnx(network, pixels)

    return Network(
        name=network.title,
        source=str(model),
        classes=network.classes,
        image_size=network.image_size,
        load=lambda: answer,
        temperature=network.metadata.temperature,
        fingerprint=trained_on.fingerprint,
        dataset=trained_on.source,
        crop_size=network.metadata.crop_size,
    )


def names_answers(model: str | Path) -> bool:
    """Whether a network's name means a file of answers, as ``facelex evaluate -o FILE.npz`` writes it."""
    path = Path(model)
    return path.suffix.lower() == ".npz" and not str(model).startswith("hf:") and not path.is_dir()


def open_answers(path: str | Path) -> Network:
    """Open answers that lie in a file, which stand for the network that gave them.

    Args:
        path: A file as ``Predictions.load`` reads it.

    Raises:
        FacelexError: If it is none, or holds no answer.
    """
    given = Predictions.load(path)
    if not len(given):
        raise FacelexError(f"Expected answers about faces in {path}, but it has none. Name another file.")

    def load() -> Classify:
        raise AssertionError(f"{path} holds answers, no weights")

    return Network(
        name=given.model or Path(path).stem,
        source=str(path),
        classes=given.classes,
        image_size=48,
        load=load,
        temperature=given.temperature,
        fingerprint=given.fingerprint,
        given=given,
    )


def names_run(model: str | Path) -> bool:
    """Whether a network's name means a run folder: the names of packaged models go before folders."""
    return str(model) not in PACKAGED and is_run_folder(Path(model))


def network_digest(model: str) -> str:
    """SHA-256 of a network's weights: a name such as ``shipped`` may come to mean another one.

    Args:
        model: As to :func:`open_network`.

    Raises:
        FacelexError: If there is no such network, or a run without final weights.
    """
    if names_run(model):
        require_weights(Path(model))
        return weights_digest(Path(model))
    with find_model(onnx_file(model)).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def onnx_file(model: str | Path) -> str:
    """Return what ``load_model`` takes for an ONNX model.

    Raises:
        FacelexError: If it is neither a file nor a name that may stand for one.
    """
    name = str(model)
    if name in PACKAGED:
        return name
    path = Path(model)
    if path.is_dir():
        load_run_folder(path)  # says what is missing
    if not name.startswith("hf:") and (path.suffix.lower() != ".onnx" or not path.is_file()):
        what = "it is none of them" if path.exists() else "there is no such file or folder"
        raise FacelexError(
            f"Expected a run folder, an .onnx file, hf:owner/name or the word {' or '.join(PACKAGED)}, "
            f"but got {name}: {what}."
        )
    return name


def _open_run(run: RunFolder, source: str) -> Network:
    spec, trained_on = read_spec(run.path), run.trained_on

    def load() -> Classify:
        require("torch", "train", "Evaluating a run folder")
        from facelex.models.weights import load_predictor

        return load_predictor(run.path)

    return Network(
        name=run.name,
        source=source,
        classes=tuple(spec.classes),
        image_size=spec.image_size,
        load=load,
        run=run,
        fingerprint=trained_on.fingerprint,
        dataset=trained_on.source,
        crop_size=trained_on.size,
    )
