"""The page of the admin listener, for people who would rather look: static files, and a stream of live figures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from shield.admin.feed import CrowdedError, LiveFeed

_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}

_HEADERS = {
    # Everything is the node's own: nothing from elsewhere runs in the page, nobody frames it.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-cache",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def page_routes(feed: LiveFeed) -> list[Route]:
    """`/` is the page, and needs no token: it has no figures in itself. `/events` are server-sent events, each with
    the node's state as JSON, about one a second.
    """
    found = {path: (_content(name), kind) for path, (name, kind) in _FILES.items()}

    async def show(request: Request) -> Response:
        content, kind = found[request.url.path]
        return Response(content, media_type=kind, headers=_HEADERS)

    async def watch(request: Request) -> Response:
        try:
            snapshots = feed.watch()
        except CrowdedError:
            return JSONResponse({"problems": ["too many viewers already: close another page"]}, 503)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(_as_events(snapshots), media_type="text/event-stream", headers=headers)

    return [*(Route(path, show) for path in found), Route("/events", watch)]


async def _as_events(snapshots: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for snapshot in snapshots:
        yield b"data:" + snapshot + b"\n\n"


def _content(name: str) -> bytes:
    return (files("shield.admin") / "static" / name).read_bytes()
