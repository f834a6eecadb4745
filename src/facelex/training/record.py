"""What a run writes about itself: its configuration, its surroundings, and a line for each epoch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from torch import nn

from facelex.data.dataset import FaceDataset
from facelex.files import write_text
from facelex.run_files import CONFIG, ENVIRONMENT, METRICS
from facelex.training.config import RunConfig
from facelex.training.environment import describe_environment
from facelex.training.fabric import Fabric
from facelex.training.resume import sources

Row = dict[str, float | int | str]


def write_beginnings(
    folder: Path, config: RunConfig, dataset: FaceDataset, fabric: Fabric, model: nn.Module
) -> None:
    """Write ``config.yaml`` and ``environment.json``, and tell the trackers the settings."""
    settings = config.model_dump(mode="json")
    write_text(folder / CONFIG, yaml.safe_dump(settings, sort_keys=False))
    environment = describe_environment(fabric.device, torch.get_num_threads())
    environment |= {
        "dataset": {"source": dataset.source, "fingerprint": dataset.fingerprint},
        "devices": fabric.world_size,
        "precision": fabric.strategy.precision.precision,
        "parameters": sum(p.numel() for p in model.parameters()),
        **sources(config),
    }
    write_text(folder / ENVIRONMENT, json.dumps(environment, indent=2))
    for tracker in fabric.loggers:
        tracker.log_hyperparams(settings)


def write_rows(folder: Path, rows: Sequence[Row]) -> None:
    """Write ``metrics.csv``: a line for each epoch, empty where it has no such number."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / METRICS, text.getvalue())
