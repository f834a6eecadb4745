"""Who may ask: under which names, and from which web pages."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from fastapi import Request

from facelex.errors import FacelexError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Names of this machine itself, which no web page can point elsewhere or have pointed here."""


def checked_hosts(hosts: Sequence[str] | str) -> list[str]:
    """Return names, or a single one, in the form that `refusal` compares.

    Raises:
        FacelexError: If one is no name: it holds a port or an address's other parts.
    """
    hosts = [hosts] if isinstance(hosts, str) else hosts
    plain = [host.lower().strip("[]") for host in hosts]
    for host, name in zip(hosts, plain):
        is_address = name.count(":") > 1 and re.fullmatch(r"[0-9a-f:.]+(%\w+)?", name)
        if not (name == "*" or is_address or re.fullmatch(r"(\*\.)?[a-z0-9._-]+", name)):
            raise FacelexError(
                f"Expected a host's name without port, such as 'faces.example.org', but got {host!r}."
            )
    return plain


def checked_origins(origins: Sequence[str] | str) -> list[str]:
    """Return origins, or a single one, as browsers write them.

    Raises:
        FacelexError: If one is none.
    """
    origins = [origins] if isinstance(origins, str) else origins
    for origin in origins:
        if not re.fullmatch(r"https?://[^/\s*]+", origin):
            raise FacelexError(
                "Expected an origin as browsers write it, such as 'https://example.org' without a path, but "
                f"got {origin!r}."
            )
    return [origin.lower() for origin in origins]


def refusal(request: Request, hosts: Collection[str], origins: Collection[str]) -> tuple[int, str] | None:
    """Return status and sentence for a request that is not to be answered, None for the others."""
    name = _host_name(request.headers.get("host", ""))
    below = any(host.startswith("*.") and name.endswith(host[1:]) for host in hosts)
    if not (below or name in hosts or "*" in hosts):
        return 421, (
            f"This server does not answer under the name {name[:100]!r}. Start it with --allow-host to have "
            "it do so."
        )
    if request.headers.get("sec-fetch-site") == "cross-site" and request.method == "POST":
        origin = request.headers.get("origin", "").lower()
        if origin not in origins:
            return 403, (
                "This server does not answer web pages of other origins. Start it with --allow-origin to "
                "let one ask."
            )
    return None


def _host_name(header: str) -> str:
    """Return ``localhost`` of ``localhost:8000`` and ``::1`` of ``[::1]:8000``."""
    bracketed = re.match(r"\[([^\]]*)\]", header)
    return (bracketed[1] if bracketed else header.partition(":")[0]).lower()
