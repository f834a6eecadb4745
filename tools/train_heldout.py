"""Train on six emotions, once for each left out: ``python tools/train_heldout.py --kind synonyms random``.

Each run sees neither the left-out emotion's faces nor its words. `tools/measure_words.py` then asks whether
its word finds its faces.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch
from tell_mistakes import tell_mistakes

from facelex.data.dataset import FaceDataset
from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError
from facelex.run_files import is_complete
from facelex.training.config import RunConfig, load_config
from facelex.training.resume import check_table
from facelex.training.run import train_run


def without_class(dataset: FaceDataset, name: str) -> FaceDataset:
    """Remove a class with all its faces, in every split."""
    if name not in dataset.class_names:
        raise FacelexError(f"{dataset.source} has no class {name!r}, but {', '.join(dataset.class_names)}.")
    left_out = dataset.class_names.index(name)
    keep = dataset.labels != left_out
    labels = dataset.labels[keep]
    return FaceDataset.create(
        dataset.pixels[keep],
        labels - (labels > left_out),
        dataset.splits[keep],
        tuple(other for other in dataset.class_names if other != name),
        f"{dataset.source}, without {name}",
        None if dataset.votes is None else dataset.votes[keep],
    )


def main() -> None:
    """Train what is asked for and not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/fer2013.npz")
    parser.add_argument(
        "--kind", nargs="+", default=["synonyms", "random"], help="word vectors of the classes"
    )
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--leave-out", nargs="+", default=list(EMOTIONS), choices=EMOTIONS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in facelex train")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/heldout"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    whole = FaceDataset.load(arguments.data)
    runs = [
        (kind, seed, name)
        for seed, kind, name in product(arguments.seed, arguments.kind, arguments.leave_out)
    ]
    folders = {run: arguments.output / "{}-s{}-without-{}".format(*run) for run in runs}
    configs = {run: _config(run[0], run[1], arguments.set) for run in runs}
    for name in arguments.leave_out:  # what is wrong is said before the first is trained
        own = {folders[run]: configs[run] for run in runs if run[2] == name}
        check_table(own, without_class(whole, name), train=True)
    for run, folder in folders.items():
        if not is_complete(folder):
            faces = without_class(whole, run[2])
            result = train_run(configs[run], faces, folder, resume=True, accelerator="cpu")
            print(f"{folder}: {result.val_accuracy:.3f} of the other six on val", flush=True)


def _config(kind: str, seed: int, overrides: Sequence[str]) -> RunConfig:
    """The shipped configuration with one kind of words."""
    mixed = str(kind == "synonyms").lower()
    own = [f"seed={seed}", f"model.text_encoder={kind}", f"model.mix_words={mixed}"]
    return load_config("heldout", [*own, *overrides])


if __name__ == "__main__":
    tell_mistakes(main)
