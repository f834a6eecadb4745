"""A run: from a configuration and a dataset to a run folder with weights, curves and scores."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import shutil
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn

from facelex.data.dataset import FaceDataset
from facelex.data.ferplus import vote_shares
from facelex.errors import FacelexError
from facelex.evaluation.networks import network_digest
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.run_folder import (
    CONFIG,
    ENVIRONMENT,
    METRICS,
    load_run_folder,
    predictions_file,
    weights_digest,
)
from facelex.files import write_text
from facelex.losses.objective import Objective
from facelex.models.dual_encoder import PARTS, DualEncoder
from facelex.training.augment import alternating_reflection
from facelex.training.averaging import WeightAverage
from facelex.training.checkpoint import CHECKPOINT, remove_leftovers, save_checkpoint
from facelex.training.config import AugmentConfig, PhaseConfig, RunConfig
from facelex.training.cuda_graphs import StepGraphs, can_be_replayed
from facelex.training.environment import describe_environment, peak_resident_mb
from facelex.training.fabric import Fabric, MisconfigurationException
from facelex.training.loop import DeviceSplit, steps_per_epoch, train_one_epoch
from facelex.training.model_spec import class_vectors, describe_model
from facelex.training.optimizers import create_optimizer, create_schedule, restore_optimizer
from facelex.training.precision import choose_precision
from facelex.training.prediction import predict_logits, predict_probs
from facelex.training.progress import Reporter, SilentReporter
from facelex.training.resume import find_checkpoint, is_finished
from facelex.training.sam import SharpnessAware
from facelex.training.starting_point import open_starting_point
from facelex.training.teachers import JudgedViews, Teachers, cached_teacher_probs
from facelex.training.text_side import fit_text_side, text_hidden_dim
from facelex.training.trackers import create_trackers
from facelex.training.weights import create_model, save_weights

logger = logging.getLogger(__name__)

Row = dict[str, float | int | str]

TEACHER_ANSWERS = "teacher-answers"
"""Folder of a run that holds what teachers said of augmented views, until the run is finished."""


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
        FacelexError: If the folder holds another run, the dataset differs from the checkpoint's, the device
            is not there, the loss stops being a number, or the disk refuses.
    """
    _check_dataset(config, dataset)
    state = find_checkpoint(config, dataset, folder, resume=resume)
    if resume and is_finished(folder):
        preds = Predictions.load(predictions_file(folder, "val"))
        view = "flip" if "flip" in preds.views else "single"  # an evaluation with --no-flip wrote it anew
        return RunResult(folder, float((preds.view_probs(view).argmax(1) == preds.labels).mean()))
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
    if state:
        _check_same_sources(folder, config)
    fabric.launch()
    trainer = _Training(fabric, config, dataset, folder, reporter or SilentReporter())
    return trainer.run(state)


