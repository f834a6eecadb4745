"""What a request holds: pictures and options, in memory alone and within limits."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable
from dataclasses import dataclass

import anyio
import anyio.lowlevel
from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from facelex.errors import FacelexError, shorten, unknown_name
from facelex.recognize.images import NamedBytes

MAX_PICTURES = 100
MAX_OPTION = 16 * 1024
"""Most bytes of an option, such as a list of words."""
MAX_SECONDS = 60.0
"""For a request to arrive in: what came so far is held in memory."""
SLICE = 256 * 1024
"""Bytes of a form that are parsed before other requests get their turn."""

PICTURE_FIELDS = frozenset({"image", "images"})
"""What a form calls its pictures; any name will do for a file, but these are never options."""
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class TooLargeError(FacelexError):
    """A request is larger than the server takes."""


class TooSlowError(FacelexError):
    """A request took longer to arrive than the server waits."""


@dataclass(frozen=True)
class Picture:
    """One picture as it was sent."""

    name: str
    """The file's name, or ``picture`` where none came."""
    data: bytes
    """Its encoded bytes."""

    def open(self) -> NamedBytes:
        """Return a file object under the picture's name."""
        stream = NamedBytes(self.data)
        stream.name = self.name
        return stream


@dataclass(frozen=True)
class Upload:
    """The pictures and options of one request."""

    pictures: list[Picture]
    options: dict[str, str]

    def flag(self, name: str, default: bool) -> bool:
        """Return an option that is true or false.

        Raises:
            FacelexError: If it is neither.
        """
        text = self.options.get(name, "").strip().lower()
        if text and text not in TRUE + FALSE:
            raise FacelexError(f"Expected {name} to be true or false, but got {shorten(text)!r}.")
        return text in TRUE if text else default


async def read_upload(request: Request, *, max_bytes: int, options: Iterable[str]) -> Upload:
    """Read a form with files, or a body that is one picture.

    Args:
        request: Its options stand in the form's other fields or, of either kind, in the address.
        max_bytes: Largest body.
        options: Names of the options that are known.

    Raises:
        TooLargeError: If the body is larger.
        TooSlowError: If it takes too long to arrive.
        FacelexError: If there is no picture, the form is broken or an option is not known.
    """
    body = await _read_body(request, max_bytes)
    given = _read_options(request.query_params.multi_items(), list(options))
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith("application/json"):
        raise FacelexError(
            "Expected a picture, as the body (curl --data-binary @photo.jpg) or as files of a form "
            "(curl -F images=@photo.jpg), but got JSON. Options go into the form or the address."
        )
    if kind.startswith("multipart/form-data"):
        pictures, fields = await _read_form(request, body)
        given |= _read_options(fields, list(options))  # which go before the address
    else:
        pictures = [Picture("picture", bytes(body))] if body else []
    if not pictures:
        raise FacelexError(
            "Expected a picture, as the body or as files of a form (curl -F images=@photo.jpg), but got none."
        )
    return Upload(pictures, given)


def _read_options(items: Iterable[tuple[str, str]], known: Collection[str]) -> dict[str, str]:
    """Take options by name; words given several times are one list."""
    given: dict[str, str] = {}
    for name, value in items:
        if name in PICTURE_FIELDS:
            raise FacelexError(
                f"Expected {name} to be a file with its name, but got a field without. Send each picture as "
                "a file of the form: curl -F images=@photo.jpg."
            )
        if name not in known:
            raise unknown_name("option", name, known)
        if name in given and name != "words":
            raise FacelexError(f"Expected {name} once, but got it several times.")
        given[name] = f"{given[name]}, {value}" if name in given else value
        if len(given[name]) > MAX_OPTION:
            raise FacelexError(f"Expected at most {MAX_OPTION:,} characters of {name}.")
    return given


async def _read_body(request: Request, max_bytes: int) -> bytearray:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        with anyio.fail_after(MAX_SECONDS):
            async for chunk in request.stream():
                if len(body) + len(chunk) > max_bytes:
                    raise _too_large(max_bytes)
                body += chunk
    except TimeoutError as error:
        raise TooSlowError(
            f"Expected the request within {MAX_SECONDS:g} s. Send smaller pictures."
        ) from error
    return body


async def _read_form(request: Request, body: bytearray) -> tuple[list[Picture], list[tuple[str, str]]]:
    if not body[-100:].rstrip().endswith(b"--"):
        raise FacelexError("Could not read the form: it ends before its last boundary. Send it again.")

    async def stream() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), SLICE):
            yield bytes(memoryview(body)[start : start + SLICE])
            await anyio.lowlevel.checkpoint()

    try:
        parser = MultiPartParser(
            request.headers, stream(), max_files=MAX_PICTURES, max_fields=20, max_part_size=MAX_OPTION
        )
        parser.spool_max_size = len(body) + 1  # or files over a megabyte would lie on the disk for a while
        form = await parser.parse()
    except MultiPartException as error:
        raise FacelexError(f"Could not read the form: {error.message.rstrip('.')}.") from error
    except (LookupError, UnicodeError) as error:  # no boundary; no such charset
        raise FacelexError(
            "Could not read the form: expected a Content-Type with a boundary and a known charset, but got "
            f"{shorten(request.headers['content-type'])!r}."
        ) from error
    body.clear()
    pictures, fields = [], []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if value.filename or value.size:  # a form's empty file field has neither
                pictures.append(Picture(value.filename or "picture", await value.read()))
        else:
            fields.append((name, value))
    await form.close()
    return pictures, fields


def _too_large(max_bytes: int) -> TooLargeError:
    return TooLargeError(
        f"Expected at most {max_bytes / 1e6:g} MB in a request, but this one is larger. Send smaller or "
        "fewer pictures."
    )
