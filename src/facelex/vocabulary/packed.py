"""The packaged vocabulary's file: small on disk, quick to read.

A unit vector's numbers are rounded to a multiple of one step and kept as int8 codes; Huffman coding (deflate
without string matching, which only costs here) then takes about 4.6 bits for each. An ``.npz`` holds

* ``words`` uint8: the words in UTF-8, one a line, deflated,
* ``codes`` uint8: the codes ``(N, D)`` int8, row by row, deflated,
* ``dim`` int64 and ``name`` str.

The step itself is not needed again, since only directions matter.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError
from facelex.npz import read_npz


def load_packed(path: Path) -> tuple[list[str], NDArray[np.int8], str]:
    """Read words, codes ``(N, D)`` and the vectors' name from a packed file.

    Raises:
        FacelexError: If the file is missing or damaged.
    """
    try:
        arrays = read_npz(path)
        words = zlib.decompress(arrays["words"].data).decode("utf-8").split("\n")
        codes = np.frombuffer(zlib.decompress(arrays["codes"].data), dtype=np.int8)
        return words, codes.reshape(len(words), int(arrays["dim"])), str(arrays["name"])
    except (OSError, KeyError, ValueError, zlib.error) as error:
        raise FacelexError(
            f"Cannot read the vocabulary {path.name}: {error}. Install facelex again."
        ) from error


def save_packed(
    path: Path, words: Sequence[str], vectors: NDArray[np.floating], name: str, step: float
) -> None:
    """Write a packed file, beside its place first.

    Args:
        path: Where to.
        words: ``N`` words without line breaks.
        vectors: ``(N, D)``; their lengths are not kept.
        name: What the vectors are.
        step: Size of one code, at unit length. Larger is smaller on disk and coarser.
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    codes = np.rint(unit / step)
    if np.abs(codes).max() > 127:
        raise FacelexError(f"Expected a step that keeps the codes within int8, but {step} is too small.")
    beside = path.with_name(f"{path.name}.partial.npz")
    np.savez(
        beside,
        words=np.frombuffer(zlib.compress("\n".join(words).encode(), level=9), dtype=np.uint8),
        codes=np.frombuffer(_huffman(codes.astype(np.int8).tobytes()), dtype=np.uint8),
        dim=np.int64(vectors.shape[1]),
        name=np.str_(name),
    )
    beside.replace(path)


def _huffman(data: bytes) -> bytes:
    packer = zlib.compressobj(level=9, memLevel=9, strategy=zlib.Z_HUFFMAN_ONLY)
    return packer.compress(data) + packer.flush()


def fingerprint(words: Sequence[str], codes: NDArray[np.int8]) -> str:
    """Return the SHA-256 over words and codes: what the file says, whichever zlib packed it."""
    digest = hashlib.sha256("\n".join(words).encode())
    digest.update(np.ascontiguousarray(codes).tobytes())
    return digest.hexdigest()


def words_digest(words: Sequence[str]) -> str:
    """Return the SHA-256 over the words alone."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()
