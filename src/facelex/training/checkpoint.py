"""Checkpoints that are either whole or absent, and readable without running code."""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path
from typing import IO, Any

import torch

from facelex.errors import FacelexError
from facelex.files import leftovers, replace_file
from facelex.run_files import CHECKPOINT

FORMAT = 1


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values beside ``path`` and move them into place.

    Raises:
        FacelexError: If the disk is full or refuses; a previous checkpoint is untouched.
    """

    def write(file: IO[bytes]) -> None:
        try:
            torch.save({"format": FORMAT, **state}, file)
        except RuntimeError as error:  # how torch reports that the file could not be written
            raise OSError(errno.ENOSPC, str(error).splitlines()[0]) from error
        file.flush()
        os.fsync(file.fileno())

    try:
        replace_file(path, write)
    except FacelexError as error:
        after = (
            "The last complete checkpoint is kept: continue it with --resume."
            if path.exists()
            else "There is no checkpoint yet: the same command begins the run again."
        )
        raise FacelexError(f"{error} {after}") from error


def remove_leftovers(folder: Path) -> None:
    """Remove half-written checkpoints of processes that were killed while they wrote."""
    for part in leftovers(folder / CHECKPOINT):
        part.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint written by :func:`save_checkpoint`; pickled objects are refused.

    Raises:
        FacelexError: If the file is missing, cut short, or not ours.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # torch wonders about foreign files before it fails
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise FacelexError(
            f"There is no checkpoint at {path}. Start the run without --resume, or name another run folder."
        ) from error
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise FacelexError(f"Cannot read the checkpoint {path}: {reason}.") from error
    except Exception as error:  # a damaged archive raises RuntimeError, EOFError, UnpicklingError, ...
        raise FacelexError(
            f"{path} is not a complete facelex checkpoint (cut short or damaged). "
            "Delete it and start the run again without --resume."
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise FacelexError(
            f"{path} is not a facelex checkpoint of format {FORMAT}. Start again without --resume."
        )
    return state
