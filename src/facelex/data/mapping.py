"""Other names: for classes, ``joy=happy,contempt=ignore``, and for the columns of a list."""

from __future__ import annotations

from collections.abc import Mapping

from facelex.errors import FacelexError

IGNORE = "ignore"
"""As a class of the mapping: leave the examples out."""

COLUMN_ROLES = ("image", "label", "split", "x", "y", "width", "height")
"""What the columns of a list of images hold, by the names that they need not be told under."""


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


def parse_columns(text: str | None) -> dict[str, str]:
    """Read ``"image=photo,label=mood"``: what a list's column holds, and its name or number.

    Returns:
        Names in lower case, as columns are compared.

    Raises:
        FacelexError: If it is something else.
    """
    columns: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in (text or "").split(","))):
        role, _, name = (part.strip().lower() for part in item.partition("="))
        if role not in COLUMN_ROLES or not name or role in columns:
            raise FacelexError(
                "Expected --columns as pairs such as 'image=photo,label=mood', each once, of "
                f"{', '.join(COLUMN_ROLES)} and the column's name or number, but got {item!r}."
            )
        columns[role] = name
    return columns


def column_name(name: str | int) -> str:
    """A column's name, or its number, as columns are compared: case and spaces around it do not matter."""
    return str(name).strip().lower()


def lowered(mapping: Mapping[str, str] | None) -> dict[str, str]:
    """The mapping by names in lower case, as names are compared."""
    return {name.lower(): target for name, target in (mapping or {}).items()}
