"""The admin API's `POST /upgrade`: the node's program is replaced by the version that is installed now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation
from shield.admin.problems import ProblemError
from shield.admin.schemas import TEXT, record
from shield.rules.tokens import Role


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The version that runs, after an upgrade; or, with the problems, because it was refused or has failed."""

    version: str
    problems: Sequence[str] = ()


Upgrading = Callable[[], Awaitable[Upgraded]]


async def _cannot() -> Upgraded:
    return Upgraded("", ["this node can't replace its program"])


class Upgrade:
    """How a node is asked for an upgrade. `way` is set by its process: the supervisor does it."""

    def __init__(self) -> None:
        self.way: Upgrading = _cannot

    async def ask(self) -> Upgraded:
        """Upgrade, and wait for the outcome."""
        return await self.way()


def upgrading(upgrade: Upgrading) -> Operation:
    """Answered with `{"version": "0.2.0"}`; a refusal has the version, too."""

    async def handle(request: Request) -> Response:
        done = await upgrade()
        if done.problems:
            raise ProblemError(409, *done.problems, more={"version": done.version})
        return JSONResponse({"version": done.version})

    return Operation(
        method="POST",
        path="/upgrade",
        role=Role.OPERATE,
        summary="Replace the node's program by the version that is installed now",
        handler=handle,
        answer=record(version=TEXT),
        refusals={409: "The version before goes on, which is told as `version`"},
    )
