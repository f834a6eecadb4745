"""Facial emotion recognition with word embeddings: seven labels, or any words you type."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facelex.errors import FacelexError
    from facelex.recognize.recognizer import Recognizer
    from facelex.recognize.results import Face, ImageResult
    from facelex.vocabulary import Vocabulary

# ONNX Runtime's own builds send events of their use to Microsoft unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = ["Face", "FacelexError", "ImageResult", "Recognizer", "Vocabulary", "__version__"]

_HOME = {
    "Face": "facelex.recognize.results",
    "FacelexError": "facelex.errors",
    "ImageResult": "facelex.recognize.results",
    "Recognizer": "facelex.recognize.recognizer",
    "Vocabulary": "facelex.vocabulary",
}

if not TYPE_CHECKING:  # a type checker would take every name for one of ours

    def __getattr__(name: str) -> object:  # keeps `import facelex` quick: a name is loaded when first used
        if name in _HOME:
            from importlib import import_module

            return getattr(import_module(_HOME[name]), name)
        raise AttributeError(f"module 'facelex' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
