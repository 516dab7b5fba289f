"""The admin API's drills: `POST /drill` begins one, `POST /drill/stop` ends it, `GET /drill` shows the last one, and
`GET /drill/history` the reports that are kept.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shield.rules.drill import DrillOrder, DrillRun

_MOST_BYTES = 64 * 1024


class Drilling(Protocol):
    """Drills of the whole node, whichever worker is told."""

    def begin(self, order: DrillOrder) -> DrillRun | list[str]: ...

    def stop(self) -> bool: ...

    def shown(self) -> dict[str, Any]: ...

    def reports(self) -> Awaitable[list[dict[str, Any]] | None]: ...


def drilling(drills: Drilling) -> list[Route]:
    """The routes. `POST /drill` takes the fields of a `DrillOrder`, answered with the drill as `GET /drill` shows it;
    or with 400, 409 or 415 and `{"problems": [...]}`.
    """

    async def begin(request: Request) -> Response:
        # A browser would send other types here on behalf of any page, without a preflight.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _refused(415, ["expected application/json"])
        if int(request.headers.get("content-length", "0")) > _MOST_BYTES:
            return _refused(413, [f"expected {_MOST_BYTES} bytes at most"])
        try:
            plain = await request.json()
            order = DrillOrder.read(plain if isinstance(plain, dict) else {})
        except (ValueError, RecursionError) as error:
            return _refused(400, [str(error)])
        said = drills.begin(order)
        return _refused(409, said) if isinstance(said, list) else JSONResponse(drills.shown())

    async def stop(request: Request) -> Response:
        return JSONResponse(drills.shown()) if drills.stop() else _refused(409, ["no drill runs"])

    async def show(request: Request) -> Response:
        return JSONResponse(drills.shown())

    async def history(request: Request) -> Response:
        try:
            entries = await drills.reports()
        except OSError as error:
            return _refused(500, [f"the reports of drills can't be read: {error.strerror}"])
        if entries is None:
            return _refused(404, ["no reports are kept: state_directory names no place for them"])
        return JSONResponse({"drills": entries})

    return [
        Route("/drill", begin, methods=["POST"]),
        Route("/drill", show, methods=["GET"]),
        Route("/drill/stop", stop, methods=["POST"]),
        Route("/drill/history", history, methods=["GET"]),
    ]


def _refused(status: int, problems: list[str]) -> Response:
    return JSONResponse({"problems": problems}, status)
