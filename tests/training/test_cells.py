"""The cells of a comparison: which runs, what is refused, and which of them are still to train."""

from __future__ import annotations

import gc
import json
import re
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_training import FACES, fake_cell, tiny_config

from facelex.data.sketch import sketch_dataset
from facelex.errors import FacelexError
from facelex.files import write_text
from facelex.training import cells as cells_module
from facelex.training.cells import Cell, cell_config, check_cells, list_cells, train_cells
from facelex.training.compare import compare_cells
from facelex.training.resume import changed_settings, sources

QUICKLY = ("max_epochs_per_phase=1",)


def test_cells_come_seed_by_seed_then_encoder_by_encoder_and_only_once(tmp_path: Path) -> None:
    cells = list_cells(["vgg11", "timm:a"], ["baseline", "multimodal"], [3, 1, 3], tmp_path)
    assert [cell.folder.name for cell in cells] == [
        "vgg11-baseline-s3",
        "vgg11-multimodal-s3",
        "timm-a-baseline-s3",
        "timm-a-multimodal-s3",
        "vgg11-baseline-s1",
        "vgg11-multimodal-s1",
        "timm-a-baseline-s1",
        "timm-a-multimodal-s1",
    ]


def test_only_unfinished_cells_are_trained_and_begun_ones_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished, begun, new = cells = list_cells(["tiny_cnn"], ["multimodal"], [0, 1, 2], tmp_path)
    fake_cell(finished, 10)
    begun.folder.mkdir()
    (begun.folder / "checkpoint.pt").touch()
    trained: list[tuple[int, Path, bool]] = []

    def train_run(config: Any, dataset: Any, folder: Path, *, resume: bool, **where: Any) -> None:
        trained.append((config.seed, folder, resume))

    monkeypatch.setattr(cells_module, "train_run", train_run)
    said: list[str] = []
    train_cells(cells, tiny_config(), FACES, announce=said.append)
    assert trained == [(1, begun.folder, True), (2, new.folder, True)]
    assert said == ["[2/3] tiny_cnn-multimodal-s1 (continued)", "[3/3] tiny_cnn-multimodal-s2"]


def test_a_cell_that_fails_keeps_no_other_from_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = cells = list_cells(["tiny_cnn"], ["multimodal"], [0, 1], tmp_path)
    trained: list[Path] = []

    def train_run(config: Any, dataset: Any, folder: Path, **where: Any) -> None:
        if folder == bad.folder:
            raise FacelexError("The loss is not a number any more.")
        trained.append(folder)

    monkeypatch.setattr(cells_module, "train_run", train_run)
    said: list[str] = []
    failed = train_cells(cells, tiny_config(), FACES, announce=said.append)
    assert (list(failed), trained) == ([bad], [good.folder])
    assert said[1] == "[1/2] tiny_cnn-multimodal-s0 failed: The loss is not a number any more."


def test_a_cell_that_failed_is_out_of_memory_when_the_next_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Training:
        """Stands in for the network, the optimiser and the dataset on the device."""

    begun: list[weakref.ref[Training]] = []
    alive: list[int] = []

    def train_run(*_: Any, **__: Any) -> None:
        gc.collect()
        alive.append(sum(one() is not None for one in begun))
        training = Training()
        begun.append(weakref.ref(training))
        try:
            raise MemoryError("9 GiB")
        except MemoryError as error:
            raise FacelexError("too large") from error

    monkeypatch.setattr(cells_module, "train_run", train_run)
    cells = list_cells(["tiny_cnn"], ["multimodal"], [0, 1, 2], tmp_path)
    failed = train_cells(cells, tiny_config(), FACES)
    assert alive == [0, 0, 0]
    assert [str(error) for error in failed.values()] == ["too large"] * 3


