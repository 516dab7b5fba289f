"""Accepted host names of the admin API: no web page can reach it under a name of its choice (DNS rebinding)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from shield.admin.problems import ProblemError, problem_response


class Visitors:
    """ASGI middleware. Admits requests for an address, for localhost, for a name without dots, as containers have
    them, or for one of `names`, `*` being any; and requests of pages only if this very listener sent the page.

    A trailing dot of localhost or of one of `names` is ignored. `names` may change while the node runs.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refusal = self._refusal(scope["method"], Headers(scope=scope))
            if refusal is not None:
                await problem_response(refusal, scope["path"])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, method: str, headers: Headers) -> ProblemError | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_ours(host):
            return ProblemError(421, "unknown host; admin.hosts lists the accepted names")
        is_foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if method not in ("GET", "HEAD"):
            is_foreign = is_foreign or headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        return ProblemError(403, "not available to pages of other sites") if is_foreign else None

    def _is_ours(self, authority: str) -> bool:
        if "*" in self._names or not authority:  # every browser names a host
            return True
        try:
            host = urlsplit(f"//{authority}").hostname or "."
        except ValueError:
            return False
        name = host.removesuffix(".")
        known = self._is_listed(name) or "." not in host or name == "localhost" or name.endswith(".localhost")
        return known or _is_address(host)

    def _is_listed(self, name: str) -> bool:
        return any(name == each.lower().removesuffix(".") for each in self._names)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
