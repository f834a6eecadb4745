"""The screen that results go to: a reader that goes away early, letters it cannot show."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

from facelex.errors import printable


def escape_missing_letters() -> None:
    """Let the screen show letters it lacks as ``\\xe4``: file names may hold any, also invalid Unicode."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def tell(message: str) -> None:
    """Say something beside the results, on stderr."""
    print(f"facelex: {printable(message)}", file=sys.stderr)


def reader_is_gone() -> bool:
    """Whether what we write to, stdout or stderr, has been closed at its other end, as far as can be told."""
    try:
        poll = select.poll()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            poll.register(stream.fileno(), 0)  # asks for faults alone
        return bool(poll.poll(0))
    except (OSError, ValueError, AttributeError):  # broken, closed, no file; Windows has no poll
        return True


def nowhere() -> TextIO:
    """Give a stream for those who have none."""
    return Path(os.devnull).open("w", encoding="utf-8")


@contextmanager
def outliving_the_reader(needed: bool = True) -> Iterator[TextIO]:
    """Give the screen, and go on when its reader (``head``, ``less``) goes away.

    Args:
        needed: Whether there is something to go on for, such as files to be written.
    """
    screen = sys.stdout
    if not (needed and screen is sys.__stdout__ and isinstance(screen, io.TextIOWrapper)):  # or replaced
        yield screen
        return
    screen.flush()
    pipe = io.BufferedWriter(cast("io.RawIOBase", _Pipe(screen.fileno(), "wb", closefd=False)))
    sys.stdout = io.TextIOWrapper(
        pipe, screen.encoding, screen.errors, line_buffering=screen.line_buffering, write_through=True
    )
    try:
        yield sys.stdout
    finally:
        ours, sys.stdout = sys.stdout, screen
        try:
            ours.flush()
        finally:
            ours.detach()


class _Pipe(io.FileIO):
    """A pipe that swallows what nobody reads."""

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """Write, or pretend to."""
        try:
            return super().write(data)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return len(data)
