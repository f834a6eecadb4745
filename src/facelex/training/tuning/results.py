"""What a search has found: its trials as a table and as CSV, and the best settings as a configuration."""

from __future__ import annotations

import csv
import io

import yaml
from optuna.trial import FrozenTrial, TrialState
from rich import box
from rich.markup import escape
from rich.table import Table

from facelex.files import write_text
from facelex.training.tuning.search import Search, format_value

TRIALS, BEST = "trials.csv", "best.yaml"

STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "ended early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "not finished",
    TrialState.WAITING: "waiting",
}


def best_trial(search: Search) -> FrozenTrial | None:
    """The finished trial that has most of val right, the first of several; None while none is finished."""
    return next(iter(_best_first(search)), None)


def count_states(search: Search) -> str:
    """How many trials there are, and how they ended."""
    states = [STATES[trial.state] for trial in search.trials]
    parts = [f"{states.count(state)} {state}" for state in STATES.values() if state in states]
    return f"{len(states)} trial{'s' * (len(states) != 1)}: {', '.join(parts)}" if states else "no trials"


def write_trials(search: Search) -> None:
    """Write ``trials.csv``, and ``best.yaml`` once a trial is finished."""
    keys = sorted(search.space.distributions)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "val_accuracy", "epochs", *keys])
    for trial in search.trials:
        values = [trial.params[key] for key in keys]
        accuracy = "" if trial.value is None or trial.state != TrialState.COMPLETE else trial.value
        writer.writerow([trial.number, STATES[trial.state], accuracy, trial.last_step or 0, *values])
    write_text(search.folder / TRIALS, text.getvalue())
    best = best_trial(search)
    if best is not None:
        name = search.trial_folder(best.number).name
        about = f"{name}, the best on val of {count_states(search)}"
        settings = search.trial_config(best.params).model_dump(mode="json") | {"description": about}
        write_text(search.folder / BEST, yaml.safe_dump(settings, sort_keys=False))


def trials_table(search: Search, limit: int = 10) -> Table:
    """Lay out the best trials for a terminal."""
    keys = sorted(search.space.distributions)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("trial", "accuracy", "epochs", *(_short_names(keys)[key] for key in keys)):
        table.add_column(escape(column), justify="right", overflow="fold")
    for trial in _best_first(search)[:limit]:
        settings = [format_value(trial.params[key]) for key in keys]
        cells = [str(trial.number), f"{100 * (trial.value or 0.0):.2f}", str(trial.last_step or 0), *settings]
        table.add_row(*map(escape, cells))
    return table


def _best_first(search: Search) -> list[FrozenTrial]:
    """The finished trials; equals stay in the order of their numbers."""
    finished = [trial for trial in search.trials if trial.state == TrialState.COMPLETE]
    return sorted(finished, key=lambda trial: -(trial.value or 0.0))


def _short_names(keys: list[str]) -> dict[str, str]:
    """The last part of each key, or all of it where that could mean two."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: name if last.count(name) == 1 else key for key, name in zip(keys, last)}
