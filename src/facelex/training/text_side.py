"""Fit the text side of a finished network to its training faces, as the last step of a run or afterwards."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError
from facelex.evaluation.run_folder import (
    RunFolder,
    load_run_folder,
    weights_digest,
    write_config,
    write_scores,
)
from facelex.evaluation.score_records import outdated_splits
from facelex.models.dual_encoder import DualEncoder
from facelex.models.prediction import images_from_pixels
from facelex.models.text import asked_vocabulary
from facelex.models.text_fit import (
    create_text_arrays,
    replace_text_projection,
    trained_part,
    trained_text_arrays,
)
from facelex.models.weights import load_model, save_weights
from facelex.recognize.words import join_features
from facelex.run_files import CHECKPOINT
from facelex.training.examples import training_index
from facelex.training.resume import load_run_config

FIT_FACES = 6000
"""Training faces the fit looks at; 64 numbers a class need no more."""


def fit_text_side(
    model: DualEncoder,
    kind: str,
    pixels: Tensor,
    labels: Tensor,
    *,
    image_size: int,
    vocabulary: str,
    words: dict[str, list[str]],
) -> None:
    """Give a model a text side fitted in closed form (`facelex.models.text_fit`).

    It is fitted to words as faces will be asked for them (`asked_vocabulary`).

    Args:
        model: The trained network; changed in place.
        kind: ``linear``, ``affect``, or ``blend``: ``affect`` added to the model's own.
        pixels: Training faces ``(N, 1, H, W)`` uint8; `FIT_FACES` are drawn at random, and all of a class
            that the draw misses.
        labels: Their class ids, ``(N,)``.
        image_size: Side of the images in pixels, as in prediction.
        vocabulary: ``packaged`` or the path of a GloVe text file.
        words: Words of each class, in label order.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:FIT_FACES]
    missed = ~torch.isin(labels.cpu(), labels.cpu()[order])
    chosen = torch.cat([order, missed.nonzero()[:, 0]]).sort().values.to(labels.device)
    features = _face_features(model, pixels[chosen], image_size)
    arrays = create_text_arrays(
        kind,
        trained_text_arrays(model),
        features,
        labels[chosen].cpu().numpy(),
        asked_vocabulary(vocabulary),
        words,
    )
    replace_text_projection(model, arrays)


def refit_run(run_dir: Path, output: Path, kind: str, dataset: FaceDataset) -> Path:
    """Copy a finished run with a text side fitted anew; the image side and all scores stay the same.

    Args:
        run_dir: A run trained with words.
        output: The folder to write; the checkpoint is not copied.
        kind: As in `fit_text_side`.
        dataset: The run's own.

    Raises:
        FacelexError: If the run has no words, the dataset is another than the run's, or the output exists.
    """
    model, spec = load_model(run_dir)
    if not spec.has_words:
        raise FacelexError(f"{run_dir} was trained without words, so it has no text side to fit.")
    if output.exists():
        raise FacelexError(f"{output} exists already. Name a new folder.")
    run = load_run_folder(run_dir)
    if list(dataset.class_names) != spec.classes or not run.was_trained_on(dataset):
        raise FacelexError(
            f"{run_dir} was trained on another dataset (fingerprint {run.fingerprint[:12]}, this one has "
            f"{dataset.fingerprint[:12]}). Give the run's own with --data."
        )
    if spec.text_fit == "blend":  # or the fitted side would be added twice
        replace_text_projection(model, trained_part(trained_text_arrays(model)))
    elif spec.text_fit and kind == "blend":
        raise FacelexError(
            f"The text side of {run_dir} was fitted as {spec.text_fit!r} in place of the trained one, so "
            "there is none to blend with. Choose another kind, or train anew with model.text_fit=blend."
        )
    index = training_index(load_run_config(run_dir), dataset)
    fit_text_side(
        model,
        kind,
        torch.from_numpy(np.ascontiguousarray(dataset.pixels[index])).unsqueeze(1),
        torch.from_numpy(dataset.labels[index]),
        image_size=spec.image_size,
        vocabulary=spec.vocabulary or "packaged",
        words=spec.words,
    )
    config = dict(run.config)
    config["model"] = config["model"] | {"text_fit": kind}
    beside = output.with_name(f"{output.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(run_dir, beside, ignore=shutil.ignore_patterns(CHECKPOINT))
    save_weights(beside, model, replace(spec, text_fit=kind, text_hidden_dim=text_hidden_dim(model)))
    write_config(beside, config)
    if run.scores:
        write_scores(beside, _scores_carried_over(run, beside))
    beside.rename(output)
    return output


def _scores_carried_over(run: RunFolder, output: Path) -> dict[str, Any]:
    """The scores of a run, which are those of the weights in ``output`` too."""
    outdated, weights = outdated_splits(run), weights_digest(output)
    return {
        split: entry | {"weights": weights} for split, entry in run.scores.items() if split not in outdated
    }


def text_hidden_dim(model: DualEncoder) -> int:
    """Hidden width of a model's text projection."""
    assert model.text_projection is not None
    return model.text_projection.hidden.out_features


@torch.inference_mode()
def _face_features(model: DualEncoder, pixels: Tensor, image_size: int) -> NDArray[np.float32]:
    """Features of faces with their mirror images, as the recogniser forms them."""
    model.eval()
    parts = []
    for batch in pixels.split(256):
        images = images_from_pixels(batch, image_size)
        views = (model(view).image_features.cpu().numpy() for view in (images, images.flip(3)))
        parts.append(join_features(*views))
    return np.concatenate(parts)
