from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from facelex.training.averaging import WeightAverage
from facelex.training.config import OptimizerConfig, ScheduleConfig
from facelex.training.optimizers import create_optimizer, create_schedule, restore_optimizer, schedule_factor


@pytest.mark.parametrize(
    ("settings", "points"),
    [
        ({"name": "constant"}, {0: 1, 0.5: 1, 1: 1}),
        ({"name": "plateau"}, {0: 1, 1: 1}),
        ({"name": "cosine"}, {0: 1, 0.5: 0.5, 1: 0, 0.25: (1 + math.sqrt(0.5)) / 2, 2: 0, -1: 1}),
        ({"name": "cosine", "final_factor": 0.1}, {0: 1, 0.5: 0.55, 1: 0.1}),
        ({"name": "one_cycle", "warmup": 0.2}, {0: 0.1, 0.1: 0.55, 0.2: 1, 0.6: 0.5, 1: 0}),
        ({"name": "one_cycle", "warmup": 0.0}, {0: 1, 0.5: 0.5, 1: 0}),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_schedule_passes_known_points(settings: dict, points: dict[float, float]) -> None:
    config = ScheduleConfig(**settings)
    for progress, expected in points.items():
        assert schedule_factor(progress, config) == pytest.approx(expected, abs=1e-12)


def test_schedule_over_the_run_goes_on_where_the_phase_before_ended() -> None:
    config = ScheduleConfig(name="cosine", span="run")
    parameter = nn.Parameter(torch.zeros(2, 2))
    rates = []
    for first_step in (0, 6):
        optimizer = torch.optim.SGD([parameter], lr=2.0)
        schedule = create_schedule(optimizer, config, first_step=first_step, total_steps=10)
        for _ in range(6 if first_step == 0 else 4):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    assert rates == pytest.approx([2 * (1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)])


def test_plateau_lowers_the_rate_after_its_patience() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = create_schedule(
        optimizer, ScheduleConfig(name="plateau", patience=1, factor=0.75), first_step=0, total_steps=10
    )
    rates = []
    for loss in (1.0, 0.9, 0.9, 0.9, 0.9, 0.9):
        schedule.step(loss)  # type: ignore[arg-type]
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1, 1, 1, 0.75, 0.75, 0.5625]


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("decay_norms", [False, True])
def test_vectors_decay_only_when_asked_and_frozen_weights_stay_out(name: str, decay_norms: bool) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[2].requires_grad_(False)
    config = OptimizerConfig(name=name, weight_decay=0.1, decay_norms=decay_norms)  # type: ignore[arg-type]
    optimizer = create_optimizer(model, config, lr=0.5)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay[id(model[0].weight)] == 0.1
    assert decay[id(model[1].weight)] == decay[id(model[0].bias)] == (0.1 if decay_norms else 0.0)
    assert id(model[2].weight) not in decay
    assert {group["lr"] for group in optimizer.param_groups} == {0.5}


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_checkpoint_of_another_device_does_not_decide_whether_steps_are_recorded(name: str) -> None:
    model = nn.Linear(3, 2)
    written, own = (create_optimizer(model, OptimizerConfig(name=name), lr) for lr in (0.5, 0.1))  # type: ignore[arg-type]
    model(torch.ones(1, 3)).sum().backward()
    written.step()
    for group in written.param_groups:
        group["capturable"] = True
    before = [group.get("capturable") for group in own.param_groups]
    restore_optimizer(own, written.state_dict())
    assert [group["lr"] for group in own.param_groups] == [0.5, 0.5]
    if name != "sgd":
        assert [group["capturable"] for group in own.param_groups] == before == [False, False]
    own.step()


def test_average_equals_the_closed_form() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    start = model.weight.detach().clone()
    average = WeightAverage(model, decay=0.5)
    history = [start]
    for _ in range(20):
        with torch.no_grad():
            model.weight.normal_()
        history.append(model.weight.detach().clone())
        average.update()
    # m_t = d_t m_{t-1} + (1 - d_t) w_t, unrolled: each w_t keeps the product of all later decays
    decays = [min(0.5, (1 + t) / (10 + t)) for t in range(1, 21)]
    shares = [math.prod(decays)] + [(1 - decays[t]) * math.prod(decays[t + 1 :]) for t in range(20)]
    assert sum(shares) == pytest.approx(1)
    expected = sum(share * value for share, value in zip(shares, history))
    torch.testing.assert_close(average.model.weight, expected)


def test_average_follows_batch_statistics_and_counts_and_leaves_the_model_alone() -> None:
    model = nn.BatchNorm1d(2).train()
    average = WeightAverage(model, decay=0.9)
    model(torch.randn(8, 2) + 5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    average.update()
    share = 1 - 2 / 11  # of the first step
    torch.testing.assert_close(average.model.running_mean, share * model.running_mean)
    assert int(average.model.num_batches_tracked) == 1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
