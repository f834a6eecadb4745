"""What training costs, and how near it comes to the machine's limit.

    python benchmarks/training.py steps --encoders vgg11,slim_l     # conventional pipeline beside facelex
    python benchmarks/training.py limits                            # matrix rate, bandwidth, operations
    python benchmarks/training.py layers --encoders vgg11           # each layer, library beside facelex
    python benchmarks/training.py memory --batches 32,128           # peak memory, each in a fresh process
    python benchmarks/training.py start --data sketch:700           # command to first step
    python benchmarks/training.py accuracy --data data/fer2013.npz  # whole short runs, both ways
    python benchmarks/training.py jobs --encoders slim_m,vgg11      # one run beside several at once

`steps` times in turns, each side in its own process: (a) the usual script: one PIL image at a time through
torchvision transforms and DataLoader workers, float32, channels first, eager; (b) facelex: the split resident
as uint8, whole batches augmented by one grid_sample, bf16 where the device has instructions for it,
channels-last, fused optimiser. A busy machine slows both, so ratios mean more than rates. Faces are drawn: no
dataset is needed, and what they show costs nothing. `--output FILE` keeps every timing as JSON.
docs/performance.md explains the columns.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from training_cost import accuracy, layers, machine, memory, start
from training_cost.networks import operations_per_image
from training_cost.side_by_side import compare_jobs
from training_cost.steps import PARTS, SIDES, Setting, compare

from facelex.data.load import load_dataset
from facelex.models.registry import check_image_encoder
from facelex.training.memory import keep_memory
from facelex.training.precision import choose_precision

BACKBONES = "vgg11,vgg16,resnet18,resnet50,slim_l"


def steps(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare each network's step, printing a table row as soon as there is one."""
    _head("encoder", "part", "conventional, images/s", "facelex, images/s", "ratio",
          "conventional, of matrix rate", "facelex, of matrix rate")  # fmt: skip
    rows = []
    for encoder in options.encoders:
        row = compare(
            Setting(
                encoder,
                options.batch,
                options.image_size,
                options.rounds,
                options.workers,
                options.device,
                options.precision,
                options.compile,
                options.keep_memory,
                options.graphs,
            )
        )
        rows.append(row)
        for part in PARTS:
            rates = [row["images_per_second"][f"{side}, {part}"] for side in SIDES]
            shares = [_share(row["share_of_matrix_rate"][side]) if part == "model" else "" for side in SIDES]
            print(f"| {encoder} | {part} | {rates[0]:,.0f} | {rates[1]:,.0f} | {row['ratio'][part]:.1f} "
                  f"| {shares[0]} | {shares[1]} |", flush=True)  # fmt: skip
    print()
    _head("encoder", "augmentation, share of facelex's step", "bf16 matrix rate", "float32 matrix rate")
    for row in rows:
        rate = row["matrix_rate"]
        print(f"| {row['encoder']} | {row['augmentation_share']:.1%} | {_rate(rate.get('bf16-mixed'))} "
              f"| {_rate(rate['32-true'])} |")  # fmt: skip
    return rows


