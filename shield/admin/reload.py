"""The admin API's `POST /reload`: reads the settings again, and puts them in force if they are valid."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


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


def reloading(reload: Reloading) -> Route:
    """The route: answers `{"generation": 2, "needs_restart": []}`, or 409 `{"generation": 1, "problems": [...]}`."""

    async def handle(request: Request) -> Response:
        done = await reload()
        if done.problems:
            return JSONResponse({"generation": done.generation, "problems": list(done.problems)}, 409)
        return JSONResponse({"generation": done.generation, "needs_restart": list(done.waiting)})

    return Route("/reload", handle, methods=["POST"])
