"""The admin API's `/ramps`: origins whose share of keys grows, and orders of operators."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shield.origin.ramps import RampAnswer, Ramps, as_json
from shield.rules.ramp import Ramp


def ramp_routes(ramps: Ramps) -> list[Route]:
    """`GET /ramps` is answered with `{"ramps": [{"origin": "iad", "status": "running", "share": 0.05, ...}]}`.

    `POST /ramps/iad/start`, `pause`, `resume`, `abort` and `clear` are answered with
    `{"ramp": {...}, "notes": [...]}`, or 404 or 409 and `{"problems": [...]}`.
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
        # A browser would send other types here on behalf of any page, without a preflight.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return JSONResponse({"problems": ["expected application/json"]}, 415)
        wanted = orders.get(request.path_params["order"])
        if wanted is None:
            return JSONResponse({"problems": [f"expected one of {', '.join(orders)}"]}, 404)
        return _told(await wanted(request.path_params["name"]))

    return [Route("/ramps", show), Route("/ramps/{name}/{order}", order, methods=["POST"])]


def _told(done: RampAnswer) -> Response:
    if done.problems:
        return JSONResponse({"problems": list(done.problems)}, 409)
    return JSONResponse({"ramp": None if done.ramp is None else _shown(done.ramp), "notes": list(done.notes)})


def _shown(ramp: Ramp) -> dict[str, object]:
    return {**as_json(ramp), "share": ramp.share, "is_shadow": ramp.is_shadow, "missing": ramp.missing}
