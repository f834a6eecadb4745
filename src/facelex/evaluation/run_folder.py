"""Reading a run folder: settings, environment, curves and scores, however far the run has come."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facelex.errors import FacelexError, require
from facelex.files import write_text
from facelex.records import read_json_object
from facelex.run_files import CONFIG, ENVIRONMENT, METRICS, SCORES, SPEC, WEIGHTS, has_weights, is_run_folder

if TYPE_CHECKING:
    from facelex.data.dataset import FaceDataset

STANDARD_COLUMNS: tuple[str, ...] = (
    "phase", "epoch", "lr", "image_size", "train_loss", "train_accuracy", "val_loss", "val_accuracy",
    "seconds", "images_per_second", "peak_memory_mb",
)  # fmt: skip
"""Columns of ``metrics.csv``; any other column is a named loss."""

REPAIR = "Restore it, or delete it and name the dataset with --data where it is asked for."
"""What to do about a damaged ``config.yaml``, which no score needs but for the dataset's name."""

RESTORE = "Restore it from a copy: it says what the run was trained on."
"""What to do about a damaged ``environment.json``."""

RENEW_SCORES = "Remove it; 'facelex evaluate' writes it again."
"""What to do about a damaged ``scores.json``."""


@dataclass(frozen=True)
class Phase:
    """The epochs of one phase as columns of equal length; a number that was not measured is NaN."""

    name: str
    columns: dict[str, list[float]]

    @property
    def losses(self) -> dict[str, list[float]]:
        """The named losses of the phase, without those never measured in it."""
        return {
            name: values
            for name, values in self.columns.items()
            if name not in STANDARD_COLUMNS and not all(map(math.isnan, values))
        }


@dataclass(frozen=True)
class TrainedOn:
    """What a run, or a network exported from it, says of the dataset it was trained on.

    Attributes:
        source: One line on where that came from, empty when unknown.
        fingerprint: Its fingerprint, empty when unknown.
        size: Side of its faces in pixels, None when unknown.
    """

    source: str = ""
    fingerprint: str = ""
    size: int | None = None

    @classmethod
    def read(cls, record: object) -> TrainedOn:
        """Read as much as a record says, which others may have written."""
        record = record if isinstance(record, Mapping) else {}
        texts = {name: str(record.get(name, "")) for name in ("source", "fingerprint")}
        size = record.get("size")
        return cls(**texts, size=size if isinstance(size, int) and size > 0 else None)


@dataclass(frozen=True)
class RunFolder:
    """What a run folder holds.

    Attributes:
        path: The folder.
        config: ``config.yaml``, empty when absent.
        environment: ``environment.json``, empty when absent.
        phases: The curves, in order.
        scores: ``scores.json`` by split, empty when absent.
        finished: Whether the final weights are there.
    """

    path: Path
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    phases: tuple[Phase, ...] = ()
    scores: dict[str, Any] = field(default_factory=dict)
    finished: bool = False

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @property
    def trained_on(self) -> TrainedOn:
        """The dataset it was trained on."""
        return TrainedOn.read(self.environment.get("dataset"))

    @property
    def fingerprint(self) -> str:
        """That dataset's fingerprint, empty when unknown."""
        return self.trained_on.fingerprint

    def was_trained_on(self, dataset: FaceDataset) -> bool:
        """Whether a dataset is the run's own; True where the run does not say which that was."""
        return self.fingerprint in ("", dataset.fingerprint)

    @property
    def data(self) -> str | None:
        """The dataset that the configuration names."""
        data = self.config.get("data")
        return None if data is None else str(data)

    def require_data(self) -> str:
        """Return the dataset that the configuration names.

        Raises:
            FacelexError: If it names none.
        """
        if self.data is None:
            raise FacelexError(
                f"{self.path} does not say which dataset it was trained on; name one with --data."
            )
        return self.data

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return sum(len(phase.columns["epoch"]) for phase in self.phases)

    @property
    def seconds(self) -> float:
        """Training time so far."""
        return sum(sum(phase.columns.get("seconds", [])) for phase in self.phases)


