"""Accuracy against speed and size of several model files: which of them are worth shipping.

    python benchmarks/front.py shipped a.onnx b.onnx --data data/fer2013.npz --figure front.png

All files answer for the same faces, of PublicTest by default, and are timed in turns, round after round, so
that a busy machine slows all alike: read the ratios to the first file. A file is on the front if no other is
both faster and more accurate (one view, as both are measured).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from training_cost.machine import describe

from facelex.data.load import load_dataset
from facelex.evaluation.onnx_model import predict_onnx
from facelex.recognize.model import PACKAGED, Model, find_model, load_model

BATCH = 64


def measure_accuracy(model: Model, pixels: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Share of right labels in %, from each face alone and together with its mirror image."""
    probs, mirrored = (predict_onnx(model, views) for views in (pixels, pixels[:, :, ::-1]))
    return {
        "single": 100 * float((probs.argmax(1) == labels).mean()),
        "flip": 100 * float(((probs + mirrored).argmax(1) == labels).mean()),
    }


def faces_per_second(model: Model, seconds: float) -> float:
    """Run full batches of noise for at least so long."""
    images = np.random.default_rng(0).random((BATCH, 1, model.image_size, model.image_size), np.float32)
    model.run(images)
    start, batches = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        model.run(images)
        batches += 1
    return batches * BATCH / (time.perf_counter() - start)


def on_front(rows: Sequence[dict[str, Any]]) -> list[bool]:
    """Whether no other row is at least as good in accuracy and speed, and better in one of them."""
    points = [(row["single"], row["faces_per_second"]) for row in rows]
    return [
        not any(other != point and other[0] >= point[0] and other[1] >= point[1] for other in points)
        for point in points
    ]


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Accuracy over speed, a dot a file; the front is joined by a line."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    front = sorted((row["faces_per_second"], row["single"]) for row in rows if row["front"])
    axes.plot(*zip(*front, strict=True), color="#9aa5b1", linewidth=1, zorder=1)
    for row in rows:
        color = "#1f6f8b" if row["front"] else "#9aa5b1"
        axes.scatter(row["faces_per_second"], row["single"], s=36, color=color, zorder=2)
        axes.annotate(
            f"{row['name']}, {row['megabytes']:.1f} MB", (row["faces_per_second"], row["single"]),
            textcoords="offset points", xytext=(6, 4), fontsize=8,
        )  # fmt: skip
    axes.set(xscale="log", xlabel="faces/s, one view, log scale", ylabel="accuracy, one view, %")
    axes.margins(x=0.25, y=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all files and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="ONNX files of facelex, shipped, small, tiny or ferplus")
    parser.add_argument("--data", default="data/fer2013.npz", help="a prepared dataset, or sketch:N")
    parser.add_argument("--split", default="val", choices=["val", "test"])
    parser.add_argument("--threads", type=int, help="threads of each model; by default as facelex does")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="least length of one timing")
    parser.add_argument("--output", type=Path, help="write JSON here")
    parser.add_argument("--figure", type=Path, help="write a PNG here")
    options = parser.parse_args(arguments)

    dataset = load_dataset(options.data)
    index = dataset.indices(options.split)
    pixels, labels = dataset.pixels[index], dataset.labels[index]
    paths = [find_model(name) for name in options.models]
    models = [load_model(path, threads=options.threads) for path in paths]
    rows: list[dict[str, Any]] = [
        {
            "name": name if name in PACKAGED else path.stem,
            "precision": model.info["precision"]["name"],
            "parameters": model.info["training"]["parameters"],
            "megabytes": path.stat().st_size / 1e6,
            **measure_accuracy(model, pixels, labels),
        }
        for name, path, model in zip(options.models, paths, models, strict=True)
    ]
    rates: list[list[float]] = [[] for _ in models]
    for _ in range(options.rounds):
        for model, found in zip(models, rates, strict=True):
            found.append(faces_per_second(model, options.seconds))
    for row, found in zip(rows, rates, strict=True):
        row |= {"faces_per_second": statistics.median(found), "all_faces_per_second": found}
    for row, best in zip(rows, on_front(rows), strict=True):
        row["front"] = best

    print(f"{len(labels):,} faces of {options.split}; batches of {BATCH}.\n")
    print("| file | bits | weights | MB | accuracy, single | flip | faces/s | ratio | on the front |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row, found in zip(rows, rates, strict=True):
        ratio = statistics.median(one / first for one, first in zip(found, rates[0], strict=True))
        print(
            f"| {row['name']} | {row['precision']} | {row['parameters']:,} | {row['megabytes']:.1f} "
            f"| {row['single']:.2f} | {row['flip']:.2f} | {row['faces_per_second']:,.0f} | {ratio:.2f} "
            f"| {'yes' if row['front'] else ''} |"
        )
    if options.output:
        found_rows = {"hardware": describe("cpu"), "split": options.split, "rows": rows}
        options.output.write_text(json.dumps(found_rows, indent=2) + "\n", encoding="utf-8")
    if options.figure:
        draw(rows, options.figure)


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "tools"))
    from tell_mistakes import tell_mistakes

    tell_mistakes(main)
