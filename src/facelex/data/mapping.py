"""Other names for classes: ``joy=happy,contempt=ignore``."""

from __future__ import annotations

from collections.abc import Mapping

from facelex.errors import FacelexError

IGNORE = "ignore"
"""As a class of the mapping: leave the examples out."""


def parse_mapping(text: str | None) -> dict[str, str]:
    """Read ``"joy=happy,contempt=ignore"``: the data's class names and what they are, or ``ignore``.

    Raises:
        FacelexError: If it is something else.
    """
    mapping: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in (text or "").split(","))):
        name, equals, target = (part.strip() for part in item.partition("="))
        if not (name and equals and target):
            raise FacelexError(
                f"Expected --map as name=class pairs such as 'joy=happy,contempt=ignore', but got {item!r}."
            )
        mapping[name] = target
    return mapping


def lowered(mapping: Mapping[str, str] | None) -> dict[str, str]:
    """The mapping by names in lower case, as names are compared."""
    return {name.lower(): target for name, target in (mapping or {}).items()}
