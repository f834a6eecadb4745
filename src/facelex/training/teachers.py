"""Finished runs and model files as teachers: what a student imitates in distillation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError
from facelex.evaluation.networks import Classify, names_run, network_digest, open_network
from facelex.files import replace_file
from facelex.models.dual_encoder import DualEncoder
from facelex.models.prediction import resize_images
from facelex.models.weights import load_model, load_predictor
from facelex.training.augment import augment_images
from facelex.training.config import AugmentConfig
from facelex.training.fabric import Fabric
from facelex.training.starting_point import open_starting_point


def cached_teacher_probs(
    names: Sequence[str], dataset: FaceDataset, index: NDArray[np.int64], device: torch.device
) -> Tensor:
    """Mean probabilities of the teachers on unaugmented training images and their mirror images.

    Args:
        names: Run folders, ONNX files, ``hf:owner/name`` or models of the package, on the dataset's classes.
        dataset: Whose train split they judge.
        index: Which examples of the dataset, all in train, ``(n,)``.
        device: Where they compute and the result lies.

    Returns:
        ``(n, K)`` float32.

    Raises:
        FacelexError: If a name is none of them, or its classes differ from the dataset's.
    """
    loaders = _open_teachers(names, dataset.class_names, device)
    pixels = dataset.pixels[index]
    total = np.zeros((len(pixels), len(dataset.class_names)), np.float32)
    for load in loaders:
        answer = load()
        total += (answer(pixels) + answer(pixels[:, :, ::-1])) / 2
    return torch.from_numpy(total / len(loaders)).to(device)


def _open_teachers(
    names: Sequence[str], class_names: Sequence[str], device: torch.device
) -> list[Callable[[], Classify]]:
    """Check all teachers before the first is loaded."""
    teachers = [open_network(name, threads=torch.get_num_threads()) for name in names]
    for teacher in teachers:
        _check_classes(teacher.source, teacher.classes, class_names)
    return [
        partial(load_predictor, teacher.run.path, str(device)) if teacher.run else teacher.load
        for teacher in teachers
    ]


class JudgedViews:
    """The training images augmented in a fixed number of ways, each judged once by the teachers.

    Between asking the teachers about the plain images alone and asking them in every step: epoch ``e`` of a
    run shows view ``e`` modulo the number of views, so that a long run sees every view several times and pays
    for a few. A view is asked about when its first epoch begins; its answers are kept in a folder, for a run
    that is continued. Reflection and mixing are left to the epoch: a mirror image is taken to be judged as
    the view is. Views are as large as the dataset's images, whatever the student's size.

    Args:
        names: Run folders, ONNX files, ``hf:owner/name`` or models of the package.
        class_names: The student's, in its order.
        pixels: Training faces ``(N, 1, H, W)`` uint8, on the device of the student.
        augment: How a view differs from the plain images.
        count: Number of views.
        seed: Decides the views.
        folder: Where answers are kept.
        writes: Whether this process keeps them.

    Attributes:
        pixels: The view of the current epoch, ``(N, 1, S, S)`` uint8, square.
        probs: What the teachers say of it, ``(N, K)`` float32.

    Both are filled in place, never replaced: recorded steps (`facelex.training.cuda_graphs`) read from there.

    Raises:
        FacelexError: If a name is none of them, or its classes differ.
    """

    def __init__(
        self,
        names: Sequence[str],
        class_names: Sequence[str],
        pixels: Tensor,
        augment: AugmentConfig,
        count: int,
        *,
        seed: int,
        folder: Path,
        writes: bool,
    ):
        self._loaders = _open_teachers(names, class_names, pixels.device)
        self._answers: list[Classify] = []
        self._digests = [network_digest(name) for name in names]
        self._plain = pixels.cpu()  # views are made there, for other devices draw other numbers
        self._augment, self._seed = augment, seed
        self.count = count
        self._folder, self._writes = folder, writes
        self._known: dict[int, NDArray[np.float32]] = {}
        self._shown: int | None = None
        side = max(pixels.shape[-2:])
        self.pixels = torch.empty((len(pixels), 1, side, side), dtype=torch.uint8, device=pixels.device)
        self.probs = torch.empty(len(pixels), len(class_names), device=pixels.device)

    def show(self, epoch: int, say: Callable[[str], None] = lambda _: None) -> None:
        """Fill ``pixels`` and ``probs`` with the view of an epoch.

        Args:
            epoch: Counted from 0 over the whole run.
            say: Called with a sentence before anything that takes long.
        """
        view = epoch % self.count
        if view == self._shown:
            return
        pixels = self._make(view)
        if view not in self._known:
            self._known[view] = self._read_or_ask(view, pixels.squeeze(1).numpy(), say)
        if len(self._known) == self.count:  # nothing is left to ask
            self._loaders, self._answers = [], []
        self.pixels.copy_(pixels)
        self.probs.copy_(torch.from_numpy(self._known[view]))
        self._shown = view

    def _make(self, view: int) -> Tensor:
        seed = np.random.SeedSequence([self._seed, view]).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(seed))
        parts = (
            augment_images(part, self.pixels.shape[-1], self._augment, generator).mul_(255).round_().byte()
            for part in self._plain.split(1024)
        )
        return torch.cat(list(parts))

    def _read_or_ask(
        self, view: int, pixels: NDArray[np.uint8], say: Callable[[str], None]
    ) -> NDArray[np.float32]:
        question = hashlib.sha256(repr((self._digests, pixels.shape)).encode())
        question.update(pixels.tobytes())
        path = self._folder / f"{question.hexdigest()[:16]}.npy"
        kept = _read_array(path)
        if kept is not None and kept.shape == self.probs.shape:
            return kept
        say(f"asking the teachers about view {view + 1} of {self.count}")
        self._answers = self._answers or [load() for load in self._loaders]
        probs = np.stack([answer(pixels) for answer in self._answers]).mean(0, dtype=np.float32)
        if self._writes:
            replace_file(path, lambda file: np.save(file, probs))
        return probs


def _read_array(path: Path) -> NDArray[np.float32] | None:
    """What `numpy.save` wrote; None if it is missing, was cut short or is damaged."""
    try:
        return cast("NDArray[np.float32]", np.load(path))
    except Exception:  # of a damaged head NumPy raises whatever its parser does
        return None


class Teachers:
    """Teachers that see the very images of each batch, augmented and mixed as the student sees them.

    A student that imitates them there learns the function and not just its values at the training images;
    "consistent" teaching in the words of Beyer et al. 2022 (https://arxiv.org/abs/2106.05237).

    Args:
        names: Run folders, ONNX files that facelex exported, ``hf:owner/name`` or models of the package, on
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
