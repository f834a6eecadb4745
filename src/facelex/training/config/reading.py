"""Reading configurations: YAML found by name, single settings changed, every fault reported at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from facelex.errors import FacelexError, did_you_mean, unknown_name
from facelex.training.config.sections import LossConfig, PhaseConfig, RunConfig, Section

CONFIG_FOLDER = Path(__file__).parents[2] / "configs"


def list_configs() -> list[str]:
    """Names of the shipped configurations."""
    return sorted(path.stem for path in CONFIG_FOLDER.glob("*.yaml"))


def load_config(
    name_or_path: str | Path, overrides: Sequence[str] = (), *, data: str | None = None
) -> RunConfig:
    """Read a configuration and apply overrides.

    Args:
        name_or_path: A shipped name (``paper``, ``quick``, ``sketch``) or a YAML file.
        overrides: ``key.subkey=value`` strings; values are read as YAML, list items by their number.
        data: The dataset, in place of the configuration's; as it is, whatever letters YAML would read.

    Raises:
        FacelexError: If there is no such configuration, or listing everything that is wrong with it.
    """
    path = find_yaml(name_or_path, CONFIG_FOLDER, "config")
    raw = _unshared(read_mapping(path, "config"))
    faults: list[str] = []
    for override in overrides:
        try:
            _apply(raw, override)
        except FacelexError as error:
            faults.append(str(error))
    if data is not None:
        raw["data"] = data
    return validate_config(raw, path.name, faults)


def find_yaml(name_or_path: str | Path, folder: Path, kind: str) -> Path:
    """Return the YAML file that is meant: by its path, which may not exist, or a shipped one by its name.

    Args:
        name_or_path: A path ends in ``.yaml`` or ``.yml``.
        folder: Where the shipped ones lie.
        kind: What they are, for the message.

    Raises:
        FacelexError: If there is none of that name.
    """
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        return path
    shipped = {path.stem: path for path in folder.glob("*.yaml")}
    if str(name_or_path) not in shipped:
        error = unknown_name(kind, str(name_or_path), shipped)
        raise FacelexError(f"{error} Or give the path of a .yaml file.")
    return shipped[str(name_or_path)]


def read_mapping(path: Path, kind: str) -> dict[Any, Any]:
    """Read a YAML file of keys and values, none of them given twice.

    Args:
        path: The file.
        kind: What the file is, for the message.

    Raises:
        FacelexError: If it cannot be read or holds something else.
    """
    try:
        raw = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FacelexError(f"Cannot read the {kind} {path}: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FacelexError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(raw, dict):
        raise FacelexError(f"Expected {path} to hold keys and values, but got {type(raw).__name__}.")
    return raw


def validate_config(raw: dict[str, Any], where: str, faults: Sequence[str] = ()) -> RunConfig:
    """Make a configuration of plain values.

    Args:
        raw: Keys and values as in YAML.
        where: What to name in the message.
        faults: Found already, to be reported together with what is found here.

    Raises:
        FacelexError: Listing everything that is wrong.
    """
    faults = list(faults)
    try:
        config = RunConfig.model_validate(raw)
    except ValidationError as error:
        faults += [_sentence(dict(fault)) for fault in error.errors()]
    if len(faults) > 1:
        listed = "\n".join(f"- {fault}" for fault in faults)
        raise FacelexError(f"{where} has {len(faults)} faults:\n{listed}")
    if faults:
        raise FacelexError(f"{where}: {faults[0]}")
    return config


def _sentence(fault: dict[str, Any]) -> str:
    location = fault["loc"]
    key = ".".join(str(part) for part in location)
    if fault["type"] == "extra_forbidden":
        section = _section_at(location[:-1])
        known = list(section.model_fields) if section else []
        return f"Unknown key {key!r}.{did_you_mean(str(location[-1]), known)} Known here: {', '.join(known)}."
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing":
        return f"The key {key!r} is missing."
    if fault["type"] == "value_error":
        return f"{key}: {message}" if key else message
    if fault["type"] == "tuple_type":
        example = f" such as [{fault['input']}]" if isinstance(fault["input"], str) else ""
        return f"{key}: expected a list{example}, but got {fault['input']!r}."
    return f"{key}: {message[0].lower()}{message[1:]}, but got {fault['input']!r}."


def _section_at(location: Sequence[Any]) -> type[Section] | None:
    """Find the class of the section that a fault's location points into."""
    if not location:
        return RunConfig
    if location[0] == "methods":
        return LossConfig if "losses" in location else PhaseConfig
    field = RunConfig.model_fields.get(str(location[0]))
    annotation = field.annotation if field else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a mapping that gives a key twice, of which PyYAML would take the last without a word."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:  # as written: what "<<" brings in is merged later, and may repeat keys
            name, line = (key.tag, str(key.value)), key.start_mark.line + 1
            if name in lines and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.YAMLError(
                    f"the key {key.value!r} of line {line} is given on line {lines[name]} already; keep one"
                )
            lines[name] = line
        return node


