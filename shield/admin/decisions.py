"""The admin API's `GET /decisions`: the node's knowledge of its origins at a time of the last day."""

from __future__ import annotations

import math
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shield.rules.decisions import DecisionBasis


class DecisionRecord(Protocol):
    """The record of the basis of decisions. Its methods raise OSError."""

    @property
    def keeps(self) -> bool: ...

    async def find(self, at: float) -> DecisionBasis | None: ...

    async def between(self, start: float, stop: float) -> bytes: ...


def deciding(record: DecisionRecord) -> Route:
    """The route. `?at=EPOCH_SECONDS` is answered with a `DecisionBasis` as plain values, the last one before that
    time; with `&until=EPOCH_SECONDS` too, with all until then, as `{"notes": [...]}`. Else 400, 404 or 500 and
    `{"problems": [...]}`.
    """

    async def show(request: Request) -> Response:
        at = _time(request.query_params.get("at"))
        until = _time(request.query_params.get("until", "0"))
        if at is None or until is None:
            return _refused(400, "at: expected epoch seconds")
        if not record.keeps:
            return _refused(404, "the basis of decisions isn't kept: state_directory names no place for it")
        try:
            if "until" in request.query_params:
                return Response(await record.between(at, until), media_type="application/json")
            basis = await record.find(at)
        except (OSError, OverflowError) as error:
            return _refused(500, f"the basis of decisions can't be read: {error}")
        if basis is None:
            return _refused(
                404, "nothing was noted in the hour before: the node wasn't running, or it's too long ago"
            )
        return JSONResponse(basis.plain())

    return Route("/decisions", show)


def _time(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def _refused(status: int, problem: str) -> Response:
    return JSONResponse({"problems": [problem]}, status)
