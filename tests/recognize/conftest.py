"""Fixtures of the recognition tests; their parts are in `tiny_recognition`."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_recognition import FixedDetector, TinyVocabulary, write_model

from facelex.recognize.recognizer import Recognizer

if TYPE_CHECKING:
    from drawn_video import BrightSquares


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a model with words."""
    return write_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="session")
def wordless_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a model without words."""
    return write_model(tmp_path_factory.mktemp("model") / "wordless.onnx", words=False)


@pytest.fixture(scope="session")
def recognizer(tiny_model: Path) -> Recognizer:
    """A recogniser that finds two faces in every picture."""
    detector = FixedDetector((0.1, 0.2, 0.3, 0.4), (0.5, 0.3, 0.3, 0.5))
    return Recognizer(tiny_model, detector=detector, threads=1, vocabulary=TinyVocabulary())  # type: ignore[arg-type]


@pytest.fixture
def squares() -> BrightSquares:
    """A detector of drawn faces."""
    from drawn_video import BrightSquares

    return BrightSquares()


@pytest.fixture
def finder(tiny_model: Path, squares: BrightSquares) -> Recognizer:
    """A recogniser that finds the drawn faces."""
    return Recognizer(tiny_model, detector=squares, threads=1, vocabulary=TinyVocabulary())  # type: ignore[arg-type]


@pytest.fixture
def photo() -> NDArray[np.uint8]:
    """A noisy colour picture, 90 high and 120 wide."""
    return np.random.default_rng(3).integers(0, 256, (90, 120, 3), dtype=np.uint8)


@pytest.fixture
def save_picture(tmp_path: Path) -> Callable[..., Path]:
    """Write pixels to ``tmp_path / name`` through Pillow."""
    from PIL import Image

    def save(pixels: NDArray, name: str, **options: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, **options)
        return path

    return save


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make a folder one that may not be read, also to root."""

    def lock(folder: Path) -> None:
        def guarded(path: object = ".") -> object:
            if isinstance(path, (str, Path)) and Path(path).absolute() == folder:
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return scandir(path)

        scandir = os.scandir
        monkeypatch.setattr(os, "scandir", guarded)

    return lock
