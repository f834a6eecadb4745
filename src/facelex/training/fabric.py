"""Lightning Fabric, from its own small package or from the whole of Lightning, whichever is installed.

``lightning_fabric`` and ``lightning.fabric`` are the same code, but every import of the second brings in
torchmetrics, torchvision and SciPy, which is most of the time between a command and its first step.
"""

import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from facelex.errors import FacelexError

try:
    from lightning_fabric import Fabric
    from lightning_fabric.loggers import Logger, TensorBoardLogger
    from lightning_fabric.loggers.logger import rank_zero_experiment
    from lightning_fabric.strategies import SingleDeviceStrategy
    from lightning_fabric.utilities.exceptions import MisconfigurationException
    from lightning_fabric.utilities.rank_zero import rank_zero_only
except ImportError:
    from lightning.fabric import Fabric  # type: ignore[assignment,no-redef]
    from lightning.fabric.loggers import Logger, TensorBoardLogger  # type: ignore[assignment,no-redef]
    from lightning.fabric.loggers.logger import rank_zero_experiment  # type: ignore[assignment,no-redef]
    from lightning.fabric.strategies import SingleDeviceStrategy  # type: ignore[assignment,no-redef]
    from lightning.fabric.utilities.exceptions import MisconfigurationException  # type: ignore[assignment,no-redef]
    from lightning.fabric.utilities.rank_zero import rank_zero_only  # type: ignore[assignment,no-redef]

# Fabric 2.6 gathers by a function that PyTorch has since replaced; who trains can do nothing about it.
warnings.filterwarnings("ignore", message=r"torch\.distributed\.nn\.functional\.all_gather is deprecated")

__all__ = [
    "Fabric",
    "Logger",
    "MisconfigurationException",
    "SingleDeviceStrategy",
    "TensorBoardLogger",
    "launched",
    "rank_zero_experiment",
    "rank_zero_only",
]


@contextmanager
def launched(fabric: Fabric) -> Iterator[None]:
    """Bring the processes of a run together, and leave none behind that would wait for this one.

    Raises:
        FacelexError: If others were started than are wanted, or they do not find one another.
    """
    _check_number(fabric)
    threads = torch.get_num_threads()
    before = _end_by_exception(fabric)
    try:
        try:
            fabric.launch()
        except (ValueError, RuntimeError) as error:
            raise FacelexError(f"The processes of the run could not be brought together: {error}") from error
        if fabric.world_size > 1:
            _check_arithmetic(fabric)
        if torch.get_num_threads() > threads:  # Fabric has shared out all cores
            torch.set_num_threads(threads)
        # not that of a Slurm task which trains by itself
        rank_zero_only.rank = fabric.global_rank  # type: ignore[attr-defined]
        yield
    except BaseException:
        for process in getattr(fabric.strategy.launcher, "procs", ()):
            process.kill()
        raise
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _end_by_exception(fabric: Fabric) -> Any:
    """Let SIGTERM raise `SystemExit` in a process that starts others, which it would leave behind otherwise.

    Where Slurm or torchrun starts them, they end each one themselves, and at once.

    Returns:
        What SIGTERM did before; None where that stays.
    """
    environment = getattr(fabric.strategy, "cluster_environment", None)
    starts_others = environment is not None and not environment.creates_processes_externally
    if not starts_others or threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _check_arithmetic(fabric: Fabric) -> None:
    """With ``precision: auto`` each process has asked its own device; all must have got one answer."""
    found = fabric.strategy.precision.precision
    first = fabric.broadcast(found)
    differs = torch.tensor(float(found != first), device=fabric.device)
    others = fabric.all_reduce(differs, reduce_op="sum")
    assert isinstance(others, torch.Tensor)
    if others > 0:
        raise FacelexError(
            f"Expected one arithmetic in all processes of the run, but precision=auto found {first} for the "
            "first and another for others, since their devices differ. Name one with --set precision=32-true."
        )


def _check_number(fabric: Fabric) -> None:
    strategy = fabric.strategy
    wanted = getattr(strategy, "num_processes", 1) * getattr(strategy, "num_nodes", 1)
    if fabric.world_size != wanted:  # Slurm's, say, of which Fabric would train those that are there
        raise FacelexError(
            "Expected --devices times --num-nodes to be the number of processes that were started, "
            f"{fabric.world_size}, but got {wanted}. Give facelex the numbers that torchrun or srun has."
        )
