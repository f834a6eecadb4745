"""A run: from a configuration and a dataset to a run folder with weights, curves and scores."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.run_folder import predictions_file, weights_digest
from facelex.losses.objective import Objective
from facelex.models.dual_encoder import PARTS
from facelex.models.prediction import predict_probs
from facelex.models.weights import create_model, save_weights
from facelex.run_files import CHECKPOINT
from facelex.training.averaging import WeightAverage
from facelex.training.batches import steps_per_epoch
from facelex.training.checkpoint import remove_leftovers, save_checkpoint
from facelex.training.config import RunConfig
from facelex.training.cuda_graphs import StepGraphs, can_be_replayed
from facelex.training.environment import memory_suffices, peak_memory_mb
from facelex.training.examples import TEACHER_ANSWERS, Examples, check_dataset, device_split, training_index
from facelex.training.fabric import Fabric, MisconfigurationException, launched
from facelex.training.lock import lock_folder
from facelex.training.model_spec import class_vectors, describe_model
from facelex.training.optimizers import create_optimizer, create_schedule
from facelex.training.phase import PhaseTrainer
from facelex.training.precision import choose_precision
from facelex.training.progress import Reporter, SilentReporter
from facelex.training.record import Row, note_continuation, write_beginnings, write_rows
from facelex.training.resume import check_same_sources, find_checkpoint, is_finished
from facelex.training.sam import SharpnessAware
from facelex.training.starting_point import open_starting_point
from facelex.training.text_side import fit_text_side, text_hidden_dim
from facelex.training.trackers import create_trackers

logger = logging.getLogger(__name__)


class RunResult(NamedTuple):
    """Where a finished run lies and how it did on the validation split."""

    folder: Path
    val_accuracy: float
    """Share in [0, 1], mean over each image and its mirror image."""


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
        FacelexError: If the folder holds another run, the dataset differs from the checkpoint's, the device
            is not there, the loss stops being a number, or the disk refuses.
    """
    check_dataset(config, dataset)
    find_checkpoint(config, dataset, folder, resume=resume)  # what is wrong with it is said first
    if resume and is_finished(folder):
        return _finished_result(folder)
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            precision=choose_precision(config.precision, accelerator),
            strategy=_strategy(config, alone=devices in (1, "1") and num_nodes == 1),
            loggers=create_trackers(config, folder),
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise FacelexError(
            f"Training on accelerator {accelerator!r} with devices {devices!r} is not possible here: {error}"
        ) from error
    if config.batch_size % fabric.world_size:
        raise FacelexError(
            f"Expected a batch_size that divides among {fabric.world_size} devices, "
            f"but got {config.batch_size}. Set batch_size to a multiple of {fabric.world_size}."
        )
    with launched(fabric), _alone_in(folder, fabric), memory_suffices():
        if resume and is_finished(folder):  # by another process, meanwhile
            return _finished_result(folder)
        state = find_checkpoint(config, dataset, folder, resume=resume) if fabric.is_global_zero else None
        state = fabric.broadcast(state)  # another node may still see an older one
        if state:
            check_same_sources(folder, config)
        return Training(fabric, config, dataset, folder, reporter or SilentReporter()).run(state)


def _finished_result(folder: Path) -> RunResult:
    preds = Predictions.load(predictions_file(folder, "val"))
    view = "flip" if "flip" in preds.views else "single"  # an evaluation with --no-flip wrote it anew
    return RunResult(folder, float((preds.view_probs(view).argmax(1) == preds.labels).mean()))


@contextmanager
def _alone_in(folder: Path, fabric: Fabric) -> Iterator[None]:
    """Hold the lock of a run folder for all ranks; if the first cannot have it, none goes on."""
    with ExitStack() as stack:
        refused: FacelexError | None = None
        if fabric.is_global_zero:
            try:
                stack.enter_context(lock_folder(folder))
            except FacelexError as error:
                refused = error
        refused = fabric.broadcast(refused)
        if refused is not None:
            raise refused
        yield


