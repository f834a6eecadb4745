"""Where a run's metrics go besides its own ``metrics.csv``: TensorBoard and Weights & Biases."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from facelex.errors import FacelexError
from facelex.files import write_text
from facelex.training.config import RunConfig
from facelex.training.fabric import Logger, TensorBoardLogger, rank_zero_experiment, rank_zero_only


def create_trackers(config: RunConfig, folder: Path) -> list[Logger]:
    """Open what ``config.trackers`` names; a resumed run continues the curves it has begun.

    Raises:
        FacelexError: If a tracker is not installed.
    """
    made: list[Logger] = []
    for name in config.trackers:
        try:
            if name == "tensorboard":
                made.append(TensorBoardLogger(folder, name="tensorboard", version=""))
            else:
                made.append(WandbTracker(folder))
        except ImportError as error:
            raise FacelexError(f"Tracking with {name} needs: pip install 'facelex[track]'") from error
    return made


class WandbTracker(Logger):
    """Scalars and the configuration of one run on Weights & Biases; no pictures, code or console output.

    Where it logs to follows the service's own settings, such as ``WANDB_MODE=offline``.

    Args:
        folder: The run folder; its name is the run's name, and ``folder/wandb`` the local copy.

    Raises:
        ImportError: If wandb is not installed.
    """

    def __init__(self, folder: Path) -> None:
        import wandb

        self._wandb = wandb
        self._folder = folder
        self._run: Any = None

    @property
    def name(self) -> str:
        """The run folder's name."""
        return self._folder.name

    @property
    def version(self) -> str:
        """The run's identity, kept in its folder so that a continued run continues its curves."""
        path = self._folder / "wandb" / "run-id"
        if not path.exists():
            write_text(path, secrets.token_hex(4))
        return path.read_text()

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The service's run, begun when first asked for.

        Raises:
            FacelexError: If the service does not let it begin.
        """
        if self._run is None:
            quiet = self._wandb.Settings(disable_git=True, save_code=False, console="off", silent=True)
            try:
                self._run = self._wandb.init(
                    project="facelex",
                    name=self.name,
                    id=self.version,
                    resume="allow",
                    dir=self._folder,
                    settings=quiet,
                )
            except self._wandb.Error as error:
                reason = str(error).rstrip(".")
                raise FacelexError(
                    f"Weights & Biases could not be reached or refused: {reason}. Log in with `wandb login`, "
                    "set WANDB_MODE=offline to keep the run on this machine, or train without this tracker."
                ) from error
        return self._run

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Send the scalars of one epoch."""
        self.experiment.log(metrics, step=step)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Send the configuration."""
        self.experiment.config.update(params, allow_val_change=True)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the service's run, as failed unless ``status`` is ``success``."""
        if self._run is not None:
            self._run.finish(exit_code=0 if status == "success" else 1)
            self._run = None
