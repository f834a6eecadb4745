"""The ASGI application: routes, limits and what each answers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar, cast

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from facelex import __version__
from facelex.errors import FacelexError
from facelex.recognize.annotated import encode
from facelex.recognize.drawing import annotate
from facelex.recognize.recognizer import Recognizer, check_recognizer
from facelex.recognize.redaction import STYLES, redaction_style
from facelex.recognize.results import ImageResult
from facelex.recognize.sessions import default_threads
from facelex.recognize.words import parse_words
from facelex.serve.guard import LOOPBACK, checked_hosts, checked_origins, refusal
from facelex.serve.schema import Failure, ModelInfo, PictureFaces, UnreadablePicture, body_of
from facelex.serve.uploads import Picture, TooLargeError, TooSlowError, Upload, read_upload

T = TypeVar("T")

MAX_BYTES = 32_000_000
"""Largest request: a 108-megapixel photo of a phone, or a dozen ordinary ones."""

MAX_REQUESTS = 32
"""Requests that are answered at once. What arrives of them is held in memory."""

MAX_WORDS = 100
"""Words and phrases that one request may ask for."""

PAGE = Path(__file__).parent / "page"
PAGE_FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js"}

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""The page loads nothing from elsewhere, and no browser or proxy keeps an answer about a face."""

GONE = 499
"""What is noted of a client that went away; nobody reads it."""

WORDS: dict[str, Any] = {
    "type": "string",
    "description": "Words and phrases to score as well, separated by commas.",
}
DETECT: dict[str, Any] = {
    "type": "boolean",
    "default": True,
    "description": "`false` if the pictures are face crops.",
}
EMBEDDING: dict[str, Any] = {
    "type": "boolean",
    "default": False,
    "description": "Whether each face gets its features.",
}
REDACT: dict[str, Any] = {
    "type": "string",
    "enum": list(STYLES),
    "description": "Makes the faces unrecognisable.",
}
PREDICT_OPTIONS = {"words": WORDS, "detect": DETECT, "embedding": EMBEDDING}
ANNOTATE_OPTIONS = {"words": WORDS, "detect": DETECT, "redact": REDACT}


def create_app(
    recognizer: Recognizer | None = None,
    *,
    max_bytes: int = MAX_BYTES,
    max_requests: int = MAX_REQUESTS,
    allow_origins: Sequence[str] = (),
    allow_hosts: Sequence[str] = LOOPBACK,
) -> FastAPI:
    """Build the application, for ``uvicorn`` or any other ASGI server, or to mount in an application.

    Args:
        recognizer: What reads the faces; by default one with the packaged model.
        max_bytes: Largest request body; larger ones are answered with 413.
        max_requests: How many requests with pictures are answered at once; further ones get a 503 before
            anything of them is read.
        allow_origins: Web pages of other origins (``https://example.org``) that may ask; by default none.
        allow_hosts: Names under which it may be asked, ``*.example.org`` for all below one and ``*`` for
            any; by default those of this machine itself. Under any name a web page could have its own
            pointed at the server and so read its answers (DNS rebinding).

    Returns:
        The application. Its API is described at ``/api/openapi.json``.

    Raises:
        FacelexError: If a name or an origin is not written as one, or no request would be answered.
    """
    if recognizer is not None:
        check_recognizer(recognizer)
    for name, number in (("max_bytes", max_bytes), ("max_requests", max_requests)):
        if not (isinstance(number, int) and number >= 1):
            raise FacelexError(f"Expected {name} to be a whole number of at least 1, but got {number!r}.")
    hosts, origins = checked_hosts(allow_hosts), checked_origins(allow_origins)
    reader = _Reader(recognizer or Recognizer(), max_bytes)
    app = FastAPI(
        title="facelex",
        version=__version__,
        description="Facial emotion recognition: seven labels, or any words.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # these pages would load their scripts from elsewhere
        redoc_url=None,
    )
    app.add_middleware(_Limit, max_requests=max_requests)
    if origins:  # around the limit, so that a page may read its refusals
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"])
    _add_guard(app, hosts, origins)
    _explain_failures(app)
    _add_api(app, reader)
    for place, name in PAGE_FILES.items():
        app.api_route(place, methods=["GET", "HEAD"], include_in_schema=False)(partial(_page_file, name))
    return app


def _add_guard(app: FastAPI, hosts: Collection[str], origins: Collection[str]) -> None:
    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Response:
        refused = refusal(request, hosts, origins)
        response = _failure(*refused) if refused else cast(Response, await call_next(request))
        response.headers.update(HEADERS)
        return response


class _Limit:
    """Refuses requests with pictures while as many as allowed are being answered."""

    def __init__(self, app: ASGIApp, max_requests: int) -> None:
        self.app, self.max_requests, self.answering = app, max_requests, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif self.answering >= self.max_requests:
            refused = _failure(
                503, f"Too many requests at once; the limit is {self.max_requests}. Ask again in a second."
            )
            refused.headers["Retry-After"] = "1"
            await refused(scope, receive, send)
        else:
            self.answering += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self.answering -= 1


def _explain_failures(app: FastAPI) -> None:
    @app.exception_handler(FacelexError)
    async def mistake(_: Request, error: FacelexError) -> Response:
        slow, large = isinstance(error, TooSlowError), isinstance(error, TooLargeError)
        return _failure(408 if slow else 413 if large else 400, str(error))

    @app.exception_handler(HTTPException)
    async def no_such_place(_: Request, error: HTTPException) -> Response:
        response = _failure(
            error.status_code, f"{HTTPStatus(error.status_code).phrase}. See /api/openapi.json."
        )
        response.headers.update(error.headers or {})  # of 405 the methods that there are
        return response

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=GONE)

    @app.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> Response:
        response = _failure(500, "This is a bug of facelex; the server's own output says more.")
        response.headers.update(HEADERS)  # it is answered outside of the guard
        return response


