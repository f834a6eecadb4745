"""Measure how well faces are read that have few pixels.

    python tools/measure_face_size.py data/fer2013.npz --models shipped small tiny

PublicTest's faces are shrunk to each size, as a camera further away would have taken them (area averaging),
and read as the recogniser reads a crop of that size. For each size: accuracy, mean confidence, the share of
faces whose confidence passes the model's own threshold of *unsure*, and how many of those are right. What a
camera adds, noise, blur and compression, is not in it. The dataset is what ``facelex data prepare
fer2013.csv`` wrote.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tell_mistakes import tell_mistakes

from facelex import Recognizer
from facelex.data.load import load_dataset

SIZES = (48, 40, 32, 28, 24, 20, 16, 12)


def shrink(faces: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Average faces ``(N, H, W)`` to ``(N, size, size)``."""
    if faces.shape[1:] == (size, size):
        return faces
    box = Image.Resampling.BOX
    return np.stack([np.asarray(Image.fromarray(face).resize((size, size), box)) for face in faces])


def measure(recognizer: Recognizer, faces: NDArray[np.uint8], labels: NDArray[np.int64], size: int) -> str:
    """Return a row of the table: numbers of faces ``(N, H, W)`` at one size."""
    probabilities = recognizer.classify(shrink(faces, size))
    right, confidence = probabilities.argmax(axis=1) == labels, probabilities.max(axis=1)
    sure = confidence >= recognizer.unsure_below
    among_sure = f"{right[sure].mean():.1%}" if sure.any() else ""
    return f"| {size} | {right.mean():.1%} | {confidence.mean():.1%} | {sure.mean():.1%} | {among_sure} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", nargs="+", default=["shipped"])
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--faces", type=int, help="take the first so many")
    options = parser.parse_args()
    dataset = load_dataset(str(options.data))
    index = dataset.indices("val")[: options.faces]
    for name in options.models:
        recognizer = Recognizer(None if name == "shipped" else name, detector="none")
        print(f"\n{name}, {len(index):,} faces\n")
        print("| pixels | accuracy | mean confidence | sure | right among them |\n|---|---|---|---|---|")
        for size in options.sizes:
            print(measure(recognizer, dataset.pixels[index], dataset.labels[index], size), flush=True)


if __name__ == "__main__":
    tell_mistakes(main)
