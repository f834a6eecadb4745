"""Copy a finished run with its text side fitted anew: ``python tools/refit_words.py RUN -o RUN-blend``.

Labels, probabilities and image features stay as they are; scores of words change (docs/open-vocabulary.md).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tell_mistakes import tell_mistakes

from facelex.data.dataset import FaceDataset
from facelex.models.text_fit import TEXT_FITS
from facelex.training.text_side import refit_run


def main() -> None:
    """Read the command line and refit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--kind", default="blend", choices=TEXT_FITS)
    parser.add_argument("--data", default="data/fer2013.npz")
    arguments = parser.parse_args()
    print(refit_run(arguments.run, arguments.output, arguments.kind, FaceDataset.load(arguments.data)))


if __name__ == "__main__":
    tell_mistakes(main)