def limits(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the machine, count each network's operations, and divide."""
    rates = {
        name: machine.matrix_rate(dtype, options.device, options.rounds)
        for name, dtype in machine.fast_dtypes(options.device).items()
    }
    bandwidth = machine.memory_bandwidth(options.device)
    print(f"Matrix rate {_rate(rates.get('bf16-mixed'))} in bf16, {_rate(rates['32-true'])} in float32; "
          f"memory {bandwidth / 1e9:.1f} GB/s.\n")  # fmt: skip
    _head("encoder", "pixels", "GFLOP an image, forward", "whole step", "ceiling in bf16, images/s",
          "in float32")  # fmt: skip
    rows: list[dict[str, Any]] = [{"matrix_rate": rates, "memory_bandwidth": bandwidth}]
    for encoder in options.encoders:
        for size in options.image_sizes:
            forward, step = operations_per_image(encoder, size, ours=False)
            ceilings = {name: rate / step for name, rate in rates.items()}
            rows.append(
                {
                    "encoder": encoder,
                    "image_size": size,
                    "forward_operations": forward,
                    "step_operations": step,
                    "ceilings": ceilings,
                }
            )
            bounds = " | ".join(_number(ceilings.get(name)) for name in machine.DTYPES)
            print(f"| {encoder} | {size} | {forward / 1e9:.3f} | {step / 1e9:.3f} | {bounds} |", flush=True)
    return rows


def by_layer(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time each different layer: convolution beside product, three layers beside one pass."""
    if options.device != "cpu":
        raise SystemExit(
            "layers times what a processor does in place of a library's kernels: leave --device out"
        )
    keep_memory()  # as in training, where a layer's memory has been there since the first steps
    dtype, batch, rows = machine.DTYPES[options.precision], options.batch, []
    _head("in, out channels, side of the map", "forward, convolution, ms", "product, ms",
          "weight gradient, convolution, ms", "product, ms")  # fmt: skip
    for shape in _different(layers.convolutions, options):
        row = layers.time_convolution(shape, batch, dtype, options.rounds)
        rows.append({"layer": "convolution", "shape": shape} | row)
        cells = [f"{row[f'{work}, {way}']:.2f}" for work in ("forward", "weight gradient")
                 for way in ("convolution", "product")]  # fmt: skip
        print(f"| {', '.join(map(str, shape))} | {' | '.join(cells)} |", flush=True)
    print()
    _head(
        "pooling",
        "channels, side of the map",
        "normalisation, ReLU, pooling: layer by layer, ms",
        "at once, ms",
        "ratio",
    )
    for pool, shape in itertools.product(layers.POOLS, _different(layers.poolings, options)):
        row = layers.time_pooling(shape, pool, batch, dtype, options.rounds)
        rows.append({"layer": "pooling", "pool": pool, "shape": shape} | row)
        apart, at_once = row["layer by layer"], row["at once"]
        where = f"{pool} | {', '.join(map(str, shape))}"
        print(f"| {where} | {apart:.2f} | {at_once:.2f} | {apart / at_once:.1f} |", flush=True)
    return rows


def _different(find: Any, options: argparse.Namespace) -> list[layers.Shape]:
    """What ``find`` finds in all networks at all sizes, each once, the largest maps first."""
    shapes = {
        shape for encoder in options.encoders for size in options.image_sizes for shape in find(encoder, size)
    }
    return sorted(shapes, key=lambda shape: (-shape[-1], shape))


def peak_memory(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Let one process a size take three steps."""
    _head("encoder", "batch", "peak, MiB", "of it before the network, MiB")
    rows = []
    for encoder in options.encoders:
        for batch in options.batches:
            row = memory.measure(
                __file__,
                ["--encoder", encoder, "--batch", str(batch), "--image-size", str(options.image_size),
                 "--device", options.device, "--precision", options.precision, *_threads(options)],
            )  # fmt: skip
            rows.append({"encoder": encoder, "batch": batch} | row)
            cells = row.get("problem") or f"{row['peak_mib']:,.0f} | {row['before_mib']:,.0f}"
            print(f"| {encoder} | {batch} | {cells} |", flush=True)
    return rows


def one_memory(options: argparse.Namespace) -> None:
    """Measure in this process and print one line of JSON, for `memory`."""
    found = memory.measure_here(
        options.encoder, options.batch, options.image_size, options.device, options.precision
    )
    print(json.dumps(found))


def start_up(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Start training on each dataset in turns, and Python with the libraries alone."""
    settings = ["--config", options.config, "--set", "method=baseline", "--accelerator", options.device,
                *_threads(options)]  # fmt: skip
    times: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        times.setdefault("libraries alone", []).append(start.seconds_to_import())
        for data in options.data:
            times.setdefault(data, []).append(start.seconds_to_first_step([*settings, "--data", data]))
    _head("data", "seconds to the end of the first step, median", "least")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.1f} | {min(values):.1f} |")
    return [{"data": name, "seconds": values} for name, values in times.items()]


def learn(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train each seed both ways for a few epochs and compare accuracy on PublicTest."""
    dataset = load_dataset(options.data)
    _head("seed", "conventional, val %", "facelex, val %", "difference", "conventional, s", "facelex, s")
    rows, differences = [], []
    for seed in options.seeds:
        config = accuracy.configuration(
            options.encoder, options.epochs, options.image_size, options.batch, seed
        )
        usual = accuracy.train_conventionally(config, dataset, options.device, options.workers)
        ours = accuracy.train_ours(config, dataset, options.device)
        rows.append({"seed": seed, "conventional": usual._asdict(), "facelex": ours._asdict()})
        differences.append(100 * (ours.accuracy - usual.accuracy))
        print(f"| {seed} | {usual.accuracy:.2%} | {ours.accuracy:.2%} | {differences[-1]:+.2f} "
              f"| {usual.seconds:.0f} | {ours.seconds:.0f} |", flush=True)  # fmt: skip
    if len(rows) > 1:
        error = statistics.stdev(differences) / len(rows) ** 0.5
        mean = statistics.mean(differences)
        print(f"\nDifference {mean:+.2f} ± {error:.2f} points (standard error over seeds).")
    return rows


def at_once(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train one run with all threads and several that share them, in turns."""
    _head("encoder", "one run, images/s", f"{options.jobs} at once, images/s together", "ratio")
    rows = []
    for encoder in options.encoders:
        setting = Setting(
            encoder, options.batch, options.image_size, options.rounds, workers=0, device=options.device,
            precision=options.precision, steps=options.steps,
        )  # fmt: skip
        row = compare_jobs(setting, options.jobs, torch.get_num_threads())
        rows.append(row)
        rates = row["images_per_second"]
        print(
            f"| {encoder} | {rates['one']:,.0f} | {rates['several']:,.0f} | {row['ratio']:.2f} |", flush=True
        )
    return rows


def _head(*columns: str) -> None:
    """Begin a Markdown table."""
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)


def _threads(options: argparse.Namespace) -> list[str]:
    return ["--threads", str(options.threads)] if options.threads else []


def _rate(value: float | None) -> str:
    return "no instructions" if value is None else f"{value / 1e12:.3f} TFLOP/s"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _names(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    shared.add_argument("--threads", type=int, help="CPU threads of every side")
    shared.add_argument("--output", type=Path, help="write JSON here")
    number = argparse.ArgumentParser(add_help=False)
    number.add_argument(
        "--precision", default="auto", choices=["auto", *machine.DTYPES],
        help="facelex's arithmetic; auto as in training: bf16 where there are instructions for it",
    )  # fmt: skip
    precision = argparse.ArgumentParser(add_help=False, parents=[number])
    precision.add_argument("--image-size", type=int, default=48)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: Any, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[shared, *parents], help=run.__doc__)
        added.set_defaults(run=run)
        return added

    one = command("steps", steps, precision)
    one.add_argument("--encoders", type=_names, default=_names(BACKBONES))
    one.add_argument("--batch", type=int, default=128)
    one.add_argument("--rounds", "--batches", type=int, default=5, help="timings of each part")
    one.add_argument("--workers", type=int, default=2, help="DataLoader workers of the conventional side")
    one.add_argument("--compile", action="store_true", help="facelex's network through torch.compile")
    one.add_argument("--keep-memory", action=argparse.BooleanOptionalAction, default=True,
                     help="as `facelex train` does, facelex's side keeps what it frees")  # fmt: skip
    one.add_argument("--graphs", action=argparse.BooleanOptionalAction, default=True,
                     help="on a GPU facelex's side replays CUDA graphs, as `facelex train` does")  # fmt: skip
    two = command("limits", limits)
    two.add_argument("--encoders", type=_names, default=_names(f"{BACKBONES},slim_m,slim_s"))
    two.add_argument("--image-sizes", type=_numbers, default=[32, 40, 48])
    two.add_argument("--rounds", type=int, default=5, help="matrix products of each kind")
    six = command("layers", by_layer, number)
    six.add_argument("--encoders", type=_names, default=_names("vgg11,slim_l"))
    six.add_argument("--image-sizes", type=_numbers, default=[32, 40, 48])
    six.add_argument("--batch", type=int, default=128)
    six.add_argument("--rounds", type=int, default=9, help="timings of each way")
    three = command("memory", peak_memory, precision)
    three.add_argument("--encoders", type=_names, default=_names(BACKBONES))
    three.add_argument("--batches", type=_numbers, default=[32, 128])
    child = command("one-memory", one_memory, precision)
    child.add_argument("--encoder", required=True)
    child.add_argument("--batch", type=int, required=True)
    four = command("start", start_up)
    four.add_argument("--config", default="quick")
    four.add_argument("--data", action="append", help="sketch:N or a dataset file; may be repeated")
    four.add_argument("--rounds", type=int, default=3)
    five = command("accuracy", learn)
    five.add_argument("--encoder", default="slim_m")
    five.add_argument("--epochs", type=int, default=5)
    five.add_argument("--image-size", type=int, default=32)
    five.add_argument("--batch", type=int, default=128)
    five.add_argument("--seeds", type=_numbers, default=[0, 1, 2])
    five.add_argument("--workers", type=int, default=2, help="DataLoader workers of the conventional side")
    five.add_argument("--data", default="data/fer2013.npz", help="a prepared dataset, or sketch:N")
    seven = command("jobs", at_once, precision)
    seven.add_argument("--encoders", type=_names, default=_names("slim_s,slim_m,slim_l,vgg11"))
    seven.add_argument("--jobs", type=int, default=2, help="runs at once")
    seven.add_argument("--batch", type=int, default=128)
    seven.add_argument("--rounds", type=int, default=5, help="timings of each way")
    seven.add_argument("--steps", type=int, default=20, help="steps in one timing")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0].startswith("--") and words[0] != "--help":
        words.insert(0, "steps")
    options = build_parser().parse_args(words)
    if options.command == "start" and not options.data:
        options.data = ["sketch:700"]
    for encoder in getattr(options, "encoders", ()):  # not one after another, behind long measurements
        check_image_encoder(encoder)
    if options.threads:
        torch.set_num_threads(options.threads)
    if "precision" in options:
        options.precision = choose_precision(options.precision, options.device)
    rows = options.run(options)
    if options.output:
        settings = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in vars(options).items()
            if key != "run"
        }
        found = {"hardware": machine.describe(options.device), "options": settings, "rows": rows}
        options.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "tools"))
    from tell_mistakes import tell_mistakes

    tell_mistakes(main)
