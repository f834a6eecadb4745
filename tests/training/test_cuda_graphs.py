"""Recorded steps do what the steps themselves do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning_fabric.strategies import DDPStrategy
from tiny_training import FACES, tiny_config, weights
from torch import Tensor

from facelex.training import build_phase
from facelex.training.cuda_graphs import WARM_UP_STEPS, StepGraphs, Sums, can_be_replayed
from facelex.training.environment import UntrainableError
from facelex.training.fabric import SingleDeviceStrategy
from facelex.training.mixing import Mix
from facelex.training.run import train_run

SETTINGS = (
    "batch_size=4", "method=baseline", "optimizer={name: sgd, lr: 0.02}", "schedule.name=one_cycle",
    "methods.baseline=[{name: one, epochs: 3, losses: {cross_entropy: 1}, image_sizes: {0: 20, 0.5: 24}}]",
    "augment={mixup: 0.4, cutmix: 1, mix_probability: 0.7, erasing: 0.5, alternate_reflection: true}",
    "model.dropout=0.2", "ema_decay=0.9",
)  # fmt: skip


class Rerun:
    """Stands in for recording on a GPU: reads the same places, and does the work again."""

    def __init__(self) -> None:
        self.recorded = 0

    def run(self, work: Callable[[], Sums]) -> Sums:
        return work()

    def record(self, work: Callable[[], Sums]) -> tuple[Sums, Callable[[], None]]:
        self.recorded += 1
        sums: Sums = {}
        return sums, lambda: sums.update(work())


@pytest.mark.parametrize(
    "teachers", [(), ("teachers=[tiny]", "teacher_views=2", "methods.baseline.0.losses.distillation=1")]
)
def test_replayed_run_ends_with_the_weights_of_a_plain_one(
    teachers: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(*SETTINGS, *teachers)
    train_run(config, FACES, tmp_path / "plain", accelerator="cpu")
    recorder = Rerun()
    monkeypatch.setattr(build_phase, "can_be_replayed", lambda *_: True)
    monkeypatch.setattr(build_phase, "StepGraphs", partial(StepGraphs, recorder=recorder))
    train_run(config, FACES, tmp_path / "replayed", accelerator="cpu")
    assert 4 <= recorder.recorded <= 6  # two sizes, three ways of mixing
    plain, replayed = weights(tmp_path / "plain"), weights(tmp_path / "replayed")
    for name, value in plain.items():  # shares are float32 on the device and double on the host
        torch.testing.assert_close(replayed[name], value, atol=1e-4, rtol=1e-3)


class Step:
    """Notes what it was called with."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def __call__(self, index: Tensor, mirrored: Tensor | None, mix: Mix | None) -> Sums:
        share = None if mix is None else float(mix.share)
        box = None if mix is None or mix.box is None else tuple(int(side) for side in mix.box)
        self.seen.append((index.tolist(), None if mirrored is None else mirrored.tolist(), share, box))
        return {"loss": index.float().sum()}


def optimizer(lr: float = 0.5) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def test_each_step_sees_its_own_examples_and_mixing() -> None:
    graphs, step = StepGraphs(optimizer(), torch.device("cpu"), Rerun()), Step()
    mixes = [None, Mix(0.25), Mix(0.75, (1, 2, 3, 4)), Mix(0.5, (0, 9, 8, 7))]
    given: list[tuple[Any, ...]] = []
    for number in range(6 * len(mixes)):
        mix = mixes[number % len(mixes)]
        index, mirrored = torch.tensor([number, number + 1]), torch.tensor([number % 3 == 0, True])
        sums = graphs.run(24, step, index, mirrored, mix)
        assert float(sums["loss"]) == 2 * number + 1
        given.append((index.tolist(), mirrored.tolist(), mix and mix.share, mix and mix.box))
    assert step.seen == given


def test_kinds_of_steps_are_recorded_once_each_after_warming_up() -> None:
    recorder = Rerun()
    graphs, step, index = StepGraphs(optimizer(), torch.device("cpu"), recorder), Step(), torch.arange(2)
    for calls, size in ((WARM_UP_STEPS, 24), (1, 24), (5, 24), (WARM_UP_STEPS, 32), (2, 32)):
        before = recorder.recorded
        for _ in range(calls):
            graphs.run(size, step, index, None, None)
        assert recorder.recorded - before == (1 if calls in (1, 2) else 0)
    graphs.run(32, step, torch.arange(3), None, None)  # another number of examples: warms up first
    assert recorder.recorded == 2


def test_recorded_step_reads_the_learning_rate_of_the_moment() -> None:
    sgd = optimizer()
    inside: list[Any] = []

    class Note(Rerun):
        def record(self, work: Callable[[], Sums]) -> tuple[Sums, Callable[[], None]]:
            inside.append(sgd.param_groups[0]["lr"])
            return {}, lambda: inside.append(float(inside[0]))

    graphs = StepGraphs(sgd, torch.device("cpu"), Note())
    for lr in (0.5,) * WARM_UP_STEPS + (0.25, 0.125):
        sgd.param_groups[0]["lr"] = lr
        graphs.run(24, Step(), torch.arange(2), None, None)
    assert isinstance(inside[0], Tensor)  # the graph holds a place, not a number
    assert inside[1:] == [0.25, 0.125]
    assert sgd.param_groups[0]["lr"] == 0.125


