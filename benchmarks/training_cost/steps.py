"""The conventional pipeline beside facelex, in turns: data only, model only, both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from facelex.data.sketch import sketch_dataset
from facelex.training.augment import augment_images
from facelex.training.config import AugmentConfig
from training_cost.machine import DTYPES, matrix_product, seconds
from training_cost.networks import conventional_step, count_operations, create_model, our_step

AUGMENT = AugmentConfig(rotation=10, translation=0.08, resize=0.1, crop=0, reflection=0.5)
PARTS = ("data", "model", "both")
SIDES = ("conventional", "facelex")
PREFETCHED = 2
"""Batches that each DataLoader worker keeps ready (PyTorch's default)."""

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Setting:
    """One comparison."""

    encoder: str
    batch: int = 128
    image_size: int = 48
    rounds: int = 5
    workers: int = 2
    device: str = "cpu"
    precision: str = "bf16-mixed"
    compiled: bool = False
    matrix_side: int = 4096

    @property
    def repeats(self) -> int:
        """Steps in one timing: a GPU runs behind, so one alone would mostly time the waiting."""
        return 20 if self.device == "cuda" else 1


class PilFaces(Dataset[tuple[Tensor, int]]):
    """What the usual scripts do: an array row becomes a PIL image, then transforms one by one."""

    def __init__(self, pixels: Tensor, labels: Tensor, image_size: int):
        self.pixels, self.labels = pixels, labels
        resize = [] if image_size == pixels.shape[-1] else [transforms.Resize((image_size, image_size))]
        self.transform = transforms.Compose([
            *resize,
            transforms.RandomHorizontalFlip(),
            transforms.RandomAffine(10, translate=(0.08, 0.08), scale=(0.9, 1.1)),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.25]),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index, 0].numpy())), int(self.labels[index])


class ConventionalData:
    """Endless batches from DataLoader workers.

    Workers run ahead while nobody asks. So the prefetched batches are drawn before the data alone is timed,
    and ``rest`` waits until they are ready again, lest the workers take the processor from another timing.
    """

    def __init__(self, pixels: Tensor, labels: Tensor, setting: Setting):
        self.loader = DataLoader(
            PilFaces(pixels, labels, setting.image_size),
            setting.batch,
            shuffle=True,
            drop_last=True,
            num_workers=setting.workers,
            persistent_workers=setting.workers > 0,
            pin_memory=setting.device == "cuda",
        )
        self.device, self.ahead = setting.device, PREFETCHED * setting.workers
        self.batches = self._endless()
        self.seconds_per_batch = 0.0

    def _endless(self) -> Iterator[Batch]:
        while True:
            for images, labels in self.loader:
                yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def __next__(self) -> Batch:
        return next(self.batches)

    def time_alone(self) -> float:
        """Seconds a batch when the workers have no lead."""
        for _ in range(self.ahead):
            next(self)
        self.seconds_per_batch = seconds(lambda: next(self), self.device, max(self.ahead, 2))
        return self.seconds_per_batch

    def rest(self, drawn: int) -> None:
        """Wait while the workers replace ``drawn`` batches, and half as long again."""
        if self.ahead:
            time.sleep(1.5 * min(drawn, self.ahead) * self.seconds_per_batch)


def our_data(pixels: Tensor, labels: Tensor, setting: Setting) -> Iterator[Batch]:
    """Endless batches of a split that lies on the device, augmented there."""
    pixels, labels = pixels.to(setting.device), labels.to(setting.device)
    generator = torch.Generator(setting.device).manual_seed(0)
    while True:
        for index in torch.randperm(len(labels), generator=generator, device=setting.device).split(
            setting.batch
        ):
            if len(index) == setting.batch:
                yield augment_images(pixels[index], setting.image_size, AUGMENT, generator), labels[index]


def compare(setting: Setting) -> dict[str, Any]:
    """Time both sides in turns, round after round, and the matrix products that bound them.

    Returns:
        The setting, each timing in seconds a step, medians in images/s, ratios of facelex to the
        conventional side, operations an image, shares of the matrix rate reached, and the share of the
        augmentation in facelex's step.
    """
    device = setting.device
    faces = sketch_dataset(max(4 * setting.batch, 512))
    pixels, labels = torch.from_numpy(faces.pixels).unsqueeze(1), torch.from_numpy(faces.labels)
    usual, ours = ConventionalData(pixels, labels, setting), our_data(pixels, labels, setting)
    usual_model, our_model = (create_model(setting.encoder, device, ours=own) for own in (False, True))
    usual_step = conventional_step(usual_model)
    fast_step = our_step(our_model, device, setting.precision)
    fixed_usual, fixed_ours = next(usual), next(ours)
    operations = {  # counting does the first step, which also warms up
        "conventional": count_operations(lambda: usual_step(*fixed_usual), setting.batch),
        "facelex": count_operations(lambda: fast_step(*fixed_ours), setting.batch),
        "facelex, forward": count_operations(lambda: our_model(fixed_ours[0]), setting.batch),
    }
    compile_seconds = None
    if setting.compiled:
        fast_step = our_step(our_model, device, setting.precision, compiled=True)
        compile_seconds = seconds(lambda: fast_step(*fixed_ours), device)
    usual_step(*fixed_usual)
    fast_step(*fixed_ours)
    products = {name: matrix_product(dtype, device, setting.matrix_side) for name, dtype in DTYPES.items()}
    times: dict[str, list[float]] = {}

    def record(name: str, work: Callable[[], object]) -> None:
        times.setdefault(name, []).append(seconds(work, device, setting.repeats))

    for _ in range(setting.rounds):
        times.setdefault("conventional, data", []).append(usual.time_alone())
        usual.rest(drawn=usual.ahead)
        record("facelex, data", lambda: next(ours))
        record("conventional, model", lambda: usual_step(*fixed_usual))
        record("facelex, model", lambda: fast_step(*fixed_ours))
        record("conventional, both", lambda: usual_step(*next(usual)))
        usual.rest(drawn=setting.repeats)
        record("facelex, both", lambda: fast_step(*next(ours)))
        for name, (product, _) in products.items():
            record(f"matrix, {name}", product)
    return _row(setting, times, operations, products["32-true"][1]) | {
        "first compiled step, seconds": compile_seconds
    }


def _row(
    setting: Setting, times: dict[str, list[float]], operations: dict[str, float], product_operations: float
) -> dict[str, Any]:
    median = {name: statistics.median(values) for name, values in times.items()}
    rates = {f"{side}, {part}": setting.batch / median[f"{side}, {part}"] for side in SIDES for part in PARTS}
    matrix = {name: product_operations / median[f"matrix, {name}"] for name in DTYPES}
    bounds = {"conventional": matrix["32-true"], "facelex": matrix[setting.precision]}
    return {
        **vars(setting),
        "images_per_second": rates,
        "ratio": {part: rates[f"facelex, {part}"] / rates[f"conventional, {part}"] for part in PARTS},
        "augmentation_share": median["facelex, data"] / median["facelex, both"],
        "operations_per_image": operations,
        "matrix_rate": matrix,
        "share_of_matrix_rate": {
            side: rates[f"{side}, model"] * operations[side] / bounds[side] for side in SIDES
        },
        "seconds": times,
    }
