"""A search goes on where it was interrupted, ends what falls behind, and never mixes what is not alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("optuna")

import torch
import yaml
from optuna.trial import TrialState
from tiny_training import FACES, StopAfter, tiny_config

import facelex.training.tuning.search as search_module
from facelex.data.sketch import sketch_dataset
from facelex.errors import FacelexError
from facelex.files import write_text
from facelex.training import build_phase
from facelex.training.config import RunConfig, load_config
from facelex.training.cuda_graphs import StepGraphs, Sums
from facelex.training.environment import UntrainableError
from facelex.training.lock import RunInUseError, lock_folder
from facelex.training.progress import Reporter
from facelex.training.results import RunResult
from facelex.training.tuning.results import best_trial, count_states, trials_table, write_trials
from facelex.training.tuning.search import Search
from facelex.training.tuning.space import load_space

EPOCHS = 10  # so that trials are compared after two and four
SPACE = ("optimizer.lr={low: 0.001, high: 1.0, log: true}", "model.dropout={low: 0.0, high: 0.5}")

Curve = Callable[[RunConfig, int], float]


def rate_decides(config: RunConfig, epoch: int) -> float:
    return config.optimizer.lr * epoch / EPOCHS


def open_search(folder: Path, *overrides: str, space: tuple[str, ...] = SPACE, **options: Any) -> Search:
    base = tiny_config("method=baseline", f"methods.baseline.0.epochs={EPOCHS}", *overrides)
    return Search(folder, base, load_space(None, space), FACES, **options)


def pretend(
    monkeypatch: pytest.MonkeyPatch,
    curve: Curve,
    *,
    stop_at: tuple[int, int] | None = None,
    busy: str = "",
) -> list[str]:
    """Let trials have accuracies without training; returns a list of what was run: ``FOLDER:EPOCH``.

    ``stop_at``: the number of a run and the epoch after which the process is stopped; ``busy``: what another
    process is training.
    """
    ran: list[str] = []
    runs: list[Path] = []

    def train_run(
        config: RunConfig, dataset: Any, folder: Path, *, reporter: Reporter, **_: Any
    ) -> RunResult:
        if folder.name == busy:
            raise RunInUseError("by another process")
        folder.mkdir(parents=True, exist_ok=True)
        runs.append(folder)
        checkpoint = folder / "checkpoint.pt"
        done = int(checkpoint.read_text()) if checkpoint.exists() else 0
        reporter.start(EPOCHS * 100, done * 100)
        for epoch in range(done + 1, EPOCHS + 1):
            reporter.step(100)
            checkpoint.write_text(str(epoch))
            ran.append(f"{folder.name}:{epoch}")
            reporter.epoch({"val_accuracy": curve(config, epoch)})
            if stop_at == (len(runs), epoch):
                raise KeyboardInterrupt
        return RunResult(folder, curve(config, EPOCHS))

    monkeypatch.setattr(search_module, "train_run", train_run)
    return ran


def test_the_same_search_proposes_the_same_and_an_interrupted_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, rate_decides)
    whole = open_search(tmp_path / "whole", prune=False)
    whole.run(14)
    ran = pretend(monkeypatch, rate_decides, stop_at=(3, 4))
    with pytest.raises(KeyboardInterrupt):
        open_search(tmp_path / "parts", prune=False).run(14)
    assert ran[-1] == "trial-0002:4"
    ran = pretend(monkeypatch, rate_decides)
    parts = open_search(tmp_path / "parts", prune=False)
    said: list[str] = []
    parts.run(14, announce=said.append)
    assert ran[0] == "trial-0002:5"  # from its checkpoint, not from the beginning
    assert said[0].startswith("[3/14] trial-0002 (continued): model.dropout=0.")
    assert [trial.params for trial in parts.trials] == [trial.params for trial in whole.trials]
    assert [trial.value for trial in parts.trials] == [trial.value for trial in whole.trials]
    assert len({trial.params["optimizer.lr"] for trial in parts.trials}) == 14
    parts.run(14)  # has all it is to have
    assert len(parts.trials) == 14


def test_the_sampler_learns_which_settings_are_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def near_a_tenth(config: RunConfig, epoch: int) -> float:
        return 1 / (1 + abs(config.optimizer.lr - 0.1) + abs(config.model.dropout - 0.2))

    pretend(monkeypatch, near_a_tenth)
    values = {}
    for sampler in ("tpe", "random"):
        search = open_search(tmp_path / sampler, sampler=sampler, prune=False)
        search.run(30)
        values[sampler] = [trial.value or 0.0 for trial in search.trials]
    assert values["tpe"][:10] == values["random"][:10]
    assert sum(values["tpe"][15:]) / 15 > sum(values["random"][15:]) / 15 + 0.05


def test_trials_that_fall_behind_end_at_a_ninth_or_a_third(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = pretend(monkeypatch, rate_decides)
    search = open_search(tmp_path)
    said: list[str] = []
    search.run(20, announce=said.append)
    ended = {trial.last_step for trial in search.trials if trial.state == TrialState.PRUNED}
    assert ended == {2, 4}
    finished = [trial for trial in search.trials if trial.state == TrialState.COMPLETE]
    assert 2 <= len(finished) <= 10
    best = best_trial(search)
    assert best is not None
    assert best.params["optimizer.lr"] == max(trial.params["optimizer.lr"] for trial in search.trials)
    assert len(ran) < 0.7 * 20 * EPOCHS
    assert sum("is behind and ends here" in line for line in said) == 20 - len(finished)
    assert not list(tmp_path.glob("*/checkpoint.pt"))
    assert count_states(search) == f"20 trials: {len(finished)} finished, {20 - len(finished)} ended early"


def test_a_continued_trial_is_compared_at_the_epochs_that_it_really_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, rate_decides, stop_at=(1, 2))
    with pytest.raises(KeyboardInterrupt):
        open_search(tmp_path, prune=False).run(1)
    (tmp_path / "trial-0000" / "checkpoint.pt").write_text("1")  # the last that was written is older
    pretend(monkeypatch, rate_decides)
    search = open_search(tmp_path, prune=False)
    search.run(1)
    (trial,) = search.trials
    assert trial.intermediate_values == {
        epoch: pytest.approx(trial.params["optimizer.lr"] * epoch / EPOCHS) for epoch in range(1, EPOCHS + 1)
    }


def test_a_trial_that_another_process_is_training_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, rate_decides, stop_at=(1, 2))
    with pytest.raises(KeyboardInterrupt):
        open_search(tmp_path).run(3)
    pretend(monkeypatch, rate_decides, busy="trial-0000")
    search = open_search(tmp_path)
    said: list[str] = []
    search.run(3, announce=said.append)
    assert not any("trial-0000" in line for line in said)
    assert search.trials[0].state == TrialState.RUNNING
    assert len(search.trials) == 3  # the other process's counts
    assert (tmp_path / "trial-0000" / "checkpoint.pt").exists()
    assert "1 not finished" in count_states(search)


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED])
@pytest.mark.parametrize("moment", [0, 4])
def test_a_trial_that_another_process_ends_meanwhile_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: TrialState, moment: int
) -> None:
    """``moment``: before this process hears of the trial's beginning, or after that epoch."""
    pretend(monkeypatch, rate_decides, stop_at=(1, 2))
    with pytest.raises(KeyboardInterrupt):
        open_search(tmp_path).run(1)
    ended: list[int] = []

    def end_elsewhere(epoch: int) -> None:
        if epoch == moment and not ended:
            ended.append(epoch)
            value = 0.5 if state == TrialState.COMPLETE else None
            open_search(tmp_path).study.tell(0, value, state=state)

    def curve(config: RunConfig, epoch: int) -> float:
        end_elsewhere(epoch)
        return rate_decides(config, epoch)

    pretend(monkeypatch, curve)
    simulated = search_module.train_run

    def train_run(*arguments: Any, **options: Any) -> RunResult:
        end_elsewhere(0)
        return simulated(*arguments, **options)

    monkeypatch.setattr(search_module, "train_run", train_run)
    search = open_search(tmp_path)
    search.run(1)
    assert ended == [moment]
    assert search.trials[0].state == state


