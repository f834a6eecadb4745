from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_training import (
    FACES,
    StopAfter,
    differing,
    predict_run,
    read_rows,
    tiny_config,
    two_phases,
    weights,
)

from facelex.data.dataset import FaceDataset
from facelex.data.sketch import sketch_dataset
from facelex.data.votes import Votes
from facelex.emotions import FERPLUS_COLUMNS
from facelex.errors import FacelexError
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.run_folder import STANDARD_COLUMNS, TrainedOn, load_run_folder
from facelex.models.weights import load_model
from facelex.training import environment as surroundings
from facelex.training.batches import batch_indices, steps_per_epoch
from facelex.training.checkpoint import load_checkpoint
from facelex.training.examples import training_index
from facelex.training.fabric import Fabric
from facelex.training.phase import PhaseTrainer
from facelex.training.progress import SilentReporter
from facelex.training.resume import changed_settings
from facelex.training.run import Training, train_run


def with_votes(votes: np.ndarray) -> FaceDataset:
    return FaceDataset.create(
        FACES.pixels, FACES.labels, FACES.splits, FACES.class_names, source="votes", votes=Votes(votes)
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multimodal run of both phases."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    train_run(tiny_config(*two_phases()), FACES, folder, accelerator="cpu")
    return folder


def test_run_folder_holds_what_is_promised(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "config.yaml", "environment.json", "metrics.csv", "checkpoint.pt", "model.safetensors", "model.json",
        "predictions-val.npz",
    }  # fmt: skip
    rows = read_rows(finished, ["phase", "epoch", "image_size", "val_accuracy", "alignment", "cross_entropy"])
    assert [(row["phase"], row["epoch"]) for row in rows] == [
        ("align", "1"), ("align", "2"), ("classify", "1"), ("classify", "2"),
    ]  # fmt: skip
    assert rows[0]["cross_entropy"] == ""
    assert float(rows[2]["cross_entropy"]) > 0
    run = load_run_folder(finished)
    assert set(run.phases[0].columns) == {*STANDARD_COLUMNS[1:], "alignment", "cross_entropy"}
    assert run.trained_on == TrainedOn(FACES.source, FACES.fingerprint, FACES.pixels.shape[-1])
    environment = json.loads((finished / "environment.json").read_text())
    assert "torch" in environment["versions"]


def test_a_run_that_goes_on_with_other_code_notes_after_which_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = tiny_config(*two_phases(2, 1)), tmp_path / "run"
    for commit in ("aaa", "aaa", "bbb"):
        monkeypatch.setattr(surroundings, "_commit", lambda commit=commit: commit)
        with contextlib.suppress(KeyboardInterrupt):
            train_run(config, FACES, folder, accelerator="cpu", resume=True, reporter=StopAfter(1))
    noted = json.loads((folder / "environment.json").read_text())
    assert noted["commit"] == "aaa"
    assert [(place["commit"], place["epochs_done"]) for place in noted["continued"]] == [("bbb", 2)]


def test_outside_a_checkout_the_commit_is_that_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELEX_COMMIT", "1234abc")
    monkeypatch.setattr(surroundings, "_commit_of_checkout", lambda: "5678def")
    assert surroundings._commit() == "5678def"
    monkeypatch.setattr(surroundings, "_commit_of_checkout", lambda: None)
    assert surroundings._commit() == "1234abc"
    monkeypatch.setenv("FACELEX_COMMIT", "")
    assert surroundings._commit() is None


def test_predictions_hold_both_views_and_the_weights_give_them_again(finished: Path) -> None:
    preds = Predictions.load(finished / "predictions-val.npz")
    assert preds.mirror_probs is not None
    assert np.abs(preds.mirror_probs - preds.probs).max() > 1e-4
    single, both = (predict_run(finished, "val", flip=flip) for flip in (False, True))
    np.testing.assert_allclose(preds.probs, single, atol=1e-6)
    np.testing.assert_allclose(preds.view_probs("flip"), both, atol=1e-6)
    assert (preds.labels == FACES.labels[FACES.indices("val")]).all()


def test_same_seed_gives_the_same_bits_and_another_differs(finished: Path, tmp_path: Path) -> None:
    train_run(tiny_config(*two_phases()), FACES, tmp_path / "again", accelerator="cpu")
    assert differing(finished, tmp_path / "again") == []
    columns = ["train_loss", "val_loss", "lr", "train_accuracy"]
    assert read_rows(finished, columns) == read_rows(tmp_path / "again", columns)
    train_run(tiny_config(*two_phases(), "seed=1"), FACES, tmp_path / "other", accelerator="cpu")
    assert len(differing(finished, tmp_path / "other")) > 5


def test_existing_run_is_not_overwritten(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(FacelexError, match=r"already holds a run.*--resume"):
        train_run(tiny_config(), FACES, finished, accelerator="cpu")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(FacelexError, match="already holds a run"):
        train_run(tiny_config(), FACES, tmp_path, accelerator="cpu")


def test_resuming_a_finished_run_changes_nothing(finished: Path) -> None:
    def files() -> dict[str, tuple[int, int]]:
        return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in finished.iterdir()}

    before = files()
    result = train_run(tiny_config(*two_phases()), FACES, finished, accelerator="cpu", resume=True)
    assert files() == before
    preds = Predictions.load(finished / "predictions-val.npz")
    assert result.val_accuracy == (preds.view_probs("flip").argmax(1) == preds.labels).mean()


def test_run_killed_after_its_last_epoch_is_finished_from_its_checkpoint(
    finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    for name in ("config.yaml", "environment.json", "checkpoint.pt", "model.safetensors"):
        shutil.copy(finished / name, folder)
    (folder / ".checkpoint.1.part.pt").write_bytes(b"half")
    train_run(tiny_config(*two_phases()), FACES, folder, accelerator="cpu", resume=True)
    assert {path.name for path in folder.iterdir()} == {path.name for path in finished.iterdir()}
    assert differing(finished, folder) == []
    assert len(read_rows(folder, ["epoch"])) == 4


def test_resume_without_a_checkpoint_starts_from_the_beginning(finished: Path, tmp_path: Path) -> None:
    def again(folder: Path, *settings: str, seed: int = 0) -> None:
        faces = FACES if seed == 0 else sketch_dataset(150, seed=seed)
        train_run(tiny_config(*two_phases(), *settings), faces, folder, accelerator="cpu", resume=True)

    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("config.yaml", "environment.json"):  # what a run leaves that dies in its first epoch
        shutil.copy(finished / name, killed)
    with pytest.raises(FacelexError, match=r"other settings of batch_size\."):
        again(killed, "batch_size=16")
    with pytest.raises(FacelexError, match="trained on another dataset"):
        again(killed, seed=1)
    assert {path.name for path in killed.iterdir()} == {"config.yaml", "environment.json"}
    for name in ("scores.json", "predictions-test.npz"):
        (killed / name).write_text("{}")  # of weights that were removed
    again(killed)
    assert differing(finished, killed) == []
    assert {path.name for path in killed.iterdir()} == {path.name for path in finished.iterdir()}
    again(tmp_path / "missing")
    assert differing(finished, tmp_path / "missing") == []


def test_weights_without_a_checkpoint_are_not_trained_over(finished: Path, tmp_path: Path) -> None:
    shutil.copy(finished / "model.safetensors", tmp_path)
    with pytest.raises(FacelexError, match=r"holds weights, but no checkpoint\.pt"):
        train_run(tiny_config(*two_phases()), FACES, tmp_path, accelerator="cpu", resume=True)


def test_only_the_phases_that_are_run_make_another_run() -> None:
    before = tiny_config(*two_phases())
    assert changed_settings(before, tiny_config(*two_phases(), "methods.baseline.0.epochs=9")) == []
    assert changed_settings(before, tiny_config(*two_phases(), "data=x.npz", "max_epochs_per_phase=2")) == []
    assert changed_settings(before, tiny_config(*two_phases(3), "max_epochs_per_phase=2")) == []
    assert (
        changed_settings(before, tiny_config(*two_phases(), "cuda_graphs=false", "checkpoint_seconds=9"))
        == []
    )
    assert changed_settings(before, tiny_config(*two_phases(3), "seed=1")) == ["phases", "seed"]


def test_resume_with_other_settings_or_data_is_refused(finished: Path) -> None:
    with pytest.raises(FacelexError, match=r"other settings of batch_size, optimizer\."):
        train_run(
            tiny_config(*two_phases(), "batch_size=16", "optimizer.lr=0.2"), FACES, finished,
            accelerator="cpu", resume=True,
        )  # fmt: skip
    with pytest.raises(FacelexError, match="trained on another dataset"):
        train_run(
            tiny_config(*two_phases()), sketch_dataset(150, seed=1), finished, accelerator="cpu", resume=True
        )


SCHEDULES = {
    "one cycle over the run, average": ("schedule.name=one_cycle", "schedule.span=run", "ema_decay=0.9"),
    "plateau, momentum, no average": (
        "schedule={name: plateau, patience: 0}", "ema_decay=null", "optimizer.name=sgd", "optimizer.lr=0.05",
    ),
    "cosine a phase, words mixed, clipped": (
        "schedule={name: cosine, span: phase}", "model.mix_words=true", "optimizer.clip_grad_norm=0.5",
    ),
}  # fmt: skip


@pytest.mark.parametrize("settings", SCHEDULES.values(), ids=SCHEDULES)
def test_interrupted_run_ends_with_the_same_bits(settings: tuple[str, ...], tmp_path: Path) -> None:
    config = tiny_config(*two_phases(), "augment.erasing=0.3", *settings)
    train_run(config, FACES, tmp_path / "whole", accelerator="cpu")
    folder = tmp_path / "broken"
    for epochs in (1, 1, 1):  # within the first phase, at its end, within the second
        with pytest.raises(KeyboardInterrupt):
            train_run(
                config, FACES, folder, accelerator="cpu", reporter=StopAfter(epochs),
                resume=(folder / "checkpoint.pt").exists(),
            )  # fmt: skip
    train_run(config, FACES, folder, accelerator="cpu", resume=True)
    assert differing(tmp_path / "whole", folder) == []
    columns = ["phase", "epoch", "lr", "train_loss", "val_loss", "val_accuracy"]
    assert read_rows(folder, columns) == read_rows(tmp_path / "whole", columns)


FROZEN = (
    "methods.frozen=[{name: align, epochs: 1, losses: {alignment: 1}},"
    " {name: classify, epochs: 2, losses: {cross_entropy: 1}, train: [classifier]}]",
    "method=frozen",
)


def weights_at_each_beginning(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The network's state where each phase begins, noted while runs go on."""
    starts: list[dict[str, torch.Tensor]] = []
    begin_phase = Training.begin_phase

    def noted(self: Training, number: int) -> PhaseTrainer:
        starts.append({name: value.clone() for name, value in self.model.state_dict().items()})
        return begin_phase(self, number)

    monkeypatch.setattr(Training, "begin_phase", noted)
    return starts


@pytest.mark.parametrize("average", ["null", "0.9"])
def test_frozen_encoder_keeps_weights_and_batch_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, average: str
) -> None:
    starts = weights_at_each_beginning(monkeypatch)
    train_run(tiny_config(*FROZEN, f"ema_decay={average}"), FACES, tmp_path / "r", accelerator="cpu")
    first, second = starts
    final = weights(tmp_path / "r")
    changed = {name for name in final if not torch.equal(second[name], final[name])}
    assert changed == {"classifier.linear.weight", "classifier.linear.bias"}
    assert any("running_mean" in name for name in first if not torch.equal(first[name], second[name]))


def test_part_that_no_loss_reaches_does_not_decay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phases = (
        "[{name: align, epochs: 1, losses: {alignment: 1}}, {name: c, epochs: 1, losses: {cross_entropy: 1}}]"
    )
    config = tiny_config(f"methods.multimodal={phases}", "ema_decay=null", "optimizer.weight_decay=0.5")
    starts = weights_at_each_beginning(monkeypatch)
    train_run(config, FACES, tmp_path / "r", accelerator="cpu")
    aligned, classified = starts[1], weights(tmp_path / "r")
    changed = {name.partition(".")[0] for name in aligned if not torch.equal(aligned[name], classified[name])}
    assert changed == {"image_encoder", "classifier"}


def test_the_gradient_scale_goes_on_where_a_phase_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[dict[str, float]] = []
    precision = type(Fabric(accelerator="cpu", precision="32-true").strategy.precision)
    monkeypatch.setattr(precision, "state_dict", lambda self: {"scale": 4.0})
    monkeypatch.setattr(precision, "load_state_dict", lambda self, state: loaded.append(state))
    config = tiny_config(*two_phases(1, 1))
    with pytest.raises(KeyboardInterrupt):
        train_run(config, FACES, tmp_path / "r", reporter=StopAfter(1))
    train_run(config, FACES, tmp_path / "r", resume=True)
    assert loaded == [{"scale": 4.0}]


def test_plateau_follows_the_validation_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([1.0, 0.5, 0.5, 0.4])
    monkeypatch.setattr(PhaseTrainer, "evaluate", lambda *_: (next(losses), 0.5))
    config = tiny_config(
        "method=baseline", "methods.baseline.0.epochs=4", "optimizer.lr=0.01", "ema_decay=null",
        "schedule={name: plateau, patience: 0, factor: 0.5}",
    )  # fmt: skip
    train_run(config, FACES, tmp_path / "r", accelerator="cpu")
    rates = [float(row["lr"]) for row in read_rows(tmp_path / "r", ["lr"])]
    assert rates == [0.01, 0.01, 0.005, 0.005]


def test_votes_share_the_target_and_pictures_without_votes_keep_their_label(tmp_path: Path) -> None:
    votes = np.zeros((len(FACES.labels), len(FERPLUS_COLUMNS)), np.uint8)
    train = FACES.indices("train")
    votes[train[0], FERPLUS_COLUMNS.index("happiness")] = 6
    votes[train[0], FERPLUS_COLUMNS.index("neutral")] = 2
    votes[train[1], FERPLUS_COLUMNS.index("NF")] = 10
    training = Training(
        Fabric(accelerator="cpu"), tiny_config("vote_weight=0.5"), with_votes(votes), tmp_path,
        SilentReporter(),
    )  # fmt: skip
    targets = training.examples.plain.label_probs
    assert targets is not None
    names = list(FACES.class_names)
    expected = torch.zeros(len(names))
    expected[FACES.labels[train[0]]] += 0.5
    expected[names.index("happy")] += 0.375
    expected[names.index("neutral")] += 0.125
    torch.testing.assert_close(targets[0], expected)
    torch.testing.assert_close(targets[1], F.one_hot(torch.tensor(FACES.labels[train[1]]), 7).float())
    assert training.val.label_probs is None
    with pytest.raises(FacelexError, match=r"has no votes\. Prepare FER2013 with"):
        train_run(tiny_config("vote_weight=0.5"), FACES, tmp_path / "r", accelerator="cpu")


def test_a_second_head_predicts_votes_and_answers_nothing(tmp_path: Path) -> None:
    votes = (
        np.random.default_rng(0).integers(0, 4, (len(FACES.labels), len(FERPLUS_COLUMNS))).astype(np.uint8)
    )
    first = FACES.indices("train")[0]
    votes[first] = 0
    config = tiny_config(
        "method=both", "methods.both=[{name: c, epochs: 1, losses: {cross_entropy: 1, votes: 0.5}}]"
    )
    training = Training(
        Fabric(accelerator="cpu"), config, with_votes(votes), tmp_path / "r", SilentReporter()
    )
    shares = training.examples.plain.vote_shares
    assert shares is not None
    assert not shares[0].any()
    torch.testing.assert_close(shares[1:].sum(1), torch.ones(len(shares) - 1))
    training.run(None)
    (row,) = read_rows(tmp_path / "r", ["votes"])
    assert 1 < float(row["votes"]) < 4  # ten answers: 2.3 by chance
    model, spec = load_model(tmp_path / "r")
    assert spec.num_votes == len(FERPLUS_COLUMNS)
    output = model(torch.rand(3, 1, 24, 24))
    assert output.logits.shape == (3, 7)
    assert output.vote_logits.shape == (3, 10)
    with pytest.raises(FacelexError, match="loss votes is above zero, but the dataset has no votes"):
        train_run(config, FACES, tmp_path / "n", accelerator="cpu")


def test_teachers_that_nothing_is_learned_from_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taught = "methods.taught=[{name: t, epochs: 1, losses: {distillation: 1}}]"
    for number, settings in enumerate(((), ("teachers=[tiny]", taught), ("teachers=[tiny]",))):
        config, folder = tiny_config(*settings), tmp_path / str(number)
        folder.mkdir()
        Training(Fabric(accelerator="cpu"), config, FACES, folder, SilentReporter())._begin(None)
        said = ["no method has a weight for distillation" in record.message for record in caplog.records]
        assert said == ([True] if number == 2 else [])


def test_distillation_imitates_its_teachers_mean(finished: Path, tmp_path: Path) -> None:
    train_run(tiny_config(*two_phases(), "seed=5"), FACES, tmp_path / "second", accelerator="cpu")
    config = tiny_config(
        f"teachers=[{finished}, {tmp_path / 'second'}]", "method=student",
        "methods.student=[{name: imitate, epochs: 1, losses: {distillation: 1}}]",
    )  # fmt: skip
    training = Training(Fabric(accelerator="cpu"), config, FACES, tmp_path / "s", SilentReporter())
    expected = sum(predict_run(folder, "train") for folder in (finished, tmp_path / "second"))
    assert training.examples.plain.teacher_probs is not None
    np.testing.assert_allclose(training.examples.plain.teacher_probs.numpy(), expected / 2, atol=1e-6)
    training.run(None)
    assert not load_model(tmp_path / "s")[0].has_words


def test_teacher_of_other_classes_is_refused(finished: Path, tmp_path: Path) -> None:
    two = FaceDataset.create(
        FACES.pixels, FACES.labels % 2, FACES.splits, class_names=("happy", "sad"), source="two"
    )
    config = tiny_config(
        f"teachers=[{finished}]", "methods.multimodal=[{name: i, epochs: 1, losses: {distillation: 1}}]"
    )
    with pytest.raises(FacelexError, match="knows the classes angry"):
        train_run(config, two, tmp_path / "s", accelerator="cpu")
    assert not (tmp_path / "s").exists()


def test_loss_that_is_no_number_stops_the_run_with_a_remedy(tmp_path: Path) -> None:
    config = tiny_config("method=baseline", "optimizer={name: sgd, lr: 1e30}", "schedule.name=constant")
    with pytest.raises(FacelexError, match="not a number any more"):
        train_run(config, FACES, tmp_path / "r", accelerator="cpu")


def test_contrast_between_faces_runs_without_words(tmp_path: Path) -> None:
    phases = (
        "[{name: contrast, epochs: 1, losses: {supervised_contrastive: 1}},"
        " {name: c, epochs: 1, losses: {cross_entropy: 1}}]"
    )
    train_run(tiny_config(f"methods.multimodal={phases}"), FACES, tmp_path / "r", accelerator="cpu")
    model, spec = load_model(tmp_path / "r")
    assert not model.has_words
    assert spec.has_projection
    with pytest.raises(ValueError, match="without words"):
        model.encode_words(torch.zeros(1, 100))


def test_batches_are_the_same_for_any_number_of_ranks_and_drop_only_the_rest() -> None:
    def batches(rank: int, world: int, count: int = 37, size: int = 8) -> list[torch.Tensor]:
        return list(batch_indices(count, size, torch.Generator().manual_seed(0), rank, world))

    whole = batches(0, 1)
    assert len(whole) == steps_per_epoch(37, 8) == 4
    assert len(set(torch.cat(whole).tolist())) == 32
    for world in (2, 4):
        shares = [batches(rank, world) for rank in range(world)]
        for step, batch in enumerate(whole):
            parts = [share[step] for share in shares]
            assert len({len(part) for part in parts}) == 1
            assert sorted(torch.cat(parts).tolist()) == sorted(batch.tolist())
    only = [batches(rank, 2, count=5, size=8) for rank in (0, 1)]
    assert [len(batch[0]) for batch in only] == [2, 2]
    assert len(batches(0, 1, count=5)[0]) == 5


@pytest.mark.parametrize("method", ["baseline", "multimodal"])
def test_training_learns_drawn_faces_well_above_chance(method: str, tmp_path: Path) -> None:
    config = tiny_config(
        f"method={method}", "model.image_encoder=slim_s", "model.dropout=0", "image_size=32",
        "optimizer={name: sgd, lr: 0.1}", "ema_decay=null", "label_smoothing=0",
        "augment={rotation: 0, translation: 0, resize: 0}", "methods.baseline.0.epochs=7",
        "methods.multimodal.0.epochs=2", "methods.multimodal.1.epochs=7",
    )  # fmt: skip
    result = train_run(config, sketch_dataset(700), tmp_path / "r", accelerator="cpu")
    rows = read_rows(tmp_path / "r", ["cross_entropy"])
    losses = [float(row["cross_entropy"]) for row in rows if row["cross_entropy"]]
    assert losses[-1] < 0.7 * losses[0]
    assert result.val_accuracy > 0.33  # of 70 faces; chance is 1/7, with a standard error of 0.04


@pytest.mark.parametrize(("seconds", "phase", "epoch"), [(0, 1, 1), (3600, 1, 0)])
def test_checkpoints_keep_their_distance_but_never_miss_the_end_of_a_phase(
    seconds: int, phase: int, epoch: int, tmp_path: Path
) -> None:
    config = tiny_config(*two_phases(2, 2), f"checkpoint_seconds={seconds}")
    train_run(config, FACES, tmp_path / "whole", accelerator="cpu")
    with pytest.raises(KeyboardInterrupt):
        train_run(config, FACES, tmp_path / "parts", accelerator="cpu", reporter=StopAfter(3))
    state = load_checkpoint(tmp_path / "parts" / "checkpoint.pt")
    assert (state["phase"], state["epoch"]) == (phase, epoch)
    assert len(read_rows(tmp_path / "parts", ["epoch"])) == 3
    train_run(config, FACES, tmp_path / "parts", accelerator="cpu", resume=True)
    assert differing(tmp_path / "whole", tmp_path / "parts") == []
    columns = ["epoch", "train_loss", "val_loss"]
    assert read_rows(tmp_path / "whole", columns) == read_rows(tmp_path / "parts", columns)


def test_a_run_with_a_share_of_the_training_images_never_looks_at_the_others(tmp_path: Path) -> None:
    config = tiny_config("train_share=0.3", "method=baseline", "methods.baseline.0.epochs=1", "seed=4")
    train, drawn = FACES.indices("train"), training_index(config, FACES)
    assert np.bincount(FACES.labels[drawn]).tolist() == [
        max(1, round(0.3 * count)) for count in np.bincount(FACES.labels[train])
    ]
    pixels = FACES.pixels.copy()
    others = np.setdiff1d(train, drawn)
    pixels[others] = np.random.default_rng(0).integers(0, 256, pixels[others].shape, np.uint8)
    disturbed = FaceDataset.create(pixels, FACES.labels, FACES.splits, FACES.class_names, source="disturbed")
    train_run(config, FACES, tmp_path / "one", accelerator="cpu")
    train_run(config, disturbed, tmp_path / "other", accelerator="cpu")
    assert differing(tmp_path / "one", tmp_path / "other") == []
