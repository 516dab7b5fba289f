"""The admin listener's application, made of operations: their routes, and the document that describes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import cache

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from shield import __version__
from shield.admin.doorkeeper import Doorkeeper
from shield.admin.openapi import document_of
from shield.admin.operations import BODY_SECONDS, Operation, Witness, as_problem, by_path, routes_of
from shield.admin.schemas import ANY_OBJECT
from shield.admin.visitors import Visitors


class AdminApi:
    """The application, made for its first request: that takes as long as half of a node's other parts together, and
    only one of the workers has the admin listener.
    """

    def __init__(self, make: Callable[[], Starlette]) -> None:
        self._make = make
        self._made: Starlette | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._application(scope, receive, send)

    @property
    def routes(self) -> list[BaseRoute]:
        return self._application.routes

    @property
    def _application(self) -> Starlette:
        if self._made is None:
            self._made = self._make()
        return self._made


def admin_api(
    operations: Iterable[Operation],
    *,
    doorkeeper: Doorkeeper | None = None,
    witness: Witness | None = None,
    hosts: Collection[str] = (),
    body_seconds: float = BODY_SECONDS,
) -> AdminApi:
    """The application with these operations and `/openapi.json`. Raises ValueError if one is described twice.

    `doorkeeper` None admits everyone. `witness` is told of changing calls. `hosts` are names as `Visitors` takes
    them. `body_seconds`: the time in which a request's body must arrive.
    """

    async def describe(request: Request) -> Response:
        return JSONResponse(document())

    described = Operation(
        method="GET",
        path="/openapi.json",
        role=None,
        summary="This document",
        handler=describe,
        answer=ANY_OBJECT,
    )
    known = [*operations, described]
    document = cache(lambda: document_of(known, version=__version__))
    methods = by_path(known)

    def make() -> Starlette:
        app = Starlette(
            middleware=[Middleware(Visitors, names=hosts)],
            routes=routes_of(methods, doorkeeper or Doorkeeper(), witness, body_seconds=body_seconds),
            exception_handlers={HTTPException: as_problem, Exception: as_problem},
        )
        app.router.redirect_slashes = False
        return app

    return AdminApi(make)
