"""What a run folder holds already, and whether it belongs to the run that is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError
from facelex.evaluation.networks import network_digest
from facelex.evaluation.run_folder import read_config, read_environment, read_trained_on
from facelex.run_files import (
    CHECKPOINT,
    CONFIG,
    ENVIRONMENT,
    SCORES,
    WEIGHTS,
    has_begun,
    has_checkpoint,
    has_weights,
    is_complete,
)
from facelex.training.checkpoint import load_checkpoint
from facelex.training.config import RunConfig, validate_config

UNIMPORTANT = (
    "description", "data", "trackers", "methods", "max_epochs_per_phase", "cuda_graphs", "checkpoint_seconds",
)  # fmt: skip
"""Settings that may change within a run: of methods only the phases that are run count, and the data are
compared by their fingerprint."""

ANOTHER_VERSION = "(perhaps of another version of facelex)"
"""What is said behind the name of a file whose settings are not known."""


def changed_settings(before: RunConfig, now: RunConfig) -> list[str]:
    """Top-level keys that would have made another run, in alphabetical order."""
    old, new = (
        config.model_dump(mode="json", exclude=set(UNIMPORTANT)) | {"phases": config.phases}
        for config in (before, now)
    )
    return sorted(key for key in new if old[key] != new[key])


def load_run_config(folder: Path) -> RunConfig:
    """Read the configuration that a run began with, and fill in what came since.

    Raises:
        FacelexError: If it is lost or damaged, or this version knows other settings.
    """
    remedy = "Restore it from a copy, or delete the folder to train anew."
    raw = read_config(folder, remedy)
    if not raw:
        raise FacelexError(f"{folder} holds a run, but no {CONFIG} that says how it was trained. {remedy}")
    return validate_config(raw, f"{folder / CONFIG} {ANOTHER_VERSION}")


def find_checkpoint(
    config: RunConfig, dataset: FaceDataset, folder: Path, *, resume: bool
) -> dict[str, Any] | None:
    """Return the checkpoint to go on from; None if the run starts from the beginning or is finished.

    Args:
        config: The run that is asked for.
        dataset: What it learns from.
        folder: The run folder, which need not exist.
        resume: Whether what lies in the folder may be continued.

    Raises:
        FacelexError: If the folder holds a run and ``resume`` is False, or the run there has other settings
            or another dataset, or its checkpoint is damaged.
    """
    if not resume:
        if any((folder / name).exists() for name in (CHECKPOINT, WEIGHTS)):
            raise FacelexError(
                f"{folder} already holds a run. Continue it with --resume, or name another folder."
            )
        _check_is_ours(folder)
        return None
    if is_complete(folder) or not has_checkpoint(folder):
        _check_is_ours(folder)
        if (folder / CONFIG).exists():
            fingerprint = read_trained_on(folder).fingerprint
            _check_same_run(load_run_config(folder), fingerprint, config, dataset, folder)
        if (folder / WEIGHTS).exists() and not is_complete(folder):
            raise FacelexError(
                f"{folder} holds weights, but no {CHECKPOINT} to go on from. Name another folder for the run."
            )
        return None
    state = load_checkpoint(folder / CHECKPOINT)
    before = validate_config(  # fills in what came since
        json.loads(state["config"]), f"{folder / CHECKPOINT} {ANOTHER_VERSION}"
    )
    _check_same_run(before, state["fingerprint"], config, dataset, folder)
    return state


def _check_is_ours(folder: Path) -> None:
    """Refuse a folder with files that a run would replace and no run has left there: a user's own."""
    others = [name for name in (CONFIG, SCORES) if (folder / name).exists()]
    if others and not any((folder / name).exists() for name in (ENVIRONMENT, WEIGHTS)):
        raise FacelexError(
            f"{folder} holds {' and '.join(others)}, which no run left there and a run would replace. "
            "Name another folder for the run."
        )


