"""Where a run computes: its device or devices, precision and loggers, as Lightning Fabric has them."""

from __future__ import annotations

from pathlib import Path

import torch

from facelex.errors import FacelexError
from facelex.training.config import RunConfig
from facelex.training.fabric import Fabric, MisconfigurationException
from facelex.training.precision import choose_precision, is_gpu
from facelex.training.trackers import create_trackers


def create_fabric(
    config: RunConfig, folder: Path, *, accelerator: str, devices: int | str, num_nodes: int
) -> Fabric:
    """Make what spreads a run over its devices; it is still to be launched.

    Args:
        config: The run's configuration.
        folder: The run folder, where trackers keep their files.
        accelerator: ``auto``, ``cpu``, ``cuda``, in Fabric's words.
        devices: How many processes on this node.
        num_nodes: How many nodes.

    Raises:
        FacelexError: If the device is not there, a tracker is not installed, or the batches do not divide
            among the devices.
    """
    devices = _number(devices, accelerator)
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            precision=choose_precision(config.precision, accelerator),
            strategy=_strategy(config, alone=devices in (1, "1") and num_nodes == 1),
            loggers=create_trackers(config, folder),
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise FacelexError(
            f"Training on accelerator {accelerator!r} with devices {devices!r} is not possible here: {error}"
        ) from error
    if config.batch_size % fabric.world_size:
        raise FacelexError(
            f"Expected a batch_size that divides among {fabric.world_size} devices, "
            f"but got {config.batch_size}. Set batch_size to a multiple of {fabric.world_size}."
        )
    return fabric


def _number(devices: int | str, accelerator: str) -> int | str:
    """Count the devices that ``auto`` means: one alone needs no strategy for several."""
    if devices != "auto":
        return devices
    return torch.cuda.device_count() if is_gpu(accelerator) else 1


def _strategy(config: RunConfig, *, alone: bool) -> str:
    """How Fabric spreads the run over devices.

    Looking for parts without gradients costs time in every step, and is needed only where phases differ in
    what they train.
    """
    if alone:
        return "auto"
    return "ddp" if config.learns_the_same_throughout else "ddp_find_unused_parameters_true"


def choose_algorithms(device: torch.device) -> None:
    """Let cuDNN time its algorithms and keep the fastest: a run has few shapes and many steps."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
