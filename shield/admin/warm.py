"""The admin API's `POST /warm`: objects to fetch before clients request them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation, wish_of
from shield.admin.schemas import COUNT, FLAG, NUMBER, TEXT, array, noted, nullable, one_of, record
from shield.rules.tokens import Role
from shield.rules.warming import AT_ONCE, MOST_AT_ONCE, MOST_URLS, WarmOrder, WarmResult, parse_order
from shield.warm import PAUSE_SECONDS, WarmedUrl

MAX_BYTES = 4 << 20
"""Limit of a request's JSON."""

_WATCH_SECONDS = 0.5  # between two looks whether the caller is still there

Warm = Callable[[WarmOrder], Awaitable[Sequence[WarmedUrl]]]

_ORDER = record(
    urls=noted(array(TEXT, minItems=1, maxItems=MOST_URLS), "URLs or paths as clients request them"),
    optional={
        "only_missing": noted(FLAG, "Stale entries do: only what isn't stored is fetched"),
        "concurrency": noted(
            {"type": "integer", "minimum": 1, "maximum": MOST_AT_ONCE}, f"Fetches at once; {AT_ONCE} if omitted"
        ),
        "max_bytes": noted(nullable(COUNT), "Bytes from origins at most; what would exceed it is deferred"),
        "fields": noted(
            {"type": "object", "additionalProperties": TEXT}, "Request fields, by which responses may vary"
        ),
    },
)
_RESULT = record(
    url=TEXT,
    result=noted(
        one_of(*[each.value for each in WarmResult]),
        "warmed: fetched and stored; present: stored already; absent: no origin has it; unkept: it isn't stored; "
        "deferred: not fetched for the reason in detail, to be ordered again",
    ),
    status=nullable(COUNT),
    bytes=COUNT,
    origin=nullable(TEXT),
    detail=nullable(TEXT),
)


def warming(warm: Warm) -> Operation:
    """Answered once all of the objects are here; ended if the caller leaves."""

    async def handle(request: Request) -> Response:
        order = parse_order(wish_of(request))
        request.state.noted = {"urls": len(order.urls), "first": order.urls[0][:200]}
        work = asyncio.ensure_future(warm(order))
        try:
            while not work.done():
                await asyncio.wait([work], timeout=_WATCH_SECONDS)
                if not work.done() and await request.is_disconnected():
                    break
        finally:
            work.cancel()
        if work.cancelled() or not work.done():
            await asyncio.wait([work])
            return JSONResponse({"results": []}, 499)
        results = [
            {
                "url": each.url,
                "result": each.result.value,
                "status": each.status,
                "bytes": each.bytes,
                "origin": each.origin,
                "detail": each.detail,
            }
            for each in work.result()
        ]
        deferred = any(each.result is WarmResult.DEFERRED for each in work.result())
        return JSONResponse({"results": results, "retry_after": PAUSE_SECONDS if deferred else None})

    return Operation(
        method="POST",
        path="/warm",
        role=Role.OPERATE,
        summary="Fetch objects before clients request them",
        description="By the node's own way of a request, behind its clients: nothing is begun while an origin is in "
        "trouble. `shield warm` orders lists, logs and buckets of any size in pieces.",
        handler=handle,
        body=_ORDER,
        most_bytes=MAX_BYTES,
        answer=record(results=array(_RESULT), retry_after=noted(nullable(NUMBER), "Seconds, if some were deferred")),
    )
