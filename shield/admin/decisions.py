"""The admin API's `GET /decisions`: the node's knowledge of its origins at a time of the last day."""

from __future__ import annotations

from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import JSON, Operation, QueryParameter
from shield.admin.problems import ProblemError
from shield.admin.schemas import ANY_OBJECT, NUMBER, array, either, record
from shield.rules.decisions import DecisionBasis
from shield.rules.tokens import Role

_LAST = 253402300799.0  # the end of the year 9999
_TIME = {**NUMBER, "minimum": 0, "maximum": _LAST}


class DecisionRecord(Protocol):
    """The record of the basis of decisions. Its methods raise OSError."""

    @property
    def keeps(self) -> bool: ...

    async def find(self, at: float) -> DecisionBasis | None: ...

    async def between(self, start: float, stop: float) -> bytes: ...


def deciding(basis: DecisionRecord) -> Operation:
    """`?at=EPOCH_SECONDS` is answered with a `DecisionBasis` as plain values, the last one before that time; with
    `&until=EPOCH_SECONDS` too, with all until then, as `{"notes": [...]}`.
    """

    async def show(request: Request) -> Response:
        at = _time(request.query_params.get("at"))
        until = _time(request.query_params.get("until", "0"))
        if at is None or until is None:
            raise ProblemError(400, "at: expected epoch seconds")
        if not basis.keeps:
            raise ProblemError(404, "the basis of decisions isn't kept: state_directory names no place for it")
        try:
            if "until" in request.query_params:
                return Response(await basis.between(at, until), media_type=JSON)
            found = await basis.find(at)
        except (OSError, OverflowError) as error:
            raise ProblemError(500, f"the basis of decisions can't be read: {error}") from None
        if found is None:
            raise ProblemError(
                404, "nothing was noted in the hour before: the node wasn't running, or it's too long ago"
            )
        return JSONResponse(found.plain())

    return Operation(
        method="GET",
        path="/decisions",
        role=Role.READ,
        summary="The node's knowledge of its origins at a time of the last day",
        handler=show,
        query=[
            QueryParameter("at", "Epoch seconds: the last note before that time", _TIME, required=True),
            QueryParameter("until", "Epoch seconds: all notes from `at` until then", _TIME),
        ],
        answer=either(record(notes=array(ANY_OBJECT)), ANY_OBJECT),
        refusals={400: "No time", 404: "Nothing is known of that time", 500: "The record can't be read"},
    )


def _time(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if 0.0 <= seconds <= _LAST else None
