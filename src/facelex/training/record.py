"""What a run writes about itself: its configuration, its surroundings, and a line for each epoch."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from facelex.data.dataset import FaceDataset
from facelex.evaluation.run_folder import read_environment, write_config
from facelex.files import write_text
from facelex.run_files import ENVIRONMENT, METRICS
from facelex.training.config import RunConfig
from facelex.training.environment import describe_environment
from facelex.training.fabric import Fabric
from facelex.training.resume import sources

logger = logging.getLogger(__name__)

Row = dict[str, float | int | str]

_NOTED_IF_CHANGED = ("commit", "versions", "cpu", "threads", "device", "devices", "precision")
"""What a run's numbers may depend on from the point where it was taken up again."""


def write_beginnings(
    folder: Path, config: RunConfig, dataset: FaceDataset, fabric: Fabric, model: nn.Module
) -> None:
    """Write ``config.yaml`` and ``environment.json``, and tell the trackers the settings."""
    settings = config.model_dump(mode="json")
    environment = _surroundings(fabric) | {
        "dataset": {
            "source": dataset.source,
            "fingerprint": dataset.fingerprint,
            "size": dataset.pixels.shape[-1],
        },
        "parameters": sum(p.numel() for p in model.parameters()),
        **sources(config),
    }
    write_text(folder / ENVIRONMENT, json.dumps(environment, indent=2))  # first: by it a folder is a run's
    write_config(folder, settings)
    for tracker in fabric.loggers:
        tracker.log_hyperparams(settings)


def note_continuation(folder: Path, fabric: Fabric, epochs_done: int) -> None:
    """Add to ``environment.json`` where a run goes on, if code or machine differ; warn of other arithmetic.

    Args:
        folder: The run folder.
        fabric: The devices that the run goes on with.
        epochs_done: Finished epochs of all phases.
    """
    environment = read_environment(folder)
    if not environment:  # lost; what is left of the run says nothing about where it began
        return
    continued = environment.get("continued") or []
    before = environment | (continued[-1] if continued else {})
    now = _surroundings(fabric)
    changed = {key for key in _NOTED_IF_CHANGED if before.get(key) != now[key]}
    if changed:
        environment["continued"] = [*continued, {"epochs_done": epochs_done} | now]
        write_text(folder / ENVIRONMENT, json.dumps(environment, indent=2))
    if "precision" in changed and "precision" in before:
        logger.warning(
            "The run in %s goes on in %s after %s: with precision=auto its arithmetic follows the machine. "
            "Stop it and resume it on a machine like the one before if that matters.",
            folder, now["precision"], before["precision"],
        )  # fmt: skip


def _surroundings(fabric: Fabric) -> dict[str, Any]:
    """Versions, hardware and arithmetic of this process."""
    return describe_environment(fabric.device, torch.get_num_threads()) | {
        "devices": fabric.world_size,
        "precision": fabric.strategy.precision.precision,
    }


def write_rows(folder: Path, rows: Sequence[Row]) -> None:
    """Write ``metrics.csv``: a line for each epoch, empty where it has no such number."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / METRICS, text.getvalue())