def weights_digest(folder: Path) -> str:
    """Return a SHA-256 over a finished run's weights and their description: its answers follow from them."""
    digest = hashlib.sha256()
    for name in (WEIGHTS, SPEC):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def load_run_folder(path: str | Path) -> RunFolder:
    """Read a run folder, finished or not.

    Raises:
        FacelexError: If there is no such folder, it holds no run or a file in it is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise FacelexError(f"Expected a run folder at {path}, but there is no such folder.")
    if not is_run_folder(path):
        raise FacelexError(
            f"Expected {path} to be a run folder, but it holds neither {METRICS} nor {CONFIG}. "
            "Give a folder that 'facelex train' wrote."
        )
    return RunFolder(
        path=path,
        config=read_config(path),
        environment=read_environment(path),
        phases=tuple(read_phases(path)),
        scores=read_scores(path),
        finished=has_weights(path),
    )


def read_environment(folder: Path) -> dict[str, Any]:
    """Read ``environment.json`` of a run, an empty dictionary where there is none.

    Raises:
        FacelexError: If it holds no JSON object.
    """
    return read_json_object(folder / ENVIRONMENT, RESTORE)


def read_trained_on(folder: Path) -> TrainedOn:
    """Read what a run says of its dataset, from that file alone; raises as `read_environment`."""
    return TrainedOn.read(read_environment(folder).get("dataset"))


def read_config(folder: Path, remedy: str = REPAIR) -> dict[str, Any]:
    """Read ``config.yaml`` of a run, an empty dictionary where there is none.

    Args:
        folder: The run folder.
        remedy: What to do if it is damaged, as a sentence.

    Raises:
        FacelexError: If it holds no keys and values.
        MissingExtraError: If PyYAML is not installed.
    """
    path = folder / CONFIG
    if not path.exists():
        return {}
    yaml = require("yaml", "report", "Reading config.yaml")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # also a date that is none
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        raise FacelexError(f"{path} is damaged: it is not valid YAML{line}. {remedy}") from error
    if not isinstance(config, dict):
        raise FacelexError(f"{path} is damaged: it does not hold keys and values. {remedy}")
    return config


def write_config(folder: Path, config: Mapping[str, Any]) -> Path:
    """Write ``config.yaml`` of a run and return its path; raises as `read_config`."""
    yaml = require("yaml", "report", "Writing config.yaml")
    return write_text(folder / CONFIG, yaml.safe_dump(dict(config), sort_keys=False))


def read_scores(folder: Path) -> dict[str, Any]:
    """Read ``scores.json`` of a run, an empty dictionary where there is none.

    Raises:
        FacelexError: If the file holds no JSON object of one object a split.
    """
    path = folder / SCORES
    scores = read_json_object(path, RENEW_SCORES)
    for split, entry in scores.items():
        if not isinstance(entry, dict):
            raise FacelexError(
                f"Expected {path} to hold the scores of each split, but got {json.dumps(entry)[:40]} for "
                f"{split!r}. {RENEW_SCORES}"
            )
    return scores


def write_scores(folder: Path, scores: Mapping[str, Any]) -> Path:
    """Write the scores of all splits into ``scores.json`` and return its path."""
    return write_text(folder / SCORES, json.dumps(scores, indent=1) + "\n")


def merge_scores(folder: Path, split: str, scores: Mapping[str, Any]) -> Path:
    """Put the scores of a split into ``scores.json``, keeping what else it holds."""
    return write_scores(folder, read_scores(folder) | {split: dict(scores)})


def read_phases(folder: Path) -> list[Phase]:
    """Read ``metrics.csv`` of a run phase by phase; none where there is no file yet.

    Raises:
        FacelexError: If the file is no CSV, has no ``phase`` or ``epoch`` column or holds what is no number.
    """
    path = folder / METRICS
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or [])
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise FacelexError(
            f"Expected {path} to be a CSV file in UTF-8, but it is not: {error}. Restore or remove it: only "
            "the curves are drawn from it."
        ) from error
    missing = [name for name in ("phase", "epoch") if name not in names]
    if names and missing:
        raise FacelexError(
            f"Expected a column {' and '.join(missing)} in {path}, but got {', '.join(names)}."
        )
    phases: list[Phase] = []
    for number, row in enumerate(rows, start=2):
        if not phases or phases[-1].name != row["phase"] or _begins_anew(phases[-1], row["epoch"]):
            phases.append(Phase(row["phase"], {name: [] for name in names if name != "phase"}))
        for name, values in phases[-1].columns.items():
            text = (row[name] or "").strip()
            try:
                values.append(float(text) if text else math.nan)
            except ValueError as error:
                raise FacelexError(
                    f"Expected a number in column {name!r} of {path}, row {number}, but got {text!r}."
                ) from error
    return phases


def _begins_anew(phase: Phase, epoch: str | None) -> bool:
    """Whether an epoch's number does not rise: another phase of the same name has begun."""
    try:
        return bool(phase.columns["epoch"]) and float(epoch or "nan") <= phase.columns["epoch"][-1]
    except ValueError:
        return False  # no number: named where the row is read
