"""The admin API's `GET /alarms`: alarms that last, past ones, and webhooks with their counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def alarming(shown: Callable[[], dict[str, Any]]) -> Route:
    """The route. `shown` is as `AlarmWatch.shown`, whichever worker answers."""

    async def show(request: Request) -> Response:
        return JSONResponse(shown())

    return Route("/alarms", show)
