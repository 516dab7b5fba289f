"""The admin API's `/log-level`: another level of the log for a while, in all workers."""

from __future__ import annotations

from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation, wish_of
from shield.admin.problems import ProblemError
from shield.admin.schemas import NUMBER, noted, nullable, one_of, record
from shield.rules.log_level import LEVELS, LONGEST_SECONDS, USUAL_SECONDS, LevelForNow
from shield.rules.tokens import Role

_EXPECTED = f'expected {{"level": "debug", "for": SECONDS}}, of {", ".join(LEVELS)}; or {{"level": null}} to end it'
_ANSWER = record(level=one_of(*LEVELS), until=nullable(NUMBER), usual=one_of(*LEVELS))


class Leveller(Protocol):
    """The level of the log of a whole node."""

    @property
    def usual(self) -> str: ...

    @property
    def now(self) -> LevelForNow | None: ...

    def set(self, level: str, seconds: float) -> LevelForNow: ...

    def end(self) -> None: ...


def log_level_routes(levels: Leveller) -> list[Operation]:
    """`{"level": "debug", "for": 600}` is answered with `{"level": "debug", "until": EPOCH, "usual": "info"}`; that
    ends by itself, or with `{"level": null}`.
    """

    async def show(request: Request) -> Response:
        return _shown(levels)

    async def change(request: Request) -> Response:
        wish = _read(wish_of(request))
        if wish is None:
            levels.end()
        else:
            levels.set(*wish)
        return _shown(levels)

    seconds = {"type": "number", "minimum": 1, "maximum": LONGEST_SECONDS, "default": USUAL_SECONDS}
    return [
        Operation(
            method="GET",
            path="/log-level",
            role=Role.READ,
            summary="The level of the log",
            handler=show,
            answer=_ANSWER,
        ),
        Operation(
            method="POST",
            path="/log-level",
            role=Role.OPERATE,
            summary="Another level of the log for a while, in all workers; null ends it",
            handler=change,
            body=record(level=nullable(one_of(*LEVELS)), optional={"for": noted(seconds, "Seconds")}),
            answer=_ANSWER,
        ),
    ]


def _shown(levels: Leveller) -> Response:
    found = levels.now
    level, until = (levels.usual, None) if found is None else found
    return JSONResponse({"level": level, "until": until, "usual": levels.usual})


def _read(wish: Any) -> tuple[str, float] | None:
    """A level and its seconds; None: the settings' own. Raises ProblemError."""
    if not isinstance(wish, dict) or not {"level"} <= wish.keys() <= {"level", "for"}:
        raise ProblemError(400, _EXPECTED)
    level, seconds = wish["level"], wish.get("for", USUAL_SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds <= LONGEST_SECONDS:
        raise ProblemError(400, f"for: expected seconds from 1 to {LONGEST_SECONDS:g}")
    if level is None:
        return None
    if level not in LEVELS:
        raise ProblemError(400, _EXPECTED)
    return level, float(seconds)
