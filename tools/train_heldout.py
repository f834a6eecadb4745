"""Train on six emotions, once for each left out: ``python tools/train_heldout.py --kind synonyms random``.

Each run sees neither the left-out emotion's faces nor its words. `tools/measure_words.py` then asks whether
its word finds its faces.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tell_mistakes import tell_mistakes

from facelex.data.dataset import FaceDataset
from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError
from facelex.training.config import load_config
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
    for seed in arguments.seed:
        for kind in arguments.kind:
            for name in arguments.leave_out:
                folder = arguments.output / f"{kind}-s{seed}-without-{name}"
                if (folder / "model.json").exists():
                    continue
                overrides = [
                    f"seed={seed}",
                    f"model.text_encoder={kind}",
                    f"model.mix_words={str(kind == 'synonyms').lower()}",
                ]
                config = load_config("heldout", [*overrides, *arguments.set])
                result = train_run(
                    config,
                    without_class(whole, name),
                    folder,
                    resume=(folder / "checkpoint.pt").exists(),
                    accelerator="cpu",
                )
                print(f"{folder}: {result.val_accuracy:.3f} of the other six on val", flush=True)


if __name__ == "__main__":
    tell_mistakes(main)
