"""One process at a time in a run folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from facelex.errors import FacelexError
from facelex.training.fabric import Fabric

LOCK = ".lock"


class RunInUseError(FacelexError):
    """Another process trains in the run folder at this moment."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run folder, which is made if it is not there.

    The system lifts the lock when this process ends, however it ends. File systems and platforms that know no
    locks are taken as they are. At the end nothing of the lock is left, nor of a folder that stayed empty.

    Raises:
        RunInUseError: If another process holds the lock.
        FacelexError: If the folder cannot be written.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _open_locked(folder / LOCK)
    except BlockingIOError as error:
        raise RunInUseError(
            f"The run in {folder} is being trained by another process. Wait until it ends, or name another "
            f"folder.{_hint()}"
        ) from error
    except OSError as error:
        raise FacelexError(
            f"Could not write into {folder}: {error.strerror}. Choose another place for the run."
        ) from error
    with file:
        try:
            yield
        finally:
            with suppress(OSError):
                (folder / LOCK).unlink()
                for place in missing:
                    place.rmdir()


@contextmanager
def lock_for_all(folder: Path, fabric: Fabric) -> Iterator[None]:
    """Hold the lock of a run folder for all processes of one run; if the first cannot have it, none goes on.

    Raises:
        FacelexError: As `lock_folder`, in each of them.
    """
    with ExitStack() as stack:
        refused: FacelexError | None = None
        if fabric.is_global_zero:
            try:
                stack.enter_context(lock_folder(folder))
            except FacelexError as error:
                refused = error
        refused = fabric.broadcast(refused)
        if refused is not None:
            raise refused
        yield


def knows_locks() -> bool:
    """Whether this platform has the locks that keep two processes from training in one folder."""
    return find_spec("fcntl") is not None


def _open_locked(path: Path) -> IO[str]:
    """Open a file that nobody else has locked, and lock it where that is possible."""
    try:
        import fcntl
    except ImportError:  # on Windows
        return path.open("a")
    while True:
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                file.close()
                raise
            return file  # the file system has no locks
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # its last holder has removed it meanwhile


def _hint() -> str:
    """What to do if the other process was started together with this one, by torchrun or srun."""
    started = os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or "1"
    if started == "1":
        return ""
    return f" The {started} processes started together share one run with --devices and --num-nodes."
