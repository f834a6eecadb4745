"""A search for better settings: trials, each a run of its own, that Optuna proposes and cuts short.

The state of a search lies in its folder and nowhere else, so it can be interrupted and continued, and several
processes can work on it side by side.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError
from facelex.evaluation.run_folder import read_phases
from facelex.models.registry import check_image_encoder, create_image_encoder
from facelex.run_files import CHECKPOINT, METRICS, TEACHER_ANSWERS
from facelex.training.config import RunConfig, override_config, validate_config
from facelex.training.environment import UntrainableError
from facelex.training.examples import check_dataset
from facelex.training.lock import RunInUseError
from facelex.training.progress import Reporter, SilentReporter
from facelex.training.resume import ANOTHER_VERSION, changed_settings, sources
from facelex.training.run import train_run
from facelex.training.tuning.space import SearchSpace

JOURNAL = "study.log"
"""All that is known of a search: what it varies, its trials and their accuracies."""

ASKING = "next-trial"
"""Nothing lies there; who holds its lock may propose a trial."""

REDUCTION = 3
"""Of the trials that reach a ninth and a third of the epochs, the best third goes on."""

FAILED_IN_A_ROW = 5
"""After so many trials that cannot be trained it is not their settings that are wrong."""

PROPOSALS = 100
"""After so many proposals in a row that were made before, all settings count as tried."""

LOCK_SECONDS = 30
"""So old a lock on the journal was left by a process that was killed while it wrote, which takes a moment."""

IDENTITY, REPEATS = "facelex", "repeats"

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Search:
    """A search in a folder, new or begun.

    Args:
        folder: Where the trials and the journal lie.
        base: The configuration that is varied.
        space: What is varied.
        dataset: What every trial learns from; its val split decides.
        sampler: ``tpe``, which proposes what resembles the better trials so far (tree-structured Parzen
            estimator, Bergstra et al. 2011), or ``random``.
        prune: Whether trials that fall behind are ended early, by successive halving (Li et al. 2020,
            https://arxiv.org/abs/1810.05934).

    Raises:
        FacelexError: If the space does not fit configuration and dataset, trials of different lengths are to
            be compared midway, or the folder holds another search.
    """

    def __init__(
        self,
        folder: Path,
        base: RunConfig,
        space: SearchSpace,
        dataset: FaceDataset,
        *,
        sampler: str = "tpe",
        prune: bool = True,
    ):
        self.folder, self.base, self.space, self.dataset, self.prune = folder, base, space, dataset, prune
        self._check_settings()
        self._identity = {
            "config": base.model_dump_json(),
            "space": {key: distribution_to_json(value) for key, value in self._distributions.items()},
            "data": dataset.fingerprint,
            "sources": sources(base),
        }
        self.study = _open_study(folder, NumberedSampler(sampler, base.seed))
        self._check_same_search()
        for trial in self.trials:
            if trial.state.is_finished():  # its process may have been ended before it did so itself
                _remove_checkpoint(self.trial_folder(trial.number))

    def _check_settings(self) -> None:
        """Find before the first trial what no trial could be trained with."""
        configs = [self.base, *(override_config(self.base, settings) for settings in self.space.tried())]
        for config in configs:
            check_dataset(config, self.dataset)
            check_image_encoder(config.model.image_encoder)
            options: dict[str, Any] = config.model.encoder_options
            with torch.device("meta"):
                create_image_encoder(config.model.image_encoder, **options)
        lengths = {
            tuple((phase.epochs, "classifier" in phase.learning) for phase in config.phases)
            for config in configs
        }
        if self.prune and len(lengths) > 1:
            raise FacelexError(
                "Expected phases alike in all trials, which are compared after a ninth and a third of their "
                "epochs, but what is varied changes them. Train all trials to the end with --no-prune."
            )

    def _check_same_search(self) -> None:
        """Refuse what would put results under one name that are not alike."""
        before = self.study.user_attrs.get(IDENTITY)
        if before is None:
            return
        began = validate_config(json.loads(before["config"]), f"{self.folder / JOURNAL} {ANOTHER_VERSION}")
        names = {"space": "the varied settings", "data": "the dataset", "sources": "teachers or start_from"}
        changed = changed_settings(began, self.base)
        changed += [name for key, name in names.items() if before[key] != self._identity[key]]
        if changed:
            raise FacelexError(
                f"The search in {self.folder} began with other values of {', '.join(changed)}. "
                "Continue it with its own, or name another folder with --output."
            )

    @property
    def _distributions(self) -> dict[str, BaseDistribution]:
        return dict(sorted(self.space.distributions.items()))

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials so far, by number.

        Without those whose process was ended while it drew their settings, and those that repeat another.
        """
        trials = self.study.get_trials(deepcopy=False)
        keys = set(self.space.distributions)
        return [trial for trial in trials if set(trial.params) == keys and REPEATS not in trial.user_attrs]

    def left(self, trials: int) -> int:
        """How many trials are still to be trained, or to be trained to their end, until there are so many."""
        running = sum(not trial.state.is_finished() for trial in self.trials)
        return running + max(0, trials - len(self.trials))

    def trial_folder(self, number: int) -> Path:
        """The run folder of a trial."""
        return self.folder / f"trial-{number:04d}"

    def trial_config(self, params: Mapping[str, Any]) -> RunConfig:
        """The configuration of a trial.

        Raises:
            UntrainableError: If its settings do not go together.
        """
        try:
            return override_config(self.base, self.space.settings(params))
        except FacelexError as error:  # each of them was checked by itself
            raise UntrainableError(str(error)) from error

    def run(
        self,
        trials: int,
        *,
        minutes: float | None = None,
        accelerator: str = "auto",
        reporter: Reporter | None = None,
        announce: Callable[[str], None] = lambda line: None,
        after_trial: Callable[[], None] = lambda: None,
    ) -> None:
        """Train until the search has so many trials, counting those of before and of other processes.

        Trials that an earlier process left unfinished are continued first, from their checkpoints.

        Args:
            trials: How many the search is to have.
            minutes: Begin no further trial after this time.
            accelerator: As in :func:`train_run`.
            reporter: Hears about each trial's progress.
            announce: Told which trial begins, and how it ended if not well.
            after_trial: Called when a trial has ended.

        Raises:
            FacelexError: If training is not possible here: the device is not there, the disk is full, or
                several trials in a row could not be trained. A trial that has trained waits until it is.
        """
        self.study.set_user_attr(IDENTITY, self._identity)
        deadline = time.monotonic() + 60 * minutes if minutes is not None else math.inf
        busy: set[int] = set()  # trials that other processes are training
        failed_in_a_row = 0
        while time.monotonic() < deadline:
            trial = self._unfinished(busy) or self._new_trial(trials)
            if trial is None:
                return
            count = sum(other.number <= trial.number for other in self.trials)
            place = f"[{count}/{trials}] {self.trial_folder(trial.number).name}"
            try:
                self._train(trial, place, accelerator, reporter or SilentReporter(), announce)
            except RunInUseError:
                busy.add(trial.number)
                continue
            except UntrainableError as error:
                announce(f"{place} failed: {describe(trial.params)}: {error}")
                self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
                failed_in_a_row += 1
                if failed_in_a_row == FAILED_IN_A_ROW:
                    raise FacelexError(
                        f"{failed_in_a_row} trials in a row failed, the last one: {error}"
                    ) from error
            else:
                failed_in_a_row = 0
            busy.clear()  # their processes may have ended meanwhile
            _remove_checkpoint(self.trial_folder(trial.number))
            after_trial()

    def _unfinished(self, busy: set[int]) -> Trial | None:
        """A trial that has begun; whether another process is at it shows when it is tried."""
        for frozen in self.trials:
            if frozen.state == TrialState.RUNNING and frozen.number not in busy:
                return Trial(self.study, frozen._trial_id)
        return None

    def _new_trial(self, trials: int) -> Trial | None:
        """A trial with settings of its own; None if there are enough, or all settings seem to be tried."""
        with _locked(self.folder / ASKING):  # or two processes would both take the last one
            for _ in range(PROPOSALS):
                known = self.trials
                if len(known) >= trials:
                    return None
                trial = self.study.ask(self._distributions)
                same = next((other for other in known if other.params == trial.params), None)
                if same is None:
                    return trial
                # the seed is the same, and so would be the accuracy
                trial.set_user_attr(REPEATS, same.number)
                self.study.tell(trial, state=TrialState.FAIL)
            return None

    def _train(
        self,
        trial: Trial,
        place: str,
        accelerator: str,
        reporter: Reporter,
        announce: Callable[[str], None],
    ) -> None:
        """Train a trial until it ends, well or early.

        Raises:
            RunInUseError: If another process is training it.
            UntrainableError: If its settings keep it from being trained.
            FacelexError: If something else does.
        """
        folder = self.trial_folder(trial.number)
        config = self.trial_config(trial.params)
        halving = HalvingReporter(reporter, trial, config, folder, place, announce, self.prune)
        try:
            result = train_run(
                config, self.dataset, folder, resume=True, accelerator=accelerator, reporter=halving
            )
            self.study.tell(trial, result.val_accuracy, skip_if_finished=True)
        except optuna.TrialPruned:
            announce(f"{place} is behind and ends here")
        except (EndedElsewhereError, UpdateFinishedTrialError):
            return
        except (RunInUseError, UntrainableError):
            raise
        except FacelexError:
            if self.study.get_trials(deepcopy=False)[trial.number].state.is_finished():
                return  # by another process, which has removed what this one was about to read
            if not (folder / METRICS).is_file():  # it may never be possible, and would stand in the way
                self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            raise


class EndedElsewhereError(Exception):
    """Another process has ended the trial meanwhile."""


class NumberedSampler(BaseSampler):
    """Proposes for each trial by draws that follow from the seed and the trial's number alone.

    A search that is continued would otherwise propose its first trials again, and so would every process that
    works on it.

    Args:
        kind: ``tpe`` or ``random``.
        seed: The search's.
    """

    def __init__(self, kind: str, seed: int):
        self._kind, self._seed = kind, seed
        self._sampler: BaseSampler = RandomSampler()  # `before_trial` puts a seeded one in its place

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Begin the draws of a trial."""
        seed = int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0])
        self._sampler = RandomSampler(seed) if self._kind == "random" else _tpe(seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """The settings that are drawn together."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]
    ) -> dict[str, Any]:
        """Draw them."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Draw one setting by itself."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


class HalvingReporter:
    """Passes on what is heard of a trial, and ends it when others did better by the same epoch.

    All it tells the search it tells while the run's lock is held.

    Args:
        reporter: Who else wants to hear.
        trial: The trial.
        config: Its configuration.
        folder: Its run folder.
        place: How the trial is called when it begins.
        announce: Told so.
        prune: Whether it may be ended.
    """

    def __init__(
        self,
        reporter: Reporter,
        trial: Trial,
        config: RunConfig,
        folder: Path,
        place: str,
        announce: Callable[[str], None],
        prune: bool,
    ):
        self._reporter, self._trial, self._folder = reporter, trial, folder
        self._place, self._announce = place, announce
        self._epochs = sum(phase.epochs for phase in config.phases)
        shares = (REDUCTION**2, REDUCTION) if prune else ()
        rungs = {math.ceil(self._epochs / share) for share in shares}
        self._rungs = sorted(rungs - {self._epochs})
        self._done, self._is_behind = 0, False
        self.note, self.stop = reporter.note, reporter.stop

    def start(self, total_images: int, done_images: int) -> None:
        """Take up the count of epochs where a continued trial left it, and report what it had not.

        Raises:
            EndedElsewhereError: If another process has ended the trial meanwhile.
        """
        if self._now().state.is_finished():
            raise EndedElsewhereError
        self._done = round(self._epochs * done_images / total_images)
        self._announce(f"{self._place}{' (continued)' * (self._done > 0)}: {describe(self._trial.params)}")
        measured = [value for phase in read_phases(self._folder) for value in phase.columns["val_accuracy"]]
        for epoch, accuracy in enumerate(measured[: self._done], start=1):
            self._report(epoch, accuracy)
        self._is_behind = any(self._falls_behind(rung) for rung in self._rungs if rung <= self._done)
        self._reporter.start(total_images, done_images)

    def step(self, images: int) -> None:
        """Pass on; end the trial here, when its last epoch has been written, if it has fallen behind.

        Raises:
            optuna.TrialPruned: If it has.
        """
        if self._is_behind:
            self._trial.study.tell(self._trial, state=TrialState.PRUNED, skip_if_finished=True)
            raise optuna.TrialPruned
        self._reporter.step(images)

    def epoch(self, row: dict[str, float | int | str]) -> None:
        """Report the accuracy, and compare it where that is due."""
        self._reporter.epoch(row)
        self._done += 1
        self._report(self._done, float(row["val_accuracy"]))
        if self._done in self._rungs:
            self._is_behind = self._falls_behind(self._done)

    def _report(self, epoch: int, accuracy: float) -> None:
        if epoch not in self._now().intermediate_values:  # where it was, before the trial was interrupted
            self._trial.report(accuracy, epoch)

    def _falls_behind(self, epoch: int) -> bool:
        """Whether the trial is not among the best third of those that have come so far, rounded up."""
        trials = self._trial.study.get_trials(deepcopy=False)
        values = [trial.intermediate_values[epoch] for trial in trials if epoch in trial.intermediate_values]
        own = self._now().intermediate_values.get(epoch, math.inf)
        return sum(value > own for value in values) >= math.ceil(len(values) / REDUCTION)

    def _now(self) -> FrozenTrial:
        return self._trial.study.get_trials(deepcopy=False)[self._trial.number]


def describe(params: dict[str, Any]) -> str:
    """The settings of a trial on one line."""
    return ", ".join(f"{key}={format_value(value)}" for key, value in sorted(params.items()))


def format_value(value: Any) -> str:
    """A setting to be read: three digits of a number, a choice without its quotes."""
    return f"{value:.3g}" if isinstance(value, float) else str(value).strip('"')


def _tpe(seed: int) -> TPESampler:
    return TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _open_study(folder: Path, sampler: BaseSampler) -> optuna.Study:
    path = folder / JOURNAL
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(path) as lock:
            _cut_half_a_line(path)
        storage = JournalStorage(JournalFileBackend(str(path), lock))
        return optuna.create_study(
            storage=storage, sampler=sampler, pruner=NopPruner(), study_name="facelex", direction="maximize",
            load_if_exists=True,
        )  # fmt: skip
    except OSError as error:
        raise FacelexError(
            f"Could not write into {folder}: {error.strerror}. Choose another place for the search."
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise FacelexError(f"{path} is damaged. Restore it, or delete {folder} to begin anew.") from error


@contextmanager
def _locked(path: Path) -> Iterator[JournalFileOpenLock]:
    """Keep other processes from what lies at ``path``, which need not exist, by a file beside it."""
    # not Optuna's other lock, a link: with a relative path one that a killed process left is never broken
    lock = JournalFileOpenLock(str(path), LOCK_SECONDS)
    lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


def _cut_half_a_line(path: Path) -> None:
    """Remove what a process began to write when it was killed or the disk was full."""
    if not path.is_file():
        return
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def _remove_checkpoint(folder: Path) -> None:
    """Remove of a trial that has ended what is large and only serves to go on."""
    with suppress(OSError):
        (folder / CHECKPOINT).unlink(missing_ok=True)
        shutil.rmtree(folder / TEACHER_ANSWERS, ignore_errors=True)
