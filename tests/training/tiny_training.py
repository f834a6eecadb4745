"""Small configurations, datasets and folders' contents for the tests of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from facelex.data.sketch import sketch_dataset
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.run_folder import weights_digest
from facelex.models.weights import load_predictor
from facelex.training.cells import Cell
from facelex.training.config import RunConfig, load_config
from facelex.training.progress import SilentReporter

FACES = sketch_dataset(150)
TINY = (
    "data=sketch:150",
    "model.image_encoder=tiny_cnn", "image_size=24", "batch_size=32", "precision=32-true",
    "model.hidden_dim=16", "model.embed_dim=8",
)  # fmt: skip


def tiny_config(*overrides: str, name: str = "sketch") -> RunConfig:
    return load_config(name, [*TINY, *overrides])


def two_phases(first: int = 2, second: int = 2) -> tuple[str, str]:
    """Alignment, then classification with some alignment."""
    return f"methods.multimodal.0.epochs={first}", f"methods.multimodal.1.epochs={second}"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


def differing(one: Path, other: Path) -> list[str]:
    """Names of the tensors that differ in any bit."""
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    return [name for name in left if not torch.equal(left[name], right[name])]


def read_rows(folder: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    import csv

    with (folder / "metrics.csv").open() as file:
        return [{name: row[name] for name in columns} for row in csv.DictReader(file)]


def predict_run(folder: Path, split: str, *, flip: bool = True) -> NDArray[np.float32]:
    """Probabilities of a run's final weights on a split of the drawn faces."""
    answer, pixels = load_predictor(folder, "cpu"), FACES.pixels[FACES.indices(split)]
    return (answer(pixels) + answer(pixels[:, :, ::-1])) / np.float32(2) if flip else answer(pixels)


def fake_cell(cell: Cell, right: int, *, split: str = "val", count: int = 20) -> None:
    """A finished run folder whose network names the first ``right`` of ``count`` faces rightly.

    The last four faces are copies of training faces.
    """
    labels = np.arange(count) % 7
    named = np.where(np.arange(count) < right, labels, (labels + 1) % 7)
    probs = np.eye(7, dtype=np.float32)[named]
    cell.folder.mkdir(parents=True)
    (cell.folder / "model.safetensors").touch()
    (cell.folder / "model.json").touch()
    classes = FACES.class_names
    seen = np.arange(count) >= count - 4
    digest = weights_digest(cell.folder)
    predictions = Predictions(probs, labels, seen, classes, mirror_probs=probs, split=split, weights=digest)
    predictions.save(cell.folder / f"predictions-{split}.npz")


class StopAfter(SilentReporter):
    """Interrupts a run after some epochs, before their checkpoint is written."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def epoch(self, row: dict[str, float | int | str]) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
