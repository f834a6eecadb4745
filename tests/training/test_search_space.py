"""What a search varies: the shipped spaces, files, the command line, and the sentences about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("optuna")

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from facelex.errors import FacelexError
from facelex.files import write_text
from facelex.training.config import load_config
from facelex.training.tuning.space import as_override, list_spaces, load_space


@pytest.mark.parametrize(("name", "config"), [("paper", "paper"), ("sgd", "quick"), ("sgd", "best-cpu")])
def test_shipped_spaces_fit_the_configurations_they_are_made_for(name: str, config: str) -> None:
    assert name in list_spaces()
    space = load_space(name)
    assert space.check(config, []) == load_config(config)
    assert len(space.distributions) > 4


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
            ['{"width": 1}', '{"blur_pool": true, "width": 1.5}']
        ),
        "optimizer.sam_rho": CategoricalDistribution(["null", "0.05"]),
        "schedule.name": CategoricalDistribution(['"cosine"', '"plateau"']),
    }
    space.check("slim", [])


def test_every_kind_of_value_reaches_the_configuration_as_it_was_written() -> None:
    values = {
        "optimizer.lr": 1.5e-05,
        "batch_size": 96,
        "model.encoder_options": '{"blur_pool": true, "width": 1.5}',
        "optimizer.sam_rho": "null",
        "schedule.name": '"plateau"',
    }
    config = load_config("slim", [as_override(key, value) for key, value in values.items()])
    assert config.optimizer.lr == 1.5e-05
    assert config.batch_size == 96
    assert config.model.encoder_options == {"blur_pool": True, "width": 1.5}
    assert config.optimizer.sam_rho is None
    assert config.schedule.name == "plateau"


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


@pytest.mark.parametrize(
    ("varied", "overrides", "message"),
    [
        ("optimiser.lr=[0.1, 0.2]", [], "Unknown key 'optimiser'. Did you mean 'optimizer'?"),
        ("model.dropout={low: 0, high: 1.5}", [], "model.dropout: input should be less than 1, but got 1.5"),
        ("schedule.name=[cosine, linear]", [], "schedule.name: input should be 'constant', 'cosine'"),
        ("optimizer.lr=[0.1, 0.2]", ["optimizer.lr=0.3"], "optimizer.lr is varied, and set for all trials"),
    ],
)
def test_what_no_trial_could_be_trained_with_is_found_first(
    varied: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(FacelexError) as caught:
        load_space(None, [varied]).check("slim", overrides)
    assert message in str(caught.value)


def test_an_empty_space_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "space.yaml", "{}")
    with pytest.raises(FacelexError, match="the space is empty"):
        load_space(str(tmp_path / "space.yaml")).check("slim", [])
