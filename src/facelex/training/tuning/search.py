"""A search for better settings: trials, each a run of its own, that Optuna proposes and cuts short.

The state of a search lies in its folder and nowhere else, so it can be interrupted and continued, and several
processes can work on it side by side.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError
from facelex.evaluation.run_folder import load_run_folder
from facelex.run_files import CHECKPOINT, METRICS
from facelex.training.config import RunConfig, load_config
from facelex.training.environment import UntrainableError
from facelex.training.examples import TEACHER_ANSWERS
from facelex.training.lock import RunInUseError
from facelex.training.progress import Reporter, SilentReporter
from facelex.training.resume import changed_settings
from facelex.training.run import train_run
from facelex.training.tuning.space import SearchSpace, as_override

JOURNAL = "study.log"
"""All that is known of a search: what it varies, its trials and their accuracies."""

REDUCTION = 3
"""Of the trials that reach a ninth and a third of the epochs, the best third goes on."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Search:
    """A search in a folder, new or begun.

    Args:
        folder: Where the trials and the journal lie.
        config: The configuration that is varied.
        overrides: Settings of all trials, as ``--set`` has them.
        space: What is varied.
        dataset: What every trial learns from; its val split decides.
        sampler: ``tpe``, which proposes what resembles the better trials so far (tree-structured Parzen
            estimator, Bergstra et al. 2011), or ``random``.
        prune: Whether trials that fall behind are ended early, by successive halving (Li et al. 2020,
            https://arxiv.org/abs/1810.05934).

    Raises:
        FacelexError: If the space does not fit the configuration, or the folder holds another search.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        overrides: Sequence[str],
        space: SearchSpace,
        dataset: FaceDataset,
        *,
        sampler: str = "tpe",
        prune: bool = True,
    ):
        self.folder, self.space, self.dataset = folder, space, dataset
        self._config, self._overrides = config, overrides
        self.base = space.check(config, overrides)
        epochs = sum(phase.epochs for phase in self.base.phases)
        pruner = SuccessiveHalvingPruner(max(1, epochs // REDUCTION**2), REDUCTION) if prune else NopPruner()
        self.study = _open_study(folder, NumberedSampler(sampler, self.base.seed), pruner)
        self._check_same_search()

    def _check_same_search(self) -> None:
        """Refuse what would put results under one name that are not alike."""
        spaces = {key: optuna.distributions.distribution_to_json(value) for key, value in self._distributions}
        now = {"config": self.base.model_dump_json(), "space": spaces, "data": self.dataset.fingerprint}
        before = self.study.user_attrs
        if "config" not in before:
            for key, value in now.items():
                self.study.set_user_attr(key, value)
            return
        changed = changed_settings(RunConfig.model_validate_json(before["config"]), self.base)
        changed += [] if before["space"] == spaces else ["the varied settings"]
        changed += [] if before["data"] == self.dataset.fingerprint else ["the dataset"]
        if changed:
            raise FacelexError(
                f"The search in {self.folder} began with other values of {', '.join(changed)}. "
                "Continue it with its own, or name another folder with --output."
            )

    @property
    def _distributions(self) -> list[tuple[str, Any]]:
        return sorted(self.space.distributions.items())

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials so far, by number, but for those whose process was ended while it drew settings."""
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if set(trial.params) == set(self.space.distributions)]

    def trial_folder(self, number: int) -> Path:
        """The run folder of a trial."""
        return self.folder / f"trial-{number:04d}"

    def trial_config(self, params: dict[str, Any]) -> RunConfig:
        """The configuration of a trial.

        Raises:
            UntrainableError: If its settings do not go together.
        """
        varied = [as_override(key, value) for key, value in params.items()]
        try:
            return load_config(self._config, [*self._overrides, *varied])
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
            FacelexError: If training is not possible here: the device is not there, the disk is full. The
                trial waits until it is.
        """
        deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
        tried: set[int] = set()
        while time.monotonic() < deadline:
            trial = self._left_by_others(tried)
            if trial is None:
                if len(self.trials) >= trials:
                    return
                trial = self.study.ask(dict(self._distributions))
            tried.add(trial.number)
            self._run_trial(trial, trials, accelerator, reporter or SilentReporter(), announce)
            after_trial()

    def _left_by_others(self, tried: set[int]) -> Trial | None:
        """A trial that is not finished; whether another process is at it shows when it is tried."""
        for frozen in self.trials:
            if frozen.state == TrialState.RUNNING and frozen.number not in tried:
                return Trial(self.study, frozen._trial_id)
        return None

    def _run_trial(
        self, trial: Trial, trials: int, accelerator: str, reporter: Reporter, announce: Callable[[str], None]
    ) -> None:
        folder = self.trial_folder(trial.number)
        place = f"[{trial.number + 1}/{trials}] {folder.name}"
        begun = " (continued)" if (folder / CHECKPOINT).is_file() else ""
        announce(f"{place}{begun}: {describe(trial.params)}")
        try:
            config = self.trial_config(trial.params)
            _report_known(trial, folder)
            halving = HalvingReporter(reporter, trial, sum(phase.epochs for phase in config.phases))
            result = train_run(
                config, self.dataset, folder, resume=True, accelerator=accelerator, reporter=halving
            )
        except RunInUseError:
            announce(f"{place} is left to the process that is training it")
            return
        except optuna.TrialPruned:
            announce(f"{place} is behind and ends here")
            self.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        except UntrainableError as error:
            announce(f"{place} failed: {error}")
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        else:
            self.study.tell(trial, result.val_accuracy, skip_if_finished=True)
        _remove_checkpoint(folder)


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
        self._sampler: BaseSampler = RandomSampler(seed)

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

    Args:
        reporter: Who else wants to hear.
        trial: The trial.
        epochs: Of all its phases.
    """

    def __init__(self, reporter: Reporter, trial: Trial, epochs: int):
        self._reporter, self._trial, self._epochs, self._done = reporter, trial, epochs, 0
        self.note, self.step, self.stop = reporter.note, reporter.step, reporter.stop

    def start(self, total_images: int, done_images: int) -> None:
        """Take up the count of epochs where a continued trial left it."""
        self._done = round(self._epochs * done_images / total_images)
        self._reporter.start(total_images, done_images)

    def epoch(self, row: dict[str, float | int | str]) -> None:
        """Report the accuracy, unless that was done before the trial was interrupted.

        Raises:
            optuna.TrialPruned: If the trial has fallen behind.
        """
        self._reporter.epoch(row)
        self._done += 1
        known = self._trial.study.get_trials(deepcopy=False)[self._trial.number].intermediate_values
        if self._done not in known:
            self._trial.report(float(row["val_accuracy"]), self._done)
        if self._done < self._epochs and self._trial.should_prune():
            raise optuna.TrialPruned


