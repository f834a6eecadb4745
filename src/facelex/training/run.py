"""A run: from a configuration and a dataset to a run folder with weights, curves and scores."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from facelex.data.dataset import FaceDataset
from facelex.models.weights import create_model
from facelex.run_files import CHECKPOINT, is_complete
from facelex.training.batches import steps_per_epoch
from facelex.training.build_phase import create_phase_trainer, freeze_all_but
from facelex.training.checkpoint import remove_leftovers, save_checkpoint
from facelex.training.config import RunConfig
from facelex.training.devices import choose_algorithms, create_fabric
from facelex.training.environment import UntrainableError, peak_memory_mb, reset_peak_memory, sizes_suit
from facelex.training.examples import Examples, check_dataset, device_split, training_index
from facelex.training.fabric import Fabric, launched
from facelex.training.lock import lock_for_all
from facelex.training.model_spec import class_vectors, describe_model
from facelex.training.phase import PhaseTrainer
from facelex.training.progress import Reporter, SilentReporter
from facelex.training.record import Row, note_continuation, write_beginnings, write_rows
from facelex.training.results import (
    RunResult,
    answer_val,
    read_result,
    remove_results,
    run_result,
    write_results,
)
from facelex.training.resume import check_same_sources, find_checkpoint
from facelex.training.starting_point import open_starting_point
from facelex.training.text_side import fit_text_side, text_hidden_dim

logger = logging.getLogger(__name__)


def train_run(
    config: RunConfig,
    dataset: FaceDataset,
    folder: Path,
    *,
    resume: bool = False,
    accelerator: str = "auto",
    devices: int | str = 1,
    num_nodes: int = 1,
    reporter: Reporter | None = None,
) -> RunResult:
    """Train all phases of ``config`` and write the run folder.

    Each epoch's randomness follows from the seed, the phase and the epoch alone, and a checkpoint is written
    after each epoch, or each few (``checkpoint_seconds``); so a run that is killed at any moment and
    continued with ``resume`` ends with the weights of an uninterrupted one (bit for bit on a CPU with the
    same number of threads).

    Args:
        config: What to do.
        dataset: What to learn from; ``train`` trains, ``val`` is measured after each epoch.
        folder: The run folder; must not hold a run unless ``resume``.
        resume: Continue from the folder's checkpoint; without one start from the beginning, and leave a
            finished run as it is. For commands that are given again and again.
        accelerator: ``auto``, ``cpu``, ``cuda``, in Fabric's words.
        devices: How many processes on this node.
        num_nodes: How many nodes.
        reporter: Hears about progress.

    Raises:
        RunInUseError: If another process is training in the folder.
        UntrainableError: If the loss stops being a number, or the run is too large for memory.
        FacelexError: If the folder holds another run, the dataset differs from the checkpoint's, the device
            is not there, or the disk refuses.
    """
    check_dataset(config, dataset)
    find_checkpoint(config, dataset, folder, resume=resume)  # what is wrong with it is said first
    if resume and is_complete(folder):
        return read_result(folder)
    fabric = create_fabric(config, folder, accelerator=accelerator, devices=devices, num_nodes=num_nodes)
    with launched(fabric), lock_for_all(folder, fabric), sizes_suit():
        if resume and is_complete(folder):  # by another process, meanwhile
            return read_result(folder)
        state = find_checkpoint(config, dataset, folder, resume=resume) if fabric.is_global_zero else None
        state = fabric.broadcast(state)  # another node may still see an older one
        if state:
            check_same_sources(folder, config)
        return Training(fabric, config, dataset, folder, reporter or SilentReporter()).run(state)


class Training:
    """The state of one run while it trains."""

    def __init__(
        self, fabric: Fabric, config: RunConfig, dataset: FaceDataset, folder: Path, reporter: Reporter
    ):
        self.fabric, self.config, self.dataset, self.folder = fabric, config, dataset, folder
        self.reporter = reporter if fabric.is_global_zero else SilentReporter()
        self.rows: list[Row] = []
        self._saved = time.monotonic()
        choose_algorithms(fabric.device)
        reset_peak_memory(fabric.device)
        torch.manual_seed(config.seed)
        train_index = training_index(config, dataset)
        words = class_vectors(config, dataset.class_names)
        self.spec = describe_model(config, dataset, train_index, words)
        if config.start_from:
            start = open_starting_point(config.start_from)
            self.model, self.spec = start.build(self.spec, words, dataset.pixels[train_index])
        else:
            self.model = create_model(self.spec, words)
        self.model.to(fabric.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.learns_the_same_throughout:  # before it is said which gradients to expect
            freeze_all_but(self.model, config.phases[0].learning)
        network = cast(nn.Module, torch.compile(self.model)) if config.compile else self.model
        self.module = fabric.setup_module(network)
        self.examples = Examples(config, dataset, fabric, folder)
        self.val = device_split(dataset, dataset.indices("val"), fabric.device)

    def run(self, state: dict[str, Any] | None) -> RunResult:
        """Train all phases, or from a checkpoint's ``state`` those that are left, and write the results."""
        self._begin(state)
        first_phase = state["phase"] if state else 0
        status = "failed"
        try:
            for number in range(first_phase, len(self.config.phases)):
                self._run_phase(number, state if number == first_phase else None)
            status = "success"
        finally:
            self.reporter.stop()
            for tracker in self.fabric.loggers:
                tracker.finalize(status)
        return self._finish()

    def _begin(self, state: dict[str, Any] | None) -> None:
        """Write what a new run begins with, or take up where a checkpoint left it."""
        if state:
            self.model.load_state_dict(state["model"])
            self.rows = [dict(row) for row in state["rows"]]
            if state.get("precision"):  # the gradient scale, one for all phases
                self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self.fabric.is_global_zero:
            if state:
                write_rows(self.folder, self.rows)  # the run may have died before or after it did
                note_continuation(self.folder, self.fabric, epochs_done=len(self.rows))
            else:
                _warn_of_idle_teachers(self.config)
                remove_results(self.folder)
                write_beginnings(self.folder, self.config, self.dataset, self.fabric, self.model)
            remove_leftovers(self.folder)
        count, batch_size = len(self.examples), self.config.batch_size
        an_epoch = steps_per_epoch(count, batch_size) * min(count, batch_size)  # the rest is left out
        images = [phase.epochs * an_epoch for phase in self.config.phases]
        done = sum(images[: state["phase"]]) + state["epoch"] * an_epoch if state else 0
        self.reporter.start(sum(images), done)

    def _run_phase(self, number: int, state: dict[str, Any] | None) -> None:
        phase = self.config.phases[number]
        trainer = self.begin_phase(number)
        epochs_done = state["epoch"] if state else 0
        if state and epochs_done:
            trainer.load_state_dict(state)
        for epoch in range(epochs_done, phase.epochs):
            row = self._run_epoch(trainer, number, epoch)
            self.rows.append(row)
            self.reporter.epoch(row)
            if self.fabric.is_global_zero:
                self._save(trainer, number, epoch + 1)
        if trainer.average:  # the next phase starts from the average
            self.model.load_state_dict(trainer.average.model.state_dict())

    def begin_phase(self, number: int) -> PhaseTrainer:
        """Freeze what the phase does not train, and make what trains the rest."""
        freeze_all_but(self.model, self.config.phases[number].learning)
        labels = self.examples.plain.labels
        return create_phase_trainer(self.fabric, self.config, number, self.model, self.module, labels)

    def _run_epoch(self, trainer: PhaseTrainer, number: int, epoch: int) -> Row:
        """Train and measure; return the epoch's row of ``metrics.csv``."""
        config, phase = self.config, self.config.phases[number]
        size = phase.image_size(epoch, config.image_size)
        epochs_before = sum(p.epochs for p in config.phases[:number])
        started = time.perf_counter()
        examples = self.examples.of_epoch(phase, epochs_before + epoch, self.reporter.note)
        prepared = time.perf_counter()
        result = trainer.train_epoch(
            examples,
            image_size=size,
            seed=_epoch_seed(config.seed, number, epoch),
            on_step=self.reporter.step,
        )
        ended = time.perf_counter()
        val_loss, val_accuracy = trainer.evaluate(self.val, config.image_size)
        if not math.isfinite(result.loss + val_loss):  # the last step shows in val_loss alone
            raise UntrainableError(
                f"The loss of phase {phase.name!r}, epoch {epoch + 1}, is not a number any more. Start a "
                "new run with a lower optimizer.lr, optimizer.clip_grad_norm=1 or precision=32-true."
            )
        trainer.follow(val_loss)
        return {
            "phase": phase.name,
            "epoch": epoch + 1,
            "lr": trainer.lr,
            "image_size": size,
            "train_loss": result.loss,
            "train_accuracy": result.accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "seconds": round(ended - started, 3),
            "images_per_second": round(result.images / (ended - prepared), 1),
            "peak_memory_mb": round(peak_memory_mb(self.fabric.device)),
            **result.losses,
        }

    def _save(self, trainer: PhaseTrainer, number: int, epochs_done: int) -> None:
        """Write what an epoch leaves behind; the checkpoint first, if one is due."""
        now, ends = time.monotonic(), epochs_done == self.config.phases[number].epochs
        if ends or now >= self._saved + self.config.checkpoint_seconds:
            self._saved = now
            save_checkpoint(self.folder / CHECKPOINT, self._state(trainer, number, epochs_done))
        write_rows(self.folder, self.rows)
        self.fabric.log_dict({k: v for k, v in self.rows[-1].items() if k != "phase"}, step=len(self.rows))

    def _state(self, trainer: PhaseTrainer, number: int, epochs_done: int) -> dict[str, Any]:
        """What a checkpoint holds; after the last epoch of a phase that is where the next one begins."""
        phases = self.config.phases
        next_begins = epochs_done == phases[number].epochs and number + 1 < len(phases)
        model = trainer.trained if next_begins else self.model
        return {
            "config": self.config.model_dump_json(),
            "fingerprint": self.dataset.fingerprint,
            "phase": number + 1 if next_begins else number,
            "epoch": 0 if next_begins else epochs_done,
            "rows": self.rows,
            "model": model.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            **trainer.state_dict(),
        }

    def _finish(self) -> RunResult:
        """Measure the final weights, fit the text side if that is asked for, and write both."""
        answers = answer_val(self.model, self.val, self.dataset, self.config.image_size)
        if self.fabric.is_global_zero:
            if self.config.model.text_fit and self.model.has_words:
                self._fit_text_side(self.config.model.text_fit)
            write_results(self.folder, self.model, self.spec, answers)
        self.fabric.barrier()
        return run_result(self.folder, answers)

    def _fit_text_side(self, kind: str) -> None:
        plain, config = self.examples.plain, self.config
        fit_text_side(
            self.model, kind, plain.pixels, plain.labels, image_size=config.image_size,
            vocabulary=config.model.vocabulary, words=self.spec.words,
        )  # fmt: skip
        self.spec = replace(self.spec, text_hidden_dim=text_hidden_dim(self.model))


def _warn_of_idle_teachers(config: RunConfig) -> None:
    """Say that nothing is learned from the teachers, unless they are there for another method.

    No error: a table or a search may compare with and without distillation.
    """
    losses = [phase.losses for phases in config.methods.values() for phase in phases]
    if config.teachers and not any(loss.distillation for loss in losses):
        logger.warning(
            "Teachers are named, but no method has a weight for distillation, so nothing is learned from "
            "them. To learn from them set methods.%s.0.losses.distillation=0.5, say.",
            config.method,
        )


def _epoch_seed(seed: int, phase: int, epoch: int) -> int:
    """A seed of its own for each epoch of each phase of each run."""
    return int(np.random.SeedSequence([seed, phase, epoch]).generate_state(1)[0] >> 1)
