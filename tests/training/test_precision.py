"""The arithmetic of a run follows the device, unless it is named."""

import json
import logging
from pathlib import Path

import pytest
import torch
from tiny_training import FACES, StopAfter, tiny_config, two_phases

from facelex.errors import FacelexError
from facelex.training import precision
from facelex.training.precision import choose_precision
from facelex.training.run import train_run


def a_machine(
    monkeypatch: pytest.MonkeyPatch,
    *,
    bf16_cpu: bool,
    gain: float = 2.2,
    gpu: bool = False,
    bf16_gpu: bool = False,
):
    """Without bf16 instructions no product is tried: PyTorch would imitate it for minutes."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16_cpu)
    monkeypatch.setattr(precision, "_gain_of_bf16", lambda: gain if bf16_cpu else pytest.fail("tried"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    # an emulated bf16 is no reason to use it: PyTorch counts it as supported unless told not to
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or bf16_gpu
    )


@pytest.mark.parametrize(
    ("accelerator", "machine", "expected"),
    [
        ("cpu", {"bf16_cpu": True}, "bf16-mixed"),
        ("cpu", {"bf16_cpu": True, "gain": 0.5}, "32-true"),
        ("cpu", {"bf16_cpu": True, "gain": 1.1}, "32-true"),
        ("cpu", {"bf16_cpu": False}, "32-true"),
        ("auto", {"bf16_cpu": False}, "32-true"),
        ("auto", {"bf16_cpu": False, "gpu": True, "bf16_gpu": True}, "bf16-mixed"),
        ("auto", {"bf16_cpu": True, "gain": 0.5, "gpu": True, "bf16_gpu": True}, "bf16-mixed"),
        ("cuda", {"bf16_cpu": True, "gpu": True, "bf16_gpu": False}, "32-true"),
        ("cpu", {"bf16_cpu": False, "gpu": True, "bf16_gpu": True}, "32-true"),
    ],
)
def test_auto_takes_bf16_only_where_the_device_multiplies_it_faster(
    accelerator: str, machine: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_machine(monkeypatch, **machine)
    assert choose_precision("auto", accelerator) == expected


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"bf16_cpu": False}, "many times as long here as 32-true"),
        ({"bf16_cpu": True, "gain": 0.5}, "multiplies 0.5 times as fast as 32-true here"),
    ],
)
def test_a_named_precision_is_taken_and_said_to_be_slow_where_it_is(
    machine: dict[str, float], said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    a_machine(monkeypatch, **machine)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        assert choose_precision("32-true", "cpu") == "32-true"
        assert not caplog.records
        assert choose_precision("bf16-mixed", "cpu") == "bf16-mixed"
    assert said in caplog.text
    assert "Set precision=auto" in caplog.text


def test_the_trial_measures_what_products_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """A multiplication of bf16 that takes three times float32's time is found to; noise is taken out."""
    clock = iter(range(10**6))
    passed = [0.0]

    def product(matrix: torch.Tensor, _: torch.Tensor) -> None:
        busy = next(clock) % 3  # a neighbour
        passed[0] += (3.0 if matrix.dtype == torch.bfloat16 else 1.0) * (1 + busy)

    monkeypatch.setattr(torch, "mm", product)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: passed[0])
    assert precision._gain_of_bf16.__wrapped__() == pytest.approx(1 / 3)


@pytest.mark.parametrize(("wanted", "taken"), [("auto", "bf16-mixed"), ("32-true", "32-true")])
def test_a_run_computes_in_what_was_chosen_and_notes_it(
    wanted: str, taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "is_bf16_faster", lambda accelerator: True)
    config = tiny_config(*two_phases(1, 1), f"precision={wanted}")
    train_run(config, FACES, tmp_path / "run", accelerator="cpu")
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["precision"] == taken


def test_half_precision_without_a_gpu_is_refused_and_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    a_machine(monkeypatch, bf16_cpu=True)
    for accelerator in ("cpu", "auto"):
        with pytest.raises(FacelexError, match="Expected a GPU for precision=16-mixed"):
            choose_precision("16-mixed", accelerator)
    a_machine(monkeypatch, bf16_cpu=True, gpu=True)
    assert choose_precision("16-mixed", "auto") == "16-mixed"


def test_a_run_that_goes_on_in_another_arithmetic_says_and_notes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config, folder = tiny_config(*two_phases(2, 1), "precision=auto"), tmp_path / "run"
    a_machine(monkeypatch, bf16_cpu=False)
    for _ in range(2):  # on the same machine there is nothing to say
        with pytest.raises(KeyboardInterrupt):
            train_run(config, FACES, folder, accelerator="cpu", resume=True, reporter=StopAfter(1))
    assert not caplog.records
    before = json.loads((folder / "environment.json").read_text())
    assert "continued" not in before
    a_machine(monkeypatch, bf16_cpu=True)
    train_run(config, FACES, folder, accelerator="cpu", resume=True)
    assert "goes on in bf16-mixed after 32-true" in caplog.text
    noted = json.loads((folder / "environment.json").read_text())
    assert [place["precision"] for place in noted.pop("continued")] == ["bf16-mixed"]
    assert noted == before