class _Training:
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
        train_index = dataset.indices("train")
        if config.drop_blank:
            train_index = train_index[~dataset.blank()[train_index]]
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
        self.train = self._split(train_index)
        self.teachers: Teachers | None = None
        self.views: JudgedViews | None = None
        if config.has_teachers:
            self._engage_teachers(train_index)
        self.val = self._split(dataset.indices("val"), soft=False)

    def run(self, state: dict[str, Any] | None) -> RunResult:
        phases = self.config.phases
        start_phase, start_epoch = (state["phase"], state["epoch"]) if state else (0, 0)
        if state:
            self.model.load_state_dict(state["model"])
            self.rows = [dict(row) for row in state["rows"]]
            if self.fabric.is_global_zero:
                _write_rows(self.folder / METRICS, self.rows)  # the run may have died before or after it did
        else:
            self._write_beginnings()
        if self.fabric.is_global_zero:
            remove_leftovers(self.folder)
        count, batch_size = len(self.train.labels), self.config.batch_size
        an_epoch = steps_per_epoch(count, batch_size) * min(count, batch_size)  # the rest is left out
        images = [phase.epochs * an_epoch for phase in phases]
        done = sum(images[:start_phase]) + start_epoch * an_epoch
        self.reporter.start(sum(images), done)
        average: WeightAverage[DualEncoder] | None = None
        status = "failed"
        try:
            for number in range(start_phase, len(phases)):
                resumed = state if number == start_phase else None
                average = self._run_phase(number, phases[number], resumed)
            status = "success"
        finally:
            self.reporter.stop()
            for tracker in self.fabric.loggers:
                tracker.finalize(status)
        return self._finish(average.model if average else self.model)

    def _run_phase(
        self, number: int, phase: PhaseConfig, state: dict[str, Any] | None
    ) -> WeightAverage[DualEncoder] | None:
        fabric, config = self.fabric, self.config
        self._freeze_all_but(phase.learning)
        replayed = can_be_replayed(fabric, config)
        optimizer = create_optimizer(
            self.model, config.optimizer, config.optimizer.lr * phase.lr_factor, capturable=replayed
        )
        scheduler = self._schedule(optimizer, number)
        optimizer.register_step_post_hook(lambda *_: self.model.clip_logit_scale())
        average = WeightAverage(self.model, config.ema_decay) if config.ema_decay else None
        first_epoch = 0
        if state and state.get("precision"):  # the gradient scale, one for all phases
            fabric.strategy.precision.load_state_dict(state["precision"])
        if state and state["epoch"] > 0:
            first_epoch = state["epoch"]
            restore_optimizer(optimizer, state["optimizer"])
            scheduler.load_state_dict(state["scheduler"])
            if average:
                average.model.load_state_dict(state["average"])
                average.steps = state["average_steps"]
        optimizer = cast(torch.optim.Optimizer, fabric.setup_optimizers(optimizer))
        objective = Objective(
            phase.losses.model_dump(),
            label_smoothing=config.label_smoothing,
            image_to_text_weight=config.image_to_text_weight,
            contrast_temperature=config.contrast_temperature,
            distillation_temperature=config.distillation_temperature,
        )
        sam = SharpnessAware(self.model, config.optimizer.sam_rho) if config.optimizer.sam_rho else None
        graphs = StepGraphs(optimizer, fabric.device) if replayed else None
        epochs_before = sum(p.epochs for p in config.phases[:number])
        for epoch in range(first_epoch, phase.epochs):
            examples, augment = self._examples(phase, epochs_before + epoch)
            started = time.perf_counter()
            self._training_mode(phase)
            size = phase.image_size(epoch, config.image_size)
            result = train_one_epoch(
                fabric, self.module, optimizer,
                scheduler if isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR) else None,
                examples, objective, augment,
                image_size=size, batch_size=config.batch_size, seed=_epoch_seed(config.seed, number, epoch),
                mirrored=self._mirrored(epochs_before + epoch),
                teachers=self.teachers if phase.losses.distillation else None, sam=sam,
                clip_grad_norm=config.optimizer.clip_grad_norm,
                average=average, graphs=graphs, on_step=self.reporter.step,
            )  # fmt: skip
            seconds = time.perf_counter() - started
            evaluated = self._validate(average.model if average else self.model, objective.by_words)
            # batch statistics differ between ranks; all follow the first, also in the plateau schedule
            val_loss, val_accuracy = fabric.broadcast(evaluated)
            if not math.isfinite(result.loss + val_loss):  # the last step shows in val_loss alone
                raise FacelexError(
                    f"The loss of phase {phase.name!r}, epoch {epoch + 1}, is not a number any more. Start a "
                    "new run with a lower optimizer.lr, optimizer.clip_grad_norm=1 or precision=32-true."
                )
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                scheduler.step(val_loss)
            row: Row = {
                "phase": phase.name,
                "epoch": epoch + 1,
                "lr": optimizer.param_groups[0]["lr"],
                "image_size": size,
                "train_loss": result.loss,
                "train_accuracy": result.accuracy,
                "val_loss": val_loss,
                "val_accuracy": val_accuracy,
                "seconds": round(seconds, 3),
                "images_per_second": round(result.images / seconds, 1),
                "peak_memory_mb": round(_peak_memory_mb(fabric.device)),
                **result.losses,
            }
            self.rows.append(row)
            self.reporter.epoch(row)
            self._save(number, epoch + 1, phase, optimizer, scheduler, average)
        if average:
            self.model.load_state_dict(average.model.state_dict())  # the next phase starts from the average
        return average

    def _engage_teachers(self, train_index: NDArray[np.int64]) -> None:
        config, dataset = self.config, self.dataset
        names, classes = config.teachers, dataset.class_names
        if config.teacher_views == "batch":
            self.teachers = Teachers(names, classes, dataset.pixels[train_index], self.fabric)
        elif config.teacher_views == "cached":
            cached = cached_teacher_probs(names, dataset, train_index, self.fabric.device)
            self.train = self.train._replace(teacher_probs=cached)
        else:
            self.views = JudgedViews(
                names, classes, self.train.pixels, config.augment.in_two_steps()[0], config.teacher_views,
                seed=config.seed, folder=self.folder / TEACHER_ANSWERS, writes=self.fabric.is_global_zero,
            )  # fmt: skip

    def _examples(self, phase: PhaseConfig, epoch: int) -> tuple[DeviceSplit, AugmentConfig]:
        """What an epoch, counted over all phases, learns from, and what is still done to each image."""
        augment = self.config.augment
        if self.views is None or not phase.losses.distillation:
            return self.train, augment
        self.views.show(epoch)
        shown = self.train._replace(pixels=self.views.pixels, teacher_probs=self.views.probs)
        return shown, augment.in_two_steps()[1]

    def _freeze_all_but(self, learning: Collection[str]) -> None:
        for part in PARTS:
            module = getattr(self.model, part)
            if isinstance(module, nn.Module):
                # a part that no loss reaches would make data-parallel training wait for its gradients
                module.requires_grad_(part in learning)
        self.model.logit_scale.requires_grad_("logit_scale" in learning)

    def _schedule(
        self, optimizer: torch.optim.Optimizer, number: int
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The learning rate of one phase: a schedule of its own, or its part of the run's."""
        config = self.config
        steps = [p.epochs * steps_per_epoch(len(self.train.labels), config.batch_size) for p in config.phases]
        whole = config.schedule.span == "run"
        return create_schedule(
            optimizer,
            config.schedule,
            first_step=sum(steps[:number]) if whole else 0,
            total_steps=sum(steps) if whole else steps[number],
        )

    def _mirrored(self, epoch: int) -> Tensor | None:
        """Which training images are mirrored in an epoch, counted over all phases, unless a coin decides."""
        if not self.config.augment.alternate_reflection:
            return None
        mirrored = alternating_reflection(len(self.train.labels), self.config.seed, epoch)
        return mirrored.to(self.fabric.device)

    def _training_mode(self, phase: PhaseConfig) -> None:
        self.module.train()
        for part in PARTS:
            module = getattr(self.model, part)
            if isinstance(module, nn.Module) and part not in phase.train:
                module.eval()

    def _validate(self, model: DualEncoder, by_words: bool) -> tuple[float, float]:
        """Mean cross-entropy and accuracy on val, single view, by what the phase trains to answer with."""
        model.eval()
        losses, right = [], torch.zeros((), device=self.fabric.device)
        with torch.inference_mode(), self.fabric.autocast():
            for pixels, labels in zip(self.val.pixels.split(512), self.val.labels.split(512)):
                logits = predict_logits(model, pixels, self.config.image_size, by_words=by_words)
                losses.append(F.cross_entropy(logits, labels, reduction="sum"))
                right += (logits.argmax(1) == labels).sum()
        count = len(self.val.labels)
        return float(torch.stack(losses).sum()) / count, float(right) / count

    def _save(
        self, number: int, epoch: int, phase: PhaseConfig, optimizer: Any, scheduler: Any, average: Any
    ) -> None:
        """Write what an epoch leaves behind; the checkpoint first, if one is due."""
        if not self.fabric.is_global_zero:
            return
        now, ends = time.monotonic(), epoch == phase.epochs
        if ends or now >= self._saved + self.config.checkpoint_seconds:
            self._saved = now
            last = ends and number + 1 < len(self.config.phases)
            model = average.model if last and average else self.model
            state = {
                "config": self.config.model_dump_json(),
                "fingerprint": self.dataset.fingerprint,
                "phase": number + 1 if last else number,
                "epoch": 0 if last else epoch,
                "rows": self.rows,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scheduler": {k: v for k, v in scheduler.state_dict().items() if _is_plain(v)},
                "precision": self.fabric.strategy.precision.state_dict(),
            }
            if average:
                state |= {"average": average.model.state_dict(), "average_steps": average.steps}
            save_checkpoint(self.folder / CHECKPOINT, state)
        _write_rows(self.folder / METRICS, self.rows)
        self.fabric.log_dict({k: v for k, v in self.rows[-1].items() if k != "phase"}, step=len(self.rows))

    def _write_beginnings(self) -> None:
        if not self.fabric.is_global_zero:
            return
        config = self.config.model_dump(mode="json")
        write_text(self.folder / CONFIG, yaml.safe_dump(config, sort_keys=False))
        environment = describe_environment(self.fabric.device, torch.get_num_threads())
        environment |= {
            "dataset": {"source": self.dataset.source, "fingerprint": self.dataset.fingerprint},
            "devices": self.fabric.world_size,
            "precision": self.fabric.strategy.precision.precision,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            **_sources(self.config),
        }
        write_text(self.folder / ENVIRONMENT, json.dumps(environment, indent=2))
        for tracker in self.fabric.loggers:
            tracker.log_hyperparams(config)

    def _finish(self, model: DualEncoder) -> RunResult:
        size = self.config.image_size
        probs, mirror_probs = (
            predict_probs(model, pixels, image_size=size).cpu().numpy()
            for pixels in (self.val.pixels, self.val.pixels.flip(3))
        )
        labels = self.val.labels.cpu().numpy()
        accuracy = float(((probs + mirror_probs).argmax(1) == labels).mean())
        if self.fabric.is_global_zero:
            if self.config.model.text_fit and model.has_words:
                fit_text_side(
                    model, self.config.model.text_fit, self.train.pixels, self.train.labels,
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

    def _split(self, index: NDArray[np.int64], *, soft: bool = True) -> DeviceSplit:
        device, dataset = self.fabric.device, self.dataset
        labels = torch.from_numpy(dataset.labels[index]).to(device)
        label_probs = None
        weight = self.config.vote_weight
        if soft and weight:
            assert dataset.votes is not None
            shares = (
                torch.from_numpy(vote_shares(dataset.votes[index], dataset.class_names)).float().to(device)
            )
            hard = F.one_hot(labels, len(dataset.class_names)).float()
            known = (shares != shares[:, :1]).any(1, keepdim=True)  # without votes all shares are equal
            label_probs = torch.where(known, (1 - weight) * hard + weight * shares, hard)
        votes = None
        if soft and self.config.foretells_votes:
            assert dataset.votes is not None
            counts = dataset.votes[index].astype(np.float32)
            votes = torch.from_numpy(counts / np.maximum(counts.sum(1, keepdims=True), 1)).to(device)
        pixels = torch.from_numpy(np.ascontiguousarray(dataset.pixels[index])).unsqueeze(1).to(device)
        return DeviceSplit(pixels, labels, label_probs, vote_shares=votes)


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


def _check_dataset(config: RunConfig, dataset: FaceDataset) -> None:
    if len(dataset.indices("train")) == 0:
        raise FacelexError(f"{dataset.source} has no training images. Prepare a dataset with a train split.")
    if len(dataset.indices("val")) == 0:
        raise FacelexError(f"{dataset.source} has no validation images. Prepare a dataset with a val split.")
    if config.drop_blank and dataset.blank()[dataset.indices("train")].all():
        raise FacelexError(
            f"Every training image of {dataset.source} is blank. Look at the data, or set drop_blank=false."
        )
    if (config.vote_weight or config.foretells_votes) and dataset.votes is None:
        what = "vote_weight" if config.vote_weight else "The weight of the loss votes"
        raise FacelexError(
            f"{what} is above zero, but the dataset has no FER+ votes. "
            "Prepare it with --ferplus fer2013new.csv."
        )


def _sources(config: RunConfig) -> dict[str, list[str]]:
    """Digests of the finished networks that a run learns from, by the setting that names them."""
    named = {
        "start_from": [config.start_from] if config.start_from else [],
        "teachers": config.teachers if config.has_teachers else [],
    }
    return {setting: [network_digest(name) for name in names] for setting, names in named.items() if names}


def _check_same_sources(folder: Path, config: RunConfig) -> None:
    """Refuse to go on with other networks to learn from than the run began with, where it noted them."""
    began = load_run_folder(folder).environment
    for setting, digests in _sources(config).items():
        if began.get(setting, digests) != digests:
            raise FacelexError(
                f"The run in {folder} began with another network under the name that {setting} gives: the "
                "weights differ. Name the file that it began with, or start a new run folder."
            )


def _epoch_seed(seed: int, phase: int, epoch: int) -> int:
    """A seed of its own for each epoch of each phase of each run."""
    return int(np.random.SeedSequence([seed, phase, epoch]).generate_state(1)[0] >> 1)


def _is_plain(value: object) -> bool:
    return isinstance(value, int | float | str | bool | list | tuple | type(None)) and not callable(value)


def _peak_memory_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_resident_mb()


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
