"""The admin API's `GET /config`: the settings in force, without secrets, and where each value comes from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation
from shield.admin.schemas import COUNT, NUMBER, TEXT, TEXTS, array, noted, nullable, record
from shield.rules.tokens import Role


@dataclass(frozen=True, slots=True)
class SettingsInForce:
    """One edition. `values` are plain, with `key`, `value` and `source`. `file` None: there is none."""

    generation: int
    since: float
    file: str | None
    waiting: Sequence[str]
    values: Sequence[Mapping[str, object]]


def configuring(settings: Callable[[], Awaitable[SettingsInForce]]) -> Operation:
    """Answered with `{"generation": 1, "settings": [{"key": "workers", "value": 2, "source": "shield.yaml:3"}]}`."""

    async def show(request: Request) -> Response:
        found = await settings()
        return JSONResponse(
            {
                "generation": found.generation,
                "since": found.since,
                "file": found.file,
                "needs_restart": list(found.waiting),
                "settings": list(found.values),
            }
        )

    source = noted(TEXT, "A line of a file, a variable, a secret file, or `default`")
    return Operation(
        method="GET",
        path="/config",
        role=Role.OPERATE,
        summary="The settings in force, without secrets, and where each value comes from",
        handler=show,
        answer=record(
            generation=COUNT,
            since=noted(NUMBER, "Epoch seconds; 0: since the start"),
            file=nullable(TEXT),
            needs_restart=noted(TEXTS, "Keys whose new values wait for a restart"),
            settings=array(record(key=TEXT, value={}, source=source)),
        ),
    )