def test_settings_that_cannot_be_trained_fail_and_what_is_wrong_here_stops_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(config: RunConfig, epoch: int) -> float:
        if config.optimizer.lr > 0.5:
            raise UntrainableError("The loss is not a number any more.")
        if full:
            raise FacelexError("The disk is full.")
        return rate_decides(config, epoch)

    full = False
    pretend(monkeypatch, diverging)
    search = open_search(tmp_path, space=("optimizer.lr=[0.1, 0.2, 0.8, 0.9]",), prune=False)
    said: list[str] = []
    search.run(4, announce=said.append)
    states = {trial.params["optimizer.lr"]: trial.state.name for trial in search.trials}
    assert states == {"0.1": "COMPLETE", "0.2": "COMPLETE", "0.8": "FAIL", "0.9": "FAIL"}
    assert sum(line.endswith(": The loss is not a number any more.") for line in said) == 2

    full = True
    search = open_search(tmp_path / "full", prune=False)
    with pytest.raises(FacelexError, match="The disk is full"):
        search.run(1)
    (never_trained,) = search.trials  # it may be its settings, so it is not taken up again
    assert never_trained.state == TrialState.FAIL
    write_text(tmp_path / "full" / "trial-0001" / "metrics.csv", "phase,epoch\n")
    with pytest.raises(FacelexError, match="The disk is full"):
        search.run(2)
    assert search.trials[1].state == TrialState.RUNNING
    full = False
    search.run(2)
    assert search.trials[1].state == TrialState.COMPLETE


