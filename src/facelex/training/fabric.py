"""Lightning Fabric, from its own small package or from the whole of Lightning, whichever is installed.

``lightning_fabric`` and ``lightning.fabric`` are the same code, but every import of the second brings in
torchmetrics, torchvision and SciPy, which is most of the time between a command and its first step.
"""

import warnings

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
    "rank_zero_experiment",
    "rank_zero_only",
]
