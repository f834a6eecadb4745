"""The files of a run folder: what they are called, and what it means which of them are there."""

from pathlib import Path

from facelex.errors import FacelexError

METRICS = "metrics.csv"
CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
SCORES = "scores.json"
CHECKPOINT = "checkpoint.pt"
WEIGHTS = "model.safetensors"
SPEC = "model.json"
TEACHER_ANSWERS = "teacher-answers"
"""A folder with what teachers said of augmented views, until the run is finished."""
_PREDICTIONS = "predictions-"


def predictions_file(folder: Path, split: str) -> Path:
    """Where a run folder keeps what its network answers about a split of its own dataset."""
    return folder / f"{_PREDICTIONS}{split}.npz"


def is_record(name: str) -> bool:
    """Whether a run folder keeps a file of that name by itself."""
    names = (METRICS, CONFIG, ENVIRONMENT, SCORES, CHECKPOINT, WEIGHTS, SPEC, TEACHER_ANSWERS)
    return name in names or name.startswith(_PREDICTIONS)


def is_run_folder(path: Path) -> bool:
    """Whether a folder looks like one that ``facelex train`` wrote."""
    return path.is_dir() and any((path / name).exists() for name in (METRICS, CONFIG, SCORES, WEIGHTS))


def has_weights(folder: Path) -> bool:
    """Whether a run is finished: its final weights lie in its folder, with the description that they need."""
    return all((folder / name).is_file() for name in (WEIGHTS, SPEC))


def is_complete(folder: Path) -> bool:
    """Whether all that a finished run leaves behind is there; what it answers about val is written last."""
    return has_weights(folder) and predictions_file(folder, "val").is_file()


def has_checkpoint(folder: Path) -> bool:
    """Whether there is something to go on from."""
    return (folder / CHECKPOINT).is_file()


def has_begun(folder: Path) -> bool:
    """Whether a run lies in the folder, finished or with a checkpoint to go on from."""
    return has_weights(folder) or has_checkpoint(folder)


def require_weights(folder: Path) -> None:
    """Refuse a folder without final weights.

    Raises:
        FacelexError: If they, or their description, are not there.
    """
    missing = [name for name in (WEIGHTS, SPEC) if not (folder / name).is_file()]
    if not missing:
        return
    if missing == [SPEC] and has_checkpoint(folder):
        raise FacelexError(
            f"{folder} has final weights, but lacks {SPEC}, which describes them. Continue it with --resume, "
            "which writes it again, or restore it from a copy."
        )
    if has_checkpoint(folder) or (len(missing) == 2 and is_run_folder(folder)):
        hint = (
            "The run has not finished: continue it with --resume. 'facelex report' shows how far it has come."
        )
    else:
        hint = "Restore it from a copy." if len(missing) == 1 else "Name a folder that 'facelex train' wrote."
    verb = "is" if len(missing) == 1 else "are"
    raise FacelexError(f"{folder} holds no finished run: {' and '.join(missing)} {verb} not there. {hint}")