def test_a_search_none_of_whose_trials_can_be_trained_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(config: RunConfig, epoch: int) -> float:
        raise UntrainableError("The loss is not a number any more.")

    pretend(monkeypatch, diverging)
    search = open_search(tmp_path)
    with pytest.raises(FacelexError, match="5 trials in a row failed, the last one: The loss is not"):
        search.run(20)
    assert len(search.trials) == 5


def test_a_trial_whose_later_image_size_cannot_be_recorded_ends_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small:
        """Stands in for a GPU's memory, which suffices for one recorded step."""

        def __init__(self) -> None:
            self.recorded = 0

        def run(self, work: Callable[[], Sums]) -> Sums:
            return work()

        def record(self, work: Callable[[], Sums]) -> tuple[Sums, Callable[[], None]]:
            self.recorded += 1
            if self.recorded > 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            sums: Sums = {}
            return sums, lambda: sums.update(work())

    monkeypatch.setattr(build_phase, "can_be_replayed", lambda *_: True)
    monkeypatch.setattr(
        build_phase, "StepGraphs", lambda *arguments: StepGraphs(*arguments, recorder=Small())
    )
    phase = "{name: one, epochs: 2, losses: {cross_entropy: 1}, image_sizes: {0: 20, 0.5: 24}}"
    settings = ("method=baseline", f"methods.baseline=[{phase}]", "optimizer.name=sgd", "batch_size=16")
    space = load_space(None, ["model.dropout=[0.0, 0.1]"])
    search = Search(tmp_path, tiny_config(*settings), space, FACES, prune=False)
    said: list[str] = []
    search.run(2, accelerator="cpu", announce=said.append)
    assert (search.trial_folder(0) / "metrics.csv").is_file()  # the first epoch was trained
    assert [trial.state.name for trial in search.trials] == ["FAIL", "FAIL"]
    assert sum("cannot be recorded as a CUDA graph: CUDA out of memory" in line for line in said) == 2


