"""The admin API's `/ramps`: origins whose share of keys grows, and orders of operators."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation
from shield.admin.problems import ProblemError
from shield.admin.schemas import FLAG, NUMBER, TEXT, TEXTS, array, nullable, record
from shield.origin.ramps import RampAnswer, Ramps, as_json
from shield.rules.ramp import Ramp
from shield.rules.tokens import Role

_RAMP = {
    "type": "object",
    "properties": {"origin": TEXT, "status": TEXT, "share": NUMBER, "is_shadow": FLAG},
    "required": ["origin", "status", "share", "is_shadow", "missing"],
}


def ramp_routes(ramps: Ramps) -> list[Operation]:
    """`GET /ramps` is answered with `{"ramps": [{"origin": "iad", "status": "running", "share": 0.05, ...}]}`.

    `POST /ramps/iad/start`, `pause`, `resume`, `abort` and `clear` are answered with
    `{"ramp": {...}, "notes": [...]}`.
    """
    orders = {
        "start": ramps.start,
        "pause": ramps.pause,
        "resume": ramps.resume,
        "abort": ramps.abort,
        "clear": ramps.clear,
    }

    async def show(request: Request) -> Response:
        return JSONResponse({"ramps": [_shown(ramp) for ramp in ramps.all().values()]})

    async def order(request: Request) -> Response:
        wanted = orders.get(request.path_params["order"])
        if wanted is None:
            raise ProblemError(404, f"expected one of {', '.join(orders)}")
        return _told(await wanted(request.path_params["name"]))

    return [
        Operation(
            method="GET",
            path="/ramps",
            role=Role.READ,
            summary="The ramps of new origins",
            handler=show,
            answer=record(ramps=array(_RAMP)),
        ),
        Operation(
            method="POST",
            path="/ramps/{name}/{order}",
            role=Role.OPERATE,
            summary=f"An order about the ramp of an origin: {', '.join(orders)}",
            handler=order,
            answer=record(ramp=nullable(_RAMP), notes=TEXTS),
            refusals={404: "No such order", 409: "It can't be carried out"},
        ),
    ]


def _told(done: RampAnswer) -> Response:
    if done.problems:
        raise ProblemError(409, *done.problems)
    return JSONResponse({"ramp": None if done.ramp is None else _shown(done.ramp), "notes": list(done.notes)})


def _shown(ramp: Ramp) -> dict[str, object]:
    return {**as_json(ramp), "share": ramp.share, "is_shadow": ramp.is_shadow, "missing": ramp.missing}
