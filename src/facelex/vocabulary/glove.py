"""GloVe text files, ``word number number ...`` a line, plain or inside .zip, .xz or .gz.

Format: Pennington, Socher and Manning 2014, https://nlp.stanford.edu/projects/glove/ . The header line of
word2vec's and fastText's text files ("400000 100") is understood too.
"""

from __future__ import annotations

import gzip
import lzma
import zipfile
import zlib
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from facelex.errors import FacelexError, unknown_name

MAX_LINE_BYTES = 100_000
"""Longest line accepted: far above 300 numbers, and no bound on memory is left to the file."""

_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile)


def read_glove(path: Path, limit: int | None = None) -> tuple[list[str], NDArray[np.float32], str]:
    """Read words and vectors from a GloVe text file.

    Args:
        path: The file. ``.xz`` and ``.gz`` are unpacked while reading. A ``.zip`` must hold one text file, or
            the path goes on inside it: ``glove.6B.zip/glove.6B.100d.txt``.
        limit: Stop after this many words.

    Returns:
        Words, vectors ``(N, D)`` as in the file, and a name for them: the file's, without its endings. Of a
        word that comes twice the first vector is kept.

    Raises:
        FacelexError: If the file is missing, damaged, empty, or a line does not have the width of the first
            one, has something else than numbers, or has no direction (all zeros); the line is named. Also if
            there are fewer words than word2vec's header says.
    """
    words: dict[str, None] = {}
    numbers = array("f")
    dim = 0
    name = vector_name(path)
    announced = line_number = 0
    for line_number, line in _numbered_lines(path):
        if limit is not None and len(words) >= limit:
            break
        fields = line.rstrip().split(" ")
        if line_number == 1 and len(fields) == 2 and all(field.isdigit() for field in fields):
            announced = int(fields[0])  # word2vec's header: number of words, dimension
            continue
        if not dim:
            dim = len(fields) - 1
        place = f"{path.name}, line {line_number}"
        values = _numbers(fields, dim, place)
        word = " ".join(fields[:-dim])
        if word not in words:
            words[word] = None
            numbers.extend(values)
    if not words:
        raise FacelexError(f"Expected GloVe vectors in {path.name}, one word a line, but the file has none.")
    if line_number - 1 < announced and (limit is None or len(words) < limit):
        raise FacelexError(
            f"Expected {announced} words in {path.name}, as its first line says, but it ends after "
            f"{line_number - 1}. The file is cut short: fetch it again."
        )
    return list(words), np.frombuffer(numbers, dtype=np.float32).reshape(len(words), dim), name


def _numbers(fields: list[str], dim: int, place: str) -> list[float]:
    """Parse the last ``dim`` fields; the word before them may hold spaces, as some of GloVe 840B's do."""
    word, texts = fields[:-dim] if dim else [], fields[-dim:]
    if dim < 1 or not word or any(_is_number(part) for part in word[1:]):
        raise FacelexError(
            f"Expected a word and {dim or 'some'} numbers a line, as in GloVe text files, but {place} has "
            f"{len(fields)} fields. The file may be cut short or not be GloVe's."
        )
    try:
        values = [float(text) for text in texts]
    except ValueError:
        bad = next(text for text in texts if not _is_number(text))
        raise FacelexError(f"Expected {dim} numbers after the word, but {place} has {bad[:40]!r}.") from None
    size = sum(value * value for value in values)
    if not 0 < size < 1e30:  # also catches nan and infinity
        raise FacelexError(
            f"Expected a vector with a direction, but that of {' '.join(word)[:40]!r} ({place}) is all "
            "zeros or has a number that is not finite. Remove the line."
        )
    return values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line with its number from 1, without the empty ones at the end."""
    empty: tuple[int, str] | None = None  # the first of those since the last line that was not
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            empty = empty or (number, line)
            continue
        if empty:
            yield empty
            empty = None
        yield number, line


def _lines(path: Path) -> Iterator[str]:
    line_number = 0
    try:
        with _open(path) as stream:
            while raw := stream.readline(MAX_LINE_BYTES):
                line_number += 1
                if len(raw) == MAX_LINE_BYTES:
                    raise FacelexError(
                        f"Expected a word and its numbers a line, but {path.name}, line {line_number} is "
                        f"longer than {MAX_LINE_BYTES} bytes. The file is not GloVe's text format."
                    )
                yield raw.decode("utf-8-sig" if line_number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise FacelexError(
            f"Expected text in UTF-8, but {path.name}, line {line_number} is not. "
            "The file is not GloVe's text format."
        ) from None
    except _DAMAGED as error:
        raise FacelexError(
            f"The file {path.name} is damaged or cut short after line {line_number} ({error}). "
            "Fetch it again."
        ) from error
    except FileNotFoundError as error:
        raise FacelexError(
            f"Expected word vectors in {path}, but there is no such file. Name a GloVe text file."
        ) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: an encrypted zip
        reason = getattr(error, "strerror", None) or error
        raise FacelexError(f"Cannot read the vectors {path}: {reason}.") from error


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    archive = next((parent for parent in path.parents if parent.suffix == ".zip" and parent.is_file()), None)
    with ExitStack() as stack:
        if archive is not None or path.suffix == ".zip":
            zipped = stack.enter_context(zipfile.ZipFile(archive or path))
            member = path.relative_to(archive).as_posix() if archive else None
            yield stack.enter_context(zipped.open(_member(zipped, path, member)))
        elif path.suffix == ".xz":
            yield stack.enter_context(lzma.open(path, "rb"))
        elif path.suffix == ".gz":
            yield cast(IO[bytes], stack.enter_context(gzip.open(path, "rb")))
        else:
            yield stack.enter_context(path.open("rb"))


def _member(zipped: zipfile.ZipFile, path: Path, member: str | None) -> str:
    texts = [name for name in zipped.namelist() if Path(name).suffix in (".txt", ".vec")]
    if member is not None:
        if member not in texts:
            raise unknown_name(f"text file in {path.parent.name}:", member, texts)
        return member
    if len(texts) != 1:
        listed = ", ".join(texts) or "none"
        example = f" Name one: {path.name}/{texts[0]}" if texts else ""
        raise FacelexError(
            f"Expected one text file of vectors in {path.name}, but it holds {listed}.{example}"
        )
    return texts[0]


def vector_name(path: Path) -> str:
    """Name of the vectors in a file: the file's without its endings, ``glove.6B.100d``."""
    name = path.name
    for ending in (".zip", ".xz", ".gz", ".txt", ".vec"):
        name = name.removesuffix(ending)
    return name
