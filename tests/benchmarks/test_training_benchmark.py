"""The measurements of training: what they count, that both sides are timed, and what they write."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from facelex.models.fused import FusedSequential
from facelex.models.small_maps import Conv3x3
from facelex.training.precision import choose_precision, has_bf16

CHILD = """
import sys
if "64" in sys.argv:
    sys.exit("no room for it")
print('{"peak_mib": 7, "before_mib": 1}')
"""


@pytest.fixture
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("training")


def test_operations_of_vgg11_are_two_a_multiply_add() -> None:
    from training_cost.networks import operations_per_image

    forward, step = operations_per_image("vgg11", 48, ours=False)
    convolutions, classifier, first = 341_065_728, 512 * 7, 48 * 48 * 9 * 64
    assert forward == 2 * (convolutions + classifier)
    # backward does both gradients of every layer, but nobody wants the first layer's images changed
    assert step == 2 * (3 * (convolutions + classifier) - first)


@pytest.mark.parametrize("size", [32, 48])
def test_products_of_windows_count_as_the_convolutions_that_they_are(size: int) -> None:
    from training_cost.networks import operations_per_image

    usual, ours = (operations_per_image("vgg11", size, ours=own) for own in (False, True))
    assert ours == usual


def test_conventional_side_has_the_same_weights_and_none_of_our_means() -> None:
    from training_cost.networks import create_model

    usual, ours = (create_model("slim_s", "cpu", ours=own) for own in (False, True))
    for one, other in zip(usual.parameters(), ours.parameters()):
        assert torch.equal(one, other)
    convolution = next(layer for layer in usual.modules() if isinstance(layer, Conv3x3))
    assert not convolution.products
    assert not next(layer for layer in usual.modules() if isinstance(layer, FusedSequential)).fuse
    assert all(p.is_contiguous() for p in usual.parameters())


def test_conventional_data_are_timed_without_the_lead_of_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    from training_cost.steps import ConventionalData, Setting

    data = ConventionalData(
        torch.zeros(64, 1, 48, 48, dtype=torch.uint8), torch.zeros(64), Setting("tiny_cnn", 8, 32, workers=0)
    )
    data.ahead = 4  # as if there were two workers
    drawn = []
    monkeypatch.setattr(ConventionalData, "__next__", lambda self: drawn.append(1) or next(self.batches))
    assert data.time_alone() > 0
    assert len(drawn) == 4 + 4
    assert next(data)[0].shape == (8, 1, 32, 32)


@pytest.mark.timeout(900)  # new processes load PyTorch, slowly on a busy machine
def test_steps_writes_hardware_every_timing_and_consistent_ratios(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        script,
        "Setting",
        lambda *arguments: script.compare.__globals__["Setting"](*arguments, matrix_side=64),
    )
    output = tmp_path / "steps.json"
    script.main(["--encoders", "tiny_cnn", "--batch", "8", "--rounds", "2", "--workers", "0",
                 "--image-size", "24", "--output", str(output)])  # fmt: skip
    found = json.loads(output.read_text())
    assert found["hardware"]["versions"]["torch"] == importlib.metadata.version("torch")
    assert found["hardware"]["threads"] == torch.get_num_threads()
    (row,) = found["rows"]
    timed = {f"{side}, {part}" for side in ("conventional", "facelex") for part in ("data", "model", "both")}
    fast = {"32-true", "bf16-mixed"} if has_bf16() else {"32-true"}
    assert row["seconds"].keys() == timed | {f"matrix, {name}" for name in fast}
    assert row["precision"] == choose_precision("auto", "cpu")
    assert all(len(values) == 2 and min(values) > 0 for values in row["seconds"].values())
    rates = row["images_per_second"]
    assert row["ratio"]["both"] == pytest.approx(rates["facelex, both"] / rates["conventional, both"])
    operations = row["operations_per_image"]
    assert operations["facelex"] == operations["conventional"] > 0
    assert 0 < row["augmentation_share"] < 2
    table = capsys.readouterr().out
    assert table.count("| tiny_cnn | ") == 4
    assert "| tiny_cnn | both | " in table


@pytest.mark.timeout(900)
def test_both_ways_of_training_learn_drawn_faces_and_are_compared_seed_by_seed(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "accuracy.json"
    short = ["--encoder", "slim_s", "--epochs", "8", "--batch", "16", "--image-size", "24", "--workers", "0"]
    script.main(["accuracy", "--data", "sketch:1400", *short, "--seeds", "0,1", "--output", str(output)])
    rows = json.loads(output.read_text())["rows"]
    assert [row["seed"] for row in rows] == [0, 1]
    for side in ("conventional", "facelex"):
        assert all(row[side]["accuracy"] > 0.2 and row[side]["seconds"] > 0 for row in rows), (
            side
        )  # chance: 0.14
    differences = [100 * (row["facelex"]["accuracy"] - row["conventional"]["accuracy"]) for row in rows]
    assert f"Difference {sum(differences) / 2:+.2f} ± " in capsys.readouterr().out


@pytest.mark.timeout(900)
def test_runs_at_once_are_timed_beside_one_with_all_threads(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")  # the processes would compile for longer than they train
    output = tmp_path / "jobs.json"
    script.main(["jobs", "--encoders", "tiny_cnn", "--batch", "8", "--rounds", "3", "--steps", "2",
                 "--image-size", "24", "--output", str(output)])  # fmt: skip
    (row,) = json.loads(output.read_text())["rows"]
    assert len(row["seconds"]["one"]) == 3
    assert [len(timings) for timings in row["seconds"]["several"]] == [2, 2, 2]
    together = sorted(sum(8 / seconds for seconds in timings) for timings in row["seconds"]["several"])[1]
    assert row["images_per_second"]["several"] == pytest.approx(together)
    assert row["ratio"] == pytest.approx(together / (8 / sorted(row["seconds"]["one"])[1]))
    assert "| encoder | one run, images/s | 2 at once, images/s together | ratio |" in capsys.readouterr().out


def test_every_different_layer_is_timed_once_both_ways(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "layers.json"
    script.main(["layers", "--encoders", "tiny_cnn,slim_s", "--image-sizes", "24", "--batch", "2",
                 "--rounds", "1", "--precision", "32-true", "--output", str(output)])  # fmt: skip
    rows = json.loads(output.read_text())["rows"]
    shapes = {
        kind: [row["shape"] for row in rows if row["layer"] == kind] for kind in ("convolution", "pooling")
    }
    assert len(shapes["convolution"]) == len({tuple(shape) for shape in shapes["convolution"]})
    assert [1, 8, 24] in shapes["convolution"]  # the first of both networks
    assert [72, 72, 2] in shapes["convolution"]  # the last two of slim_s
    assert [8, 24] in shapes["pooling"]
    assert {row["pool"] for row in rows if row["layer"] == "pooling"} == {"max", "blurred"}
    assert all(row["weight gradient, product"] > 0 for row in rows if row["layer"] == "convolution")
    assert rows[0]["operations"] == 2 * 9 * 2 * 1 * 8 * 24**2
    table = capsys.readouterr().out
    assert table.count("| 72, 72, 2 | ") == 1


def test_limits_are_the_matrix_rate_over_the_operations(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.machine, "matrix_rate", lambda *_: 1e9)
    monkeypatch.setattr(script.machine, "memory_bandwidth", lambda *_: 1e10)
    output = tmp_path / "limits.json"
    script.main(["limits", "--encoders", "tiny_cnn", "--image-sizes", "24", "--output", str(output)])
    machine, network = json.loads(output.read_text())["rows"]
    assert machine["memory_bandwidth"] == 1e10
    assert network["ceilings"]["32-true"] == pytest.approx(1e9 / network["step_operations"])


def test_a_machine_without_bf16_instructions_is_measured_in_float32_alone(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = []
    monkeypatch.setattr(script.machine, "has_bf16", lambda _: False)
    monkeypatch.setattr(script.machine, "matrix_rate", lambda dtype, *_: measured.append(dtype) or 1e9)
    monkeypatch.setattr(script.machine, "memory_bandwidth", lambda *_: 1e10)
    script.main(["limits", "--encoders", "tiny_cnn", "--image-sizes", "24"])
    assert measured == [torch.float32]
    assert "no instructions in bf16" in capsys.readouterr().out


def test_matrix_rate_is_operations_over_the_median_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from training_cost import machine

    times = iter([0.5, 4.0, 1.0])
    monkeypatch.setattr(machine, "seconds", lambda *_: next(times))
    assert machine.matrix_rate(torch.float32, "cpu", rounds=3, side=10) == 2 * 10**3 / 1.0


@pytest.mark.timeout(900)  # new processes load PyTorch, slowly on a busy machine
def test_peak_memory_grows_with_the_batch_and_is_of_a_process_of_its_own(script: ModuleType) -> None:
    small, large = script.peak_memory(script.build_parser().parse_args(
        ["memory", "--encoders", "tiny_cnn", "--threads", "1", "--precision", "32-true", "--batches", "1,256"]
    ))  # fmt: skip
    activations = 256 * 8 * 48 * 48 * 4 / 2**20  # of the first layer alone
    assert small["before_mib"] <= small["peak_mib"] < large["peak_mib"] - activations


def test_a_size_that_fails_is_reported_and_the_others_are_measured(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    monkeypatch.setattr(script, "__file__", str(child))
    options = script.build_parser().parse_args(["memory", "--encoders", "vgg11", "--batches", "64,32"])
    assert script.peak_memory(options)[0]["problem"] == "no room for it"
    assert "| vgg11 | 32 | 7 | 1 |" in capsys.readouterr().out


def test_our_side_lets_cudnn_choose_as_a_run_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from training_cost import memory, steps

    from facelex.training.devices import choose_algorithms

    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    choose_algorithms(torch.device("cpu"))
    assert not torch.backends.cudnn.benchmark
    choose_algorithms(torch.device("cuda"))
    assert torch.backends.cudnn.benchmark
    asked: list[torch.device] = []
    for module in (memory, steps):
        monkeypatch.setattr(module, "choose_algorithms", asked.append)
    monkeypatch.setattr(steps, "_warm_up", lambda step: None)
    steps.OurSide(steps.Setting("tiny_cnn", 8, 24, kept_memory=False))
    memory.measure_here("tiny_cnn", 8, 24, "cpu", "32-true")
    assert asked == [torch.device("cpu")] * 2


def test_the_first_step_ends_when_the_device_has_done_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training_cost.start import FIRST_STEP, MARK

    from facelex.training.progress import SilentReporter

    done: list[str] = []

    def end(code: int) -> None:
        done.append(f"ended after {capsys.readouterr().out.startswith(MARK)}")

    monkeypatch.setattr(SilentReporter, "step", SilentReporter.step)  # put back in the end
    monkeypatch.setattr("facelex.cli.main.main", lambda _: SilentReporter().step(8))
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.synchronize", lambda: done.append(capsys.readouterr().out or "waited"))
    monkeypatch.setattr("os._exit", end)
    with pytest.raises(SystemExit):
        exec(FIRST_STEP, {})
    assert done == ["waited", "ended after True"]


@pytest.mark.timeout(900)  # new processes load PyTorch, slowly on a busy machine
def test_start_is_timed_to_the_first_step_of_the_command_itself() -> None:
    from training_cost.start import seconds_to_first_step

    tiny = ["--config", "sketch", "--data", "sketch:70", "--set", "model.image_encoder=tiny_cnn"]
    assert 0.5 < seconds_to_first_step([*tiny, "--threads", "1"]) < 300


def test_a_command_that_fails_before_its_first_step_is_not_timed() -> None:
    from training_cost.start import seconds_to_first_step

    with pytest.raises(RuntimeError, match=r"(?s)before its first step: .*--no-such"):
        seconds_to_first_step(["--no-such"])
