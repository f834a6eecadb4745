"""Reading an ``.npz`` that may be damaged, cut short or somebody else's."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_npz(path: Path, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read arrays by name; pickled objects are refused.

    Args:
        path: The file.
        names: Which arrays, as far as they are there; all by default.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is no ``.npz`` or is damaged.
    """
    try:
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if names is None or name in names}
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a single flipped bit may ask for a password or a compression nobody knows
        raise ValueError(str(error) or type(error).__name__) from error
