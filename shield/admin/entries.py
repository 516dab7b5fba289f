"""The admin API's `GET /entries`: what the node has under a URL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation, QueryParameter
from shield.admin.problems import ProblemError
from shield.admin.schemas import COUNT, NUMBER, TEXT, TEXTS, array, noted, nullable, record
from shield.regime import InForce
from shield.rules.key import CacheKey
from shield.rules.tokens import Role
from shield.rules.written import target_of
from shield.store.contents import ShownContents

_ENTRY = record(
    key=TEXT,
    tier=noted(TEXT, "memory, writing (to a disk), or the name of a disk tier"),
    worker=nullable(COUNT),
    directory=nullable(TEXT),
    status=COUNT,
    bytes=COUNT,
    age=NUMBER,
    ttl=noted(NUMBER, "Seconds for which it is fresh; negative: stale"),
    grace=NUMBER,
    error_grace=NUMBER,
    etag=nullable(TEXT),
    tags=TEXTS,
    origin=noted(nullable(TEXT), "Where it was fetched; null: not known any more"),
)


def showing_entries(in_force: InForce, contents: Callable[[CacheKey], Awaitable[ShownContents]]) -> Operation:
    """`?url=/a` is answered with `{"key": "/a", "route": "default", "vary": [], "entries": [...]}`."""

    async def show(request: Request) -> Response:
        url = request.query_params.get("url", "")
        if not url:
            raise ProblemError(400, "url: expected a URL or path as clients request it")
        resource = in_force.regime.targets.resolve(target_of(url))
        found = await contents(resource.named)
        said = {
            "key": resource.named.text.decode("ascii", "backslashreplace"),
            "route": resource.route.name,
            "vary": list(found.vary),
            "entries": [asdict(entry) for entry in found.entries],
        }
        return JSONResponse(said)

    return Operation(
        method="GET",
        path="/entries",
        role=Role.READ,
        summary="What the node has under a URL: in the RAM of each worker, and on disks",
        handler=show,
        query=[QueryParameter("url", "A URL or path as clients request it", {**TEXT, "minLength": 1}, required=True)],
        answer=record(key=TEXT, route=TEXT, vary=TEXTS, entries=array(_ENTRY)),
        refusals={400: "No client could request it"},
    )
