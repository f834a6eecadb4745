"""``facelex serve``: recognition over HTTP, with a web page."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from facelex.cli.options import DONE, create_recognizer
from facelex.cli.screen import escape_missing_letters
from facelex.errors import FacelexError, require

app = App(name="serve", help="Serve predictions over HTTP with a web page.")

HERE = ("127.0.0.1", "localhost")
"""Addresses that only this machine can reach."""


@app.default
def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    model: str | None = None,
    detector: str = "auto",
    detector_model: Path | None = None,
    flip: Annotated[bool, Parameter(negative="--no-flip", show_default=False)] = True,
    unsure_below: float | None = None,
    threads: int | None = None,
    vocabulary: Path | None = None,
    max_megabytes: float = 32,
    allow_origin: Annotated[list[str] | None, Parameter(negative="")] = None,
    allow_host: Annotated[list[str] | None, Parameter(negative="")] = None,
) -> int:
    """Answer for pictures sent over HTTP, and show a web page to try it.

    By default only this machine can reach it. Pictures are read in memory; nothing is kept or logged.
    There is no password: give it to others only within a network that you trust, or behind a proxy that
    asks for one. Ctrl-C ends it.

    Parameters
    ----------
    host
        Address to listen at; 0.0.0.0 lets other machines reach it.
    port
        Port to listen at; 0 for any free one.
    model
        An exported model.onnx, hf:owner/name, or small or tiny, the package's faster models; by default its
        larger one.
    detector
        Face detector: auto, centerface, dlib, yunet or none.
    detector_model
        The detector's own ONNX file: for yunet, which needs one, or centerface.
    flip
        --no-flip: do not average each face with its mirror image; twice as quick.
    unsure_below
        Mark faces as unsure whose best probability is lower; by default the model's own threshold.
    threads
        Threads of the network; by default the physical cores.
    vocabulary
        GloVe file of the word vectors that the model was trained with, if not the packaged ones.
    max_megabytes
        Largest request.
    allow_origin
        A web page of another origin that may ask: --allow-origin https://example.org; may be repeated.
    allow_host
        A name under which it may be asked; may be repeated. By default localhost where only this machine
        can reach it, else any.
    """
    escape_missing_letters()
    uvicorn = require("uvicorn", "serve", "Serving")
    from facelex.serve import create_app

    if not max_megabytes > 0:
        raise FacelexError(f"Expected --max-megabytes above 0, but got {max_megabytes:g}.")

    recognizer = create_recognizer(
        model, detector, detector_model, vocabulary, flip=flip, unsure_below=unsure_below, threads=threads
    )
    application = create_app(
        recognizer,
        max_bytes=int(max_megabytes * 1e6),
        allow_origins=allow_origin or (),
        allow_hosts=allow_host or (HERE if host in HERE else ("*",)),
    )
    with _listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        print(f"Listening at http://{shown}:{listener.getsockname()[1]} (Ctrl-C ends it)", flush=True)
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning", access_log=False))
        with suppress(KeyboardInterrupt):  # uvicorn passes Ctrl-C on when it has answered what was asked
            server.run(sockets=[listener])
    return DONE


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise FacelexError(f"Expected --port between 0 and 65535, but got {port}.")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        raise FacelexError(
            f"Could not listen at {host}, port {port}: {error.strerror}. Choose another --port or --host."
        ) from error