def test_a_cell_that_died_between_its_description_and_its_weights_is_not_finished(tmp_path: Path) -> None:
    (cell,) = list_cells(["tiny_cnn"], ["baseline"], [0], tmp_path)
    fake_cell(cell, 10)
    assert cell.finished
    (cell.folder / "model.safetensors").unlink()
    assert not cell.finished


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"s0 holds a run, but no config\.yaml .*delete the folder to train anew"),
        ("- 1", r"config\.yaml is damaged: it does not hold keys .*delete the folder to train anew"),
        ("novel: 1", r"(?s)s0/config\.yaml \(perhaps of another version of facelex\) has .*key 'novel'"),
    ],
)
def test_a_cell_whose_configuration_cannot_be_compared_is_named(
    tmp_path: Path, content: str | None, said: str
) -> None:
    (cell,) = list_cells(["tiny_cnn"], ["baseline"], [0], tmp_path)
    fake_cell(cell, 10)
    if content is not None:
        (cell.folder / "config.yaml").write_text(content)
    with pytest.raises(FacelexError, match=said):
        check_cells([cell], tiny_config())


def test_a_cell_of_another_dataset_is_refused_finished_or_begun(tmp_path: Path) -> None:
    (cell,) = list_cells(["tiny_cnn"], ["multimodal"], [0], tmp_path)
    train_cells([cell], tiny_config(*QUICKLY), FACES)
    check_cells([cell], tiny_config(*QUICKLY), FACES)
    for state in ("is finished", "has begun"):
        with pytest.raises(FacelexError, match=rf"s0 {state}, but on another dataset"):
            check_cells([cell], tiny_config(*QUICKLY), sketch_dataset(150, seed=1))
        with pytest.raises(FacelexError, match=rf"s0 {state}, but with other settings of batch_size\."):
            check_cells([cell], tiny_config(*QUICKLY, "batch_size=8"), FACES)
        (cell.folder / "model.safetensors").unlink(missing_ok=True)


def test_a_table_whose_teacher_has_become_another_network_is_refused(tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    base = tiny_config("methods.taught=[{name: t, epochs: 1, losses: {distillation: 1}}]",
                       f"teachers=[{teacher}]")  # fmt: skip
    plain, one, other = cells = [
        *list_cells(["tiny_cnn"], ["baseline"], [0], tmp_path),
        *list_cells(["tiny_cnn"], ["taught"], [0, 1], tmp_path),
    ]

    def fake_run(cell: Cell) -> None:
        """What a finished run leaves, as far as a table asks for it."""
        fake_cell(cell, 10)
        config = cell_config(base, cell)
        write_text(cell.folder / "config.yaml", yaml.safe_dump(config.model_dump(mode="json")))
        write_text(cell.folder / "environment.json", json.dumps(sources(config)))

    fake_cell(Cell("tiny_cnn", "baseline", 1, teacher), 10)
    write_text(teacher / "model.json", json.dumps({"classes": FACES.class_names}))
    for cell in (plain, one):
        fake_run(cell)
    check_cells(cells, base)
    write_text(teacher / "model.safetensors", "other weights")
    message = (
        "taught-s1 and .*taught-s0 would stand in one table with different networks.* that teachers gives"
    )
    with pytest.raises(FacelexError, match=message):
        check_cells(cells, base)  # the last one is still to be taught
    check_cells(cells, base, train=False)
    fake_run(other)
    with pytest.raises(FacelexError, match=message):
        check_cells(cells, base, train=False)
    shutil.rmtree(other.folder)
    shutil.rmtree(teacher)
    check_cells([plain, one], base)  # finished, so nobody needs the teacher any more
    with pytest.raises(FacelexError, match=r"but got .*teacher: there is no such file or folder"):
        check_cells(cells, base)


@pytest.mark.parametrize(
    ("encoder", "method", "message"),
    [
        ("tiny_cn", "baseline", "Unknown image encoder 'tiny_cn'. Did you mean 'tiny_cnn'?"),
        ("timm:resnt18", "baseline", "Unknown timm model 'resnt18'. Did you mean 'resnet18'?"),
        ("tiny_cnn", "basline", "Unknown method 'basline'. Did you mean 'baseline'?"),
    ],
)
def test_unknown_names_are_found_before_training(
    tmp_path: Path, encoder: str, method: str, message: str
) -> None:
    with pytest.raises(FacelexError, match=message.replace("?", r"\?")):
        check_cells(list_cells([encoder], [method], [0], tmp_path), tiny_config())


def test_a_method_that_cannot_be_trained_is_found_before_the_first_run(tmp_path: Path) -> None:
    taught = "methods.taught=[{name: t, epochs: 1, losses: {distillation: 1}}]"
    with pytest.raises(FacelexError, match=r"tiny_cnn-taught-s0.*no run or model is named in 'teachers'"):
        check_cells(list_cells(["tiny_cnn"], ["baseline", "taught"], [0], tmp_path), tiny_config(taught))


def test_controls_are_cells_that_differ_in_the_words_alone(tmp_path: Path) -> None:
    plain, control = cells = list_cells(["tiny_cnn"], ["multimodal", "multimodal:random"], [0], tmp_path)
    assert [cell.folder.name for cell in cells] == ["tiny_cnn-multimodal-s0", "tiny_cnn-multimodal-random-s0"]
    base = tiny_config(*QUICKLY)
    assert changed_settings(cell_config(base, plain), cell_config(base, control)) == ["model"]
    model = base.model.model_copy(update={"image_encoder": "tiny_cnn"})
    assert cell_config(base, plain).model == model
    assert cell_config(base, control).model == model.model_copy(update={"text_encoder": "random"})
    train_cells(cells, base, FACES)
    check_cells(cells, base, FACES)
    assert json.loads((control.folder / "model.json").read_text()) != json.loads(
        (plain.folder / "model.json").read_text()
    )
    assert [c.method for c in compare_cells(cells, "val")] == ["multimodal", "multimodal:random"]


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("multimodal:randm", (), "Unknown text encoder 'randm'. Did you mean 'random'?"),
        ("multimodel:random", (), "Unknown method 'multimodel'. Did you mean 'multimodal'?"),
        ("baseline:random", (), "before ':random', but 'baseline' has none"),
        ("multimodal:random", ("model.mix_words=true",), "--set model.mix_words=false"),
        ("multimodal:one_hot", ("model.text_fit=blend",), "--set model.text_fit=null"),
        ("multimodal:glove", ("model.mix_words=true",), "--set model.mix_words=false"),
    ],
)
def test_controls_that_cannot_be_compared_are_refused(
    tmp_path: Path, method: str, settings: tuple[str, ...], message: str
) -> None:
    with pytest.raises(FacelexError, match=re.escape(message)):
        check_cells(list_cells(["tiny_cnn"], [method], [0], tmp_path), tiny_config(*settings))


