"""The admin listener's application: is the process alive, does it want traffic, what does it count."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from shield.admin.reload import Reloading, reloading
from shield.admin.removal import Remove, RemovePrefix, removal
from shield.admin.visitors import Visitors
from shield.observe.metrics import Metrics
from shield.observe.report import Report


def admin_api(
    *,
    is_ready: Callable[[], bool],
    report: Callable[[], Awaitable[Report]],
    remove: Remove | None = None,
    remove_prefix: RemovePrefix | None = None,
    reload: Reloading | None = None,
    hosts: Collection[str] = (),
) -> Starlette:
    """`/live` and `/ready` for load balancers, `/metrics` for Prometheus, `/state` for people and scripts; and
    `/store/remove` and `/reload` if the node can `remove` and `reload`.

    `report` is of the whole node, whichever worker answers here. `hosts` are names as `Visitors` takes them.
    """

    async def live(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def ready(request: Request) -> Response:
        if is_ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("not ready\n", status_code=503)

    async def scrape(request: Request) -> Response:
        families = (await report()).families
        return Response(Metrics(lambda: families).render(), media_type=CONTENT_TYPE_LATEST)

    async def show(request: Request) -> Response:
        return JSONResponse((await report()).state)

    return Starlette(
        middleware=[Middleware(Visitors, names=hosts)],
        routes=[
            Route("/live", live),
            Route("/ready", ready),
            Route("/metrics", scrape),
            Route("/state", show),
            *([] if remove is None else [removal(remove, remove_prefix)]),
            *([] if reload is None else [reloading(reload)]),
        ],
    )
