"""The admin API's `POST /reload`: reads the settings again, and puts them in force if they are valid."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation
from shield.admin.problems import ProblemError
from shield.admin.schemas import COUNT, TEXTS, record
from shield.rules.tokens import Role


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The result of a reload. `problems` are the reasons of a refusal; without any, the new settings are in force.

    `generation` is that of the settings in force; `waiting` are keys whose new values wait for a restart.
    """

    generation: int
    problems: Sequence[str] = ()
    waiting: Sequence[str] = ()


Reloading = Callable[[], Awaitable[Reloaded]]


async def _cannot() -> Reloaded:
    return Reloaded(0, ["this node can't reload its settings"])


class Reload:
    """The trigger of a node's reload. Its process sets `way`, since several workers have to agree."""

    def __init__(self) -> None:
        self.way: Reloading = _cannot

    async def ask(self) -> Reloaded:
        """Reload, and wait for the result."""
        return await self.way()


def reloading(reload: Reloading) -> Operation:
    """Answered with `{"generation": 2, "needs_restart": []}`; a refusal has the generation, too."""

    async def handle(request: Request) -> Response:
        done = await reload()
        if done.problems:
            raise ProblemError(409, *done.problems, more={"generation": done.generation})
        return JSONResponse({"generation": done.generation, "needs_restart": list(done.waiting)})

    return Operation(
        method="POST",
        path="/reload",
        role=Role.OPERATE,
        summary="Read the settings again, and put them in force if they are valid",
        handler=handle,
        answer=record(generation=COUNT, needs_restart=TEXTS),
        refusals={409: "The settings of `generation` stay in force"},
    )