def test_recorded_step_reads_the_rates_that_a_checkpoint_brings_back() -> None:
    sgd = optimizer(lr=0.5)
    places: list[Any] = []

    class Note(Rerun):
        def record(self, work: Callable[[], Sums]) -> tuple[Sums, Callable[[], None]]:
            places.append(sgd.param_groups[0]["lr"])
            return {}, lambda: None

    graphs = StepGraphs(sgd, torch.device("cpu"), Note())
    sgd.load_state_dict(optimizer(lr=0.25).state_dict())  # which replaces the groups
    for _ in range(WARM_UP_STEPS + 1):
        graphs.run(24, Step(), torch.arange(2), None, None)
    assert isinstance(places[0], Tensor)
    assert float(places[0]) == 0.25


@pytest.mark.parametrize(
    ("settings", "device", "strategy", "expected"),
    [
        ((), "cuda", SingleDeviceStrategy(), True),
        (("precision=bf16-mixed", "optimizer.clip_grad_norm=1"), "cuda", SingleDeviceStrategy(), True),
        ((), "cpu", SingleDeviceStrategy(), False),
        ((), "cuda", DDPStrategy(), False),  # also of one process
        (("cuda_graphs=false",), "cuda", SingleDeviceStrategy(), False),
        (("compile=true",), "cuda", SingleDeviceStrategy(), False),
        (("optimizer.sam_rho=0.1",), "cuda", SingleDeviceStrategy(), False),
        (("precision=16-mixed",), "cuda", SingleDeviceStrategy(), False),
    ],
)
def test_only_a_single_gpu_that_never_looks_back_replays(
    settings: tuple[str, ...], device: str, strategy: object, expected: bool
) -> None:
    fabric: Any = SimpleNamespace(device=torch.device(device), strategy=strategy)
    assert can_be_replayed(fabric, tiny_config(*settings)) is expected


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError])
def test_step_that_cannot_be_recorded_says_how_to_go_on(error: type[Exception]) -> None:
    class Full(Rerun):
        def record(self, work: Callable[[], Sums]) -> tuple[Sums, Callable[[], None]]:
            raise error("CUDA out of memory.\nTried to allocate 2 GiB")

    sgd = optimizer()
    graphs = StepGraphs(sgd, torch.device("cpu"), Full())
    for _ in range(WARM_UP_STEPS):
        graphs.run(24, Step(), torch.arange(2), None, None)
    with pytest.raises(
        UntrainableError, match=r"CUDA out of memory\. Run kernel by kernel with --set cuda_graphs"
    ):
        graphs.run(24, Step(), torch.arange(2), None, None)
    assert sgd.param_groups[0]["lr"] == 0.5


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_graphs_on_a_gpu_learn_what_kernels_do(name: str, tmp_path: Path) -> None:
    found: dict[str, dict[str, Tensor]] = {}
    for graphs in ("true", "false"):
        config = tiny_config(
            *SETTINGS, f"optimizer={{name: {name}, lr: 0.002}}", f"cuda_graphs={graphs}"
        )  # fmt: skip
        train_run(config, FACES, tmp_path / graphs, accelerator="cuda")
        found[graphs] = weights(tmp_path / graphs)
    for key, value in found["false"].items():
        torch.testing.assert_close(found["true"][key].float(), value.float(), atol=2e-3, rtol=2e-2)


@pytest.mark.gpu
def test_graphs_on_a_gpu_draw_anew_at_each_step(tmp_path: Path) -> None:
    device = torch.device("cuda")
    graphs = StepGraphs(optimizer(), device)

    def step(index: Tensor, mirrored: Tensor | None, mix: Mix | None) -> Sums:
        own = torch.rand(4, device=device, generator=graphs.generator)
        return {"own": own, "dropout": torch.rand(4, device=device), "examples": index.float()}

    def draws() -> list[dict[str, Tensor]]:
        graphs.generator.manual_seed(5)
        torch.manual_seed(6)
        index = torch.arange(2, device=device)
        return [
            {k: v.clone() for k, v in graphs.run(24, step, index + n, None, None).items()} for n in range(4)
        ]

    by_kernels = draws()  # all but the last
    one, two = draws(), draws()
    for first, before, again in zip(by_kernels, one, two, strict=True):
        assert all(torch.equal(before[name], again[name]) for name in before)
        assert all(torch.equal(before[name], first[name]) for name in before)
    assert not torch.equal(one[0]["own"], one[1]["own"])
    assert not torch.equal(one[0]["dropout"], one[1]["dropout"])
    assert one[3]["examples"].tolist() == [3, 4]
