"""Options and exit codes that verbs have in common."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import Parameter

from facelex.errors import FacelexError

if TYPE_CHECKING:
    from facelex.recognize.recognizer import Recognizer

DONE, FAILED, USERS_MISTAKE, STOPPED = 0, 1, 2, 130
"""Exit codes; the last, after Ctrl-C, as shells have it."""

flag = Parameter(negative="", show_default=False)
recursive_flag = Parameter(alias="-r", negative="", show_default=False)


def redaction_asked(redact: bool, style: str | None, target: Path | None, option: str) -> str | None:
    """Return the style that --redact and --redact-style ask for, None for none.

    Args:
        redact: Whether --redact is given.
        style: What --redact-style says.
        target: Where the pictures go that it concerns.
        option: The option that says so, for the message: ``--annotate DIR``.

    Raises:
        FacelexError: If there is nothing that it could concern.
    """
    if redact and target is None:
        raise FacelexError(f"Expected {option} with --redact, which concerns what is written there.")
    if style and not redact:
        raise FacelexError("Expected --redact with --redact-style: without it the faces stay as they are.")
    return style or "blur" if redact else None


def create_recognizer(
    model: str | None, detector: str, detector_model: Path | None, vocabulary: Path | None, **options: Any
) -> Recognizer:
    """Make what the options of a verb describe; ``options`` go to `Recognizer` as they are."""
    from facelex.recognize.faces import create_detector
    from facelex.recognize.recognizer import Recognizer
    from facelex.vocabulary import Vocabulary

    found = create_detector(detector, detector_model, threads=options.get("threads"))
    vectors = None if vocabulary is None else Vocabulary.from_glove(vocabulary)
    return Recognizer(model, detector=found, vocabulary=vectors, **options)


def set_torch_threads(threads: int | None) -> None:
    """Let PyTorch, where it is installed, use so many threads of the CPU; None leaves it all cores.

    Raises:
        FacelexError: If that is none.
    """
    if threads is None:
        return
    if threads < 1:
        raise FacelexError(f"Expected --threads of at least 1, but got {threads}.")
    if find_spec("torch"):
        import torch

        torch.set_num_threads(threads)
