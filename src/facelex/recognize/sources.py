"""Where pictures come from: folders, globs and addresses, what is a video, and what results call them."""

from __future__ import annotations

import base64
import glob
import logging
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from facelex.errors import FacelexError, did_you_mean, one_line, shorten

logger = logging.getLogger(__name__)

MAX_DOWNLOAD_BYTES = 64 * 1024 * 1024
DOWNLOAD_SECONDS = 20.0

IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".webp", ".avif", ".heic", ".heif", ".tif",
    ".tiff", ".bmp", ".dib", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".qoi",
    ".pcx", ".sgi",
})  # fmt: skip
"""Suffixes taken from a folder; a file named on its own may be called anything."""
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp", ".3g2", ".ts", ".mts",
    ".m2ts", ".vob", ".flv", ".f4v", ".ogv", ".asf", ".mxf", ".dv", ".divx", ".xvid", ".rm", ".rmvb", ".y4m",
    ".h264", ".h265", ".hevc",
})  # fmt: skip
"""Suffixes by which the command line knows a video; `read_video` opens a file of any name."""


MOST_NAMES = 1000
"""Files in a folder among whose names a misspelled one is looked for; among more it would take long."""
LOOK_DEEPER = " To look into its folders too, add --recursive (recursive=True)."
"""What to try where a folder does not hold what was expected."""


_ANNOTATED = re.compile(r"(?P<original>.+)-faces(-[0-9]+)?\.(jpg|png|mp4)", re.DOTALL)
"""Names that `facelex.recognize.annotated` gives."""


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


def is_address(source: object) -> bool:
    """Return whether a source is an address of either kind, and no place on the disk."""
    return is_url(source) or is_data_url(source)


def is_camera(source: object) -> bool:
    """Return whether a source names a camera: ``webcam:0``."""
    return isinstance(source, str) and source.lower().startswith("webcam:")


def is_video(source: str | os.PathLike[str]) -> bool:
    """Return whether a source is a camera, or a video file by its suffix."""
    return is_camera(source) or Path(source).suffix.lower() in VIDEO_SUFFIXES


def find_images(inputs: Iterable[str | os.PathLike[str]], *, recursive: bool = False) -> list[str]:
    """Expand folders and globs into picture files, each named once, in the order given.

    Folders give their files with a picture's suffix, sorted by name; hidden files are left out, and so are
    annotated copies, ``party-faces.jpg`` where ``party.png`` is found too, which a warning counts. URLs and
    files named on their own pass through unchanged, also when they do not exist, and so do folders that may
    not be read: reading them says so.

    Args:
        inputs: Paths, folders, globs (``photos/*.jpg``) and URLs.
        recursive: Look into the folders' folders too, but for those that are symbolic links.

    Raises:
        FacelexError: If a folder holds no picture or a glob matches nothing.
    """
    return find_media(inputs, recursive=recursive)[0]


def find_media(
    inputs: Iterable[str | os.PathLike[str]], *, recursive: bool = False, videos_alone: bool = False
) -> tuple[list[str], list[str]]:
    """Return the pictures of `find_images`, and the videos that folders and globs hold beside them.

    Args:
        inputs: As to `find_images`.
        recursive: As to `find_images`.
        videos_alone: Videos are wanted too: those named on their own, and cameras, are among the videos, and
            folders and globs may hold nothing else.

    Raises:
        FacelexError: As `find_images`.
    """
    named: list[list[str]] = [[], []]
    for given in inputs:
        item = os.fspath(given)
        searched = not is_address(item) and (_is_folder(item) or _is_glob(item))
        for kind, found in enumerate(_expand(item, recursive, videos_alone)):
            named[kind] += _without_copies(found) if searched else found
    pictures, videos = named
    return _each_once(pictures), _each_once(videos)


def annotated_copies(found: Iterable[str]) -> set[str]:
    """Return which files `AnnotatedFolder` has made of others among them, by their names."""
    found = list(found)
    stems = {os.path.splitext(path)[0] for path in found}  # noqa: PTH122 - of thousands
    matches = ((path, _ANNOTATED.fullmatch(path)) for path in found)
    return {path for path, match in matches if match is not None and match["original"] in stems}


def _without_copies(found: list[str]) -> list[str]:
    copies = annotated_copies(found)
    if copies:
        _tell_of_copies(len(copies), min(copies))
    return [path for path in found if path not in copies]


@cache  # once: an album looks at its folders again
def _tell_of_copies(count: int, example: str) -> None:
    named = "an annotated copy is" if count == 1 else f"{count:,} annotated copies are"
    logger.warning("%s left out, such as %s. Name them to read them.", named, one_line(shorten(example)))


def _each_once(sources: Iterable[str]) -> list[str]:
    """Return each source under the first of its names; files that are links are sources of their own."""
    named: dict[str, str] = {}
    folders: dict[str, str] = {}
    for source in sources:
        named.setdefault(source if is_address(source) else _place(source, folders), source)
    return list(named.values())


def _place(path: str, folders: dict[str, str]) -> str:
    """Return where a file lies, by its folder's real path, which ``folders`` remembers, and its own name."""
    folder, name = os.path.split(path)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    return os.path.join(folders[folder], name)  # noqa: PTH118 - a name of .. stays


def check_there(sources: Sequence[str]) -> None:
    """Refuse what `find_images` gives if no picture can be among it.

    Raises:
        FacelexError: If all are missing, or folders that may not be read.
    """
    if any(is_address(item) or (os.path.lexists(item) and not _is_folder(item)) for item in sources):
        return
    for folder in filter(_is_folder, sources):
        try:
            os.scandir(folder).close()
        except OSError as error:
            raise FacelexError(
                f"Could not open {shorten(folder)!r}: {error.strerror}. Check its permissions."
            ) from error
    named = ", ".join(repr(shorten(item)) for item in sources[:3]) + (", ..." if len(sources) > 3 else "")
    raise FacelexError(f"No such file: {named}. Check the path.")


