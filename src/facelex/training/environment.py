"""What a result depends on besides its configuration: versions, commit, command, hardware."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from facelex import __version__
from facelex.errors import FacelexError
from facelex.training.memory import release_memory

_PACKAGES = ("torch", "lightning-fabric", "lightning", "timm", "numpy", "pillow", "onnxruntime")

_NO_MEMORY = (
    "can't allocate memory",  # the processor's; on Windows "not enough memory"
    "not enough memory",
    "Storage size calculation overflowed",  # more bytes than can be counted
    "out of memory",  # "CUDA error: out of memory", where a library asks the driver itself
    "STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN
)
"""What PyTorch's `RuntimeError`, of no kind of its own then, says where memory does not suffice."""
_ONE_VALUE = "more than 1 value per channel"
"""What batch normalisation's `ValueError` says of a batch that has no spread."""


def describe_environment(device: torch.device, threads: int) -> dict[str, Any]:
    """Collect versions, commit, command line and hardware as plain values.

    The host is not named, nor the user, whose home directory is written as ``~``.
    """
    versions = {"facelex": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "command": _command(sys.argv),
        "versions": versions,
        "commit": _commit(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count(),
        "threads": threads,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def _command(argv: Sequence[str]) -> str:
    """Return the command line, quoted for a shell, with the program's name in place of its path."""
    program = Path(argv[0])
    name = "facelex" if program.name == "__main__.py" and program.parent.name == "facelex" else program.name
    command = shlex.join([name, *argv[1:]])
    try:
        home = f"{Path.home()}{os.sep}"
    except RuntimeError:  # in a container there may be none
        return command
    return command if home == 2 * os.sep else command.replace(home, f"~{os.sep}")


def peak_resident_mb() -> float:
    """Largest resident size of this process so far, or since :func:`reset_peak_memory`, MiB.

    Linux's ``ru_maxrss`` begins with the size of the process that started this one; ``VmHWM`` does not, but
    some sandboxes leave it out.
    """
    status = Path("/proc/self/status")
    if status.exists() and "VmHWM:" in (text := status.read_text()):
        return int(text.split("VmHWM:")[1].split()[0]) / 2**10
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on macOS bytes
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def reset_peak_memory(device: torch.device) -> None:
    """Let :func:`peak_memory_mb` speak of what comes from here on: of this run, not of those before.

    On a CPU that takes Linux (``/proc/self/clear_refs``, see proc(5)); elsewhere, and in sandboxes without
    it, the peak stays that of the whole process.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    release_memory()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """Most memory in use since :func:`reset_peak_memory`, MiB.

    On a GPU what PyTorch allocated there, else the process's resident size.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_resident_mb()


class UntrainableError(FacelexError):
    """It is a run's own settings that keep it from being trained; with others it might be, here and now."""


@contextmanager
def sizes_suit() -> Iterator[None]:
    """Say what to do where a run turns out too large for memory, or too small for batch normalisation.

    Raises:
        UntrainableError: In place of what PyTorch and NumPy raise then.
    """
    try:
        yield
    except ValueError as error:
        if _ONE_VALUE not in str(error):
            raise
        raise UntrainableError(
            "Expected batches and images large enough to normalise, but a layer got one value for each "
            "channel. Set a larger batch_size or image_size."
        ) from error
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not known and not any(words in str(error) for words in _NO_MEMORY):
            raise
        reason = ". ".join(str(error).partition("\n")[0].split(". ")[:2]).rstrip(".") or "out of memory"
        raise UntrainableError(
            f"Expected dataset, network and a batch to fit into memory, but got: {reason}. Set a smaller "
            "batch_size, image_size or network, or prepare the dataset with a smaller --size."
        ) from error


def _commit() -> str | None:
    """Commit of the source checkout, with ``+changes`` if it differs; outside one that of the image."""
    return _commit_of_checkout() or os.environ.get("FACELEX_COMMIT") or None  # the Dockerfile sets it


def _commit_of_checkout() -> str | None:
    folder = Path(__file__).parent
    try:
        git = ["git", "-C", str(folder)]
        tracked = [*git, "ls-files", "--error-unmatch", __file__]
        if subprocess.run(tracked, capture_output=True, timeout=10).returncode:  # in another's repository
            return None
        commit = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, timeout=10
        )
        if commit.returncode:
            return None
        changed = subprocess.run(
            [*git, "diff", "--quiet", "HEAD", "--", str(folder.parent)], timeout=10
        ).returncode
        return commit.stdout.strip() + ("+changes" if changed else "")
    except (OSError, subprocess.TimeoutExpired):
        return None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
