"""The configuration of a run: what can be set, and how it is read from YAML and the command line."""

from facelex.training.config.reading import (
    CONFIG_FOLDER,
    list_configs,
    load_config,
    override_config,
    validate_config,
)
from facelex.training.config.sections import (
    AugmentConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
    Section,
)

__all__ = [
    "CONFIG_FOLDER",
    "AugmentConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PhaseConfig",
    "RunConfig",
    "ScheduleConfig",
    "Section",
    "list_configs",
    "load_config",
    "override_config",
    "validate_config",
]
