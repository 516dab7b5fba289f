"""The admin API's `GET /decisions?at=EPOCH_SECONDS`: what the node knew of its origins at that time."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shield.rules.decisions import DecisionBasis

FindBasis = Callable[[float], Awaitable[DecisionBasis | None]]
"""The last note before a time; None without any. Raises OSError."""


def deciding(find: FindBasis, *, is_kept: bool) -> Route:
    """The route: answers with a `DecisionBasis` as plain values, or 400, 404 or 500 and `{"problems": [...]}`."""

    async def show(request: Request) -> Response:
        try:
            at = float(request.query_params.get("at", ""))
        except ValueError:
            at = math.nan
        if not math.isfinite(at):
            return _refused(400, "at: expected epoch seconds")
        if not is_kept:
            return _refused(404, "the basis of decisions isn't kept: state_directory names no place for it")
        try:
            basis = await find(at)
        except (OSError, OverflowError, ValueError) as error:
            return _refused(500, f"the basis of decisions can't be read: {error}")
        if basis is None:
            return _refused(
                404, "nothing was noted in the hour before: the node wasn't running, or it is too long ago"
            )
        return JSONResponse(basis.plain())

    return Route("/decisions", show)


def _refused(status: int, problem: str) -> Response:
    return JSONResponse({"problems": [problem]}, status)
