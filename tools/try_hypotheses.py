"""Try changes of a training recipe, one at a time, on PublicTest: ``python tools/try_hypotheses.py FILE``.

FILE is YAML (see ``tools/hypotheses.yaml``): a base configuration and named lists of overrides. Every change
is trained with the same seeds as the base, in a run folder of its own (finished ones are not trained again),
and the table gives its accuracy and the mean difference to the base over common seeds. Successive halving:
try all with few epochs, then name the better half with ``--only`` and raise ``--epochs``.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from tell_mistakes import tell_mistakes

from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError, unknown_name
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.run_folder import load_run_folder
from facelex.run_files import is_complete, predictions_file
from facelex.training.config import RunConfig, load_config
from facelex.training.resume import check_table
from facelex.training.run import train_run

BASE = "base"
DATA = "data/fer2013.npz"


def read_plan(path: Path) -> dict[str, Any]:
    """Read the plan.

    Raises:
        FacelexError: If it is no YAML of a base configuration and changes.
    """
    try:
        plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FacelexError(f"Expected a plan in YAML, but {path} is none: {error}") from error
    kinds = {"config": str, "set": list, "changes": dict}
    if not isinstance(plan, dict) or not all(isinstance(plan.get(key), kind) for key, kind in kinds.items()):
        raise FacelexError(
            f"Expected {path} to hold 'config' (a name), 'set' (a list) and 'changes' (each with its list "
            "'set'). tools/hypotheses.yaml is one."
        )
    return plan


def check_names(names: Sequence[str], plan: dict[str, Any]) -> None:
    """Refuse changes that the plan does not have, or has without a list of settings."""
    for name in names:
        change = plan["changes"].get(name)
        if change is None:
            raise unknown_name("change", name, plan["changes"])
        if not isinstance(change, dict) or not isinstance(change.get("set"), list):
            raise FacelexError(f"Expected a list 'set' in the change {name!r}, but got {change!r}.")


def read_config(plan: dict[str, Any], name: str, epochs: int, seed: int) -> RunConfig:
    """The base configuration with one change, every phase cut or stretched to share ``epochs``."""
    overrides = [*plan["set"], *([] if name == BASE else plan["changes"][name]["set"]), f"seed={seed}"]
    config = load_config(plan["config"], overrides)
    share = epochs / sum(phase.epochs for phase in config.phases)
    lengths = [
        f"methods.{config.method}.{number}.epochs={max(1, round(phase.epochs * share))}"
        for number, phase in enumerate(config.phases)
    ]
    return load_config(plan["config"], [*overrides, *lengths])


def accuracy(folder: Path) -> float:
    """Share right on val in [0, 1], mean of image and mirror image."""
    predictions = Predictions.load(predictions_file(folder, "val"))
    return float((predictions.view_probs("flip").argmax(1) == predictions.labels).mean())


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plan", type=Path, nargs="?", default=Path(__file__).with_name("hypotheses.yaml"))
    parser.add_argument("--data", help=f"{DATA} by default")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="changes to try; all by default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-train", action="store_true", help="only print what is finished")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/hypotheses"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    plan = read_plan(arguments.plan)
    changes = arguments.only or list(plan["changes"])
    check_names(changes, plan)
    names = [BASE, *changes]
    configs = {
        (name, seed): read_config(plan, name, arguments.epochs, seed)
        for seed in arguments.seeds
        for name in names
    }  # all are read, and their faults found, before the first is trained
    train, dataset = not arguments.no_train, None
    if train or arguments.data:
        dataset = FaceDataset.load(arguments.data or DATA)
    folders = {
        (name, seed): arguments.output / f"{name}-e{arguments.epochs}-s{seed}" for name, seed in configs
    }
    # figures of an earlier plan, or of other faces, would stand under the name of a change
    check_table({folders[key]: config for key, config in configs.items()}, dataset, train=train)
    for key, folder in folders.items():
        if train and dataset is not None and not is_complete(folder):
            train_run(configs[key], dataset, folder, resume=True)
            print(f"{folder}: {accuracy(folder):.2%}", flush=True)
    print(f"\n| change | {arguments.epochs} epochs, val flip, % | difference to base | time |")
    print("|---|---|---|---|")
    base_seconds = None
    for name in names:
        done = [s for s in arguments.seeds if is_complete(folders[name, s])]
        if not done:
            continue
        values = {s: 100 * accuracy(folders[name, s]) for s in done}
        seconds = statistics.median(_seconds(folders[name, s]) for s in done)
        base_seconds = base_seconds or seconds
        common = [s for s in done if is_complete(folders[BASE, s])]
        gains = [values[s] - 100 * accuracy(folders[BASE, s]) for s in common]
        cells = ", ".join(f"{values[s]:.2f}" for s in done)
        gain = "" if name == BASE else _difference(gains)
        print(f"| {name} | {cells} | {gain} | {seconds / base_seconds:.2f} |")


def _difference(gains: list[float]) -> str:
    if not gains:
        return ""
    error = f" ± {statistics.stdev(gains) / math.sqrt(len(gains)):.2f}" if len(gains) > 1 else ""
    return f"{statistics.fmean(gains):+.2f}{error}"


def _seconds(folder: Path) -> float:
    return load_run_folder(folder).seconds


if __name__ == "__main__":
    tell_mistakes(main)
