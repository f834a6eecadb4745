"""The conventional pipeline beside facelex, in turns: data only, model only, both."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Self
from unittest import mock

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from facelex.data.sketch import sketch_dataset
from facelex.training.augment import augment_images
from facelex.training.config import AugmentConfig, OptimizerConfig
from facelex.training.cuda_graphs import StepGraphs
from facelex.training.devices import choose_algorithms
from facelex.training.memory import KEPT, keep_memory
from facelex.training.optimizers import create_optimizer
from training_cost.machine import fast_dtypes, matrix_product, seconds
from training_cost.networks import conventional_step, count_operations, create_model, our_step

AUGMENT = AugmentConfig(rotation=10, translation=0.08, resize=0.1, crop=0, reflection=0.5)
PARTS = ("data", "model", "both")
PREFETCHED = 2
"""Batches that each DataLoader worker keeps ready (PyTorch's default)."""

WARM_UP_STEPS, WARM_UP_SECONDS = 16, 20
"""How many steps each side takes before it is timed, unless they take longer than so many seconds."""

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
    precision: str = "32-true"
    compiled: bool = False
    kept_memory: bool = True
    graphs: bool = True
    matrix_side: int = 4096
    steps: int | None = None

    @property
    def repeats(self) -> int:
        """Steps in one timing: a GPU runs behind, so one alone would mostly time the waiting."""
        return self.steps or (20 if self.device == "cuda" else 1)


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


class ConventionalSide:
    """The usual script: float32, contiguous, PyTorch's default optimiser, data from workers."""

    def __init__(self, setting: Setting):
        self.setting, self.compile_seconds = setting, None
        self.data = ConventionalData(*_faces(setting), setting)
        self.step = conventional_step(create_model(setting.encoder, setting.device, ours=False))
        self.fixed = next(self.data)
        # counting does the first step, which also warms up
        self.operations = count_operations(lambda: self.step(*self.fixed), setting.batch)
        _warm_up(lambda: self.step(*self.fixed))

    def time(self, part: str) -> float:
        """Seconds a batch of one of ``PARTS``."""
        if part == "data":
            found = self.data.time_alone()
            self.data.rest(drawn=self.data.ahead)
        elif part == "model":
            found = seconds(lambda: self.step(*self.fixed), self.setting.device, self.setting.repeats)
        else:
            found = seconds(lambda: self.step(*next(self.data)), self.setting.device, self.setting.repeats)
            self.data.rest(drawn=self.setting.repeats)
        return found


class OurSide:
    """What ``facelex train`` does: a split on the device, and on a GPU each part as a recorded graph."""

    def __init__(self, setting: Setting):
        self.setting, self.compile_seconds = setting, None
        if setting.kept_memory and setting.device == "cpu":
            keep_memory()
        device = torch.device(setting.device)
        choose_algorithms(device)
        self.pixels, self.labels = (rows.to(device) for rows in _faces(setting))
        self.generator = torch.Generator(device).manual_seed(0)
        self.order = self._endless_order()
        model = create_model(setting.encoder, setting.device, ours=True)
        optimizer = create_optimizer(model, OptimizerConfig(name="sgd"), 0.01)
        self.step = our_step(model, optimizer, setting.device, setting.precision)
        self.fixed = self._batch(next(self.order), self.generator)
        self.operations = count_operations(lambda: self.step(*self.fixed), setting.batch)
        if setting.compiled:
            self.step = our_step(model, optimizer, setting.device, setting.precision, compiled=True)
            self.compile_seconds = seconds(lambda: self.step(*self.fixed), setting.device)
        replayed = setting.graphs and setting.device == "cuda"
        self.graphs = {part: StepGraphs(optimizer, device) for part in PARTS} if replayed else {}
        for part in self.graphs or ("model",):
            _warm_up(lambda part=part: self._do(part))  # type: ignore[misc]

    def _endless_order(self) -> Iterator[Tensor]:
        device = self.labels.device
        while True:
            order = torch.randperm(len(self.labels), generator=self.generator, device=device)
            yield from (i for i in order.split(self.setting.batch) if len(i) == self.setting.batch)

    def _batch(self, index: Tensor, generator: torch.Generator) -> Batch:
        images = augment_images(self.pixels[index], self.setting.image_size, AUGMENT, generator)
        return images, self.labels[index]

    def _do(self, part: str) -> None:
        graphs = self.graphs.get(part)
        generator = graphs.generator if graphs else self.generator

        def work(index: Tensor, *_: object) -> dict[str, Tensor]:
            if part == "data":
                return {"images": self._batch(index, generator)[0]}
            return self.step(*(self.fixed if part == "model" else self._batch(index, generator)))

        if graphs:
            graphs.run(self.setting.image_size, work, next(self.order), None, None)
        else:
            work(next(self.order))

    def time(self, part: str) -> float:
        """Seconds a batch of one of ``PARTS``."""
        return seconds(lambda: self._do(part), self.setting.device, self.setting.repeats)


SIDES = {"conventional": ConventionalSide, "facelex": OurSide}


def compare(setting: Setting) -> dict[str, Any]:
    """Time both sides in turns, round after round, and the matrix products that bound them.

    Each side lives in a process of its own, as it does in use: what one does to memory, threads or the
    processor's caches is not the other's. While one works, the other waits to be asked.

    Returns:
        The setting, each timing in seconds a step, medians in images/s, ratios of facelex to the
        conventional side, operations an image, shares of the matrix rate reached, and the share of the
        augmentation in facelex's step.
    """
    device = setting.device
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, setting)) for name in SIDES}
        beginnings = {name: worker.answer() for name, worker in workers.items()}
        products = {
            name: matrix_product(dtype, device, setting.matrix_side)
            for name, dtype in fast_dtypes(device).items()
        }
        for product, _ in products.values():
            product()
        times: dict[str, list[float]] = {}
        for _ in range(setting.rounds):
            for part in PARTS:
                for name, worker in workers.items():
                    times.setdefault(f"{name}, {part}", []).append(worker.ask(part))
            for name, (product, _) in products.items():
                times.setdefault(f"matrix, {name}", []).append(seconds(product, device, setting.repeats))
    operations = {name: beginning["operations"] for name, beginning in beginnings.items()}
    return _row(setting, times, operations, products["32-true"][1]) | {
        "first compiled step, seconds": beginnings["facelex"]["compile_seconds"]
    }


