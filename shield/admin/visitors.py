"""Whom the admin API listens to: no page of a browser whose name was made to point here (DNS rebinding)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Visitors:
    """ASGI middleware. Lets in who asks for an address, for localhost, for a name without dots, as containers have
    them, or for one of `names`, `*` being any; and of pages only those that this very listener has sent. `names` may
    change meanwhile.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host, origin = headers.get("host", ""), headers.get("origin")
            refusal = None
            if not self._is_ours(host):
                refusal = PlainTextResponse("asked for by another name; admin.hosts has those that are known\n", 421)
            elif origin is not None and urlsplit(origin).netloc.lower() != host.lower():
                refusal = PlainTextResponse("not for pages of other sites\n", 403)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, authority: str) -> bool:
        if "*" in self._names or not authority:  # every browser names a host
            return True
        try:
            host = urlsplit(f"//{authority}").hostname or "."
        except ValueError:
            return False
        known = host in map(str.lower, self._names) or "." not in host or host.endswith(".localhost")
        return known or _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
