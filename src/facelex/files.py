"""Write a file whole or not at all."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from facelex.errors import FacelexError

LONGEST_NAME = 255
"""Bytes that a file's name may have on the usual file systems."""


@contextmanager
def replacing(path: Path, mode: int | None = None) -> Iterator[Path]:
    """Give a name beside ``path``, of the same suffix, to write to; at the end that file takes its place.

    A link is followed: the file it leads to is replaced. A pipe or a device is itself what is written to. A
    failure leaves ``path`` as it was, nothing beside it, and none of the folders that were made for it.

    Args:
        path: The file to be written.
        mode: Its permissions; by default those of the file it replaces, if there is one.

    Raises:
        FacelexError: If the place cannot be written, for example because the disk is full. What fails
            elsewhere while the file is open, such as another file or a pipe, is raised as it is.
    """
    before = _mode(path)
    if before is not None and stat.S_ISREG(before) and _is_open_file(path):
        raise FacelexError(
            f"Could not write {str(path)!r}: what {os.path.realpath(path)!r} holds would be lost. "
            "Name that file if that is meant, or leave the output to the screen and redirect it (>, >>)."
        )
    if before is not None and not (stat.S_ISREG(before) or stat.S_ISDIR(before)):
        with _blaming(path, path):
            yield path
        return
    place = Path(os.path.realpath(path))
    _check_length(path, place)
    # of its own for each writer: threads, and containers in which every process is the first
    part = place.with_name(f"{_before_number(place)}{os.getpid()}-{secrets.token_hex(4)}.part{place.suffix}")
    missing = [folder for folder in place.parents if not os.path.exists(folder)]  # noqa: PTH110 - never raises
    if mode is None and before is not None:
        mode = stat.S_IMODE(before)
    try:
        with _blaming(path, part):
            place.parent.mkdir(parents=True, exist_ok=True)
            if mode is not None:
                part.unlink(missing_ok=True)
                part.touch(0o600)  # nobody reads in it what the whole file is kept from them
            yield part
            if mode is not None:
                part.chmod(mode)
            part.replace(place)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if missing and not place.exists():
            for folder in missing:
                with suppress(OSError):  # something else lies in it by now, or it was never made
                    folder.rmdir()


def _check_length(path: Path, place: Path) -> None:
    """Refuse a name that the file system does not take, which the shorter one beside it would not show."""
    try:
        place.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise _not_written(path, error) from error


def _mode(path: Path) -> int | None:
    """Return type and permissions of what a name leads to, None where that is nothing."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


@contextmanager
def _blaming(path: Path, part: Path) -> Iterator[None]:
    """Turn what fails while ``part`` is written into a sentence on ``path``."""
    try:
        yield
    except OSError as error:
        if not _concerns(error, part):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise FacelexError(
                f"The disk is full: {path} could not be written and is as it was before; make room or choose "
                "another place."
            ) from error
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> FacelexError:
    return FacelexError(f"Could not write {str(path)!r}: {error.strerror or error}. Choose another place.")


def _concerns(error: OSError, part: Path) -> bool:
    """Whether an error is of writing ``part``: a write that fails names no file, all else does."""
    if isinstance(error, (ConnectionError, TimeoutError)):  # of a pipe or a network, where the caller reads
        return False
    named = error.filename
    return not isinstance(named, (str, bytes)) or Path(os.fsdecode(named)) in (part, *part.parents)


def leftovers(path: Path) -> list[Path]:
    """Find what processes that were killed while they wrote ``path`` left beside it."""
    place = Path(os.path.realpath(path))
    return list(place.parent.glob(f"{glob.escape(_before_number(place))}*.part{glob.escape(place.suffix)}"))


def _before_number(place: Path) -> str:
    """How the name of a half-written file begins; names are as long as file systems let them be."""
    longest = LONGEST_NAME - len(f".{2**22}-12345678.part{place.suffix}".encode(errors="surrogatepass")) - 1
    return f".{cut_name(place.stem, max(0, longest))}."


def cut_name(name: str, longest: int) -> str:
    """Shorten a file's name to ``longest`` bytes in UTF-8, between two letters."""
    name = name[:longest]
    while len(name.encode("utf-8", "surrogatepass")) > longest:  # it need not be valid Unicode
        name = name[:-1]
    return name


def _is_open_file(path: Path) -> bool:
    """Whether a name stands for what a process has open, such as ``/dev/stdout`` or ``/dev/fd/1``."""
    return os.path.abspath(path).startswith(("/dev/std", "/dev/fd/", "/proc/"))  # noqa: PTH100 - follows no link


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then move it there, as `replacing` does."""
    with replacing(path) as part, part.open("wb") as file:
        write(file)


def write_text(path: Path, text: str) -> Path:
    """Write a UTF-8 text file, as `replacing` does, and return its path."""
    replace_file(path, lambda file: file.write(text.encode("utf-8")))
    return path


class AbandonedError(Exception):
    """Makes `replacing` leave the place as it was."""


def check_place(path: Path) -> None:
    """Refuse a file before the work is done that could not be written.

    Raises:
        FacelexError: If its folder takes no file, or cannot be made.
    """
    with suppress(AbandonedError), replacing(path) as part:
        part.touch()
        raise AbandonedError


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
        advised = path.with_suffix(suffixes[0]).name if path.name else f"NAME{suffixes[0]}"
        raise FacelexError(
            f"Expected a file for {holds} named {', '.join(suffixes)}, but got {str(path)!r}. Name it "
            f"{advised} instead."
        )
