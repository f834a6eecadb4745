"""Open a CSV file that may sit inside .zip, .tar, .gz or .xz, as a stream that knows how far it has read."""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from facelex.errors import FacelexError

LONGEST_LINE = 1 << 20
"""Longer lines are cut, so that a file without line ends cannot fill the memory."""

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

PACKED_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".xz")


def text_encoding(start: bytes) -> str:
    """Return the encoding of a text by its first bytes.

    UTF-16 is known by the mark that Excel and PowerShell put before it; all else is taken for UTF-8.
    """
    return "utf-16" if start.startswith(_UTF16_MARKS) else "utf-8-sig"


class TextStream:
    """Lines of a text file, packed or not, and the share of it that has been read."""

    def __init__(self, text: IO[str], raw: IO[bytes], total: int) -> None:
        self._text, self._raw, self.total = text, raw, total
        self.ended_in_line = False
        """True once the last line turned out to have no line end, as in a file that was cut short."""

    def lines(self) -> Iterator[str]:
        """Yield the lines with their ends."""
        while line := self._text.readline(LONGEST_LINE):
            self.ended_in_line = not line.endswith("\n") and len(line) < LONGEST_LINE
            yield line

    def position(self) -> tuple[int, int]:
        """Return bytes read and bytes in all, both as they lie on the disk."""
        return min(self._raw.tell(), self.total), self.total


@contextmanager
def open_csv(path: Path, names: Sequence[str]) -> Iterator[TextStream]:
    """Open a CSV file as a stream of lines.

    Args:
        path: The file: plain, .gz, .xz, or an archive (.zip, .tar, .tar.gz, .tar.xz, .tgz) that holds it.
        names: File names to look for in an archive, the preferred first; a lone .csv of any name also does.

    Raises:
        FacelexError: If the file is missing, cannot be read, is cut short, or an archive holds no such file.
    """
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(path.open("rb"))
            data = _unpacked(path, raw, names, stack)
            buffered = stack.enter_context(io.BufferedReader(cast(io.RawIOBase, data)))
            encoding = text_encoding(buffered.peek(2))
            text = stack.enter_context(io.TextIOWrapper(buffered, encoding, errors="replace", newline=""))
            yield TextStream(text, raw, path.stat().st_size)
    except FileNotFoundError as error:
        raise FacelexError(f"There is no file {path}.") from error
    except (EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, tarfile.TarError) as error:
        raise FacelexError(
            f"{path} is cut short or damaged and cannot be unpacked ({error}); fetch or copy it again."
        ) from error
    except (RuntimeError, NotImplementedError) as error:  # zipfile: a password, a rare compression
        raise FacelexError(f"{path} cannot be unpacked ({error}); unpack it yourself first.") from error
    except OSError as error:  # gzip reports a damaged file as a plain OSError
        raise FacelexError(f"{path} cannot be read: {error.strerror or error}.") from error


def _unpacked(path: Path, raw: IO[bytes], names: Sequence[str], stack: ExitStack) -> IO[bytes]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-1] if suffixes else ""
    if last == ".zip":
        archive = stack.enter_context(zipfile.ZipFile(raw))
        return stack.enter_context(archive.open(_member(path, archive.namelist(), names)))
    if last in (".tar", ".tgz") or ".tar" in suffixes[-2:-1]:
        tar = stack.enter_context(tarfile.open(fileobj=raw, mode="r:*"))  # noqa: SIM115
        files = [member.name for member in tar.getmembers() if member.isfile()]
        member = tar.extractfile(_member(path, files, names))
        assert member is not None  # only plain files are listed
        return stack.enter_context(member)
    if last == ".gz":
        return cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=raw)))
    if last == ".xz":
        return stack.enter_context(lzma.LZMAFile(raw))
    return raw


def _member(path: Path, files: Sequence[str], names: Sequence[str]) -> str:
    plain = [name for name in files if not name.startswith("__MACOSX/") and not name.endswith("/")]
    for wanted in names:
        for name in plain:
            if PurePosixPath(name).name.lower() == wanted:
                return name
    tables = [name for name in plain if name.lower().endswith(".csv")]
    if len(tables) == 1:
        return tables[0]
    found = ", ".join(plain[:5]) + (f" and {len(plain) - 5:,} more" if len(plain) > 5 else "")
    raise FacelexError(
        f"{path} holds no {' or '.join(names)} (it holds {found or 'nothing'}); if it "
        "holds folders of images, unpack it and give the folder."
    )
