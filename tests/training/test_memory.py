"""What commands that train do to the allocator: fewer page faults, and nothing where others decide."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from facelex.training.memory import keep_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")

FAULTS = """
import os, resource, sys
from facelex.training.memory import keep_memory

if sys.argv[1] == "keep":
    assert keep_memory()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "1"
import numpy as np

np.ones(2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(5 * 2**20)  # 40 MiB, above glibc's largest threshold of its own
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    """Page faults of allocating and freeing 40 MiB twenty times over."""
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES" and k[:7] != "MALLOC_"}
    # numpy asks for huge pages by itself, which leaves fewer faults to count
    environment["NUMPY_MADVISE_HUGEPAGE"] = "0"
    command = [sys.executable, "-c", FAULTS, mode]
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


@glibc
def test_memory_that_is_freed_is_kept_for_the_next_step() -> None:
    pages = 5 * 2**23 // os.sysconf("SC_PAGE_SIZE")
    assert faults("leave") > 15 * pages
    assert faults("keep") < 2 * pages


@pytest.mark.parametrize("name", ["GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_"])
def test_what_the_user_has_set_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    monkeypatch.setenv(name, "glibc.malloc.check=0")
    assert not keep_memory()
    assert "THP_MEM_ALLOC_ENABLE" not in os.environ


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_memory()
    assert "THP_MEM_ALLOC_ENABLE" not in os.environ
