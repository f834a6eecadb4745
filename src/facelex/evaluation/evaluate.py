"""From a model and a dataset to predictions and scores, whether a PyTorch run or an ONNX file answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError, require
from facelex.evaluation.calibration import fit_temperature
from facelex.evaluation.labelled import load_labelled, match_classes
from facelex.evaluation.onnx_model import predict_onnx
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.run_folder import SCORES, RunFolder, is_run_folder, load_run_folder
from facelex.evaluation.scores import merge_scores, score_predictions
from facelex.recognize.model import load_model

SHIPPED = "shipped"
"""The model that comes with the package."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found and where it was written.

    Attributes:
        predictions: The model's answers.
        scores: What ``score_predictions`` made of them.
        written: Files written into the run folder.
        notes: Sentences for the user.
    """

    predictions: Predictions
    scores: dict[str, Any]
    written: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def evaluate(
    model: str | Path,
    split: str = "test",
    data: str | Path | None = None,
    flip: bool = True,
    mapping: Mapping[str, str] | None = None,
    other_data: bool = False,
    seed: int = 0,
) -> Evaluation:
    """Score a model on a split.

    A run folder keeps what was found about its own dataset: ``predictions-SPLIT.npz`` and an entry in
    ``scores.json``. Scores on other data are returned only.

    Args:
        model: A run folder, an ``.onnx`` file or ``shipped``.
        split: ``train``, ``val`` or ``test``.
        data: What to score on, see ``load_labelled``; by default the run's own dataset, or ``fer2013``.
        flip: Look at the mirror image as well and score both views.
        mapping: Class names of the data and the model's class for each, or ``ignore``.
        other_data: Allow a run folder to be scored on another dataset than it was trained on.
        seed: Seed of the bootstrap.

    Raises:
        FacelexError: If model or data cannot be used, or the data are not the run's and ``other_data`` is not
            set.
    """
    if str(model) != SHIPPED and is_run_folder(Path(model)):
        run = load_run_folder(model)
        return _evaluate_run(run, split, data, flip, mapping, other_data, seed)
    network = load_model(_onnx_file(model))
    dataset = load_labelled("fer2013" if data is None else data, network.image_size)

    def answer(faces: FaceDataset, mirror: bool) -> np.ndarray:
        return predict_onnx(network, faces.pixels[faces.indices(split)], mirror)

    name, temperature = str(network.info.get("name") or network.name), float(network.info["temperature"])
    preds = predict_with(
        answer,
        dataset,
        split,
        network.classes,
        flip=flip,
        mapping=mapping,
        name=name,
        temperature=temperature,
    )
    return Evaluation(preds, score_predictions(preds, seed=seed))


def _onnx_file(model: str | Path) -> str | None:
    """Return what ``load_model`` takes for an ONNX model: None for the shipped one."""
    name = str(model)
    if name == SHIPPED:
        return None
    path = Path(model)
    if path.is_dir():
        load_run_folder(path)  # says what is missing
    if not name.startswith("hf:") and (path.suffix.lower() != ".onnx" or not path.is_file()):
        what = "it is none of them" if path.exists() else "there is no such file or folder"
        raise FacelexError(
            f"Expected a run folder, an .onnx file or the word {SHIPPED!r}, but got {name}: {what}."
        )
    return name


def _evaluate_run(
    run: RunFolder,
    split: str,
    data: str | Path | None,
    flip: bool,
    mapping: Mapping[str, str] | None,
    other_data: bool,
    seed: int,
) -> Evaluation:
    require("torch", "train", "Evaluating a run folder")
    from facelex.training.run import predict_run

    if data is None and run.data is None:
        raise FacelexError(f"{run.path} does not say which dataset it was trained on; name one with --data.")
    place = str(run.data if data is None else data)
    dataset = load_labelled(place, int(run.config.get("image_size", 48)))
    own = not run.fingerprint or dataset.fingerprint == run.fingerprint
    if not own and not other_data:
        raise FacelexError(
            f"{run.path} is a run folder from another dataset: it was trained on {run.fingerprint[:12]}, but "
            f"{place} is {dataset.fingerprint[:12]}. Give its own dataset with --data, or add --other-data "
            "to score it on this one all the same."
        )
    classes = run_classes(run)

    def predict(part: str) -> Predictions:
        def answer(faces: FaceDataset, mirror: bool) -> np.ndarray:
            return predict_run(run.path, _mirrored(faces) if mirror else faces, part, flip=False)

        return predict_with(answer, dataset, part, classes, flip=flip, mapping=mapping, name=run.name)

    preds = predict(split)
    if not own:
        note = "Scored on other data than the run's own, so nothing was written into the run folder."
        return Evaluation(preds, score_predictions(preds, seed=seed), notes=(note,))
    temperature = None
    if split != "val" and len(dataset.indices("val")):
        held = predict("val")
        temperature = fit_temperature(held.log_views(held.views[-1]), held.labels)
    scores = score_predictions(preds, temperature=temperature, seed=seed)
    written = (
        preds.save(run.path / f"predictions-{split}.npz"),
        merge_scores(run.path / SCORES, split, scores),
    )
    return Evaluation(preds, scores, written)


def run_classes(run: RunFolder) -> tuple[str, ...]:
    """Return the class names of a finished run, from its ``model.json``.

    Raises:
        FacelexError: If the run has not finished.
    """
    from facelex.evaluation.scores import read_scores

    classes = read_scores(run.path / "model.json").get("classes")
    if not run.finished or not classes:
        raise FacelexError(
            f"{run.path} has no final weights yet (model.safetensors and model.json). Finish the run with "
            "'facelex train --resume', then evaluate it; 'facelex report' shows how far it has come."
        )
    return tuple(classes)


def predict_with(
    predict: Callable[[FaceDataset, bool], np.ndarray],
    dataset: FaceDataset,
    split: str,
    classes: tuple[str, ...],
    *,
    flip: bool = True,
    mapping: Mapping[str, str] | None = None,
    name: str = "",
    temperature: float = 1.0,
) -> Predictions:
    """Ask a model about one split and put its answers beside the truth.

    Args:
        predict: Takes the dataset and whether to look at mirror images; returns probabilities of the split,
            ``(n, K)``, in the order of ``dataset.indices(split)``.
        dataset: Labelled faces.
        split: ``train``, ``val`` or ``test``.
        classes: The model's class names.
        flip: Look at the mirror images too.
        mapping: See ``labelled.match_classes``.
        name: Name of the model.
        temperature: The model's own calibration.

    Raises:
        FacelexError: If the split is empty or the class names do not match.
    """
    rows = dataset.indices(split)
    matched = match_classes(dataset.class_names, classes, mapping)
    labels = matched[dataset.labels[rows]]
    keep = labels >= 0
    if not keep.any():
        counts = ", ".join(f"{len(dataset.indices(part)):,} {part}" for part in ("train", "val", "test"))
        raise FacelexError(
            f"There is nothing to score in the split {split!r} ({dataset.source} has {counts}). "
            "Choose another with --split or look at --map."
        )
    probs = predict(dataset, False)
    preds = Predictions(
        probs=probs,
        labels=np.where(keep, labels, 0),
        seen=np.zeros(len(rows), bool) if split == "train" else dataset.seen_in(split),
        classes=classes,
        votes=None if dataset.votes is None else dataset.votes[rows],
        mirror_probs=predict(dataset, True) if flip else None,
        model=name,
        split=split,
        fingerprint=dataset.fingerprint,
        temperature=temperature,
    )
    return preds if keep.all() else preds.subset(keep)


def _mirrored(dataset: FaceDataset) -> FaceDataset:
    return replace(dataset, pixels=dataset.pixels[:, :, ::-1])
