"""Facial emotion recognition with word embeddings: seven labels, or any words you type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facelex.recognize.recognizer import Recognizer
    from facelex.recognize.results import Face, ImageResult
    from facelex.vocabulary import Vocabulary

__version__ = "0.1.0"
__all__ = ["Face", "ImageResult", "Recognizer", "Vocabulary", "__version__"]

_HOME = {
    "Face": "facelex.recognize.results",
    "ImageResult": "facelex.recognize.results",
    "Recognizer": "facelex.recognize.recognizer",
    "Vocabulary": "facelex.vocabulary",
}


def __getattr__(name: str) -> Any:  # keeps `import facelex` quick: each public name is loaded when first used
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'facelex' has no attribute {name!r}")
