"""Whole short runs, the usual way and facelex's: do they learn equally well, and how long does each take."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from facelex.data.dataset import FaceDataset
from facelex.evaluation.predictions import Predictions
from facelex.models.prediction import predict_probs
from facelex.run_files import predictions_file
from facelex.training.config import RunConfig, load_config
from facelex.training.optimizers import create_schedule
from facelex.training.run import train_run
from training_cost.networks import create_model
from training_cost.steps import AUGMENT, PilFaces


class Result(NamedTuple):
    """One run of one side."""

    accuracy: float
    """Share right on val in [0, 1], single view, in float32."""
    seconds: float
    """Whole run, reading the data and scoring included."""


def configuration(encoder: str, epochs: int, image_size: int, batch: int, seed: int) -> RunConfig:
    """What both sides do: ``slim``'s schedule, a rate that all networks bear, torchvision's augmentation."""
    return load_config(
        "slim",
        [
            "method=baseline", f"methods.baseline.0.epochs={epochs}", "methods.baseline.0.image_sizes=null",
            f"image_size={image_size}", f"batch_size={batch}", f"model.image_encoder={encoder}",
            "model.encoder_options={}", "optimizer.lr=0.06", "ema_decay=null", f"seed={seed}",
            f"augment={json.dumps(AUGMENT.model_dump(mode='json'))}",
        ],
    )  # fmt: skip


def train_ours(config: RunConfig, dataset: FaceDataset, device: str) -> Result:
    """What ``facelex train`` does, in a folder that is thrown away."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        train_run(config, dataset, Path(folder), accelerator=device)
        found = Predictions.load(predictions_file(Path(folder), "val"))
    accuracy = float((found.probs.argmax(1) == found.labels).mean())
    return Result(accuracy, time.perf_counter() - start)


def train_conventionally(config: RunConfig, dataset: FaceDataset, device: str, workers: int) -> Result:
    """Train as the usual script does, with the same network, losses, steps and rates."""
    start = time.perf_counter()
    torch.manual_seed(config.seed)
    pixels, labels = _split(dataset, "train")
    loader = DataLoader(
        PilFaces(pixels, labels, config.image_size), config.batch_size, shuffle=True, drop_last=True,
        num_workers=workers, persistent_workers=workers > 0, pin_memory=device == "cuda",
    )  # fmt: skip
    model = create_model(
        config.model.image_encoder, device, ours=False, seed=config.seed, dropout=config.model.dropout
    )
    optimizer = torch.optim.SGD(
        model.parameters(), lr=config.optimizer.lr, momentum=config.optimizer.momentum, nesterov=True,
        weight_decay=config.optimizer.weight_decay,
    )  # fmt: skip
    epochs = config.phases[0].epochs
    schedule = create_schedule(optimizer, config.schedule, first_step=0, total_steps=epochs * len(loader))
    model.train()
    for _ in range(epochs):
        for images, targets in loader:
            logits = model(images.to(device, non_blocking=True)).logits
            optimizer.zero_grad()
            F.cross_entropy(
                logits, targets.to(device, non_blocking=True), label_smoothing=config.label_smoothing
            ).backward()
            optimizer.step()
            schedule.step()
    pixels, labels = (rows.to(device) for rows in _split(dataset, "val"))
    normalised = _Normalised(model)
    right = predict_probs(normalised, pixels, image_size=config.image_size).argmax(1) == labels
    return Result(float(right.float().mean()), time.perf_counter() - start)


class _Normalised(torch.nn.Module):
    """The network behind the normalisation that the conventional side's transforms do."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model((images - 0.5) / 0.25)


def _split(dataset: FaceDataset, split: str) -> tuple[Tensor, Tensor]:
    index = dataset.indices(split)
    return torch.from_numpy(dataset.pixels[index]).unsqueeze(1), torch.from_numpy(dataset.labels[index])
