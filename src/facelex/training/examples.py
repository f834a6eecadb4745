"""What a run learns from: the faces on the device, their targets, and what teachers make of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from facelex.data.dataset import FaceDataset
from facelex.data.splits import draw_share
from facelex.errors import FacelexError
from facelex.models.text_fit import check_faces_of_classes
from facelex.run_files import TEACHER_ANSWERS
from facelex.training.augment import alternating_reflection
from facelex.training.batches import DeviceSplit, EpochExamples
from facelex.training.config import PhaseConfig, RunConfig
from facelex.training.fabric import Fabric
from facelex.training.teachers import JudgedViews, Teachers, cached_teacher_probs


def check_dataset(config: RunConfig, dataset: FaceDataset) -> None:
    """Refuse a dataset that a run cannot learn from.

    Raises:
        FacelexError: If it lacks training or validation images, or what the run asks for: annotators' votes,
            or training images of every class.
    """
    if len(dataset.indices("train")) == 0:
        raise FacelexError(f"{dataset.source} has no training images. Prepare a dataset with a train split.")
    if len(dataset.indices("val")) == 0:
        raise FacelexError(f"{dataset.source} has no validation images. Prepare a dataset with a val split.")
    if config.drop_blank and dataset.blank()[dataset.indices("train")].all():
        raise FacelexError(
            f"Every training image of {dataset.source} is blank. Look at the data, or set drop_blank=false."
        )
    if (config.vote_weight or config.predicts_votes) and dataset.votes is None:
        what = "vote_weight" if config.vote_weight else "The weight of the loss votes"
        raise FacelexError(
            f"{what} is above zero, but the dataset has no votes. Prepare FER2013 with --ferplus "
            "fer2013new.csv, or a list of images with columns of votes."
        )
    if config.model.text_fit and config.has_words:
        check_faces_of_classes(dataset.labels[training_index(config, dataset)], dataset.class_names)


def training_index(config: RunConfig, dataset: FaceDataset) -> NDArray[np.int64]:
    """Which examples of the dataset a run learns from, ``(N,)``."""
    index = dataset.indices("train")
    if config.drop_blank:
        index = index[~dataset.blank()[index]]
    if config.train_share < 1:
        index = index[draw_share(dataset.labels[index], config.train_share, config.seed)]
    return index


class Examples:
    """The training split of a run, and what each epoch makes of it.

    Args:
        config: The run's configuration.
        dataset: Whose training split it learns from.
        fabric: Everything lies on its device.
        folder: The run folder, where answers of teachers are kept that take long.

    Attributes:
        plain: The training images as they are, with what cached teachers say of them.
        teachers: Those that judge each batch, if any do.

    Raises:
        FacelexError: If a teacher is not there or knows other classes.
    """

    def __init__(self, config: RunConfig, dataset: FaceDataset, fabric: Fabric, folder: Path):
        self._config, self._device = config, fabric.device
        index = training_index(config, dataset)
        self.plain = _training_split(config, dataset, index, fabric.device)
        self.teachers: Teachers | None = None
        self._views: JudgedViews | None = None
        if not config.has_teachers:
            return
        names, classes = config.teachers, dataset.class_names
        if config.teacher_views == "batch":
            self.teachers = Teachers(names, classes, dataset.pixels[index], fabric)
        elif config.teacher_views == "cached":
            cached = cached_teacher_probs(names, dataset, index, fabric.device)
            self.plain = self.plain._replace(teacher_probs=cached)
        else:
            self._views = JudgedViews(
                names, classes, self.plain.pixels, config.augment.in_two_steps()[0], config.teacher_views,
                seed=config.seed, folder=folder / TEACHER_ANSWERS, writes=fabric.is_global_zero,
            )  # fmt: skip

    def __len__(self) -> int:
        """Number of training images."""
        return len(self.plain.labels)

    def of_epoch(
        self, phase: PhaseConfig, epoch: int, say: Callable[[str], None] = lambda _: None
    ) -> EpochExamples:
        """Prepare an epoch; what is returned is good until the next call.

        Args:
            phase: The phase that the epoch belongs to.
            epoch: Counted from 0 over all phases of the run.
            say: Called with a sentence before anything that takes long.
        """
        split, augment, turn = self.plain, self._config.augment, epoch
        views = self._views if phase.losses.distillation else None
        if views is not None:
            views.show(epoch, say)
            split = split._replace(pixels=views.pixels, teacher_probs=views.probs)
            augment = augment.in_two_steps()[1]
            if views.count % 2 == 0:  # or a view would show the same side whenever its turn comes
                turn += epoch // views.count
        mirrored = None
        if augment.alternate_reflection:
            mirrored = alternating_reflection(len(self), self._config.seed, turn).to(self._device)
        return EpochExamples(split, augment, mirrored, self.teachers if phase.losses.distillation else None)


def device_split(dataset: FaceDataset, index: NDArray[np.int64], device: torch.device) -> DeviceSplit:
    """Lay faces and labels of a dataset's examples ``index`` on the device."""
    pixels = torch.from_numpy(np.ascontiguousarray(dataset.pixels[index])).unsqueeze(1).to(device)
    return DeviceSplit(pixels, torch.from_numpy(dataset.labels[index]).to(device))


def _training_split(
    config: RunConfig, dataset: FaceDataset, index: NDArray[np.int64], device: torch.device
) -> DeviceSplit:
    """Faces and labels, with the votes that the run's losses ask for."""
    split = device_split(dataset, index, device)
    if weight := config.vote_weight:
        assert dataset.votes is not None
        votes, names = dataset.votes[index], dataset.class_names
        shares = torch.from_numpy(votes.shares(names)).float().to(device)
        hard = F.one_hot(split.labels, len(names)).float()
        known = torch.from_numpy(votes.on(names).any(axis=1, keepdims=True)).to(device)
        label_probs = torch.where(known, (1 - weight) * hard + weight * shares, hard)
        split = split._replace(label_probs=label_probs)
    if config.predicts_votes:
        assert dataset.votes is not None
        counts = dataset.votes.counts[index].astype(np.float32)
        totals = counts.sum(1, keepdims=True)
        chosen = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
        split = split._replace(vote_shares=torch.from_numpy(chosen).to(device))
    return split
