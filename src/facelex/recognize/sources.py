"""Where pictures come from: folders, globs and addresses, what is a video, and what results call them."""

from __future__ import annotations

import base64
import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from facelex.errors import FacelexError, shorten

MAX_DOWNLOAD_BYTES = 64 * 1024 * 1024
DOWNLOAD_SECONDS = 20.0

IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".webp", ".avif", ".heic", ".heif", ".tif",
    ".tiff", ".bmp", ".dib", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".qoi",
    ".pcx", ".sgi",
})  # fmt: skip
"""Suffixes taken from a folder; a file named on its own may be called anything."""
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp", ".ts"}
)
"""Suffixes by which the command line knows a video; `read_video` opens a file of any name."""


def source_name(source: Any, index: int = 0) -> str:
    """Return what results call a source: its path or URL, else its kind and place in the input."""
    if is_data_url(source):
        return f"data URL {index}"
    if isinstance(source, (str, os.PathLike)):
        return os.fsdecode(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"bytes {index}"
    if hasattr(source, "__array__"):
        return f"array {index}"
    name = getattr(source, "filename", None) or getattr(source, "name", None)  # PIL image, file object
    return name if isinstance(name, str) else f"image {index}"


def is_url(source: object) -> bool:
    """Return whether a source is an ``http://`` or ``https://`` address."""
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def is_data_url(source: object) -> bool:
    """Return whether a source is a ``data:`` address, which holds the picture itself."""
    return isinstance(source, str) and source[:5].lower() == "data:"


def is_camera(source: object) -> bool:
    """Return whether a source names a camera: ``webcam:0``."""
    return isinstance(source, str) and source.lower().startswith("webcam:")


def is_video(source: str | os.PathLike[str]) -> bool:
    """Return whether a source is a camera, or a video file by its suffix."""
    return is_camera(source) or Path(source).suffix.lower() in VIDEO_SUFFIXES


def find_images(inputs: Iterable[str | os.PathLike[str]], *, recursive: bool = False) -> list[str]:
    """Expand folders and globs into picture files, each named once, in the order given.

    Folders give their files with a picture's suffix, sorted by name; hidden files are left out. URLs and
    files named on their own pass through unchanged, also when they do not exist: reading them says so.

    Args:
        inputs: Paths, folders, globs (``photos/*.jpg``) and URLs.
        recursive: Look into the folders' folders too.

    Raises:
        FacelexError: If a folder holds no picture or a glob matches nothing.
    """
    found: dict[str, None] = {}
    for item in inputs:
        found.update(dict.fromkeys(_expand(os.fspath(item), recursive)))
    return list(found)


def find_video(item: str) -> str:
    """Return the one video that a glob matches; anything else passes through unchanged.

    Raises:
        FacelexError: If a glob for videos matches nothing, or one matches several videos and nothing else.
    """
    if is_url(item) or is_camera(item) or not _is_glob(item):
        return item
    matches = _matches(item)
    videos = [match for match in matches if _is_film(match)]
    if len(videos) < len(matches):
        return item
    if not matches and is_video(item):
        raise _no_match(item)
    if len(videos) > 1:
        raise FacelexError(
            f"Expected one video or pictures, but {item!r} matches {len(videos)} videos, {videos[0]!r} and "
            "others. Name a video by its own path, in a call of its own."
        )
    return videos[0] if videos else item


def count_videos(inputs: Iterable[str | os.PathLike[str]], *, recursive: bool = False) -> int:
    """Return how many videos lie in the folders and match the globs given; `find_images` leaves them out."""
    items = [os.fspath(item) for item in inputs]
    found = [match for item in items for match in (_matches(item) if _is_glob(item) else [item])]
    folders = (place for place in found if _is_folder(place))
    in_folders = sum(1 for folder in folders for _ in _folder_files(folder, recursive, VIDEO_SUFFIXES))
    named = set(items)
    return in_folders + sum(_is_film(match) for match in found if match not in named)


def _is_film(match: str) -> bool:
    return is_video(match) and not _is_folder(match)


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises where a name is too long


def _is_glob(item: str) -> bool:
    return glob.has_magic(item) and not os.path.lexists(item)


def _matches(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob refuses absolute ones


def _no_match(pattern: str) -> FacelexError:
    return FacelexError(f"No file matches {shorten(pattern)!r}. Correct the pattern or name the files.")


def _expand(item: str, recursive: bool) -> list[str]:
    if is_url(item) or is_data_url(item):
        return [item]
    if _is_folder(item):
        files = list(_folder_files(item, recursive))
        if not files:
            hint = "" if recursive else " To look into its folders too, add --recursive (recursive=True)."
            if count_videos([item], recursive=recursive):
                hint += " Name a video by its own path, in a call of its own."
            raise FacelexError(f"Expected pictures in the folder {item!r}, but it holds none.{hint}")
        return files
    if _is_glob(item):
        files = []
        for match in _matches(item):
            if _is_folder(match):
                files += _folder_files(match, recursive)
            elif not _is_film(match):
                files.append(match)
        if not files:
            raise _no_match(item)
        return files
    return [item]


def _folder_files(folder: str, recursive: bool, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        for path in (Path(parent, name) for name in sorted(files) if not name.startswith(".")):
            if path.suffix.lower() in suffixes:
                yield str(path)


def decode_data_url(url: str) -> bytes:
    """Return the bytes inside a ``data:`` address, as browsers and web forms send pictures.

    Raises:
        FacelexError: If they are not in base64.
    """
    head, _, data = url.partition(",")
    try:
        if not head.lower().endswith(";base64"):
            raise ValueError("another encoding")
        return base64.b64decode("".join(unquote(data).split()), validate=True)
    except ValueError as error:
        raise FacelexError(
            f"Expected a picture in base64 such as 'data:image/jpeg;base64,/9j/4AAQ...', but got "
            f"{shorten(url)!r}. Correct it, or pass the picture's bytes."
        ) from error


def download(url: str) -> bytes:
    """Return the bytes at an address that the user named; at most 64 MB, within 20 seconds a read.

    Raises:
        FacelexError: If the address cannot be read or holds more.
    """
    import urllib.request  # 20 ms that only those pay who name an address

    try:
        request = urllib.request.Request(url, headers={"User-Agent": "facelex", "Accept": "image/*"})
        with urllib.request.urlopen(request, timeout=DOWNLOAD_SECONDS) as reply:  # http(s) only: see is_url
            data: bytes = reply.read(MAX_DOWNLOAD_BYTES + 1)
    except Exception as error:  # no such host, HTTP 404, a timeout, a malformed address: the user's to see
        raise FacelexError(f"Could not download {shorten(url)}: {error}. Check the address.") from error
    if len(data) > MAX_DOWNLOAD_BYTES:
        raise FacelexError(
            f"Expected at most {MAX_DOWNLOAD_BYTES // 2**20} MB at {shorten(url)}, but it holds more."
        )
    return data
