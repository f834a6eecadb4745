"""``facelex serve``: recognition over HTTP, with a web page."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import signal
import socket
from contextlib import suppress
from typing import Annotated

from cyclopts import App, Parameter

from facelex.cli.options import DONE, RecognizerOptions
from facelex.errors import FacelexError, require

app = App(name="serve")

MAX_CONNECTIONS = 64
"""Open at once, idle ones and those that do not fetch their answers among them; others are refused."""
GRACE_SECONDS = 5
"""For what is being answered when the server is to end."""


@app.default
def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    options: RecognizerOptions = RecognizerOptions(),
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
        Address to listen at; 0.0.0.0 lets other machines reach it, :: also those with IPv6 alone.
    port
        Port to listen at; 0 for any free one.
    max_megabytes
        Largest request.
    allow_origin
        A web page of another origin that may ask, such as https://example.org; may be repeated.
    allow_host
        A name under which it may be asked, *.example.org for all below one; may be repeated. By default
        this machine's own names where only it can reach the server, else any.
    """
    uvicorn = require("uvicorn", "serve", "Serving")
    from facelex.serve import create_app
    from facelex.serve.guard import LOOPBACK

    if not 0 < max_megabytes < math.inf:
        raise FacelexError(f"Expected --max-megabytes above 0, but got {max_megabytes:g}.")

    recognizer = options.create_recognizer()
    with _listen(host, port) as listener:
        address, bound = listener.getsockname()[:2]
        place = ipaddress.ip_address(address.partition("%")[0])
        application = create_app(
            recognizer,
            max_bytes=int(max_megabytes * 1e6),
            allow_origins=allow_origin or (),
            allow_hosts=allow_host or ((*LOOPBACK, host) if place.is_loopback else ("*",)),
        )
        shown = "localhost" if place.is_unspecified else f"[{host}]" if ":" in host else host
        others = ", and at this machine's other addresses" if place.is_unspecified else ""
        print(f"Listening at http://{shown}:{bound}{others} (Ctrl-C ends it)", flush=True)
        settings = uvicorn.Config(
            application,
            log_level="warning",
            access_log=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
        server = uvicorn.Server(settings)
        hangup = getattr(signal, "SIGHUP", None)  # of which uvicorn does not know
        if hangup is not None and callable(signal.getsignal(hangup)):  # not under nohup
            signal.signal(hangup, server.handle_exit)
        with suppress(KeyboardInterrupt):  # uvicorn passes Ctrl-C on when it has answered what was asked
            server.run(sockets=[listener])
    return DONE


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Whether a record is not about a request that was still arriving when the server ended."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise FacelexError(f"Expected --port between 0 and 65535, but got {port}.")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        either = address[0] == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address, family=family, dualstack_ipv6=either)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FacelexError(
            f"Could not listen at {host}, port {port}: {reason}. Choose another --port or --host."
        ) from error