def test_two_cells_of_one_folder_are_refused(tmp_path: Path) -> None:
    method = "multimodal-random"
    base = tiny_config(f"methods.{method}=[{{name: a, epochs: 1, losses: {{cross_entropy: 1}}}}]")
    with pytest.raises(FacelexError, match=r"Expected a folder for each cell.*s0\. Rename"):
        check_cells(list_cells(["tiny_cnn"], [method, "multimodal:random"], [0], tmp_path), base)


def test_encoders_that_an_option_makes_the_same_are_refused(tmp_path: Path) -> None:
    wide = tiny_config("model.encoder_options={width: 0.5}")
    message = r"{'width': 0.5} the encoders slim_s and slim_l are the same network"
    with pytest.raises(FacelexError, match=message):
        check_cells(list_cells(["slim_s", "slim_l"], ["baseline"], [0], tmp_path), wide)
    check_cells(list_cells(["slim_s"], ["baseline", "multimodal"], [0, 1], tmp_path), wide)
    other = tiny_config("model.encoder_options={squeeze_excitation: true}")
    check_cells(list_cells(["slim_s", "slim_l"], ["baseline"], [0], tmp_path), other)


def test_a_method_under_the_name_of_its_own_words_as_well_is_refused(tmp_path: Path) -> None:
    named = ["multimodal", "multimodal:synonyms"]  # the configuration's own
    message = "model.text_encoder=synonyms the methods multimodal and multimodal:synonyms are the same, "
    with pytest.raises(FacelexError, match=f"With {message}.* Name one of them"):
        check_cells(list_cells(["tiny_cnn"], named, [0], tmp_path), tiny_config())
    check_cells(list_cells(["tiny_cnn"], [named[1], "multimodal:random"], [0, 1], tmp_path), tiny_config())
    check_cells(list_cells(["tiny_cnn"], named, [0], tmp_path), tiny_config("model.text_encoder=random"))
