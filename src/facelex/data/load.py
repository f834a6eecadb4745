"""Datasets by name, for training and evaluation."""

from __future__ import annotations

from pathlib import Path

from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError

FER2013, SKETCH = "fer2013", "sketch"

DEFAULT_PATH = Path("data/fer2013.npz")
"""Where ``facelex data prepare`` writes and ``"fer2013"`` reads."""

SKETCH_COUNT = 4000
"""Faces drawn for ``"sketch"`` when no number is given."""


def is_dataset_name(name: str) -> bool:
    """Whether :func:`load_dataset` takes this for a name, even where a file or folder is called the same."""
    return name in (FER2013, SKETCH) or name.startswith(f"{SKETCH}:")


def load_dataset(name_or_path: str | Path) -> FaceDataset:
    """Load a prepared dataset, or draw one.

    Args:
        name_or_path: ``"fer2013"`` for ``data/fer2013.npz``; ``"sketch"`` or ``"sketch:2000"`` for that many
            drawn faces, made in memory and always the same; otherwise the file that ``data prepare`` wrote.

    Raises:
        FacelexError: If the file is missing, is something else or is cut short; the message says what to run.

    Example:
        >>> load_dataset("sketch:70")
        FaceDataset(56 train, 7 val, 7 test; 7 classes; sketch: 70 drawn faces, seed 0)
    """
    name = str(name_or_path)
    if name == FER2013:
        return FaceDataset.load(DEFAULT_PATH)
    if is_dataset_name(name):
        from facelex.data.sketch import sketch_dataset

        return sketch_dataset(_count(name))
    return FaceDataset.load(name_or_path)


def _count(name: str) -> int:
    number = name.partition(":")[2] or str(SKETCH_COUNT)
    if not (number.isascii() and number.isdigit()) or int(number) < 1:
        raise FacelexError(f"Expected 'sketch' or 'sketch:COUNT' such as 'sketch:2000', but got {name!r}.")
    return int(number)