def no_such_file(path: Path) -> str:
    """Say that a file is not there, with the name beside it that was perhaps meant."""
    shown = shorten(str(path))
    if os.path.lexists(path):
        return f"No such file: the link {shown!r} leads nowhere. Check what it names."
    siblings: list[str] = []
    with suppress(OSError), os.scandir(path.parent) as entries:
        siblings = [entry.name for entry in islice(entries, MOST_NAMES + 1)]
    advice = did_you_mean(path.name, siblings) if len(siblings) <= MOST_NAMES else ""
    return f"No such file: {shown!r}.{advice or ' Check the path.'}"


def folder_of(item: str) -> str | None:
    """Return the folder that an input, a folder or a glob with ``**``, has searched, if it is there."""
    start = item.partition("**")[0] or os.curdir if "**" in item and _is_glob(item) else item
    return start if _is_folder(start) else None


def _is_film(match: str) -> bool:
    return is_video(match) and not _is_folder(match)


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises where a name is too long


def _is_glob(item: str) -> bool:
    return glob.has_magic(item) and not os.path.lexists(item)


def _matches(pattern: str) -> list[str]:
    """Return what a glob matches; folders that are called so, ``Trip [2020]``, are no pattern."""
    ends = [place for place, letter in enumerate(pattern) if letter in (os.sep, os.altsep)]
    there = max((end for end in ends if os.path.lexists(pattern[:end])), default=0)
    pattern = glob.escape(pattern[:there]) + pattern[there:]
    matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute ones
    if "**" in pattern:  # follows links, also in circles
        matches = _each_once(sorted(matches, key=lambda match: (len(match), match)))
    return sorted(matches)


def _films_alone(item: str, hint: str = "") -> FacelexError:
    """Say what to do with an input that stands for videos where pictures are read, and a hint beside it."""
    shown = shorten(item)
    return FacelexError(
        f"Expected pictures, but {shown!r} gives videos alone, whose faces and scores are written by "
        f'facelex predict {shlex.quote(shown)} --words "bored, proud" -o faces.csv.{hint}'
    )


def _no_match(pattern: str) -> FacelexError:
    return FacelexError(f"No file matches {shorten(pattern)!r}. Correct the pattern or name the files.")


def names_video(item: str) -> bool:
    """Return whether an input is one video or camera, and no folder or glob."""
    return not is_data_url(item) and is_video(item) and not _is_folder(item) and not _is_glob(item)


def _expand(item: str, recursive: bool, videos_alone: bool) -> tuple[list[str], list[str]]:
    """Return the pictures that an input stands for, and the videos found on the way."""
    if videos_alone and names_video(item):
        return [], [item]
    if is_address(item):
        return [item], []
    if _is_folder(item):
        pictures, videos = _folder_files(item, recursive)
        if not pictures and not (videos_alone and videos):
            hint = "" if recursive else LOOK_DEEPER
            if videos:
                raise _films_alone(item, hint)
            wanted = "pictures or videos" if videos_alone else "pictures"
            raise FacelexError(f"Expected {wanted} in the folder {item!r}, but it holds none.{hint}")
        return pictures, videos
    if not _is_glob(item):
        return [item], []
    pictures, videos = [], []
    for match in _matches(item):
        if _is_folder(match):
            found, left_out = _folder_files(match, recursive)
            pictures += found
            videos += left_out
        else:
            (videos if _is_film(match) else pictures).append(match)
    if not pictures and not (videos_alone and videos):
        raise _films_alone(item) if videos else _no_match(item)
    return pictures, videos


def _folder_files(folder: str, recursive: bool) -> tuple[list[str], list[str]]:
    """Return the pictures and the videos in a folder, by their suffixes, sorted.

    A folder that may not be read stands among the pictures.
    """
    pictures: list[str] = []
    videos: list[str] = []
    for parent, folders, files in os.walk(folder, onerror=lambda error: pictures.append(error.filename)):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        for path in (Path(parent, name) for name in sorted(files) if not name.startswith(".")):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                pictures.append(str(path))
            elif path.suffix.lower() in VIDEO_SUFFIXES:
                videos.append(str(path))
    return pictures, videos


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


def _in_ascii(url: str) -> str:
    """Write an address as the network takes it, where people write the letters themselves."""
    if url.isascii():
        return url
    parts = urlsplit(url)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode("ascii")
    rest = (quote(part, safe="/%:=&?~#+!$,;'@()*[]") for part in parts[2:])
    return urlunsplit((parts.scheme, host, *rest))


def download(url: str) -> bytes:
    """Return the bytes at an address that the user named; at most 64 MB, within 20 seconds a read.

    Raises:
        FacelexError: If the address cannot be read or holds more.
    """
    import urllib.request  # 20 ms that only those pay who name an address

    try:
        request = urllib.request.Request(
            _in_ascii(url), headers={"User-Agent": "facelex", "Accept": "image/*"}
        )
        with urllib.request.urlopen(request, timeout=DOWNLOAD_SECONDS) as reply:  # http(s) only: see is_url
            data: bytes = reply.read(MAX_DOWNLOAD_BYTES + 1)
    except Exception as error:  # no such host, HTTP 404, a timeout, a malformed address: the user's to see
        raise FacelexError(f"Could not download {shorten(url)}: {error}. Check the address.") from error
    if len(data) > MAX_DOWNLOAD_BYTES:
        raise FacelexError(
            f"Expected at most {MAX_DOWNLOAD_BYTES // 2**20} MB at {shorten(url)}, but it holds more."
        )
    return data
