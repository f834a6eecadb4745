"""Dataclasses as the plain values of a JSON file, and back.

The keys of the JSON objects are the fields of the classes, in their order. NaN and infinity, which JSON
lacks, are written as ``null`` and read as NaN.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from facelex.errors import FacelexError


def json_values(value: Any) -> Any:
    """Return plain values for JSON: records as dictionaries without what is None in them."""
    if is_dataclass(value):
        held = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: json_values(item) for name, item in held.items() if item is not None}
    if isinstance(value, Mapping):
        return {str(key): json_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_record(kind: Any, value: object, place: str = "") -> Any:
    """Read a value of a type; keys of a record that the type does not know are passed over.

    Args:
        kind: A dataclass of numbers, texts, truth values, lists, tuples, dictionaries with texts as keys,
            further dataclasses, unions of one of them and None, and what may be anything.
        value: As ``json.loads`` returns it.
        place: Where it lies, for messages: ``views.flip.official``.

    Raises:
        FacelexError: If something without a default is missing, or anything is of another type.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is UnionType:  # of a type and None
        return None if value is None else read_record(inner[0], value, place)
    if origin is list and isinstance(value, list):
        return [read_record(inner[0], item, f"{place}[{i}]") for i, item in enumerate(value)]
    if origin is tuple and isinstance(value, list) and len(value) == len(inner):
        return tuple(
            read_record(kind, item, f"{place}[{i}]") for i, (kind, item) in enumerate(zip(inner, value))
        )
    if origin is dict and isinstance(value, dict):
        return {key: read_record(inner[1], item, _inside(place, key)) for key, item in value.items()}
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
        types = get_type_hints(kind)
        missing = [one.name for one in fields(kind) if one.name not in value and not _has_default(one)]
        if missing:
            raise FacelexError(f"Expected {', '.join(missing)} at {place or 'the top'}, but got none.")
        known = (name for name in types if name in value)
        return kind(**{name: read_record(types[name], value[name], _inside(place, name)) for name in known})
    if kind is float and value is None:
        return math.nan
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    names = {float: "a number", int: "a whole number", str: "text", bool: "true or false", list: "a list",
             tuple: f"a list of {len(inner)}"}  # fmt: skip
    wanted = names.get(origin or kind, "an object")
    raise FacelexError(
        f"Expected {wanted} at {place or 'the top'}, but got {json.dumps(value, default=str)[:40]}."
    )


def _has_default(field: Any) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _inside(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def read_json_object(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON object, an empty dictionary where there is no file.

    Args:
        path: The file.
        remedy: What to do if it is damaged, as a sentence.

    Raises:
        FacelexError: If the file is no JSON object.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FacelexError(
            f"Expected {path} to hold JSON, but it cannot be read: {error}. {remedy}"
        ) from error
    if not isinstance(found, dict):
        raise FacelexError(f"Expected {path} to hold a JSON object, but got {type(found).__name__}. {remedy}")
    return found
