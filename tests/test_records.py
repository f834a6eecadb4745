"""Records as JSON and back, in types that the scores of a split do not have."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from facelex.errors import FacelexError
from facelex.records import json_values, read_record


@dataclass(frozen=True, kw_only=True)
class Part:
    share: float


@dataclass(frozen=True, kw_only=True)
class Whole:
    count: int = 3
    name: str
    on: bool
    shape: tuple[int, int] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, list[Part]] = field(default_factory=dict)


def test_a_record_comes_back_and_what_is_not_there_has_its_default() -> None:
    whole = Whole(
        name="a", on=True, shape=(1, 2), options={"deep": [None, {"x": 1}]}, parts={"b": [Part(share=0.5)]}
    )
    assert read_record(Whole, json.loads(json.dumps(json_values(whole)))) == whole
    assert read_record(Whole, {"name": "a", "on": False, "later": 1}) == Whole(name="a", on=False)


def test_numbers_that_json_lacks_are_read_as_nan() -> None:
    plain = json_values(Part(share=math.inf))
    assert plain == {"share": None}
    assert math.isnan(read_record(Part, plain).share)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"count": 1}, "Expected name, on at the top, but got none"),
        ({"name": "a", "on": 1}, "Expected true or false at on, but got 1"),
        ({"name": "a", "on": True, "shape": [1]}, r"Expected a list of 2 at shape, but got \[1\]"),
        (
            {"name": "a", "on": True, "shape": [1, 2.5]},
            r"Expected a whole number at shape\[1\], but got 2\.5",
        ),
        ({"name": "a", "on": True, "count": None}, "Expected a whole number at count, but got null"),
        ({"name": "a", "on": True, "parts": {"b": [{}]}}, r"Expected share at parts\.b\[0\], but got none"),
        ([], r"Expected an object at the top, but got \[\]"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(value: object, said: str) -> None:
    with pytest.raises(FacelexError, match=said):
        read_record(Whole, value)