class Training:
    """The state of one run while it trains."""

    def __init__(
        self, fabric: Fabric, config: RunConfig, dataset: FaceDataset, folder: Path, reporter: Reporter
    ):
        self.fabric, self.config, self.dataset, self.folder = fabric, config, dataset, folder
        self.reporter = reporter if fabric.is_global_zero else SilentReporter()
        self.rows: list[Row] = []
        self._saved = time.monotonic()
        if fabric.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # few shapes, many steps
            torch.cuda.reset_peak_memory_stats(fabric.device)
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
        if _learns_the_same_throughout(config):
            self._freeze_all_but(config.phases[0].learning)  # before it is said which gradients to expect
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
                note_continuation(self.folder, self.fabric)
            else:
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
        fabric, config, phase = self.fabric, self.config, self.config.phases[number]
        self._freeze_all_but(phase.learning)
        replayed = can_be_replayed(fabric, config)
        lr = config.optimizer.lr * phase.lr_factor
        optimizer = create_optimizer(self.model, config.optimizer, lr, capturable=replayed)
        optimizer.register_step_post_hook(lambda *_: self.model.clip_logit_scale())
        scheduler = self._schedule(optimizer, number)
        optimizer = cast(torch.optim.Optimizer, fabric.setup_optimizers(optimizer))
        objective = Objective(
            phase.losses.model_dump(),
            label_smoothing=config.label_smoothing,
            image_to_text_weight=config.image_to_text_weight,
            contrast_temperature=config.contrast_temperature,
            distillation_temperature=config.distillation_temperature,
        )
        return PhaseTrainer(
            fabric,
            self.model,
            self.module,
            optimizer,
            objective,
            config.batch_size,
            scheduler=scheduler,
            frozen=[part for name, part in self._parts() if name not in phase.train],
            average=WeightAverage(self.model, config.ema_decay) if config.ema_decay else None,
            sam=SharpnessAware(self.model, config.optimizer.sam_rho) if config.optimizer.sam_rho else None,
            clip_grad_norm=config.optimizer.clip_grad_norm,
            graphs=StepGraphs(optimizer, fabric.device) if replayed else None,
        )

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
            raise FacelexError(
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

    def _parts(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts of the network that it has, by name; ``logit_scale`` is no module."""
        for name in PARTS:
            part = getattr(self.model, name)
            if isinstance(part, nn.Module):
                yield name, part

    def _freeze_all_but(self, learning: Collection[str]) -> None:
        for name, part in self._parts():
            # a part that no loss reaches would make data-parallel training wait for its gradients
            part.requires_grad_(name in learning)
        self.model.logit_scale.requires_grad_("logit_scale" in learning)

    def _schedule(
        self, optimizer: torch.optim.Optimizer, number: int
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The learning rate of one phase: a schedule of its own, or its part of the run's."""
        config = self.config
        steps = [p.epochs * steps_per_epoch(len(self.examples), config.batch_size) for p in config.phases]
        whole = config.schedule.span == "run"
        return create_schedule(
            optimizer,
            config.schedule,
            first_step=sum(steps[:number]) if whole else 0,
            total_steps=sum(steps) if whole else steps[number],
        )

    def _save(self, trainer: PhaseTrainer, number: int, epochs_done: int) -> None:
        """Write what an epoch leaves behind; the checkpoint first, if one is due."""
        now, ends = time.monotonic(), epochs_done == self.config.phases[number].epochs
        if ends or now >= self._saved + self.config.checkpoint_seconds:
            self._saved = now
            next_begins = ends and number + 1 < len(self.config.phases)
            model = trainer.trained if next_begins else self.model
            state = {
                "config": self.config.model_dump_json(),
                "fingerprint": self.dataset.fingerprint,
                "phase": number + 1 if next_begins else number,
                "epoch": 0 if next_begins else epochs_done,
                "rows": self.rows,
                "model": model.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
                **trainer.state_dict(),
            }
            save_checkpoint(self.folder / CHECKPOINT, state)
        write_rows(self.folder, self.rows)
        self.fabric.log_dict({k: v for k, v in self.rows[-1].items() if k != "phase"}, step=len(self.rows))

    def _finish(self) -> RunResult:
        """Measure the final weights with mirror images, and write what a run leaves behind."""
        model, size = self.model, self.config.image_size
        probs, mirror_probs = (
            predict_probs(model, pixels, image_size=size).cpu().numpy()
            for pixels in (self.val.pixels, self.val.pixels.flip(3))
        )
        labels = self.val.labels.cpu().numpy()
        accuracy = float(((probs + mirror_probs).argmax(1) == labels).mean())
        if self.fabric.is_global_zero:
            if self.config.model.text_fit and model.has_words:
                fit_text_side(
                    model, self.config.model.text_fit, self.examples.plain.pixels, self.examples.plain.labels,
                    image_size=size, vocabulary=self.config.model.vocabulary, words=self.spec.words,
                )  # fmt: skip
                self.spec = self.spec.model_copy(update={"text_hidden_dim": text_hidden_dim(model)})
            save_weights(self.folder, model, self.spec)
            shutil.rmtree(self.folder / TEACHER_ANSWERS, ignore_errors=True)
            index = self.dataset.indices("val")
            Predictions(
                probs=probs,
                mirror_probs=mirror_probs,
                labels=labels,
                seen=self.dataset.seen_in("val"),
                votes=None if self.dataset.votes is None else self.dataset.votes[index],
                classes=self.dataset.class_names,
                model=self.folder.name,
                split="val",
                fingerprint=self.dataset.fingerprint,
                weights=weights_digest(self.folder),
            ).save(predictions_file(self.folder, "val"))
        self.fabric.barrier()
        return RunResult(self.folder, accuracy)


def _strategy(config: RunConfig, *, alone: bool) -> str:
    """How Fabric spreads the run over devices.

    Looking for parts without gradients costs time in every step, and is needed only where phases differ in
    what they train.
    """
    if alone:
        return "auto"
    return "ddp" if _learns_the_same_throughout(config) else "ddp_find_unused_parameters_true"


def _learns_the_same_throughout(config: RunConfig) -> bool:
    reached = {
        (phase.learning, tuple(name for name, weight in phase.losses if weight)) for phase in config.phases
    }
    return len(reached) == 1


def _epoch_seed(seed: int, phase: int, epoch: int) -> int:
    """A seed of its own for each epoch of each phase of each run."""
    return int(np.random.SeedSequence([seed, phase, epoch]).generate_state(1)[0] >> 1)