def _report_known(trial: Trial, folder: Path) -> None:
    """Report what a trial had measured, and perhaps not reported, when its process was ended."""
    phases = load_run_folder(folder).phases if (folder / METRICS).is_file() else ()
    measured = [value for phase in phases for value in phase.columns["val_accuracy"]]
    reported = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
    for epoch, accuracy in enumerate(measured, start=1):
        if epoch not in reported:
            trial.report(accuracy, epoch)


def describe(params: dict[str, Any]) -> str:
    """The settings of a trial on one line."""
    return ", ".join(f"{key}={format_value(value)}" for key, value in sorted(params.items()))


def format_value(value: Any) -> str:
    """A setting to be read: three digits of a number, a choice without its quotes."""
    return f"{value:.3g}" if isinstance(value, float) else str(value).strip('"')


def _tpe(seed: int) -> TPESampler:
    return TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _open_study(folder: Path, sampler: BaseSampler, pruner: BasePruner) -> optuna.Study:
    path = folder / JOURNAL
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = JournalFileOpenLock(str(path)) if os.name == "nt" else None  # links need rights there
        storage = JournalStorage(JournalFileBackend(str(path), lock))
    except OSError as error:
        raise FacelexError(
            f"Could not write into {folder}: {error.strerror}. Choose another place for the search."
        ) from error
    except (json.JSONDecodeError, KeyError) as error:
        raise FacelexError(f"{path} is damaged. Restore it, or delete {folder} to begin anew.") from error
    return optuna.create_study(
        storage=storage, sampler=sampler, pruner=pruner, study_name="facelex", direction="maximize",
        load_if_exists=True,
    )  # fmt: skip


def _remove_checkpoint(folder: Path) -> None:
    """Remove of a trial that has ended what is large and only serves to go on."""
    with suppress(OSError):
        (folder / CHECKPOINT).unlink(missing_ok=True)
        shutil.rmtree(folder / TEACHER_ANSWERS, ignore_errors=True)
