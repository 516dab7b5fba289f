"""The admin API's calls for monitoring: `/live`, `/ready` and `/health`, `/metrics`, `/state`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from shield.admin.operations import Operation, QueryParameter
from shield.admin.schemas import ANY_OBJECT, FLAG, TEXT
from shield.observe.metrics import Metrics
from shield.observe.readiness import Readiness
from shield.observe.report import Report
from shield.rules.tokens import Role

_STATE = {"type": "object", "properties": {"node": TEXT, "ready": FLAG}, "required": ["node", "ready"]}
_PLAIN = "text/plain"


def health_routes(
    readiness: Callable[[], Readiness], health: Callable[[bytes], Awaitable[tuple[int, bytes]]] | None = None
) -> list[Operation]:
    """`/live` and `/ready` for load balancers, which says in its body what is wrong. `/health` is answered by
    `health`, which gets the query: the status and JSON. None takes a token: those who ask have none.
    """

    async def live(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def ready(request: Request) -> Response:
        found = readiness()
        return PlainTextResponse(str(found), status_code=200 if found.ready else 503)

    async def tell_health(request: Request) -> Response:
        assert health is not None
        status, body = await health(request.url.query.encode())
        return Response(body, status, media_type="application/json", headers={"cache-control": "no-store"})

    found = [
        Operation(
            method="GET",
            path="/live",
            role=None,
            summary="Whether the node's process answers",
            handler=live,
            media=_PLAIN,
        ),
        Operation(
            method="GET",
            path="/ready",
            role=None,
            summary="Whether the node accepts requests, and its problems",
            handler=ready,
            media=_PLAIN,
            answers={503: ("Not ready", TEXT)},
        ),
    ]
    if health is not None:
        found.append(
            Operation(
                method="GET",
                path="/health",
                role=None,
                summary="Whether the node can serve, for those who choose among nodes",
                handler=tell_health,
                query=[QueryParameter("strict", "If present, its best origin has to be well, too")],
                answer=ANY_OBJECT,
                answers={503: ("It can't", ANY_OBJECT)},
            )
        )
    return found


def figure_routes(report: Callable[[], Awaitable[Report]]) -> list[Operation]:
    """`/metrics` for Prometheus, `/state` for people and scripts. `report` covers the whole node, whichever worker
    answers.
    """

    async def scrape(request: Request) -> Response:
        families = (await report()).families
        text = await asyncio.get_running_loop().run_in_executor(None, Metrics(lambda: families).render)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def show(request: Request) -> Response:
        return JSONResponse((await report()).state)

    return [
        Operation(
            method="GET",
            path="/metrics",
            role=Role.READ,
            summary="Metrics of the whole node, for Prometheus",
            handler=scrape,
            media=_PLAIN,
        ),
        Operation(
            method="GET",
            path="/state",
            role=Role.READ,
            summary="The state of the whole node",
            handler=show,
            answer=_STATE,
        ),
    ]