def read_yaml(text: str) -> Any:
    """Read YAML; a key that stands twice in a mapping is an error.

    Raises:
        yaml.YAMLError: If it is none.
    """
    try:
        return yaml.load(text, Loader=_UniqueKeys)
    except (ValueError, TypeError, RecursionError) as error:  # a date that is none, a list as a key, ...
        raise yaml.YAMLError(str(error)) from error


def _unshared(node: Any) -> Any:
    """Copy what YAML's anchors share, so that an override changes one place and not its aliases."""
    if isinstance(node, dict):
        return {key: _unshared(value) for key, value in node.items()}
    return [_unshared(value) for value in node] if isinstance(node, list) else node


def override_config(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """Change single settings of a configuration.

    Args:
        config: What is changed.
        settings: Values by key, as ``--set`` names them.

    Raises:
        FacelexError: Listing everything that is wrong.
    """
    raw = config.model_dump(mode="json")
    faults: list[str] = []
    for key, value in settings.items():
        try:
            _set(raw, key, value)
        except FacelexError as error:
            faults.append(str(error))
    return validate_config(raw, ", ".join(settings), faults)


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise FacelexError(f"Expected an override like optimizer.lr=0.01, but got {override!r}.")
    try:
        value = read_yaml(text)
    except yaml.YAMLError as error:
        raise FacelexError(f"The value of {key!r} is not valid YAML: {text!r}.") from error
    if isinstance(value, str):
        with suppress(ValueError):  # YAML 1.1 reads 1e-4 as a string; people mean the number
            value = float(value)
    _set(raw, key, value)


def _set(raw: dict[str, Any], key: str, value: Any) -> None:
    node: Any = raw
    *parents, last = key.split(".")
    if parents[:1] == ["methods"] and parents[1:]:
        _check_method(raw.get("methods"), parents[1])
    for part in parents:
        node = _child(node, part, key)
    if isinstance(node, list):
        node[_position(node, last, key)] = value
    elif isinstance(node, dict):
        node[_mapping_key(node, last)] = value
    else:
        raise FacelexError(f"Cannot set {key!r}: {'.'.join(parents)!r} is a single value.")


def _check_method(methods: Any, name: str) -> None:
    """Only whole methods can be added: to make a mapping of an unknown one would hide the slip."""
    if isinstance(methods, dict) and _mapping_key(methods, name) not in methods:
        raise unknown_name("method", name, map(str, methods))


def _child(node: Any, part: str, key: str) -> Any:
    place: Any
    if isinstance(node, list):
        place = _position(node, part, key)
    elif isinstance(node, dict):
        place = _mapping_key(node, part)
        node.setdefault(place)
    else:
        raise FacelexError(f"Cannot set {key!r}: what stands before {part!r} is a single value.")
    if node[place] is None:
        node[place] = {}
    return node[place]


def _position(node: list[Any], part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise FacelexError(f"Expected a position 0 to {len(node) - 1} in {key!r}, but got {part!r}.")
    return int(part)


def _mapping_key(node: dict[Any, Any], part: str) -> Any:
    for existing in node:  # image_sizes has numbers as keys
        if str(existing) == part:
            return existing
    return part
