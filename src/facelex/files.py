"""Write a file whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from facelex.errors import FacelexError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside ``path``, of the same suffix, to write to; at the end that file takes its place.

    A failure leaves ``path`` as it was, nothing beside it, and none of the folders that were made for it.

    Raises:
        FacelexError: If the place cannot be written, for example because the disk is full. What fails
            elsewhere while the file is open, such as another file or a pipe, is raised as it is.
    """
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        if not _concerns(error, part):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise FacelexError(
                f"The disk is full: {path} could not be written and is as it was before; make room or choose "
                "another place."
            ) from error
        raise FacelexError(
            f"Could not write {str(path)!r}: {error.strerror or error}. Choose another place."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if missing and not path.exists():
            for folder in missing:
                with suppress(OSError):  # something else lies in it by now, or it was never made
                    folder.rmdir()


def _concerns(error: OSError, part: Path) -> bool:
    """Whether an error is of writing ``part``: a write that fails names no file, all else does."""
    if isinstance(error, BrokenPipeError):
        return False
    named = error.filename
    return not isinstance(named, (str, bytes)) or Path(os.fsdecode(named)) in (part, *part.parents)


def leftovers(path: Path) -> list[Path]:
    """Find what processes that were killed while they wrote ``path`` left beside it."""
    return list(path.parent.glob(f".{path.stem}.*.part{path.suffix}"))


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then move it there, as `replacing` does."""
    with replacing(path) as part, part.open("wb") as file:
        write(file)


def write_text(path: Path, text: str) -> Path:
    """Write a UTF-8 text file, as `replacing` does, and return its path."""
    replace_file(path, lambda file: file.write(text.encode("utf-8")))
    return path


def check_suffix(path: Path, suffixes: tuple[str, ...], holds: str) -> None:
    """Refuse a name before the work is done whose result could not be written there.

    Args:
        path: The file to be written.
        suffixes: Those that can be written, the advised one first.
        holds: What the file will hold, for the message: ``a contact sheet``.

    Raises:
        FacelexError: If the suffix is another one.
    """
    if path.suffix.lower() not in suffixes:
        raise FacelexError(
            f"Expected a file for {holds} named {', '.join(suffixes)}, but got {str(path)!r}. Name it "
            f"{path.with_suffix(suffixes[0]).name} instead."
        )
