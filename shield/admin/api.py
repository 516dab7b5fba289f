"""The admin listener's application: is the process alive, does it want traffic, what does it count."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from shield.observe.metrics import Metrics


def admin_api(
    *, metrics: Metrics, is_ready: Callable[[], bool], state: Callable[[], Mapping[str, object]]
) -> Starlette:
    """`/live` and `/ready` for load balancers, `/metrics` for Prometheus, `/state` for people and scripts."""

    async def live(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def ready(request: Request) -> Response:
        if is_ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("draining\n", status_code=503)

    async def scrape(request: Request) -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    async def show(request: Request) -> Response:
        return JSONResponse(state())

    return Starlette(
        routes=[
            Route("/live", live),
            Route("/ready", ready),
            Route("/metrics", scrape),
            Route("/state", show),
        ]
    )
