"""Write docs/configuration.md from the configuration classes: ``python tools/describe_config.py``.

Names, allowed values, defaults and sentences are those of `facelex.training.config`, so the page says what a
run accepts; a test fails until it is written anew.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import yaml

from facelex.models.registry import list_image_encoders
from facelex.training.config import (
    CONFIG_FOLDER,
    AugmentConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
    Section,
    list_configs,
)

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"

SECTIONS: dict[str, type[Section]] = {
    "": RunConfig,
    "model.": ModelConfig,
    "augment.": AugmentConfig,
    "optimizer.": OptimizerConfig,
    "schedule.": ScheduleConfig,
    "methods.METHOD.NUMBER.": PhaseConfig,
    "methods.METHOD.NUMBER.losses.": LossConfig,
}

INTRODUCTION = """
# Every setting of a run

Written by `python tools/describe_config.py` from the classes that check configurations; do not edit it.

A configuration is a YAML file with these keys: a shipped one by its name, `facelex train --config
quick`, or your own by its path. `--set` changes one key, as often as you like: `--set
optimizer.lr=0.01`. Values are read as YAML, entries of lists are named by their number: `--set
methods.multimodal.1.epochs=40`. A key without a default has to be given. What phases are, and how
methods differ: [training](training.md).
"""

ENCODERS = """
## Networks for faces

`model.image_encoder` is one of {names}, or `timm:NAME` for any backbone of timm, with random first weights:
`--set model.image_encoder=timm:mobilenetv4_conv_small`. `paper`'s four are `vgg11`, `vgg16`, `resnet18` and
`resnet50`; `slim_s`, `slim_m` and `slim_l` are small plain stacks, the shipped network is a thinner `vgg16`;
`tiny_cnn` is for tests.
"""


def describe_config() -> str:
    """Return the whole page."""
    names = ", ".join(f"`{name}`" for name in list_image_encoders())
    parts = [_unwrapped(INTRODUCTION), _shipped(), _unwrapped(ENCODERS.format(names=names))]
    parts += [_section(prefix, section) for prefix, section in SECTIONS.items()]
    return "\n\n".join(parts) + "\n"


def _shipped() -> str:
    rows = []
    for name in list_configs():
        raw = yaml.safe_load((CONFIG_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
        rows.append(f"| `{name}` | {raw['description']} | {', '.join(raw['methods'])} |")
    return "\n".join(["## Shipped configurations", "", "| name | what | methods |", "|---|---|---|", *rows])


def _section(prefix: str, section: type[Section]) -> str:
    title = f"`{prefix.rstrip('.')}`" if prefix else "The run"
    schema = section.model_json_schema()
    required = set(schema.get("required", ()))
    shown = "" if prefix.startswith("methods.") else prefix
    rows = [
        f"| `{shown}{name}` | {_values(field, schema)} | {'' if name in required else _default(field)} "
        f"| {_one_line(field.get('description', ''))} |"
        for name, field in schema["properties"].items()
        if not _is_section(field, schema)
    ]
    head = [f"## {title}", "", inspect.cleandoc(section.__doc__ or ""), ""]
    return "\n".join([*head, "| key | values | default | what |", "|---|---|---|---|", *rows])


def _is_section(field: dict[str, Any], schema: dict[str, Any]) -> bool:
    """Whether a field has a table of its own."""
    return "$ref" in field and field["$ref"].rpartition("/")[2] in schema.get("$defs", {})


def _values(field: dict[str, Any], schema: dict[str, Any]) -> str:
    """What a field accepts, in words."""
    if "anyOf" in field:
        return " or ".join(_values(option, schema) for option in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("const") is not None:
        return f"`{field['const']}`"
    if field.get("type") == "array":
        items = field.get("items") or (field.get("prefixItems") or [{}])[0]
        return f"list of {_values(items, schema)}"
    if field.get("type") == "object":
        return "mapping"
    if "$ref" in field:
        return "section"
    names = {"number": "number", "integer": "whole number", "string": "text", "boolean": "true, false"}
    return names.get(field.get("type", ""), "`null`") + _range(field)


def _range(field: dict[str, Any]) -> str:
    low = [f"≥ {field['minimum']:g}"] if "minimum" in field else []
    low += [f"> {field['exclusiveMinimum']:g}"] if "exclusiveMinimum" in field else []
    high = [f"≤ {field['maximum']:g}"] if "maximum" in field else []
    high += [f"< {field['exclusiveMaximum']:g}"] if "exclusiveMaximum" in field else []
    return f" {', '.join(low + high)}" if low or high else ""


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return "`null`" if default is None else f"`{json.dumps(default)}`" if default != "" else "empty"


def _unwrapped(text: str) -> str:
    """One line a paragraph."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def _one_line(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


if __name__ == "__main__":
    PAGE.write_text(describe_config(), encoding="utf-8")
    print(f"wrote {PAGE.name}")
