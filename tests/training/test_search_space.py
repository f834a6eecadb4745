"""What a search varies: the shipped spaces, files, the command line, and the sentences about mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from facelex.errors import FacelexError
from facelex.files import write_text
from facelex.training.config import load_config, override_config
from facelex.training.tuning.space import list_spaces, load_space


@pytest.mark.parametrize(("name", "config"), [("paper", "paper"), ("sgd", "quick"), ("sgd", "best-cpu")])
def test_shipped_spaces_fit_the_configurations_they_are_made_for(name: str, config: str) -> None:
    assert name in list_spaces()
    space = load_space(name)
    assert len(space.distributions) > 4
    assert len(space.tried()) >= 2 * len(space.distributions)
    for settings in space.tried():
        override_config(load_config(config), settings)


def test_ranges_and_choices_become_what_optuna_draws_from(tmp_path: Path) -> None:
    text = """
    optimizer.lr: {low: 1.0e-4, high: 0.1, log: true}
    batch_size: {low: 32, high: 128, step: 32}
    model.dropout: {low: 0, high: 0.5, step: 0.1}
    model.encoder_options: [{width: 1}, {width: 1.5, blur_pool: true}]
    optimizer.sam_rho: [null, 0.05]
    """
    write_text(tmp_path / "space.yaml", text)
    space = load_space(
        str(tmp_path / "space.yaml"), ["model.dropout=[0, 0.25]", "schedule.name=[cosine, plateau]"]
    )
    assert space.distributions == {
        "optimizer.lr": FloatDistribution(1e-4, 0.1, log=True),
        "batch_size": IntDistribution(32, 128, step=32),
        "model.dropout": CategoricalDistribution(["0", "0.25"]),  # the command line's, not the file's
        "model.encoder_options": CategoricalDistribution(
            ['{"width": 1}', '{"width": 1.5, "blur_pool": true}']
        ),
        "optimizer.sam_rho": CategoricalDistribution(["null", "0.05"]),
        "schedule.name": CategoricalDistribution(['"cosine"', '"plateau"']),
    }


def test_every_kind_of_value_reaches_the_configuration_as_it_was_written() -> None:
    varied = [
        "optimizer.lr=[1e-4, 0.000015]",  # of which YAML reads the first as a string
        "batch_size={low: 32, high: 96, step: 32}",
        "model.encoder_options=[{}, {blur_pool: true, width: 0.00001}]",
        "optimizer.sam_rho=[0.1, null]",
        "schedule.name=[cosine, plateau]",
        "model.vocabulary=[a, b]",
        "methods.joint.0.image_sizes=[null, {0: 32, 0.5: 48}]",
        "start_from=['\U0001f600.onnx', null]",
    ]
    space = load_space(None, varied)
    last: dict[str, Any] = {key: settings[key] for settings in space.tried() for key in settings}
    config = override_config(load_config("slim"), last | {"optimizer.lr": "1e-4"})
    assert config.optimizer.lr == 1e-4
    assert config.batch_size == 96
    assert config.model.encoder_options == {"blur_pool": True, "width": 0.00001}
    assert config.optimizer.sam_rho is None
    assert config.schedule.name == "plateau"
    assert config.model.vocabulary == "b"
    assert config.phases[0].image_sizes == {0: 32, 0.5: 48}
    first = {key: settings[key] for settings in reversed(space.tried()) for key in settings}
    assert override_config(load_config("slim"), first).start_from == "\U0001f600.onnx"


@pytest.mark.parametrize(
    ("varied", "message"),
    [
        ("optimizer.lr", "Expected --vary KEY=VALUES, such as optimizer.lr="),
        ("optimizer.lr=[0.1", "The values of 'optimizer.lr' are not valid YAML"),
        ("optimizer.lr=0.1", "optimizer.lr: expected a list of choices or a range, but got 0.1"),
        ("optimizer.lr=[0.1]", "optimizer.lr: expected two or more different choices, but got"),
        ("optimizer.lr=[0.1, 0.1, 0.2]", "expected two or more different choices"),
        ("optimizer.lr={low: 0.1}", "optimizer.lr: a range needs 'high'."),
        ("optimizer.lr={low: 0.1, high: 0.01}", "expected low below high, but got 0.1 and 0.01"),
        ("optimizer.lr={low: 0, high: 0.1, log: true}", "expected low above 0 with log, but got 0"),
        ("optimizer.lr={low: 0.1, high: 0.2, log: true, step: 0.1}", "expected log or step, but got both"),
        ("batch_size={low: 10, high: 25, step: 10}", "expected steps from 10 that meet 25, but got step 10"),
        ("batch_size={low: 10, high: 20, step: -5}", "expected steps from 10 that meet 20, but got step -5"),
        ("optimizer.lr={low: a, high: 0.1}", "optimizer.lr: expected a number for 'low', but got 'a'."),
        ("optimizer.lr={low: 0.1, hihg: 1}", "unknown key 'hihg' of a range; known are low, high, log, step"),
        ("optimizer.lr=[2024-99-99, 0.1]", "The values of 'optimizer.lr' are not valid YAML"),
        ("optimizer.lr=&a [*a, 1]", "expected choices of plain values, but got"),
        ("optimizer.lr=[.nan, 1]", "expected choices of plain values, but got nan"),
        ("data=[sketch, sketch:150]", "data: cannot be varied. Set it for all trials with --set data="),
    ],
)
def test_a_faulty_space_is_one_sentence(varied: str, message: str) -> None:
    with pytest.raises(FacelexError) as caught:
        load_space(None, [varied])
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_all_faults_are_told_at_once_and_nothing_to_vary_is_one() -> None:
    with pytest.raises(FacelexError) as caught:
        load_space(None, ["optimizer.lr=3", "model.dropout=[0.1]"])
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "optimizer.lr",
        "model.dropout",
    ]
    with pytest.raises(FacelexError, match=r"--space \(paper, sgd or a YAML file\)"):
        load_space(None)
    with pytest.raises(FacelexError, match=r"Unknown search space 'papr'\. Did you mean 'paper'\?"):
        load_space("papr")
    with pytest.raises(FacelexError, match=r"Cannot read the search space nowhere\.yaml: No such file"):
        load_space("nowhere.yaml")


def test_an_empty_space_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "space.yaml", "{}")
    with pytest.raises(FacelexError, match="the space is empty"):
        load_space(str(tmp_path / "space.yaml"))
