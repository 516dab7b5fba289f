"""The page of the admin listener, for people: static files, and a stream of live figures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from shield.admin.feed import CrowdedError, LiveFeed
from shield.admin.operations import Operation
from shield.admin.problems import ProblemError
from shield.rules.tokens import Role

_FILES = {
    "/": ("index.html", "text/html", "The page for people"),
    "/page.css": ("page.css", "text/css", "Its style"),
    "/page.js": ("page.js", "text/javascript", "Its script"),
}

_HEADERS = {
    # Everything is the node's own: nothing from elsewhere runs in the page, nobody frames it.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-cache",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def page_routes(feed: LiveFeed) -> list[Operation]:
    """The page needs no token, since it has no figures in itself; `/events` does. Each of these has the node's state
    as JSON, about once a second.
    """
    found = {path: (_content(name), kind) for path, (name, kind, _) in _FILES.items()}

    async def show(request: Request) -> Response:
        content, kind = found[request.url.path]
        return Response(content, media_type=kind, headers=_HEADERS)

    async def watch(request: Request) -> Response:
        if request.method == "HEAD":  # of a stream without an end
            return Response(media_type="text/event-stream")
        try:
            snapshots = feed.watch()
        except CrowdedError:
            raise ProblemError(503, "too many viewers already: close another page") from None
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(_as_events(snapshots), media_type="text/event-stream", headers=headers)

    static = [
        Operation(method="GET", path=path, role=None, summary=text, handler=show, media=kind)
        for path, (_, kind, text) in _FILES.items()
    ]
    watching = Operation(
        method="GET",
        path="/events",
        role=Role.READ,
        summary="The node's state about once a second, as server-sent events",
        handler=watch,
        media="text/event-stream",
        refusals={503: "Too many viewers"},
    )
    return [*static, watching]


async def _as_events(snapshots: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for snapshot in snapshots:
        yield b"data:" + snapshot + b"\n\n"


def _content(name: str) -> bytes:
    return (files("shield.admin") / "static" / name).read_bytes()
