"""Image encoders by name: a configuration holds the name, so moving a module breaks nobody's run.

An image encoder is an ``nn.Module`` with an attribute ``num_features`` whose ``forward`` takes normalised
pictures ``(B, in_channels, H, W)``, 24 pixels or more a side, and returns ``(B, num_features)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from torch import nn

from facelex.errors import FacelexError, did_you_mean, unknown_name

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])

TIMM_PREFIX = "timm:"

_ENCODER_MODULES = ("facelex.models.vgg", "facelex.models.resnet", "facelex.models.small")
_BUILDERS: dict[str, Callable[..., nn.Module]] = {}


def register_image_encoder(builder: Builder) -> Builder:
    """Register ``builder`` under its function name; use as a decorator.

    A builder takes keyword arguments only, among them ``in_channels``, and returns an image encoder. A module
    of your own has to be imported before its encoder can be created.

    Raises:
        ValueError: If another builder has that name already.
    """
    name = builder.__name__
    if name in _BUILDERS:
        raise ValueError(
            f"The image encoder {name!r} is registered already, by {_BUILDERS[name].__module__}. "
            "Give the new builder another name."
        )
    _BUILDERS[name] = builder
    return builder


def list_image_encoders() -> list[str]:
    """Return the registered names, sorted; any ``timm:NAME`` works besides."""
    _import_encoders()
    return sorted(_BUILDERS)


def create_image_encoder(name: str, *, in_channels: int = 1, **kwargs: Any) -> nn.Module:
    """Build an image encoder with random first weights (PyTorch's global generator).

    Args:
        name: A registered name, or ``timm:NAME`` for any backbone of timm, for example
            ``timm:mobilenetv4_conv_small``.
        in_channels: Channels of the pictures; 1 for grey.
        **kwargs: Further options of that encoder's builder, or of ``timm.create_model``.

    Returns:
        A module from ``(B, in_channels, H, W)`` to ``(B, num_features)``.

    Raises:
        FacelexError: If the name or an option is unknown, or an option's value is of the wrong kind.

    Example:
        >>> create_image_encoder("vgg11").num_features
        512
    """
    if in_channels < 1:
        raise FacelexError(
            f"Expected in_channels of 1 or more, but got {in_channels}. Use 1 for grey pictures."
        )
    check_image_encoder(name)
    if name.startswith(TIMM_PREFIX):
        from facelex.models.timm_encoder import TimmEncoder

        return TimmEncoder(name.removeprefix(TIMM_PREFIX), in_channels=in_channels, **kwargs)
    builder = _BUILDERS[name]
    _check_options(name, builder, kwargs)
    return builder(in_channels=in_channels, **kwargs)


def check_image_encoder(name: str) -> None:
    """Raise if `create_image_encoder` does not know ``name``, without building anything.

    Raises:
        FacelexError: If the name is unknown.
    """
    if name.startswith(TIMM_PREFIX):
        from facelex.models.timm_encoder import check_timm_name

        check_timm_name(name.removeprefix(TIMM_PREFIX))
        return
    _import_encoders()
    if name not in _BUILDERS:
        raise unknown_name("image encoder", name, [*_BUILDERS, f"{TIMM_PREFIX}NAME"])


def _import_encoders() -> None:
    for module in _ENCODER_MODULES:
        import_module(module)


def _check_options(name: str, builder: Callable[..., nn.Module], options: dict[str, Any]) -> None:
    parameters = inspect.signature(builder).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = sorted(parameter for parameter in parameters if parameter != "in_channels")
    for option, value in options.items():
        if option not in known:
            raise FacelexError(
                f"The image encoder {name!r} has no option {option!r}.{did_you_mean(option, known)} "
                f"Known: {', '.join(known) or 'none besides in_channels'}."
            )
        default = parameters[option].default
        if isinstance(default, bool | int | float) and not isinstance(value, bool | int | float):
            expected = "true or false" if isinstance(default, bool) else "a number"
            raise FacelexError(
                f"Expected the option {option!r} of the image encoder {name!r} to be {expected}, "
                f"but got {value!r}."
            )
