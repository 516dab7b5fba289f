"""The admin listener's application, made of operations: their routes, and the document that describes them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield import __version__
from shield.admin.doorkeeper import Doorkeeper
from shield.admin.openapi import document_of
from shield.admin.operations import BODY_SECONDS, Operation, Witness, as_problem, routes_of
from shield.admin.schemas import ANY_OBJECT
from shield.admin.visitors import Visitors


def admin_api(
    operations: Iterable[Operation],
    *,
    doorkeeper: Doorkeeper | None = None,
    witness: Witness | None = None,
    hosts: Collection[str] = (),
    body_seconds: float = BODY_SECONDS,
) -> Starlette:
    """The application with these operations and `/openapi.json`.

    `doorkeeper` None admits everyone. `witness` is told of changing calls. `hosts` are names as `Visitors` takes
    them. `body_seconds`: the time in which a request's body must arrive.
    """

    async def describe(request: Request) -> Response:
        return JSONResponse(document)

    described = Operation(
        method="GET",
        path="/openapi.json",
        role=None,
        summary="This document",
        handler=describe,
        answer=ANY_OBJECT,
    )
    known = [*operations, described]
    document = document_of(known, version=__version__)
    app = Starlette(
        middleware=[Middleware(Visitors, names=hosts)],
        routes=routes_of(known, doorkeeper or Doorkeeper(), witness, body_seconds=body_seconds),
        exception_handlers={HTTPException: as_problem, Exception: as_problem},
    )
    app.router.redirect_slashes = False
    return app