def test_settings_that_were_tried_are_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = pretend(monkeypatch, rate_decides)
    space = ("optimizer.lr=[0.1, 0.2]", "model.dropout=[0, 0.5]")
    search = open_search(tmp_path, space=space, prune=False)
    search.run(20)
    assert len({tuple(trial.params.values()) for trial in search.trials}) == len(search.trials) == 4
    assert len(ran) == 4 * EPOCHS
    write_trials(search)
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 5


def test_settings_that_do_not_go_together_fail_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, rate_decides)
    space = ("augment.mixup=[0, 0.2]", "methods.baseline.0.losses.supervised_contrastive=[0, 0.5]")
    search = open_search(tmp_path, space=space, prune=False)
    search.run(4)
    states = {tuple(trial.params.values()): trial.state.name for trial in search.trials}
    assert states[("0.2", "0.5")] == "FAIL"
    assert {state for pair, state in states.items() if pair != ("0.2", "0.5")} == {"COMPLETE"}


def test_another_search_in_the_same_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, rate_decides)
    open_search(tmp_path).run(1)
    with pytest.raises(FacelexError, match=r"began with other values of batch_size, seed\. Continue it"):
        open_search(tmp_path, "batch_size=8", "seed=1")
    with pytest.raises(FacelexError, match="began with other values of the varied settings"):
        open_search(tmp_path, space=SPACE[:1])
    with pytest.raises(FacelexError, match="began with other values of the dataset"):
        Search(tmp_path, open_search(tmp_path).base, load_space(None, SPACE), sketch_dataset(150, seed=1))
    assert len(open_search(tmp_path).trials) == 1


def test_a_damaged_journal_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, rate_decides)
    open_search(tmp_path).run(2)
    journal = tmp_path / search_module.JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    for nonsense in ("no json\n", "\0\0\0\n", "3\n"):
        journal.write_text("".join([*lines[:3], nonsense, *lines[3:]]))
        with pytest.raises(FacelexError, match=r"study\.log is damaged\. Restore it, or delete"):
            open_search(tmp_path)
    journal.write_text("".join(lines)[:-7])  # the process was killed while it wrote
    search = open_search(tmp_path)
    search.run(4)
    assert len(open_search(tmp_path).trials) == 4
    assert count_states(search).startswith("4 trials: ")


def test_no_further_trial_begins_after_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minutes: list[str] = []  # each trial takes one
    clock = SimpleNamespace(monotonic=lambda: 60.0 * len(minutes))
    monkeypatch.setattr(search_module, "time", clock)
    pretend(monkeypatch, rate_decides)
    search = open_search(tmp_path, prune=False)
    search.run(100, minutes=2.5, announce=minutes.append)
    assert len(search.trials) == 3


def test_what_was_found_is_written_for_people_and_for_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, rate_decides)
    search = open_search(tmp_path)
    write_trials(search)
    assert (
        tmp_path / "trials.csv"
    ).read_text() == "trial,state,val_accuracy,epochs,model.dropout,optimizer.lr\n"
    assert not (tmp_path / "best.yaml").exists()
    search.run(8)
    write_trials(search)
    lines = (tmp_path / "trials.csv").read_text().splitlines()
    assert len(lines) == 9
    best = best_trial(search)
    assert best is not None
    assert lines[1 + best.number].split(",")[1:4] == ["finished", str(best.value), str(EPOCHS)]
    assert any(",ended early,," in line for line in lines)
    config = load_config(tmp_path / "best.yaml")
    assert config.optimizer.lr == best.params["optimizer.lr"]
    assert config.model.image_encoder == "tiny_cnn"
    assert config.description.startswith(f"trial-{best.number:04d}, the best on val of 8 trials: ")
    table = trials_table(search, limit=1)
    assert [column.header for column in table.columns] == ["trial", "accuracy", "epochs", "dropout", "lr"]
    assert list(table.columns[0].cells) == [str(best.number)]


