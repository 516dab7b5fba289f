"""The admin API's `POST /reload`: reads the settings again, and puts them in force if they are valid."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation, wish_of
from shield.admin.problems import ProblemError
from shield.admin.schemas import COUNT, FLAG, TEXT, TEXTS, array, either, record
from shield.rules.tokens import Role


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The result of a reload. `problems` are the reasons of a refusal; without any, the new settings are in force.

    `generation` is that of the settings in force; `waiting` are keys whose new values wait for a restart.
    """

    generation: int
    problems: Sequence[str] = ()
    waiting: Sequence[str] = ()


_EXPECTED = 'expected {} or {"diff": true}'
Reloading = Callable[[], Awaitable[Reloaded]]


async def _cannot() -> Reloaded:
    return Reloaded(0, ["this node can't reload its settings"])


@dataclass(frozen=True, slots=True)
class Compared:
    """What a reload would change: plain values with `key`, `before`, `after`, `source` and `needs_restart`, and notes
    on what that costs; or the problems for which it would be refused.
    """

    generation: int
    changes: Sequence[Mapping[str, object]] = ()
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()


Comparing = Callable[[], Awaitable[Compared]]


async def _cannot_compare() -> Compared:
    return Compared(0, problems=["this node can't reload its settings"])


class Reload:
    """The trigger of a node's reload. Its process sets `way`, since several workers have to agree; `compare` tells
    what would change.
    """

    def __init__(self) -> None:
        self.way: Reloading = _cannot
        self.compare: Comparing = _cannot_compare

    async def ask(self) -> Reloaded:
        """Reload, and wait for the result."""
        return await self.way()


def reloading(reload: Reload) -> Operation:
    """Answered with `{"generation": 2, "needs_restart": []}`; a refusal has the generation, too.

    `{"diff": true}` changes nothing, and is answered with `{"generation": 1, "changes": [...], "notes": []}`.
    """

    async def handle(request: Request) -> Response:
        wish = wish_of(request)
        if wish is not None and (not isinstance(wish, dict) or not wish.keys() <= {"diff"}):
            raise ProblemError(400, _EXPECTED)
        only_compares = (wish or {}).get("diff", False)
        if not isinstance(only_compares, bool):
            raise ProblemError(400, _EXPECTED)
        if only_compares:
            compared = await reload.compare()
            if compared.problems:
                raise ProblemError(409, *compared.problems, more={"generation": compared.generation})
            said = {"generation": compared.generation, "changes": list(compared.changes)}
            return JSONResponse({**said, "notes": list(compared.notes)})
        done = await reload.ask()
        if done.problems:
            raise ProblemError(409, *done.problems, more={"generation": done.generation})
        return JSONResponse({"generation": done.generation, "needs_restart": list(done.waiting)})

    change = record(key=TEXT, before={}, after={}, source=TEXT, needs_restart=FLAG)
    return Operation(
        method="POST",
        path="/reload",
        role=Role.OPERATE,
        summary="Read the settings again, and put them in force if they are valid",
        description="With `diff`: what would change, and what waits for a restart; nothing is changed.",
        handler=handle,
        body=record(optional={"diff": FLAG}),
        body_needed=False,
        answer=either(
            record(generation=COUNT, needs_restart=TEXTS),
            record(generation=COUNT, changes=array(change), notes=TEXTS),
        ),
        refusals={409: "The settings of `generation` stay in force"},
    )
