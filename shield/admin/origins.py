"""The admin API's `/origins`: their state, and orders of operators."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shield.origin.drains import Drained
from shield.origin.prober import Probed

_MOST_BYTES = 4096
Standings = Callable[[], Sequence[Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class OriginOrders:
    """The orders that a node takes about its origins."""

    listing: Standings
    drain: Callable[[str, float], Awaitable[Drained]]
    restore: Callable[[str], Awaitable[Drained]]
    probe: Callable[[str], Awaitable[Sequence[Probed]]]


def origin_routes(orders: OriginOrders, *, body_seconds: float) -> list[Route]:
    """`GET /origins` is answered with `{"origins": [{"name": "fra", "state": "up", ...}]}`.

    `POST /origins/fra/drain`, with `{"until": EPOCH_SECONDS}` or `{}`, and `POST /origins/fra/restore` are answered
    with `{"origin": {...}, "notes": [...]}`, or 400, 404 or 409 and `{"problems": [...]}`. A body must have arrived
    after `body_seconds`.

    `POST /origins/fra/probe` is answered with `{"origin": {...}, "probes": [{"path": "/a", "result": "clean"}]}`.
    """

    async def show(request: Request) -> Response:
        return JSONResponse({"origins": list(orders.listing())})

    async def drain(request: Request) -> Response:
        refusal = _refusal(request, orders.listing())
        if refusal is not None:
            return refusal
        until = await _until(request, body_seconds)
        if until is None:
            return _problem(400, 'expected {} or {"until": EPOCH_SECONDS}')
        name = request.path_params["name"]
        return _told(name, await orders.drain(name, until), orders.listing())

    async def restore(request: Request) -> Response:
        name = request.path_params["name"]
        refusal = _refusal(request, orders.listing())
        return refusal or _told(name, await orders.restore(name), orders.listing())

    async def probe(request: Request) -> Response:
        refusal = _refusal(request, orders.listing())
        if refusal is not None:
            return refusal
        name = request.path_params["name"]
        probes = [asdict(each) for each in await orders.probe(name)]
        if not probes:
            return _problem(409, f"no object is known to probe {name} with: name one in probes.canaries")
        return JSONResponse({"origin": _of(name, orders.listing()), "probes": probes})

    return [
        Route("/origins", show),
        Route("/origins/{name}/probe", probe, methods=["POST"]),
        Route("/origins/{name}/drain", drain, methods=["POST"]),
        Route("/origins/{name}/restore", restore, methods=["POST"]),
    ]


def _refusal(request: Request, listing: Sequence[Mapping[str, object]]) -> Response | None:
    """The response to a request that can't be an order about an origin."""
    # A browser would send other types here on behalf of any page, without a preflight.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return _problem(415, "expected application/json")
    names, name = [str(each["name"]) for each in listing], request.path_params["name"]
    return None if name in names else _problem(404, f"no origin {name}; there are {', '.join(names)}")


async def _until(request: Request, seconds: float) -> float | None:
    """The end of a drain; None if it can't be understood."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > _MOST_BYTES:
                    return None
        wish = json.loads(body or b"{}")
    except (TimeoutError, ValueError, RecursionError):
        return None
    if not isinstance(wish, dict) or not wish.keys() <= {"until"}:
        return None
    until = wish.get("until")
    if until is None:
        return math.inf
    is_time = isinstance(until, int | float) and not isinstance(until, bool) and math.isfinite(until)
    return float(until) if is_time else None


def _told(name: str, done: Drained, listing: Sequence[Mapping[str, object]]) -> Response:
    if done.problems:
        return JSONResponse({"problems": list(done.problems)}, 409)
    return JSONResponse({"origin": _of(name, listing), "notes": list(done.notes)})


def _of(name: str, listing: Sequence[Mapping[str, object]]) -> Mapping[str, object] | None:
    return next((each for each in listing if each["name"] == name), None)


def _problem(status: int, text: str) -> Response:
    headers = {"connection": "close"} if status == 400 else None  # the rest of a body isn't waited for
    return JSONResponse({"problems": [text]}, status, headers)
