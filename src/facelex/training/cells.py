"""The cells of a comparison: encoders x methods x seeds, each a run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, get_args

import torch
from rich.console import Console

from facelex.data.dataset import FaceDataset
from facelex.data.load import load_dataset
from facelex.errors import FacelexError, unknown_name
from facelex.models.registry import check_image_encoder, create_image_encoder
from facelex.models.spec import MEANINGFUL
from facelex.run_files import has_checkpoint, has_weights
from facelex.training.config import ModelConfig, RunConfig, validate_config
from facelex.training.jobs import run_tasks
from facelex.training.lock import RunInUseError
from facelex.training.progress import Reporter, SilentReporter
from facelex.training.resume import check_table
from facelex.training.run import train_run
from facelex.training.starting_point import open_starting_point


@dataclass(frozen=True)
class Cell:
    """One run of the table; the method may be ``METHOD:TEXT_ENCODER``."""

    encoder: str
    method: str
    seed: int
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether the run's final weights are there."""
        return has_weights(self.folder)

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to continue from."""
        return has_checkpoint(self.folder)


def list_cells(
    encoders: Sequence[str], methods: Sequence[str], seeds: Sequence[int], folder: Path
) -> list[Cell]:
    """Name every run once, seeds outermost, so that an interrupted table has all cells of its first seeds."""
    cells = (
        Cell(encoder, method, seed, folder / f"{encoder}-{method}-s{seed}".replace(":", "-"))
        for seed, encoder, method in product(seeds, encoders, methods)
    )
    return list(dict.fromkeys(cells))


def cell_config(base: RunConfig, cell: Cell) -> RunConfig:
    """The configuration of one cell, checked like any other."""
    method, text_encoder = cell.method, ""
    if method not in base.methods:
        method, _, text_encoder = method.partition(":")
    if method not in base.methods:
        raise unknown_name("method", method, base.methods)
    check_image_encoder(cell.encoder)
    settings = base.model_dump()
    settings["model"]["image_encoder"] = cell.encoder
    if text_encoder:
        _check_text_encoder(text_encoder, method, base)
        settings["model"]["text_encoder"] = text_encoder
    return validate_config(settings | {"seed": cell.seed, "method": method}, f"cell {cell.folder.name}")


def _check_text_encoder(text_encoder: str, method: str, base: RunConfig) -> None:
    """Refuse a text encoder that is unknown, changes nothing or cannot have what the other cells have."""
    known = get_args(ModelConfig.model_fields["text_encoder"].annotation)
    if text_encoder not in known:
        raise unknown_name("text encoder", text_encoder, known)
    if not base.model_copy(update={"method": method}).has_words:
        raise FacelexError(
            f"Expected a method that aligns faces with words before ':{text_encoder}', but {method!r} has "
            "none. Name it without a text encoder."
        )
    able = {"mix_words": ("synonyms",), "text_fit": MEANINGFUL}
    unfit = [name for name, encoders in able.items() if text_encoder not in encoders]
    if any(getattr(base.model, name) for name in unfit):
        raise FacelexError(
            f"The words of '{method}:{text_encoder}' cannot be mixed or fitted as the configuration says. "
            "Set that off for the whole table, so that its cells differ in the words alone: "
            "--set model.mix_words=false --set model.text_fit=null."
        )


def check_cells(
    cells: Sequence[Cell], base: RunConfig, dataset: FaceDataset | None = None, *, train: bool = True
) -> None:
    """Find before hours of training what would spoil the table.

    Args:
        cells: All cells of the table.
        base: Configuration of every cell.
        dataset: What every cell is to have learned from, None if it is not named and none will be trained.
        train: Whether the cells that are not finished will be trained.

    Raises:
        FacelexError: If an encoder, method or text encoder is unknown or does not fit, two cells have one
            folder or are one network, or a cell was trained with other settings, on another dataset or from
            other finished networks than the table's, which would compare what is not alike.
    """
    owners: dict[Path, Cell] = {}
    networks: dict[str, Cell] = {}
    for cell in cells:
        config = cell_config(base, cell)
        owner = owners.setdefault(cell.folder, cell)
        if owner != cell:
            raise FacelexError(
                f"Expected a folder for each cell, but {owner.encoder} with {owner.method} and "
                f"{cell.encoder} with {cell.method} both have {cell.folder}. Rename one of the methods."
            )
        twin = networks.setdefault(config.model_dump_json(), cell)
        if twin != cell:
            raise FacelexError(
                f"With model.text_encoder={config.model.text_encoder} the methods {twin.method} and "
                f"{cell.method} are the same, and one network would be trained twice. Name one of them."
            )
    check_table({cell.folder: cell_config(base, cell) for cell in cells}, dataset, train=train)
    _check_encoders(cells, base, train)


def _check_encoders(cells: Sequence[Cell], base: RunConfig, train: bool) -> None:
    """Refuse options that make one network of two names, and networks that cannot start where they are to."""
    options: dict[str, Any] = base.model.encoder_options
    start = None
    if train and base.start_from and not all(cell.finished for cell in cells):
        start = open_starting_point(base.start_from)
    if not options and not start:
        return
    names: dict[tuple[torch.Size, ...], str] = {}
    for encoder in dict.fromkeys(cell.encoder for cell in cells):
        with torch.device("meta"):
            network = create_image_encoder(encoder, **options)
        if start:
            start.check_encoder(network)
        first = names.setdefault(tuple(parameter.shape for parameter in network.parameters()), encoder)
        if first != encoder:
            raise FacelexError(
                f"With model.encoder_options={options} the encoders {first} and {encoder} are the same "
                "network, which would be trained twice. Name one of them, or set model.encoder_options={}."
            )


def train_cells(
    cells: Sequence[Cell],
    base: RunConfig,
    dataset: FaceDataset,
    *,
    reporter: Reporter | None = None,
    announce: Callable[[str], None] = lambda line: None,
    **where: Any,
) -> dict[Cell, FacelexError]:
    """Train the cells that are not finished; a cell that was interrupted continues from its checkpoint.

    Several processes may work on one table: a cell that another one is training is left to it. One that
    cannot be trained, since its loss diverges, say, does not keep the others from it.

    Args:
        cells: What to train.
        base: Configuration of every cell; encoder, method and seed are replaced.
        dataset: What to learn from.
        reporter: Hears about each run's progress.
        announce: Told which cell begins.
        where: ``accelerator``, ``devices`` and ``num_nodes`` of :func:`train_run`.

    Returns:
        The cells that failed, and why.
    """
    failed: dict[Cell, FacelexError] = {}
    for place, cell in _unfinished(cells):
        error = _train_cell(place, cell, base, dataset, reporter or SilentReporter(), announce, **where)
        if error:
            failed[cell] = error
    return failed


def train_cells_at_once(
    cells: Sequence[Cell],
    base: RunConfig,
    dataset: FaceDataset,
    *,
    jobs: int,
    threads: int | None,
    console: Console,
    accelerator: str = "auto",
) -> dict[Cell, FacelexError]:
    """Do what :func:`train_cells` does with several cells at a time, each in a process of its own.

    Args:
        cells: What to train.
        base: Configuration of every cell; each process reads the dataset that it names.
        dataset: What that is to be.
        jobs: How many processes.
        threads: CPU threads of each; None shares out those of this process.
        console: Shows their progress.
        accelerator: As in :func:`train_run`.

    Returns:
        The cells that failed, and why.

    Raises:
        FacelexError: If the dataset can no longer be read, or is another one.
    """
    unfinished = _unfinished(cells)
    tasks = [
        partial(_load_and_train_cell, place, cell, base, dataset.fingerprint, accelerator)
        for place, cell in unfinished
    ]
    answers = run_tasks(tasks, jobs, threads=threads, console=console)
    return {cell: error for (_, cell), error in zip(unfinished, answers) if error}


def _unfinished(cells: Sequence[Cell]) -> list[tuple[str, Cell]]:
    """The cells that are to be trained, each behind what it is called on the screen."""
    places = (f"[{number}/{len(cells)}] {cell.folder.name}" for number, cell in enumerate(cells, start=1))
    return [(place, cell) for place, cell in zip(places, cells) if not cell.finished]


def _load_and_train_cell(
    place: str,
    cell: Cell,
    base: RunConfig,
    fingerprint: str,
    accelerator: str,
    reporter: Reporter,
    announce: Callable[[str], None],
) -> FacelexError | None:
    dataset = load_dataset(base.data)
    if dataset.fingerprint != fingerprint:
        raise FacelexError(
            f"{base.data} is no longer the dataset that the table began with (fingerprint "
            f"{fingerprint[:12]}, now {dataset.fingerprint[:12]}). Prepare the same data, or give the table "
            "another --output."
        )
    return _train_cell(place, cell, base, dataset, reporter, announce, accelerator=accelerator)


def _train_cell(
    place: str,
    cell: Cell,
    base: RunConfig,
    dataset: FaceDataset,
    reporter: Reporter,
    announce: Callable[[str], None],
    **where: Any,
) -> FacelexError | None:
    """Train one cell, unless another process is at it or has finished it; return why it failed, if it did.

    The error is returned without its traceback, which would keep the run's network, optimiser and dataset in
    memory while the other cells are trained.
    """
    if cell.finished:
        return None
    announce(f"{place}{' (continued)' if cell.begun else ''}")
    try:
        train_run(cell_config(base, cell), dataset, cell.folder, resume=True, reporter=reporter, **where)
    except RunInUseError:
        announce(f"{place} is left to the process that is training it")
    except FacelexError as error:
        announce(f"{place} failed: {error}")
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)
    return None
