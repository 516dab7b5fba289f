"""The admin API's `POST /upgrade`: the node's program is replaced by the version that is installed now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


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
        """Upgrade, and wait for what has become of it."""
        return await self.way()


def upgrading(upgrade: Upgrading) -> Route:
    """Answered with `{"version": "0.2.0"}`, or 409 and `{"version": "0.1.0", "problems": [...]}`."""

    async def handle(request: Request) -> Response:
        done = await upgrade()
        if done.problems:
            return JSONResponse({"version": done.version, "problems": list(done.problems)}, 409)
        return JSONResponse({"version": done.version})

    return Route("/upgrade", handle, methods=["POST"])