def _add_api(app: FastAPI, reader: _Reader) -> None:
    failures: dict[int | str, dict[str, Any]] = {
        400: {"model": Failure, "description": "A word, an option or the form is not as expected."},
        403: {"model": Failure, "description": "A web page of another origin asks."},
        408: {"model": Failure, "description": "The request took too long to arrive."},
        413: {"model": Failure, "description": "The request is too large."},
        421: {"model": Failure, "description": "The server does not answer under this name."},
        422: {
            "model": list[UnreadablePicture],
            "description": "None of the pictures could be read; why, for each.",
        },
        503: {"model": Failure, "description": "Too many requests at once; ask again later."},
    }

    @app.post(
        "/api/predict",
        summary="Emotions of the faces in one or several pictures",
        responses={200: {"model": list[PictureFaces | UnreadablePicture]}, **failures},
        openapi_extra=body_of(PREDICT_OPTIONS, several=True),
    )
    async def predict(request: Request) -> Response:
        """As ``facelex predict --format json``: an object for each picture, in the order sent."""
        upload = await reader.read(request, PREDICT_OPTIONS)
        embedding = upload.flag("embedding", False)
        results = []
        for picture in upload.pictures:  # others get their turn between two
            if await request.is_disconnected():
                raise ClientDisconnect
            results.append(await reader.run(partial(reader.predict, picture, upload)))
        status = 200 if any(result.ok for result in results) else 422
        return _json(await reader.run(partial(_encode, results, embedding)), status)

    @app.post(
        "/api/annotate",
        summary="A picture with its faces and their emotions drawn on it",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}, "image/png": {}}}, **failures},
        openapi_extra=body_of(ANNOTATE_OPTIONS, several=False),
    )
    async def annotate_picture(request: Request) -> Response:
        """JPEG for a JPEG, PNG for what else was sent; nothing of the original's metadata comes along."""
        upload = await reader.read(request, ANNOTATE_OPTIONS)
        style = redaction_style(upload.options.get("redact") or None)
        if len(upload.pictures) > 1:
            raise FacelexError(f"Expected one picture, but got {len(upload.pictures)}. Send each by itself.")
        picture = upload.pictures[0]
        suffix, kind = (".jpg", "jpeg") if picture.data.startswith(b"\xff\xd8") else (".png", "png")

        def draw() -> tuple[ImageResult, bytes]:  # at one go: decoded pictures do not wait for a turn
            result = reader.predict(picture, upload, keep_images=True)
            return replace(result, image=None), _draw(result, style, suffix) if result.ok else b""

        result, drawn = await reader.run(draw)
        if not result.ok:
            return _json(_encode([result], False), 422)
        return Response(drawn, media_type=f"image/{kind}")

    @app.get("/api/model", summary="The model that answers", responses={200: {"model": ModelInfo}})
    async def describe_model() -> Response:
        return JSONResponse(reader.describe())

    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    app.get("/health", summary="Whether the server answers", response_model=dict[str, str])(health)
    app.head("/health", include_in_schema=False)(health)


class _Reader:
    """Reads requests and asks the recogniser, in as many threads at once as there are cores."""

    def __init__(self, recognizer: Recognizer, max_bytes: int) -> None:
        self.recognizer = recognizer
        self.max_bytes = max_bytes
        self._limiter: CapacityLimiter | None = None

    async def read(self, request: Request, options: Iterable[str]) -> Upload:
        upload = await read_upload(request, max_bytes=self.max_bytes, options=options)
        upload.flag("detect", True)
        count = len(parse_words(upload.options.get("words") or None) or ())
        if count > MAX_WORDS:
            raise FacelexError(f"Expected at most {MAX_WORDS} words and phrases, but got {count}.")
        return upload

    def predict(self, picture: Picture, upload: Upload, *, keep_images: bool = False) -> ImageResult:
        (result,) = self.recognizer.predict_many(
            [picture.open()],
            words=upload.options.get("words") or None,
            detect=upload.flag("detect", True),
            keep_images=keep_images,
            workers=1,
        )
        return replace(result, source=picture.name)

    async def run(self, work: Callable[[], T]) -> T:
        """Do ``work`` in a thread; others wait for their turn, so few pictures are decoded at once."""
        if self._limiter is None:  # belongs to the event loop, which runs only now
            self._limiter = CapacityLimiter(default_threads())
        return await run_sync(work, limiter=self._limiter)

    def describe(self) -> dict[str, Any]:
        info = self.recognizer.info
        return {
            "facelex": __version__,
            "name": info.get("name"),
            "classes": list(self.recognizer.classes),
            "words": bool(info.get("vocabulary")),
            "unsure_below": self.recognizer.unsure_below,
            "readable_from": self.recognizer.readable_from,
            "max_bytes": self.max_bytes,
            "card": info.get("card"),
        }


def _encode(results: Sequence[ImageResult], embedding: bool) -> bytes:
    return json.dumps([result.to_dict(embedding=embedding) for result in results]).encode()


def _json(content: bytes, status: int) -> Response:
    return Response(content, status_code=status, media_type="application/json")


def _failure(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)


def _draw(result: ImageResult, style: str | None, suffix: str) -> bytes:
    assert result.image is not None
    stream = io.BytesIO()
    encode(annotate(result.image, result.faces, redact=style), stream, suffix)
    return stream.getvalue()


async def _page_file(name: str) -> Response:
    return FileResponse(PAGE / name)
