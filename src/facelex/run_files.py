"""Names of the files of a run folder, for those that write them and those that read them."""

from pathlib import Path

METRICS = "metrics.csv"
CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
SCORES = "scores.json"
CHECKPOINT = "checkpoint.pt"
WEIGHTS = "model.safetensors"
SPEC = "model.json"


def has_weights(folder: Path) -> bool:
    """Whether a run's final weights lie in its folder, with the description that they need."""
    return all((folder / name).is_file() for name in (WEIGHTS, SPEC))
