"""Make a small dataset with other labels than FER2013's, to try fine-tuning on.

    python tools/ferplus_faces.py data/fer2013.npz --train 200 -o data/ferplus200.npz

PublicTest's faces, which no shipped network was trained on, with the label that more than half of FER+'s
taggers chose; classes of fewer than 20 such faces are left out. Drawn at random: so many to train on, 500 to
validate and the rest (841) to test, both the same for every number up to 1,500.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facelex.data.dataset import FaceDataset
from facelex.emotions import FERPLUS_COLUMNS
from facelex.errors import FacelexError

EMOTIONS = FERPLUS_COLUMNS[:8]
POOL, VALIDATION, FEWEST = 1500, 500, 20


def relabel(dataset: FaceDataset, train: int, seed: int = 0) -> FaceDataset:
    """Take PublicTest's faces with a clear FER+ label, ``train`` of them to learn from."""
    index = dataset.indices("val")
    if dataset.votes is None or not dataset.votes.of_ferplus:
        raise FacelexError(
            f"Expected a dataset with FER+ votes, but {dataset.source} has none. Prepare it with --ferplus."
        )
    votes = dataset.votes.counts[index].astype(np.int64)
    winner, clear = votes[:, : len(EMOTIONS)].argmax(1), 2 * votes[:, : len(EMOTIONS)].max(1) > votes.sum(1)
    kept = [number for number in range(len(EMOTIONS)) if (clear & (winner == number)).sum() >= FEWEST]
    chosen = np.flatnonzero(clear & np.isin(winner, kept))
    order = np.random.default_rng(seed).permutation(len(chosen))
    splits = np.full(len(chosen), 2, np.uint8)
    splits[order[:POOL]] = 0
    splits[order[POOL : POOL + VALIDATION]] = 1
    used = np.ones(len(chosen), bool)
    used[order[train:POOL]] = False
    return FaceDataset.create(
        dataset.pixels[index[chosen[used]]],
        np.searchsorted(kept, winner[chosen[used]]).astype(np.int64),
        splits[used],
        tuple(EMOTIONS[number] for number in kept),
        f"PublicTest by the majority of FER+, {train} to train",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the dataset and say what is in it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="FER2013 prepared with --ferplus")
    parser.add_argument("--train", type=int, default=200, help=f"training faces, at most {POOL}")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    if not 1 <= options.train <= POOL:
        parser.error(f"--train takes 1 to {POOL}, not {options.train}.")
    dataset = relabel(FaceDataset.load(Path(options.data)), options.train)
    dataset.save(options.output)
    print(dataset)


if __name__ == "__main__":
    from tell_mistakes import tell_mistakes

    tell_mistakes(main)
