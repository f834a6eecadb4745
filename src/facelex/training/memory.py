"""Memory that a training process keeps for the next step, on Linux with glibc."""

from __future__ import annotations

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of ``mallopt``'s parameters in glibc's ``malloc.h``."""

KEPT = {"THP_MEM_ALLOC_ENABLE": "1"}
"""What PyTorch reads at its first allocation: blocks of 2 MiB and more ask for huge pages."""

_LARGEST = 2**31 - 1
"""``mallopt`` takes a C int: as a threshold in bytes, 2 GiB."""


def keep_memory() -> bool:
    """Let this process keep what it frees, and ask for huge pages; call it before PyTorch is imported.

    A training step on a CPU allocates the same maps again and again. glibc returns blocks of that size to the
    system when they are freed, so each step would get them anew: a hundred thousand page faults a second, a
    fifth of the time of a small network's step (docs/performance.md). Kept, they cost nothing, and in pages
    of 2 MiB they cost fewer address look-ups. The process then holds its peak until it ends, or until
    :func:`release_memory`, which suits a command that trains and ends, and not a library: only commands call
    this.

    Returns:
        Whether it was done; on other systems, and where MALLOC_* or GLIBC_TUNABLES already say what to do,
        nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    if any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ):
        return False
    for name, value in KEPT.items():
        os.environ.setdefault(name, value)
    mallopt = ctypes.CDLL(None).mallopt
    parameters = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _LARGEST}
    accepted = [mallopt(name, value) == 1 for name, value in parameters.items()]
    return all(accepted)


def release_memory() -> None:
    """Give back to the system what was freed and kept, where glibc can: the next run may be smaller."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
