"""What a request holds: pictures and options, in memory alone and within a limit."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from facelex.errors import FacelexError, unknown_name

MAX_PICTURES = 100
FLAGS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


class TooLargeError(FacelexError):
    """A request is larger than the server takes."""


@dataclass(frozen=True)
class Picture:
    """One picture as it was sent."""

    name: str
    """The file's name, or ``picture`` where none came."""
    data: bytes
    """Its encoded bytes."""

    def open(self) -> io.BytesIO:
        """Return a file object under the picture's name."""
        return _Named(self.data, self.name)


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
        text = self.options.get(name)
        if text is None:
            return default
        if text.lower() not in FLAGS:
            raise FacelexError(f"Expected {name} to be true or false, but got {text!r}.")
        return FLAGS[text.lower()]


class _Named(io.BytesIO):
    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


async def read_upload(request: Request, *, max_bytes: int, options: Iterable[str]) -> Upload:
    """Read a form with files, or a body that is one picture.

    Args:
        request: Its options stand in the form's other fields or, of either kind, in the address.
        max_bytes: Largest body.
        options: Names of the options that are known.

    Raises:
        TooLargeError: If the body is larger.
        FacelexError: If there is no picture, the form is broken or an option is not known.
    """
    body = await _read_body(request, max_bytes)
    given = dict(request.query_params)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        pictures, fields = await _read_form(request, body)
        given |= fields
    else:
        pictures = [Picture("picture", body)] if body else []
    for name in given:
        if name not in options:
            raise unknown_name("option", name, options)
    if not pictures:
        raise FacelexError(
            "Expected a picture, as the body or as files of a form (curl -F images=@photo.jpg), but got none."
        )
    return Upload(pictures, given)


async def _read_body(request: Request, max_bytes: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > max_bytes:
            raise _too_large(max_bytes)
        body += chunk
    return bytes(body)


async def _read_form(request: Request, body: bytes) -> tuple[list[Picture], dict[str, str]]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(request.headers, stream(), max_files=MAX_PICTURES, max_fields=20)
    parser.spool_max_size = len(body) + 1  # or files over a megabyte would lie on the disk for a while
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:  # KeyError: no boundary
        reason = getattr(error, "message", "its header names no boundary").rstrip(".")
        raise FacelexError(f"Could not read the form: {reason}.") from error
    pictures, fields = [], {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if value.filename or value.size:  # a form's empty file field has neither
                pictures.append(Picture(value.filename or "picture", await value.read()))
        else:
            fields[name] = value
    await form.close()
    return pictures, fields


def _too_large(max_bytes: int) -> TooLargeError:
    return TooLargeError(
        f"Expected at most {max_bytes / 1e6:g} MB in a request, but this one is larger. Send smaller or "
        "fewer pictures."
    )
