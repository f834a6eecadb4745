"""Reading configurations: the shipped ones, files, overrides, and the sentences about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from facelex.errors import FacelexError
from facelex.models.registry import create_image_encoder
from facelex.training.config import CONFIG_FOLDER, list_configs, load_config

SHIPPED = sorted(path.stem for path in CONFIG_FOLDER.rglob("*.yaml"))


def test_shipped_configurations_are_found() -> None:
    assert {"paper", "quick", "slim", "sketch"} <= set(SHIPPED)
    assert list_configs() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configuration_loads_with_each_of_its_methods(name: str) -> None:
    config = load_config(name)
    assert config.description
    create_image_encoder(config.model.image_encoder)
    for method in config.methods:
        chosen = load_config(name, [f"method={method}"])
        assert sum(phase.epochs for phase in chosen.phases) > 0
        assert chosen.has_words == (not method.startswith("baseline"))


def test_paper_is_the_reports_recipe() -> None:
    paper = load_config("paper")
    assert [(phase.epochs, phase.losses.alignment, phase.losses.cross_entropy) for phase in paper.phases] == [
        (200, 1, 0),
        (100, 0, 1),
    ]
    assert sum(p.epochs for p in load_config("paper", ["method=baseline"]).phases) == 300
    frozen = load_config("paper", ["method=multimodal_frozen"]).phases[1]
    assert frozen.train == ("classifier",)
    assert (paper.optimizer.name, paper.optimizer.lr, paper.image_to_text_weight) == ("adam", 0.001, 0.75)
    assert (paper.model.hidden_dim, paper.model.embed_dim, paper.model.dropout) == (256, 64, 0.25)


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(FacelexError) as caught:
        load_config("sketch", ["optimizer.lr=-1", "modle.dropout=0.1", "augment.rotation=soon", "batch_size"])
    message = str(caught.value)
    assert "4 faults" in message
    for part in ("optimizer.lr", "'modle'", "augment.rotation", "batch_size"):
        assert part in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimiser.lr=0.1", "Unknown key 'optimiser'. Did you mean 'optimizer'?"),
        ("optimizer.learning_rate=0.1", "Known here: name, lr"),
        ("augment.rotatoin=5", "Did you mean 'rotation'?"),
        ("methods.multimodal.0.losses.alignmnt=1", "Did you mean 'alignment'?"),
        ("methods.multimodal.0.epoch=1", "Did you mean 'epochs'?"),
        ("methods.baselin.0.epochs=3", "Unknown method 'baselin'. Did you mean 'baseline'?"),
        ("model.words.happy=joy", "model.words.happy: expected a list such as [joy], but got 'joy'."),
        ("teachers=runs/m0", "teachers: expected a list such as [runs/m0], but got 'runs/m0'."),
        ("trackers=tensorboard", "expected a list such as [tensorboard]"),
        ("augment.erasing_area=0.1", "augment.erasing_area: expected a list, but got 0.1."),
        ("model={dropout: 0.1, dropout: 0.2}", "is not valid YAML"),
        ("method=multimodel", "Unknown method 'multimodel'. Did you mean 'multimodal'?"),
        ("methods.multimodal.0.train=[image_encodr]", "Did you mean 'image_encoder'?"),
        ("methods.multimodal.7.epochs=1", "Expected a position 0 to 1"),
        ("seed.value=1", "single value"),
        ("augment.erasing_area=[0.5, 0.1]", "rising shares"),
        ("methods.multimodal.0.train=[classifier]", "none of its losses reaches"),
        ("methods.multimodal.1.losses={distillation: 1}", "no run or model is named in 'teachers'"),
        ("model={mix_words: true, text_encoder: glove}", "needs model.text_encoder=synonyms"),
        ("methods.multimodal.0.image_sizes={0.5: 24}", "one entry for 0"),
        ("model.temperature=.inf", "finite number"),
        ("optimizer.weight_decay=.inf", "finite number"),
        (f"seed={2**63}", "less than 9223372036854775808"),
    ],
)
def test_mistake_is_named_with_its_remedy(override: str, expected: str) -> None:
    with pytest.raises(FacelexError) as caught:
        load_config("sketch", [override])
    assert expected in str(caught.value)


def test_unknown_config_names_the_nearest() -> None:
    with pytest.raises(FacelexError, match="Did you mean 'paper'"):
        load_config("papr")


def test_overrides_reach_lists_numbers_and_nested_keys() -> None:
    config = load_config(
        "sketch",
        ["methods.multimodal.1.epochs=9", "optimizer.lr=1e-4", "augment.erasing_area=[0.1,0.2]", "seed=7"],
    )
    assert config.methods["multimodal"][1].epochs == 9
    assert config.methods["multimodal"][0].epochs == 3
    assert config.optimizer.lr == 1e-4
    assert config.augment.erasing_area == (0.1, 0.2)
    assert config.seed == 7


def test_overrides_make_a_mapping_where_nothing_is_set(tmp_path: Path) -> None:
    written = tmp_path / "config.yaml"
    written.write_text(load_config("sketch").model_dump_json())  # JSON is YAML; what is not set is null
    config = load_config(written, ["model.words.happy=[joy]", "methods.baseline.0.image_sizes.0=32"])
    assert config.model.words == {"happy": ("joy",)}
    assert config.methods["baseline"][0].image_sizes == {0: 32}


def test_a_new_method_may_be_set_whole() -> None:
    phases = "[{name: a, epochs: 1, losses: {cross_entropy: 1}}]"
    assert load_config("sketch", ["method=mine", f"methods.mine={phases}"]).phases[0].name == "a"


def test_a_key_given_twice_is_named_with_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = (CONFIG_FOLDER / "sketch.yaml").read_text(encoding="utf-8")
    file.write_text(f"model: {{dropout: 0.1}}\n{text}", encoding="utf-8")
    with pytest.raises(FacelexError, match=r"mine\.yaml .*the key 'model' of line \d+ is given on line 1"):
        load_config(file)


def test_a_merged_mapping_may_give_a_key_anew(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "method: b\n"
        "methods:\n"
        "  a: [&base {name: one, epochs: 1, losses: &losses {cross_entropy: 1}}]\n"
        "  b: [{<<: *base, epochs: 2, losses: {<<: *losses, cross_entropy: 3}}]\n"
        "  c: [&again {<<: *base, epochs: 3}, {<<: *again, epochs: 4}]\n"
    )
    config = load_config(file)
    assert [phase.epochs for phases in config.methods.values() for phase in phases] == [1, 2, 3, 4]
    assert config.phases[0].losses.cross_entropy == 3


def test_override_of_an_anchor_leaves_its_alias_alone() -> None:
    config = load_config("paper", ["methods.multimodal.0.epochs=5"])
    assert config.methods["multimodal"][0].epochs == 5
    assert config.methods["multimodal_frozen"][0].epochs == 200


def test_written_configuration_reads_back_the_same(tmp_path: Path) -> None:
    import yaml

    config = load_config("quick", ["methods.multimodal.0.image_sizes={0: 24, 0.5: 48}"])
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    assert load_config(path) == config


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "a: [\n", ""])
def test_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(FacelexError, match=r"broken\.yaml"):
        load_config(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FacelexError, match="Cannot read the config"):
        load_config(tmp_path / "none.yaml")
