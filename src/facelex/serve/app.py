"""The ASGI application: routes, limits and what each answers."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import FileResponse, JSONResponse, Response
from PIL import Image

from facelex import __version__
from facelex.errors import FacelexError
from facelex.recognize.drawing import annotate
from facelex.recognize.recognizer import Recognizer
from facelex.recognize.redaction import redaction_style
from facelex.recognize.results import ImageResult
from facelex.recognize.sessions import default_threads
from facelex.serve.schema import Failure, ModelInfo, PictureFaces, UnreadablePicture, body_of
from facelex.serve.uploads import TooLargeError, Upload, read_upload

MAX_BYTES = 32_000_000
"""Largest request: a 108-megapixel photo of a phone, or a dozen ordinary ones."""

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

PREDICT_OPTIONS = {
    "words": "Words and phrases to score beside the emotions, separated by commas.",
    "detect": "`false` if the pictures are face crops already.",
    "embedding": "`true` to give each face its features, of unit length.",
}
ANNOTATE_OPTIONS = {
    "words": PREDICT_OPTIONS["words"],
    "detect": PREDICT_OPTIONS["detect"],
    "redact": "`blur` or `pixelate` to make the faces unrecognisable.",
}


def create_app(
    recognizer: Recognizer | None = None,
    *,
    max_bytes: int = MAX_BYTES,
    allow_origins: Sequence[str] = (),
    allow_hosts: Sequence[str] = ("*",),
) -> FastAPI:
    """Build the application, for ``uvicorn`` or any other ASGI server, or to mount in an application.

    Args:
        recognizer: What reads the faces; by default one with the packaged model.
        max_bytes: Largest request body; larger ones are answered with 413.
        allow_origins: Web pages of other origins (``https://example.org``) that may ask; by default none.
        allow_hosts: Names under which it may be asked. A server that only this machine may use should name
            ``localhost`` and ``127.0.0.1``, or a web page could reach it under a name of its own (DNS
            rebinding).

    Returns:
        The application. Its API is described at ``/api/openapi.json``.
    """
    reader = _Reader(recognizer or Recognizer(), max_bytes)
    app = FastAPI(
        title="facelex",
        version=__version__,
        description="Facial emotion recognition: seven labels, or any words.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # these pages would load their scripts from elsewhere
        redoc_url=None,
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(allow_hosts), www_redirect=False)
    if allow_origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(allow_origins), allow_methods=["GET", "POST"])

    @app.middleware("http")
    async def _add_headers(request: Request, call_next: Any) -> Response:
        response = cast(Response, await call_next(request))
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(FacelexError)
    async def _explain(_: Request, error: Exception) -> Response:
        return JSONResponse(
            {"error": str(error)}, status_code=413 if isinstance(error, TooLargeError) else 400
        )

    failures: dict[int | str, dict[str, Any]] = {
        400: {"model": Failure, "description": "A word, an option or the form is not as expected."},
        413: {"model": Failure, "description": "The request is too large."},
    }
    unreadable: dict[int | str, dict[str, Any]] = {
        422: {
            "model": list[UnreadablePicture],
            "description": "None of the pictures could be read; why, for each.",
        }
    }

    @app.post(
        "/api/predict",
        summary="Emotions of the faces in one or several pictures",
        responses={200: {"model": list[PictureFaces | UnreadablePicture]}, **failures, **unreadable},
        openapi_extra=body_of(PREDICT_OPTIONS, several=True),
    )
    async def predict(request: Request) -> Response:
        """As ``facelex predict --format json``: an object for each picture, in the order sent."""
        upload = await reader.read(request, PREDICT_OPTIONS)
        embedding = upload.flag("embedding", False)
        results = await reader.predict(upload)
        answer = [result.to_dict(embedding=embedding) for result in results]
        return JSONResponse(answer, status_code=200 if any(result.ok for result in results) else 422)

    @app.post(
        "/api/annotate",
        summary="A picture with its faces and their emotions drawn on it",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}, "image/png": {}}}, **failures, **unreadable},
        openapi_extra=body_of(ANNOTATE_OPTIONS, several=False),
    )
    async def annotate_picture(request: Request) -> Response:
        """JPEG for a JPEG, PNG for what else was sent; nothing of the original's metadata comes along."""
        upload = await reader.read(request, ANNOTATE_OPTIONS)
        style = redaction_style(upload.options.get("redact") or None)
        if len(upload.pictures) > 1:
            raise FacelexError(f"Expected one picture, but got {len(upload.pictures)}. Send each by itself.")
        (result,) = await reader.predict(upload, keep_images=True)
        if not result.ok:
            return JSONResponse([result.to_dict()], status_code=422)
        is_jpeg = upload.pictures[0].data.startswith(b"\xff\xd8")
        content = await reader.run(partial(_draw, result, style, "JPEG" if is_jpeg else "PNG"))
        return Response(content, media_type="image/jpeg" if is_jpeg else "image/png")

    @app.get("/api/model", summary="The model that answers", response_model=ModelInfo)
    async def describe_model() -> Response:
        return JSONResponse(reader.describe())

    @app.get("/health", summary="Whether the server answers", response_model=dict[str, str])
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    for place, name in PAGE_FILES.items():
        app.get(place, include_in_schema=False)(partial(_page_file, name))
    return app


class _Reader:
    """Reads requests and asks the recogniser, in as many threads at once as there are cores."""

    def __init__(self, recognizer: Recognizer, max_bytes: int) -> None:
        self.recognizer = recognizer
        self.max_bytes = max_bytes
        self._limiter: CapacityLimiter | None = None

    async def read(self, request: Request, options: Iterable[str]) -> Upload:
        return await read_upload(request, max_bytes=self.max_bytes, options=options)

    async def predict(self, upload: Upload, *, keep_images: bool = False) -> list[ImageResult]:
        detect, words = upload.flag("detect", True), upload.options.get("words") or None

        def read() -> list[ImageResult]:
            pictures = [picture.open() for picture in upload.pictures]
            found = self.recognizer.predict_many(
                pictures, words=words, detect=detect, keep_images=keep_images, workers=1
            )
            return [replace(result, source=picture.name) for result, picture in zip(found, upload.pictures)]

        return await self.run(read)

    async def run(self, work: Any) -> Any:
        """Do ``work`` in a thread; others wait for their turn, so that memory stays bounded."""
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
            "max_bytes": self.max_bytes,
            "card": info.get("card"),
        }


def _draw(result: ImageResult, style: str | None, kind: str) -> bytes:
    assert result.image is not None
    picture: Image.Image = annotate(result.image, result.faces, redact=style)
    stream = io.BytesIO()
    picture.save(stream, kind, **({"quality": 92, "subsampling": 0} if kind == "JPEG" else {}))
    return stream.getvalue()


async def _page_file(name: str) -> Response:
    return FileResponse(PAGE / name)