def test_a_real_search_finds_the_rate_at_which_a_network_learns(tmp_path: Path) -> None:
    search = open_search(
        tmp_path, "methods.baseline.0.epochs=2", space=("optimizer.lr=[0.000001, 0.05]",), sampler="random"
    )
    search.run(4)
    assert {trial.params["optimizer.lr"] for trial in search.trials} == {"1e-06", "0.05"}
    best = best_trial(search)
    assert best is not None
    assert best.params["optimizer.lr"] == "0.05"
    folder = search.trial_folder(best.number)
    assert yaml.safe_load((folder / "config.yaml").read_text())["optimizer"]["lr"] == 0.05
    assert (folder / "model.safetensors").exists()
    assert not (folder / "checkpoint.pt").exists()


def test_a_real_trial_that_was_interrupted_ends_with_the_accuracy_of_a_whole_one(tmp_path: Path) -> None:
    options: dict[str, Any] = {"space": ("optimizer.lr={low: 0.01, high: 0.1}",), "prune": False}
    whole = open_search(tmp_path / "whole", "methods.baseline.0.epochs=3", **options)
    whole.run(1)
    with pytest.raises(KeyboardInterrupt):
        open_search(tmp_path / "parts", "methods.baseline.0.epochs=3", **options).run(
            1, reporter=StopAfter(2)
        )
    parts = open_search(tmp_path / "parts", "methods.baseline.0.epochs=3", **options)
    with lock_folder(tmp_path / "parts" / "trial-0000"):
        parts.run(1)
    assert parts.trials[0].state == TrialState.RUNNING
    parts.run(1)
    assert parts.trials[0].value == whole.trials[0].value
    assert parts.trials[0].intermediate_values == whole.trials[0].intermediate_values


def test_methods_of_other_phases_are_not_compared_midway(tmp_path: Path) -> None:
    for varied in ("method=[baseline, multimodal]", "methods.baseline.0.epochs={low: 2, high: 20}"):
        with pytest.raises(FacelexError, match=r"Expected phases alike in all trials, .* with --no-prune"):
            open_search(tmp_path, space=(varied,))
        assert not (tmp_path / "study.log").exists()
        open_search(tmp_path / varied[:6], space=(varied,), prune=False)


@pytest.mark.parametrize(
    ("varied", "message"),
    [
        ("optimiser.lr=[0.1, 0.2]", "Unknown key 'optimiser'. Did you mean 'optimizer'?"),
        ("model.dropout={low: 0, high: 1.5}", "model.dropout: input should be less than 1, but got 1.5"),
        ("schedule.name=[cosine, linear]", "schedule.name: input should be 'constant', 'cosine'"),
        ("model.image_encoder=[tiny_cnn, vgg12]", "Unknown image encoder 'vgg12'. Did you mean 'vgg16'?"),
        ("model.encoder_options=[{}, {wdth: 2}]", "has no option 'wdth'"),
        ("vote_weight=[0, 0.5]", "the dataset has no votes"),
    ],
)
def test_what_no_trial_could_be_trained_with_is_found_first(
    tmp_path: Path, varied: str, message: str
) -> None:
    with pytest.raises(FacelexError) as caught:
        open_search(tmp_path / "search", space=(varied,))
    assert message in str(caught.value)
    assert not (tmp_path / "search").exists()


def test_a_trial_continued_without_pruning_joins_the_comparison_at_its_own_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_alike(config: RunConfig, epoch: int) -> float:
        return epoch / EPOCHS

    pretend(monkeypatch, all_alike, stop_at=(1, 7))
    with pytest.raises(KeyboardInterrupt):
        open_search(tmp_path, prune=False).run(6)
    pretend(monkeypatch, all_alike)
    search = open_search(tmp_path)
    search.run(6)
    assert {trial.state for trial in search.trials} == {TrialState.COMPLETE}


def test_a_search_opened_in_a_relative_folder_outlives_a_process_killed_while_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pretend(monkeypatch, rate_decides)
    open_search(Path("runs/tune")).run(1)
    monkeypatch.setattr(search_module, "LOCK_SECONDS", 3)
    write_text(Path("runs/tune/study.log.lock"), "")
    open_search(Path("runs/tune")).run(2)
