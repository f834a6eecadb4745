"""Names of the files of a run folder, for those that write them and those that read them."""

METRICS = "metrics.csv"
CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
SCORES = "scores.json"
CHECKPOINT = "checkpoint.pt"
WEIGHTS = "model.safetensors"
SPEC = "model.json"
