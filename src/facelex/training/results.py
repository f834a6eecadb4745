"""What a run leaves behind when it has ended: the final weights, and what they answer on the val split."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from facelex.data.dataset import SPLITS, FaceDataset
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.run_folder import weights_digest
from facelex.models.dual_encoder import DualEncoder
from facelex.models.prediction import predict_probs
from facelex.models.spec import ModelSpec
from facelex.models.weights import save_weights
from facelex.run_files import SCORES, TEACHER_ANSWERS, predictions_file
from facelex.training.batches import DeviceSplit


class RunResult(NamedTuple):
    """Where a finished run lies and how it did on the validation split."""

    folder: Path
    val_accuracy: float
    """Share in [0, 1], mean over each image and its mirror image."""


def answer_val(model: DualEncoder, val: DeviceSplit, dataset: FaceDataset, image_size: int) -> Predictions:
    """What a network answers about the val split and its mirror images.

    Args:
        model: The network.
        val: The split on the network's device.
        dataset: Where it is from.
        image_size: Side of the images in pixels.
    """
    probs, mirror_probs = (
        predict_probs(model, pixels, image_size=image_size).cpu().numpy()
        for pixels in (val.pixels, val.pixels.flip(3))
    )
    return Predictions(
        probs=probs,
        mirror_probs=mirror_probs,
        labels=val.labels.cpu().numpy(),
        seen=dataset.seen_in("val"),
        votes=None if dataset.votes is None else dataset.votes[dataset.indices("val")],
        classes=dataset.class_names,
        split="val",
        fingerprint=dataset.fingerprint,
    )


def write_results(folder: Path, model: DualEncoder, spec: ModelSpec, answers: Predictions) -> None:
    """Write the weights and, last of all, their answers; those of teachers are not needed any more."""
    save_weights(folder, model, spec)
    shutil.rmtree(folder / TEACHER_ANSWERS, ignore_errors=True)
    named = replace(answers, model=folder.name, weights=weights_digest(folder))
    named.save(predictions_file(folder, "val"))


def remove_results(folder: Path) -> None:
    """Remove what is left of a run before this one, whose weights are gone: its answers and scores."""
    for path in (folder / SCORES, *(predictions_file(folder, split) for split in SPLITS)):
        path.unlink(missing_ok=True)


def read_result(folder: Path) -> RunResult:
    """The result of a run that is finished."""
    return run_result(folder, Predictions.load(predictions_file(folder, "val")))


def run_result(folder: Path, answers: Predictions) -> RunResult:
    """The result of a run by its answers on val."""
    view = "flip" if "flip" in answers.views else "single"  # an evaluation with --no-flip wrote them anew
    return RunResult(folder, float((answers.view_probs(view).argmax(1) == answers.labels).mean()))