def _check_same_run(
    before: RunConfig, fingerprint: str, now: RunConfig, dataset: FaceDataset, folder: Path
) -> None:
    if fingerprint and fingerprint != dataset.fingerprint:
        raise FacelexError(
            f"The run in {folder} was trained on another dataset (fingerprint {fingerprint[:12]}, "
            f"this one has {dataset.fingerprint[:12]}). Prepare the same data or start a new run folder."
        )
    changed = changed_settings(before, now)
    if changed:
        raise FacelexError(
            f"The run in {folder} began with other settings of {', '.join(changed)}. "
            "Resume it with its own config, or start a new run folder."
        )


def sources(config: RunConfig) -> dict[str, list[str]]:
    """Digests of the finished networks that a run learns from, by the setting that names them."""
    return {
        setting: [network_digest(name) for name in names] for setting, names in _sources_named(config).items()
    }


def _sources_named(config: RunConfig) -> dict[str, tuple[str, ...]]:
    """Names of those networks, by the setting that names them."""
    named = {
        "start_from": (config.start_from,) if config.start_from else (),
        "teachers": config.teachers if config.has_teachers else (),
    }
    return {setting: names for setting, names in named.items() if names}


def check_same_sources(folder: Path, config: RunConfig) -> None:
    """Refuse to go on with other networks to learn from than the run began with, where it noted them.

    Raises:
        FacelexError: If a name of ``start_from`` or ``teachers`` now means another network, or none.
    """
    began = read_environment(folder)
    for setting, digests in sources(config).items():
        if began.get(setting, digests) != digests:
            raise FacelexError(
                f"The run in {folder} began with another network under the name that {setting} gives: the "
                "weights differ. Name the file that it began with, or start a new run folder."
            )


def check_table(runs: Mapping[Path, RunConfig], dataset: FaceDataset | None, *, train: bool) -> None:
    """Refuse what lies in the folders of a table's runs, finished or begun, if it would not be alike.

    Args:
        runs: What the table calls each run, by its folder.
        dataset: What all are to have learned from; None takes any, if it is one.
        train: Whether the runs that are not finished will be trained.

    Raises:
        FacelexError: If a run was trained with other settings, on another dataset, or from other networks
            than others under the same name; or a network that is still to be learned from is not there.
    """
    known = "" if dataset is None else dataset.fingerprint
    for folder, config in runs.items():
        if has_begun(folder):
            known = _check_trained(folder, config, known) or known
    _check_one_source(runs, train)


def _check_trained(folder: Path, config: RunConfig, known: str) -> str:
    """Refuse a run of other settings, or of another dataset than a ``known`` one; return its fingerprint."""
    state = "is finished" if has_weights(folder) else "has begun"
    changed = changed_settings(load_run_config(folder), config)
    if changed:
        raise FacelexError(
            f"{folder} {state}, but with other settings of {', '.join(changed)}. Ask for those settings, or "
            "give the table another --output, or delete that folder to train it anew."
        )
    fingerprint = read_trained_on(folder).fingerprint
    if known and fingerprint not in ("", known):
        raise FacelexError(
            f"{folder} {state}, but on another dataset (fingerprint {fingerprint[:12]}) than the table's "
            f"({known[:12]}). Name its own dataset, or give the table another --output, or delete that "
            "folder to train it anew."
        )
    return fingerprint


def _check_one_source(runs: Mapping[Path, RunConfig], train: bool) -> None:
    """Refuse runs that learned, or are to learn, from different networks under one name."""
    digest = cache(network_digest)
    first: dict[tuple[str, tuple[str, ...]], tuple[Path, object]] = {}
    for folder, config in runs.items():
        for setting, names in _sources_named(config).items():
            for digests in _sources_of(folder, setting, names, digest, train):
                other, known = first.setdefault((setting, names), (folder, digests))
                if digests != known:
                    raise FacelexError(
                        f"{folder} and {other} would stand in one table with different networks to learn "
                        f"from: the weights under the name that {setting} gives have changed. Name the "
                        "network that the table began with, or give the table another --output."
                    )


def _sources_of(
    folder: Path, setting: str, names: Sequence[str], digest: Callable[[str], str], train: bool
) -> Iterator[object]:
    """Digests of what a run has learned from so far, where it noted them, and of what it will learn from."""
    noted = read_environment(folder) if has_begun(folder) else {}
    if setting in noted:
        yield noted[setting]
    if train and not has_weights(folder):
        yield [digest(name) for name in names]
