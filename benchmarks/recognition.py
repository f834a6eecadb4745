"""facelex beside other emotion recognisers, in one run: `python benchmarks/recognition.py --help`.

    python benchmarks/recognition.py --setup            # once: an environment for each tool, 8 GB with fer's
    python benchmarks/recognition.py --output recognition.json

Every tool runs in its own environment and process and gets the same face crops and the same photos. In
each round all of them are timed one after the other, so that a busy machine slows all alike; the tables give
medians over the rounds and, in brackets, the value divided by that of facelex. docs/benchmarks.md says how
each number is taken.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from peers import own_speed
from peers.installing import PEERS, ROOT, Peer, installed, is_outdated, set_up
from peers.process import NoAnswerError, Runner, cold_start
from peers.tables import tables

from facelex.data.dataset import FaceDataset
from facelex.data.sketch import sketch_dataset
from facelex.evaluation.comparison import paired_examples
from facelex.records import json_values

SAMPLES = sorted((ROOT / "src" / "facelex" / "samples").glob("*.jpg"))


@dataclass
class Crops:
    """The faces that every tool gets."""

    pixels: np.ndarray  # (N, 48, 48) uint8
    labels: np.ndarray | None  # (N,); None for drawn faces, which no tool has learned
    seen: np.ndarray | None  # (N,) bool: an identical picture is in the training split
    source: str


@dataclass
class Row:
    """What was measured of one tool."""

    peer: Peer
    facts: dict[str, Any]
    times: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    photos: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    labels: list[int] | None = None
    problems: dict[str, str] = field(default_factory=dict)

    def attempt(self, name: str, work: Callable[[], float | None]) -> None:
        """Note a time, or why there is none; what failed once is not tried again."""
        if name in self.problems:
            return
        try:
            seconds = work()
        except NoAnswerError as problem:
            self.problems[name] = str(problem)
            return
        if seconds is not None:
            self.times.setdefault(name, []).append(seconds)

    def median(self, name: str) -> float | None:
        values = self.times.get(name)
        return statistics.median(values) if values else None


def main() -> None:
    options = parse_options()
    folder: Path = options.peers.resolve()
    chosen = [peer for peer in PEERS if not options.only or peer.package in options.only]
    if options.setup:
        for package, peer in {peer.package: peer for peer in reversed(chosen)}.items():
            print(f"Installing {package}", flush=True)
            if reason := set_up(peer, folder):
                print(f"  {reason}")
        return
    (folder / "home").mkdir(parents=True, exist_ok=True)
    if os.getloadavg()[0] > 0.5:
        print(f"The machine is busy (load {os.getloadavg()[0]:.1f}): compare ratios, not numbers.\n")
    if is_outdated(PEERS[0], folder):
        print("facelex has changed since it was installed for this: run --setup --only facelex first.\n")
    start = time.perf_counter()
    machine = describe_machine()
    crops = load_crops(options.data, options.crops)
    with tempfile.TemporaryDirectory() as place:
        np.save(Path(place) / "crops.npy", crops.pixels)
        job = {"crops": str(Path(place) / "crops.npy")}
        if options.model:
            job["model"] = str(options.model.resolve())
        rows = measure(chosen, folder, job, options)
    own = {}
    if not options.no_own:
        own = own_speed.measure(PEERS[0], folder, job.get("model"), SAMPLES, options)
    machine["load_after"] = os.getloadavg()[0]
    machine["minutes"] = (time.perf_counter() - start) / 60
    report = {
        "machine": machine,
        "settings": {name: str(value) for name, value in vars(options).items()},
        "crops": crops.source,
        "tools": [summary(row, rows[0], crops, options.batch) for row in rows],
        "own": own,
    }
    print(tables(report))
    if options.output:
        options.output.write_text(json.dumps(report, indent=2))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--setup", action="store_true", help="install the tools and stop")
    add("--peers", type=Path, default=ROOT / "scratch" / "peers", help="folder of their environments")
    add("--only", nargs="+", metavar="PACKAGE", help="these tools only, facelex among them")
    add("--model", type=Path, help="another facelex model than the shipped one")
    add("--data", type=Path, default=ROOT / "data" / "fer2013.npz", help="for PrivateTest crops and accuracy")
    add("--crops", type=int, help="use this many crops (default: all of PrivateTest, or 1,000 drawn ones)")
    add("--rounds", type=int, default=5)
    add("--cold-rounds", type=int, default=3, help="rounds of fresh processes")
    add("--calls", type=int, default=50, help="single crops a round")
    add("--batch", type=int, default=512, help="crops of a round's batch")
    add("--folder-crops", type=int, default=10_000, help="face files of the folder test")
    add("--folder-photos", type=int, default=1_000, help="photos of the folder test")
    add("--no-own", action="store_true", help="leave out the tests that are about facelex alone")
    add("--output", type=Path, help="write everything as JSON here")
    options = parser.parse_args()
    if options.only and "facelex" not in options.only:
        parser.error("--only needs facelex among its tools, since everything is compared with it.")
    return options


def load_crops(data: Path, count: int | None) -> Crops:
    """Return PrivateTest if the dataset is there, else drawn faces: good for all but accuracy."""
    if not data.exists():
        drawn = sketch_dataset(count or 1000)
        return Crops(
            drawn.pixels, None, None, f"{len(drawn.pixels)} drawn faces (no dataset, so no accuracy)"
        )
    dataset = FaceDataset.load(data)
    rows, seen = dataset.indices("test")[:count], dataset.seen_in("test")[:count]
    source = f"{len(rows)} crops of PrivateTest, {int((~seen).sum())} of them without a copy in Training"
    return Crops(dataset.pixels[rows], dataset.labels[rows], seen, source)


def measure(peers: list[Peer], folder: Path, job: dict[str, Any], options: argparse.Namespace) -> list[Row]:
    """Time every tool, in rounds."""
    rows = []
    for peer in peers:
        facts = installed(peer, folder)
        rows.append(Row(peer, facts, problems={"all": facts["error"]} if "error" in facts else {}))
    ready = [row for row in rows if not row.problems]
    photo = str(SAMPLES[0])
    for turn in range(options.cold_rounds + 1):
        for row in ready:
            note_cold(row, "cold crop", folder, job, "latency", calls=1)
            note_cold(row, "cold photo", folder, job, "photo", path=photo)
            if turn == 0:  # it also brought the files from the disk into memory
                row.times.clear()
    ready = [row for row in ready if row.times]
    with ExitStack() as stack:
        runners = [stack.enter_context(Runner(row.peer, folder, job)) for row in ready]
        pairs = list(zip(ready, runners))
        for row, runner in pairs:  # also the warm-up
            row.attempt("labels", lambda: note_labels(row, runner))  # noqa: B023 - called at once
            note_memory(row, runner, "crops")
        for _ in range(options.rounds):
            for row, runner in pairs:
                row.attempt("latency", lambda: runner.ask("latency", calls=options.calls)["seconds"])  # noqa: B023
            for row, runner in pairs:
                row.attempt("batch", lambda: runner.ask("batch", count=options.batch)["seconds"])  # noqa: B023
        for turn in range(options.rounds + 1):
            for row, runner in pairs:
                row.attempt("photo", lambda: note_photos(row, runner, warm_up=turn == 0))  # noqa: B023
        for row, runner in pairs:
            if row.photos:
                note_memory(row, runner, "photos")
    return rows


def note_cold(row: Row, name: str, folder: Path, job: dict[str, Any], what: str, **details: Any) -> None:
    row.attempt(name, lambda: cold_start(row.peer, folder, job, what, **details))


def note_labels(row: Row, runner: Runner) -> None:
    row.labels = runner.ask("labels")["labels"]


def note_memory(row: Row, runner: Runner, name: str) -> None:
    row.memory[name] = runner.ask("memory")["peak_mb"]


def note_photos(row: Row, runner: Runner, warm_up: bool) -> float | None:
    """Read the sample photos; return the mean seconds of one, but None for the first time through."""
    answers = {path.name: runner.ask("photo", path=str(path)) for path in SAMPLES}
    row.photos = {name: answer["faces"] for name, answer in answers.items()}
    return None if warm_up else statistics.mean(answer["seconds"] for answer in answers.values())


def summary(row: Row, reference: Row, crops: Crops, size: int) -> dict[str, Any]:
    """Return a tool's row of the report; ``problems`` says which numbers it lacks and why."""
    report: dict[str, Any] = {"name": row.peer.name, "note": row.peer.note, **row.facts}
    batch, latency, photo = row.median("batch"), row.median("latency"), row.median("photo")
    report["installed_mb"] = row.facts["bytes"] / 1e6 if "bytes" in row.facts else None
    report["cold_start_crop_s"] = row.median("cold crop")
    report["cold_start_photo_s"] = row.median("cold photo")
    report["one_crop_ms"] = latency and 1000 * latency
    report["crops_per_s"] = batch and size / batch
    report["photo_ms"] = photo and 1000 * photo
    report["peak_mb_crops"] = row.memory.get("crops")
    report["peak_mb_photos"] = row.memory.get("photos")
    report["rounds"] = row.times
    report["photos"] = row.photos
    report["problems"] = row.problems
    if row.labels and crops.labels is not None and crops.seen is not None:
        right = np.array(row.labels) == crops.labels
        report["accuracy"] = float(right.mean())
        report["accuracy_deduplicated"] = float(right[~crops.seen].mean())
        if reference.labels:
            pair = paired_examples(np.array(reference.labels) == crops.labels, right)
            found = pair.difference
            report["accuracy_difference"] = json_values([found.value, found.low, found.high])
    return report


def describe_machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": model,
        "cores": cores,
        "system": platform.system(),
        "python": platform.python_version(),
        "date": date.today().isoformat(),
        "load_before": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
