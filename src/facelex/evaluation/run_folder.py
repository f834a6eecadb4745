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
from facelex.run_files import CONFIG, ENVIRONMENT, METRICS, SCORES, SPEC, WEIGHTS, has_weights

if TYPE_CHECKING:
    from facelex.data.dataset import FaceDataset

STANDARD_COLUMNS: tuple[str, ...] = (
    "phase", "epoch", "lr", "image_size", "train_loss", "train_accuracy", "val_loss", "val_accuracy",
    "seconds", "images_per_second", "peak_memory_mb",
)  # fmt: skip
"""Columns of ``metrics.csv``; any other column is a named loss."""

REPAIR = "Restore it, or delete it and name the dataset with --data where it is asked for."
"""What to do about a damaged ``config.yaml``, which no score needs but for the dataset's name."""

RESTORE = "Restore it from a copy: it says what the run was trained on and what its weights need."
"""What to do about a damaged ``environment.json`` or ``model.json``."""


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
    def fingerprint(self) -> str:
        """Fingerprint of the dataset it was trained on, empty when unknown."""
        dataset = self.environment.get("dataset")
        return str(dataset.get("fingerprint", "")) if isinstance(dataset, dict) else ""

    @property
    def source(self) -> str:
        """One line on where that dataset came from, empty when unknown."""
        dataset = self.environment.get("dataset")
        return str(dataset.get("source", "")) if isinstance(dataset, dict) else ""

    @property
    def crop_size(self) -> int | None:
        """Side of that dataset's faces in pixels, None when unknown."""
        dataset = self.environment.get("dataset")
        size = dataset.get("size") if isinstance(dataset, dict) else None
        return size if isinstance(size, int) and size > 0 else None

    def was_trained_on(self, dataset: FaceDataset) -> bool:
        """Whether a dataset is the run's own; True where the run does not say which that was."""
        return self.fingerprint in ("", dataset.fingerprint)

    @property
    def data(self) -> str | None:
        """The dataset that the configuration names."""
        data = self.config.get("data")
        return None if data is None else str(data)

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return sum(len(phase.columns["epoch"]) for phase in self.phases)

    @property
    def seconds(self) -> float:
        """Training time so far."""
        return sum(sum(phase.columns.get("seconds", [])) for phase in self.phases)


def predictions_file(folder: Path, split: str) -> Path:
    """Where a run folder keeps what its network answers about a split of its own dataset."""
    return folder / f"predictions-{split}.npz"


def weights_digest(folder: Path) -> str:
    """Return a SHA-256 over a finished run's weights and their description: its answers follow from them."""
    digest = hashlib.sha256()
    for name in (WEIGHTS, SPEC):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def is_run_folder(path: Path) -> bool:
    """Say whether a folder looks like one that ``facelex train`` wrote."""
    return path.is_dir() and any((path / name).exists() for name in (METRICS, CONFIG, SCORES, WEIGHTS))


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
        config=_read_config(path / CONFIG),
        environment=read_json_object(path / ENVIRONMENT, RESTORE),
        phases=tuple(read_phases(path / METRICS)),
        scores=read_scores(path / SCORES),
        finished=has_weights(path),
    )


def read_json_object(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON object, an empty dictionary where there is no file.

    Args:
        path: The file.
        remedy: What to do if it is damaged, as a sentence.

    Raises:
        FacelexError: If the file is no JSON object.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FacelexError(
            f"Expected {path} to hold JSON, but it cannot be read: {error}. {remedy}"
        ) from error
    if not isinstance(found, dict):
        raise FacelexError(f"Expected {path} to hold a JSON object, but got {type(found).__name__}. {remedy}")
    return found


def read_scores(path: str | Path) -> dict[str, Any]:
    """Read ``scores.json`` of a run, an empty dictionary where there is none.

    Raises:
        FacelexError: If the file holds no JSON object of one object a split.
    """
    remedy = "Remove it; 'facelex evaluate' writes it again."
    scores = read_json_object(Path(path), remedy)
    for split, entry in scores.items():
        if not isinstance(entry, dict):
            raise FacelexError(
                f"Expected {path} to hold the scores of each split, but got {json.dumps(entry)[:40]} for "
                f"{split!r}. {remedy}"
            )
    return scores


def merge_scores(path: str | Path, name: str, scores: Mapping[str, Any]) -> Path:
    """Put ``scores`` under ``name`` (a split) into ``scores.json``, keeping what else it holds."""
    merged = read_scores(path) | {name: dict(scores)}
    return write_text(Path(path), json.dumps(merged, indent=1) + "\n")


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    yaml = require("yaml", "report", "Reading config.yaml")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        raise FacelexError(f"{path} is damaged: it is not valid YAML{line}. {REPAIR}") from error
    if not isinstance(config, dict):
        raise FacelexError(f"{path} is damaged: it does not hold keys and values. {REPAIR}")
    return config


def read_phases(path: Path) -> list[Phase]:
    """Read ``metrics.csv`` phase by phase; none where there is no file yet.

    Raises:
        FacelexError: If the file is no CSV, has no ``phase`` or ``epoch`` column or holds what is no number.
    """
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
