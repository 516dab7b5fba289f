"""The admin listener's application: liveness, readiness, metrics, state, removal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from shield.admin.alarms import alarming
from shield.admin.announce import Announce, announcing
from shield.admin.decisions import DecisionRecord, deciding
from shield.admin.drill import Drilling, drilling
from shield.admin.origins import OriginOrders, origin_routes
from shield.admin.ramps import ramp_routes
from shield.admin.reload import Reloading, reloading
from shield.admin.removal import BODY_SECONDS, Remove, RemovePrefix, removal
from shield.admin.takedown import Lift, TakeDown, takedown
from shield.admin.upgrade import Upgrading, upgrading
from shield.admin.visitors import Visitors
from shield.observe.metrics import Metrics
from shield.observe.readiness import Readiness
from shield.observe.report import Report
from shield.origin.ramps import Ramps


def admin_api(
    *,
    readiness: Callable[[], Readiness],
    report: Callable[[], Awaitable[Report]],
    health: Callable[[bytes], Awaitable[tuple[int, bytes]]] | None = None,
    remove: Remove | None = None,
    remove_prefix: RemovePrefix | None = None,
    take_down: TakeDown | None = None,
    lift: Lift | None = None,
    announce: Announce | None = None,
    reload: Reloading | None = None,
    upgrade: Upgrading | None = None,
    drills: Drilling | None = None,
    ramps: Ramps | None = None,
    decisions: DecisionRecord | None = None,
    origins: OriginOrders | None = None,
    alarms: Callable[[], dict[str, Any]] | None = None,
    hosts: Collection[str] = (),
    body_seconds: float = BODY_SECONDS,
) -> Starlette:
    """`/live` and `/ready` for load balancers, `/metrics` for Prometheus, `/state` for people and scripts; and
    `/store/remove`, `/store/takedown`, `/announce`, `/reload`, `/upgrade`, `/origins`, `/ramps`, `/drill`,
    `/decisions` and `/alarms` if the node can do that.

    `/ready` says in its body what is wrong; `/health` is answered by `health`, which gets the query: the status and
    JSON. `report` covers the whole node, whichever worker answers. `hosts` are
    names as `Visitors` takes them. `body_seconds`: the time in which a request's body must arrive.
    """

    async def live(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def ready(request: Request) -> Response:
        found = readiness()
        return PlainTextResponse(str(found), status_code=200 if found.ready else 503)

    async def scrape(request: Request) -> Response:
        families = (await report()).families
        return Response(Metrics(lambda: families).render(), media_type=CONTENT_TYPE_LATEST)

    async def show(request: Request) -> Response:
        return JSONResponse((await report()).state)

    async def tell_health(request: Request) -> Response:
        assert health is not None
        status, body = await health(request.url.query.encode())
        return Response(body, status, media_type="application/json", headers={"cache-control": "no-store"})

    return Starlette(
        middleware=[Middleware(Visitors, names=hosts)],
        routes=[
            Route("/live", live),
            Route("/ready", ready),
            *([] if health is None else [Route("/health", tell_health)]),
            Route("/metrics", scrape),
            Route("/state", show),
            *([] if remove is None else [removal(remove, remove_prefix, body_seconds=body_seconds)]),
            *([] if take_down is None or lift is None else [takedown(take_down, lift, body_seconds=body_seconds)]),
            *([] if announce is None else [announcing(announce, body_seconds=body_seconds)]),
            *([] if reload is None else [reloading(reload)]),
            *([] if upgrade is None else [upgrading(upgrade)]),
            *([] if drills is None else drilling(drills)),
            *([] if ramps is None else ramp_routes(ramps)),
            *([] if alarms is None else [alarming(alarms)]),
            *([] if decisions is None else [deciding(decisions)]),
            *([] if origins is None else origin_routes(origins, body_seconds=body_seconds)),
        ],
    )
