"""How ONNX Runtime computes a network here: the threads it may use, the memory it keeps."""

from __future__ import annotations

import math
import os
from pathlib import Path

import onnxruntime

from facelex.errors import FacelexError


def session_options(threads: int | None = None) -> onnxruntime.SessionOptions:
    """Return the options of a session, for the emotion model and the packaged face detector alike.

    Args:
        threads: Threads one run is computed with, at most one for each processor of the machine; by default
            the physical cores this process may use.

    Raises:
        FacelexError: If there would be no thread.
    """
    if threads is not None and threads < 1:
        raise FacelexError(f"Expected threads to be 1 or more, but got {threads}. Leave it out for all.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = min(threads or default_threads(), os.cpu_count() or 1)
    options.log_severity_level = 3  # its warnings concern the graph, not the caller
    return options


def default_threads() -> int:
    """Return the physical cores this process may use: its CPU affinity and container quota respected.

    Two threads on the two halves of one core slow a convolution down, and threads beyond a container's
    quota are stopped in the middle of their work.
    """
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = {_siblings(cpu) for cpu in cpus}
    return max(1, min(len(cores), _quota()))


def _siblings(cpu: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _quota() -> int:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no cgroup, or "max"
        return 1 << 16
