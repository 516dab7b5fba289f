"""The admin API's `POST /reload`: the settings read again, and put in force if they can be used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What has become of a reload. `problems`: why it was refused; none: it is in force.

    `waiting` are keys whose new values wait for a restart.
    """

    generation: int
    problems: Sequence[str] = ()
    waiting: Sequence[str] = ()


Reloading = Callable[[], Awaitable[Reloaded]]


async def _cannot() -> Reloaded:
    return Reloaded(0, ["this node can't reload its settings"])


class Reload:
    """How a node is asked for a reload. `way` is set by its process: several workers have to agree."""

    def __init__(self) -> None:
        self.way: Reloading = _cannot

    async def ask(self) -> Reloaded:
        """Reload, and wait for what has become of it."""
        return await self.way()


def reloading(reload: Reloading) -> Route:
    """Answered with `{"generation": 2, "needs_restart": []}`, or 409 and `{"generation": 1, "problems": [...]}`."""

    async def handle(request: Request) -> Response:
        done = await reload()
        if done.problems:
            return JSONResponse({"generation": done.generation, "problems": list(done.problems)}, 409)
        return JSONResponse({"generation": done.generation, "needs_restart": list(done.waiting)})

    return Route("/reload", handle, methods=["POST"])
