"""``facelex tune``: a search for better settings of a configuration."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from cyclopts import App, Parameter

from facelex.cli.options import DONE, FAILED, check_jobs, set_torch_threads
from facelex.cli.screen import outliving_the_reader, tell
from facelex.errors import FacelexError, require

if TYPE_CHECKING:
    from facelex.data.dataset import FaceDataset
    from facelex.training.progress import Reporter
    from facelex.training.tuning.search import Search

app = App(name="tune")


@app.default
@outliving_the_reader()
def tune(
    *,
    config: Annotated[str, Parameter(alias="-c")] = "quick",
    space: str | None = None,
    vary: Annotated[list[str] | None, Parameter(negative="")] = None,
    overrides: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    trials: int = 20,
    minutes: float | None = None,
    sampler: Literal["tpe", "random"] = "tpe",
    prune: bool = True,
    output: Annotated[Path, Parameter(alias="-o")] = Path("runs/tune"),
    data: str | None = None,
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int | None = None,
    jobs: int = 1,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train with other settings again and again, and keep those that have most of val right.

    Each trial is a run in OUTPUT/trial-NUMBER. trials.csv lists all of them and best.yaml is the best one's
    configuration, for train and compare. The same command goes on where it was interrupted; given several
    times at once, on one machine or on several that share a disk, its processes work on one search.
    The test split is never looked at. The exit code is 1 if no trial could be finished.

    Args:
        config: The configuration to vary.
        space: What to vary: a shipped search space (paper, sgd) or a YAML file of keys with ranges or lists.
        vary: Vary one setting, for example --vary 'optimizer.lr={low: 0.01, high: 0.3, log: true}' or
            --vary 'model.dropout=[0, 0.2, 0.4]'; may be repeated.
        overrides: Change a setting of all trials, for example --set max_epochs_per_phase=8.
        trials: How many trials the search is to have, those of before included.
        minutes: Begin no further trial after this time.
        sampler: tpe proposes what resembles the better trials so far; random does not.
        prune: Of the trials that reach a ninth and a third of the epochs go on with the best third;
            --no-prune trains all to the end.
        output: Folder of the search.
        data: Dataset file, in place of the configuration's.
        accelerator: auto, cpu or cuda.
        threads: CPU threads of each job; by default the jobs share all cores.
        jobs: How many trials to train at once. Small networks leave a GPU or several cores half idle, so that
            two at once take less time than one after the other; where there are several GPUs, each job takes
            one of them.
        quiet: Print no epochs, only how trials begin and end.
    """
    require("torch", "train", "Searching")
    require("optuna", "tune", "Searching")
    from facelex.training.memory import keep_memory

    keep_memory()
    from rich.console import Console

    from facelex.data.load import load_dataset
    from facelex.training.config import load_config
    from facelex.training.jobs import run_tasks
    from facelex.training.lock import knows_locks
    from facelex.training.progress import RichReporter, SilentReporter
    from facelex.training.tuning.results import BEST, best_trial, count_states, trials_table, write_trials
    from facelex.training.tuning.search import Search
    from facelex.training.tuning.space import load_space

    _check_limits(trials, minutes)
    check_jobs(jobs)
    if jobs > 1 and not knows_locks():
        raise FacelexError(
            "Several jobs in one search need locks on files, which this system does not have. Use --jobs 1."
        )
    sets = overrides or []
    varied = load_space(space, vary or [])
    _check_not_set(varied.distributions, [*sets, *(["data="] if data else [])])
    base = load_config(config, sets, data=data)
    dataset = load_dataset(base.data)
    set_torch_threads(threads)
    search = Search(output, base, varied, dataset, sampler=sampler, prune=prune)
    console = Console(width=None if sys.stdout.isatty() else 120)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    limits = _Limits(trials, minutes, accelerator)
    if jobs > 1:
        again = partial(Search, output, base, varied, sampler=sampler, prune=prune)
        task = partial(_work_in_a_job, again, base.data, limits)
        count = min(jobs, max(1, search.left(trials)))
        answers = run_tasks([task] * count, count, threads=threads, console=console, quiet=quiet)
        lost = next((answer for answer in answers if answer is not None), None)
    else:
        lost = None
        _work(search, limits, SilentReporter() if quiet else RichReporter(console), say)
    write_trials(search)
    short = lost is not None and search.left(trials) > 0  # or the other jobs have done its share
    if short:
        tell(f"The search has not come to its {trials} trials. {lost}")
    best = best_trial(search)
    if best is None:
        say(f"{output}: nothing to choose from yet ({count_states(search)}).")
        return FAILED
    say(f"Accuracy on val, %, mean of each image and its mirror image ({count_states(search)})")
    console.print(trials_table(search))
    say(
        f"{search.trial_folder(best.number)}: validation accuracy {100 * (best.value or 0.0):.2f} %. It was "
        f"chosen by these very images, so expect less of other seeds and other faces: train "
        f"{output / BEST} with several seeds before you call it better."
    )
    return FAILED if short else DONE


class _Limits(NamedTuple):
    """How long a search goes on, and where."""

    trials: int
    minutes: float | None
    accelerator: str


def _work(search: Search, limits: _Limits, reporter: Reporter, announce: Callable[[str], None]) -> None:
    """Train the trials of a search that nobody else is at."""
    from facelex.training.tuning.results import write_trials

    search.run(
        limits.trials,
        minutes=limits.minutes,
        accelerator=limits.accelerator,
        reporter=reporter,
        announce=announce,
        after_trial=partial(write_trials, search),
    )


def _work_in_a_job(
    open_search: Callable[[FaceDataset], Search],
    data: str,
    limits: _Limits,
    reporter: Reporter,
    announce: Callable[[str], None],
) -> None:
    """Do so in a process of its own."""
    from facelex.data.load import load_dataset

    _work(open_search(load_dataset(data)), limits, reporter, announce)


def _check_not_set(varied: Iterable[str], sets: Iterable[str]) -> None:
    twice = sorted({setting.partition("=")[0] for setting in sets} & set(varied))
    if twice:
        raise FacelexError(f"{twice[0]} is varied, and set for all trials. Leave one of the two out.")


def _check_limits(trials: int, minutes: float | None) -> None:
    if trials < 1:
        raise FacelexError(f"Expected --trials of at least 1, but got {trials}.")
    if minutes is not None and not minutes > 0:
        raise FacelexError(f"Expected --minutes above 0, but got {minutes:g}.")
