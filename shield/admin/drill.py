"""The admin API's drills: `POST /drill` begins one, `POST /drill/stop` ends it, `GET /drill` shows the last one, and
`GET /drill/history` the reports that are kept.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation, wish_of
from shield.admin.problems import ProblemError
from shield.admin.schemas import ANY_OBJECT, FLAG, TEXT, array, nullable, one_of, record
from shield.rules.drill import DRILL_BOUNDS, MODES, DrillOrder, DrillRun
from shield.rules.tokens import Role

_DRILL = {"type": "object", "properties": {"state": TEXT}, "required": ["state"]}


class Drilling(Protocol):
    """Drills of the whole node, whichever worker is told."""

    def begin(self, order: DrillOrder) -> DrillRun | list[str]: ...

    def stop(self) -> bool: ...

    def shown(self) -> dict[str, Any]: ...

    def reports(self) -> Awaitable[list[dict[str, Any]] | None]: ...


def drilling(drills: Drilling) -> list[Operation]:
    """`POST /drill` takes the fields of a `DrillOrder`, answered with the drill as `GET /drill` shows it."""

    async def begin(request: Request) -> Response:
        wish = wish_of(request)
        try:
            order = DrillOrder.read(wish if isinstance(wish, dict) else {})
        except ValueError as error:
            raise ProblemError(400, str(error)) from None
        said = drills.begin(order)
        if isinstance(said, list):
            raise ProblemError(409, *said)
        return JSONResponse(drills.shown())

    async def stop(request: Request) -> Response:
        if not drills.stop():
            raise ProblemError(409, "no drill runs")
        return JSONResponse(drills.shown())

    async def show(request: Request) -> Response:
        return JSONResponse(drills.shown())

    async def history(request: Request) -> Response:
        try:
            entries = await drills.reports()
        except OSError as error:
            raise ProblemError(500, f"the reports of drills can't be read: {error.strerror}") from None
        if entries is None:
            raise ProblemError(404, "no reports are kept: state_directory names no place for them")
        return JSONResponse({"drills": entries})

    bounds = {name: nullable({"type": "number", "minimum": a, "maximum": z}) for name, a, z in DRILL_BOUNDS}
    return [
        Operation(
            method="POST",
            path="/drill",
            role=Role.OPERATE,
            summary="Begin a drill: faults injected at an origin",
            handler=begin,
            body=record(origin=TEXT, mode=one_of(*MODES), optional={**bounds, "is_forced": FLAG, "is_nightly": FLAG}),
            answer=_DRILL,
            refusals={409: "It can't begin now"},
        ),
        Operation(
            method="GET",
            path="/drill",
            role=Role.READ,
            summary="The last drill",
            handler=show,
            answer=_DRILL,
        ),
        Operation(
            method="POST",
            path="/drill/stop",
            role=Role.OPERATE,
            summary="End the drill",
            handler=stop,
            answer=_DRILL,
            refusals={409: "No drill runs"},
        ),
        Operation(
            method="GET",
            path="/drill/history",
            role=Role.READ,
            summary="Reports of former drills",
            handler=history,
            answer=record(drills=array(ANY_OBJECT)),
            refusals={404: "None are kept", 500: "They can't be read"},
        ),
    ]
