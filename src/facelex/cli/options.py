"""Options and exit codes that verbs have in common."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from facelex.errors import FacelexError

if TYPE_CHECKING:
    from facelex.recognize.recognizer import Recognizer

DONE, FAILED, USERS_MISTAKE, STOPPED = 0, 1, 2, 130
"""Exit codes; the last, after Ctrl-C, as shells have it."""

flag = Parameter(negative="", show_default=False)
recursive_flag = Parameter(alias="-r", negative="", show_default=False)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Options of all verbs that recognise: which networks find the faces and read them."""

    model: str | None = None
    """An exported model.onnx, hf:owner/name, or one of the package: ferplus (answers as most people would),
    small or tiny, all faster; by default its largest, the most accurate on FER2013's labels."""
    detector: str = "auto"
    """Face detector: auto, centerface, dlib, yunet or none."""
    detector_model: Path | None = None
    """The detector's own ONNX file: for yunet, which needs one, or centerface."""
    threads: int | None = None
    """Threads of the network; by default the physical cores."""
    vocabulary: Path | None = None
    """GloVe file of the word vectors that the model was trained with, if not the packaged ones."""

    @property
    def files(self) -> list[str | Path]:
        """What they name that may be a file, so that nothing is written over it."""
        return [name for name in (self.model, self.detector_model, self.vocabulary) if name is not None]

    def create_recognizer(self, *, detect: bool = True) -> Recognizer:
        """Make the recogniser that they describe; without ``detect`` one for face crops."""
        from facelex.recognize.faces import create_detector
        from facelex.recognize.recognizer import Recognizer
        from facelex.vocabulary import Vocabulary

        detector = create_detector(
            self.detector if detect else "none", self.detector_model, threads=self.threads
        )
        vectors = None if self.vocabulary is None else Vocabulary.from_glove(self.vocabulary)
        return Recognizer(
            self.model, detector=detector, vocabulary=vectors, threads=self.threads, **self._answers()
        )

    def _answers(self) -> dict[str, Any]:
        """What else decides how the recogniser answers, as its own arguments."""
        return {}


@dataclass(frozen=True, kw_only=True)
class RecognizerOptions(NetworkOptions):
    """Options of verbs that name emotions: how the networks' answers become one as well."""

    flip: Annotated[bool, Parameter(negative="--no-flip", show_default=False)] = True
    """--no-flip: do not average each face with its mirror image; twice as quick."""
    unsure_below: float | None = None
    """Mark faces as unsure whose best probability is lower; by default the model's own threshold."""
    readable_from: float | None = None
    """Mark faces as unsure whose box has fewer pixels on its longer side; 24 by default."""

    def _answers(self) -> dict[str, Any]:
        answers = {"flip": self.flip, "unsure_below": self.unsure_below, "readable_from": self.readable_from}
        return {name: value for name, value in answers.items() if value is not None}


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


def check_jobs(jobs: int) -> None:
    """Refuse a number of jobs that is none.

    Raises:
        FacelexError: If it is below 1.
    """
    if jobs < 1:
        raise FacelexError(f"Expected --jobs of at least 1, but got {jobs}.")


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