class Worker:
    """A side in a new process, which does what it is asked and waits; with this one's threads, or so many."""

    def __init__(self, name: str, setting: Setting, threads: int | None = None):
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(name, setting, threads or torch.get_num_threads(), theirs)
        )
        kept = setting.kept_memory and name == "facelex"
        with mock.patch.dict(os.environ, KEPT if kept else {}):  # read when the new process imports PyTorch
            self.process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.close()
        self.process.join()

    def answer(self) -> Any:
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            raise SystemExit(
                f"The {self.name} side ended with exit code {self.process.exitcode}; see its message above."
            ) from None

    def ask(self, part: str) -> float:
        self.pipe.send(part)
        return float(self.answer())


def _serve(name: str, setting: Setting, threads: int, pipe: Connection) -> None:
    torch.set_num_threads(threads)
    side = SIDES[name](setting)
    pipe.send({"operations": side.operations, "compile_seconds": side.compile_seconds})
    while True:
        try:
            part = pipe.recv()
        except EOFError:
            return
        pipe.send(side.time(part))


def _warm_up(step: Callable[[], object]) -> None:
    """Take the steps that are unlike the others: the first compile, and memory settles within some ten."""
    start = time.perf_counter()
    for _ in range(WARM_UP_STEPS):
        step()
        if time.perf_counter() > start + WARM_UP_SECONDS:
            return


def _faces(setting: Setting) -> tuple[Tensor, Tensor]:
    faces = sketch_dataset(max(4 * setting.batch, 512))
    return torch.from_numpy(faces.pixels).unsqueeze(1), torch.from_numpy(faces.labels)


def _row(
    setting: Setting, times: dict[str, list[float]], operations: dict[str, float], product_operations: float
) -> dict[str, Any]:
    median = {name: statistics.median(values) for name, values in times.items()}
    rates = {f"{side}, {part}": setting.batch / median[f"{side}, {part}"] for side in SIDES for part in PARTS}
    matrix = {
        name.removeprefix("matrix, "): product_operations / value
        for name, value in median.items()
        if name.startswith("matrix, ")
    }
    bounds = {"conventional": matrix["32-true"], "facelex": matrix.get(setting.precision)}
    return {
        **vars(setting),
        "images_per_second": rates,
        "ratio": {part: rates[f"facelex, {part}"] / rates[f"conventional, {part}"] for part in PARTS},
        "augmentation_share": median["facelex, data"] / median["facelex, both"],
        "operations_per_image": operations,
        "matrix_rate": matrix,
        "share_of_matrix_rate": {
            side: rates[f"{side}, model"] * operations[side] / bound if bound else None
            for side, bound in bounds.items()
        },
        "seconds": times,
    }
