"""Errors that tell a user what was expected, what came and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType


class FacelexError(Exception):
    """A mistake of the caller: bad input, an unknown name, a missing file.

    The message is one clear sentence (or several faults, one a line). The command line prints it without
    a traceback and exits with code 2; any other exception is a bug of ours.
    """


class MissingExtraError(FacelexError):
    """A verb or function needs an optional package that is not installed or cannot be loaded."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest known spelling, or an empty string if none is near."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def shorten(text: str) -> str:
    """Return what a message repeats of a user's text: all of it up to 200 characters, else its two ends."""
    return text if len(text) <= 200 else f"{text[:120]}...{text[-40:]}"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> FacelexError:
    """Build the error for a name that is not among the ``known`` ones.

    Example:
        >>> str(unknown_name("image encoder", "resnt18", ["resnet18", "vgg11"]))
        "Unknown image encoder 'resnt18'. Did you mean 'resnet18'? Known: resnet18, vgg11."
    """
    names = sorted(known)
    hint = did_you_mean(name, names)
    return FacelexError(f"Unknown {kind} {shorten(name)!r}.{hint} Known: {', '.join(names)}.")


def printable(text: str) -> str:
    r"""Return text with its control characters, but for line ends, written out: ``\x1b``.

    A file's name may hold any, and a terminal would obey them.
    """
    return text.translate(_WRITTEN_OUT)


def one_line(text: str) -> str:
    r"""Return text as `printable` does, its line ends written out as well: ``\x0a``."""
    return printable(text).translate(_LINE_ENDS)


_WRITTEN_OUT = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) != "\n"}
_LINE_ENDS = {ord(end): f"\\x{ord(end):02x}" for end in "\n\u2028\u2029"}


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional ``module``, or say which extra brings it, or why it cannot be loaded.

    Args:
        module: Dotted module name, for example ``"matplotlib.pyplot"``.
        extra: The extra of facelex that installs it, for example ``"report"``.
        purpose: What needs it, as a noun phrase that begins the sentence, for example ``"Drawing figures"``.

    Raises:
        MissingExtraError: If the module cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and error.name in (package, None):
            raise MissingExtraError(
                f"{purpose} needs the package {package!r}, which is not installed. "
                f"Install it with: pip install 'facelex[{extra}]'"
            ) from error
        raise MissingExtraError(
            f"{purpose} needs the package {package!r}, which is installed but cannot be loaded: {error}. "
            f"Install what it misses, or all of it again: pip install --force-reinstall 'facelex[{extra}]'"
        ) from error
