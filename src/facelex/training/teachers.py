"""Finished runs and model files as teachers: what a student imitates in distillation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError
from facelex.evaluation.networks import names_run, open_network
from facelex.models.dual_encoder import DualEncoder
from facelex.training.augment import resize_images
from facelex.training.fabric import Fabric
from facelex.training.starting_point import open_starting_point
from facelex.training.weights import load_model, load_predictor


def cached_teacher_probs(
    names: Sequence[str], dataset: FaceDataset, index: NDArray[np.int64], device: torch.device
) -> Tensor:
    """Mean probabilities of the teachers on unaugmented training images and their mirror images.

    Args:
        names: Run folders, ONNX files, ``hf:owner/name``, ``shipped`` or ``tiny``, on the dataset's classes.
        dataset: Whose train split they judge.
        index: Which examples of the dataset, all in train, ``(n,)``.
        device: Where they compute and the result lies.

    Returns:
        ``(n, K)`` float32.

    Raises:
        FacelexError: If a name is none of them, or its classes differ from the dataset's.
    """
    teachers = [open_network(name, threads=torch.get_num_threads()) for name in names]
    for teacher in teachers:
        _check_classes(teacher.source, teacher.classes, dataset.class_names)
    pixels = dataset.pixels[dataset.indices("train")]
    total = np.zeros((len(pixels), len(dataset.class_names)), np.float32)
    for teacher in teachers:
        answer = load_predictor(teacher.run.path, str(device)) if teacher.run else teacher.load()
        total += (answer(pixels) + answer(pixels[:, :, ::-1])) / 2
    position = np.full(len(dataset.labels), -1, np.int64)
    position[dataset.indices("train")] = np.arange(len(dataset.indices("train")))
    return torch.from_numpy(total / len(teachers))[position[index]].to(device)


class Teachers:
    """Teachers that see the very images of each batch, augmented and mixed as the student sees them.

    A student that imitates them there learns the function and not just its values at the training images;
    "consistent" teaching in the words of Beyer et al. 2022 (https://arxiv.org/abs/2106.05237).

    Args:
        names: Run folders, ONNX files that facelex exported, ``hf:owner/name``, ``shipped`` or ``tiny``, on
            the classes ``class_names``.
        class_names: In the student's order.
        pixels: Training faces ``(N, H, W)``, some of which are shown to exported networks to take them apart.
        fabric: The teachers stay on its device and compute in its precision.

    Raises:
        FacelexError: If a name is none of them, its classes differ, or PyTorch cannot run the network.
    """

    def __init__(
        self, names: Sequence[str], class_names: Sequence[str], pixels: NDArray[np.uint8], fabric: Fabric
    ):
        self.fabric = fabric
        self.models: list[tuple[DualEncoder, int]] = []
        for name in names:
            model, size = _load_teacher(name, class_names, pixels)
            self.models.append((model.to(fabric.device).requires_grad_(False), size))

    @torch.no_grad()  # inference mode would make tensors that a loss cannot keep for its gradient
    def __call__(self, images: Tensor) -> Tensor:
        """Mean probabilities of all teachers, each at the image size it was trained for.

        Args:
            images: ``(B, 1, S, S)`` float32 in [0, 1].

        Returns:
            ``(B, K)`` float32.
        """
        total: Tensor | None = None
        with self.fabric.autocast():
            for model, size in self.models:
                probs = F.softmax(model(resize_images(images, size)).logits.float(), dim=1)
                total = probs if total is None else total + probs
        assert total is not None
        return total / len(self.models)


def _load_teacher(
    name: str, class_names: Sequence[str], pixels: NDArray[np.uint8]
) -> tuple[DualEncoder, int]:
    """A finished network in evaluation mode on the CPU, and the side of its images in pixels."""
    if names_run(name):
        model, spec = load_model(Path(name))
        _check_classes(name, spec.classes, class_names)
        return model, spec.image_size
    network = open_starting_point(name)
    _check_classes(name, network.classes, class_names)
    return network.rebuild(pixels), network.image_size


def _check_classes(teacher: str, known: Sequence[str], wanted: Sequence[str]) -> None:
    if list(known) != list(wanted):
        raise FacelexError(
            f"The teacher {teacher} knows the classes {', '.join(known)}, but the dataset has "
            f"{', '.join(wanted)}. Name teachers trained on the same classes."
        )
