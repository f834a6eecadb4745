"""What a search varies: settings by the keys that ``--set`` knows, each with a range or a list of choices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import ValidationError, model_validator

from facelex.errors import FacelexError
from facelex.training.config import CONFIG_FOLDER, Section
from facelex.training.config.reading import find_yaml, read_mapping, read_yaml

SPACE_FOLDER = CONFIG_FOLDER.parent / "search_spaces"

NOT_VARIED = ("data", "description", "methods", "trackers")
"""What is the same in all trials: they learn from one dataset, and a method is varied by its name."""

EXAMPLES = ("optimizer.lr={low: 0.01, high: 0.3, log: true}", "model.dropout=[0, 0.2, 0.4]")
EITHER = " or ".join(EXAMPLES)

Value = int | float | str
"""What a trial has of one setting; a choice is kept as JSON text."""


class Range(Section):
    """Every number from ``low`` to ``high``, both included; whole numbers if both are."""

    low: int | float
    """Least value."""
    high: int | float
    """Largest value."""
    log: bool = False
    """Whether equal ratios are equally likely, in place of equal differences."""
    step: int | float | None = None
    """Only low, low + step, low + 2 step, ..."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"expected low below high, but got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"expected low above 0 with log, but got {self.low:g}")
        if self.step is not None:
            if self.log:
                raise ValueError("expected log or step, but got both")
            steps = (self.high - self.low) / self.step if self.step > 0 else 0.5
            if abs(steps - round(steps)) > 1e-9 * max(steps, 1):
                raise ValueError(
                    f"expected steps from {self.low:g} that meet {self.high:g}, but got step {self.step:g}"
                )
        return self

    @property
    def is_whole(self) -> bool:
        """Whether it holds whole numbers alone."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))

    def distribution(self) -> BaseDistribution:
        """The same in Optuna's words."""
        if self.is_whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)


class SearchSpace:
    """The settings that a search varies.

    Attributes:
        distributions: What each may be, by its key, in Optuna's words.
    """

    def __init__(self, settings: Mapping[str, Any]):
        """Check what was read from YAML.

        Raises:
            FacelexError: Listing everything that is wrong.
        """
        self.distributions: dict[str, BaseDistribution] = {}
        self._tried: dict[str, Sequence[Value]] = {}  # of each key the values that stand for all of them
        faults = []
        for key, value in settings.items():
            try:
                self._add(str(key), value)
            except FacelexError as error:
                faults.append(str(error))
        if faults:
            raise FacelexError("\n".join(faults))

    def _add(self, key: str, value: Any) -> None:
        if key in NOT_VARIED:
            raise FacelexError(f"{key}: cannot be varied. Set it for all trials with --set {key}=...")
        if isinstance(value, list):
            choices = [_as_json(key, choice) for choice in value]
            if len(set(choices)) < 2 or len(set(choices)) < len(choices):
                raise FacelexError(f"{key}: expected two or more different choices, but got {value}.")
            self.distributions[key], self._tried[key] = CategoricalDistribution(choices), choices
        elif isinstance(value, dict):
            try:
                range_ = Range.model_validate(value)
            except ValidationError as error:
                raise FacelexError(f"{key}: {_sentence(error)}.") from error
            self.distributions[key], self._tried[key] = range_.distribution(), (range_.low, range_.high)
        else:
            raise FacelexError(f"{key}: expected a list of choices or a range, but got {value!r}: {EITHER}.")

    def tried(self) -> list[dict[str, Any]]:
        """Settings to check first: every choice and both ends of every range, one at a time."""
        return [
            self.settings({key: value}) for key, values in sorted(self._tried.items()) for value in values
        ]

    def settings(self, params: Mapping[str, Value]) -> dict[str, Any]:
        """What a trial's draws mean for the configuration, by key."""
        return {key: json.loads(value) if isinstance(value, str) else value for key, value in params.items()}


def list_spaces() -> list[str]:
    """Names of the shipped search spaces."""
    return sorted(path.stem for path in SPACE_FOLDER.glob("*.yaml"))


def load_space(name_or_path: str | None, varied: Sequence[str] = ()) -> SearchSpace:
    """Read a search space.

    Args:
        name_or_path: A shipped name (``paper``, ``sgd``) or a YAML file; None for none.
        varied: ``KEY=RANGE-OR-CHOICES`` strings, which are added or take the place of the file's.

    Raises:
        FacelexError: If nothing is named or there is no such space, or listing all that is wrong with it.
    """
    if name_or_path is None and not varied:
        raise FacelexError(
            "Expected what to vary, but got none: name a space with --space "
            f"({', '.join(list_spaces())} or a YAML file), or a setting with --vary '{EXAMPLES[0]}'."
        )
    settings: dict[str, Any] = {}
    if name_or_path is not None:
        path = find_yaml(name_or_path, SPACE_FOLDER, "search space")
        settings.update(read_mapping(path, "search space"))
    for text in varied:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise FacelexError(f"Expected --vary KEY=VALUES, such as {EITHER}, but got {text!r}.")
        try:
            settings[key] = read_yaml(value)
        except yaml.YAMLError as error:
            raise FacelexError(f"The values of {key!r} are not valid YAML: {value!r}.") from error
    if not settings:
        raise FacelexError("Expected at least one setting to vary, but the space is empty.")
    return SearchSpace(settings)


def _as_json(key: str, choice: Any) -> str:
    """A choice as the text that Optuna keeps; YAML's dates and the like become strings."""
    try:
        return json.dumps(choice, default=str, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FacelexError(f"{key}: expected choices of plain values, but got {choice!r}.") from error


def _sentence(error: ValidationError) -> str:
    # a misspelt key explains that another is missing
    fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in fault["loc"] if isinstance(part, str) and part in Range.model_fields)
    if fault["type"] == "extra_forbidden":
        return f"unknown key {fault['loc'][0]!r} of a range; known are {', '.join(Range.model_fields)}"
    if fault["type"] == "missing":
        return f"a range needs {key!r}"
    message = fault["msg"].removeprefix("Value error, ")
    return message if not key else f"expected a number for {key!r}, but got {fault['input']!r}"
