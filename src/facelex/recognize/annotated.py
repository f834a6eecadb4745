"""A folder of annotated pictures: names that never meet an input or each other."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from PIL import Image

from facelex.errors import FacelexError
from facelex.files import cut_name, replacing
from facelex.recognize.drawing import annotate
from facelex.recognize.redaction import redaction_style
from facelex.recognize.results import ImageResult
from facelex.recognize.sources import is_url

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
STEM_BYTES = 200
"""Of the 255 that a name may have in UTF-8; the rest is for ``-faces-12.png``."""


class FreeNames:
    """Names for annotated files, ``STEM-faces.jpg``, ``STEM-faces-2.jpg``, that meet no input or other."""

    def __init__(self, folder: Path, inputs: Iterable[str]) -> None:
        """Begin without any.

        Args:
            folder: Where the files go.
            inputs: Paths that must stay as they are.
        """
        self._folder = folder
        # compared without case: on some file systems a.png and A.png are one file
        self._taken = {os.path.realpath(path).casefold() for path in inputs if not is_url(path)}
        self._counts: dict[str, int] = {}
        """How often each name was given, for thousands of pictures may be called the same."""

    def take(self, stem: str, suffix: str) -> Path:
        """Return the next free name after ``stem``."""
        stem = cut_name(stem, STEM_BYTES)
        plain = f"{stem}{suffix}".casefold()
        while True:
            self._counts[plain] = count = self._counts.get(plain, 0) + 1
            number = "" if count == 1 else f"-{count}"
            path = self._folder / f"{stem}-faces{number}{suffix}"
            key = os.path.realpath(path).casefold()
            if key not in self._taken:
                self._taken.add(key)
                return path


class AnnotatedFolder:
    """Writes ``NAME-faces.jpg`` (``.png`` for what was no JPEG) for each picture."""

    def __init__(
        self, folder: str | os.PathLike[str], inputs: Iterable[str], *, redact: str | bool | None = None
    ) -> None:
        """Create the folder if need be.

        Args:
            folder: Where the pictures go.
            inputs: Paths that must stay as they are.
            redact: ``"blur"`` (or True) or ``"pixelate"`` to make the faces unrecognisable.

        Raises:
            FacelexError: If the folder cannot be created, or the style is not known.
        """
        self._redact = redaction_style(redact)
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FacelexError(
                f"Could not create the folder {str(folder)!r}: {error.strerror}. Choose another place."
            ) from error
        self.folder = folder
        self._names = FreeNames(folder, inputs)

    def pass_over(self, source: str) -> None:
        """Leave the next name after a picture's to what an earlier call has written for it."""
        self._free_path(source)

    def save(self, result: ImageResult) -> Path:
        """Draw one result, made with ``keep_images=True``, and return the file.

        Raises:
            FacelexError: If the file cannot be written.
        """
        assert result.image is not None
        path = self._free_path(result.source)
        picture = annotate(result.image, result.faces, redact=self._redact)
        with replacing(path) as part:
            encode(picture, part, path.suffix)
        return path

    def _free_path(self, source: str) -> Path:
        name = Path(unquote(urlsplit(source).path) if is_url(source) else source)
        suffix = ".jpg" if name.suffix.lower() in JPEG_SUFFIXES else ".png"
        return self._names.take(name.stem or "picture", suffix)


def encode(picture: Image.Image, target: Path | IO[bytes], suffix: str) -> None:
    """Write a picture as JPEG for ``.jpg``, else as PNG.

    From pixels alone: no EXIF position or thumbnail of the original comes along.
    """
    if suffix == ".jpg":
        picture.save(target, "JPEG", quality=92, subsampling=0)
    else:
        picture.save(target, "PNG")
