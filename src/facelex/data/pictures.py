"""Read one image file as a small grey square."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm"})
"""Endings of the files that are read from folders."""


class UnreadableImageError(Exception):
    """A file is no image, is damaged, or is larger than any photo."""


def read_grey(path: Path, size: int) -> NDArray[np.uint8]:
    """Read an image as grey levels, ``(size, size)`` uint8 in [0, 255].

    The camera's rotation is applied, transparency is put on white, 16-bit grey is scaled to 8 bits, and a
    picture that is not square is cropped to its middle square. A grey image of that size keeps its pixels.

    Raises:
        UnreadableImageError: With the reason in a few words.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                grey = _grey(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImageError("too many pixels") from error
    except Image.UnidentifiedImageError as error:
        raise UnreadableImageError(
            "not an image, or damaged" if path.stat().st_size else "empty file"
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        raise UnreadableImageError(str(error) or type(error).__name__) from error
    if grey.size != (size, size):
        grey = ImageOps.fit(grey, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(grey, np.uint8)


def _grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; convert("L") would cut everything above 255
        return Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("L")
    return image.convert("L")
