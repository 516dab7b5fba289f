"""The admin API's `GET /alarms`: alarms that last, past ones, and webhooks with their counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation
from shield.admin.schemas import COUNT, FLAG, TEXT, Schema, array, noted, nullable, one_of, record
from shield.rules.alarms import AlarmKind, Severity
from shield.rules.tokens import Role
from shield.rules.webhooks import WebhookFormat

_ALARM: Schema = record(
    id=noted(TEXT, "Of this alarm, from its beginning to its end"),
    node=TEXT,
    kind=one_of(*[kind.value for kind in AlarmKind]),
    subject=noted(TEXT, "An origin, a directory or a worker; empty for the node as a whole"),
    severity=one_of(*[severity.value for severity in Severity]),
    text=noted(TEXT, "What happened"),
    remedy=noted(TEXT, "What to do"),
    runbook=noted(TEXT, "The part of the documentation that says more"),
    since=TEXT,
    resolved=FLAG,
    resolved_at=nullable(TEXT),
)
_WEBHOOK: Schema = record(
    format=one_of(*[each.value for each in WebhookFormat]),
    signed=FLAG,
    waiting=noted(COUNT, "Messages on their way"),
    sent=COUNT,
    failed=noted(COUNT, "Given up after all attempts"),
    dropped=noted(COUNT, "Never sent, since too many waited"),
)


def alarming(shown: Callable[[], dict[str, Any]]) -> Operation:
    """`shown` is as `AlarmWatch.shown`, whichever worker answers."""

    async def show(request: Request) -> Response:
        return JSONResponse(shown())

    return Operation(
        method="GET",
        path="/alarms",
        role=Role.READ,
        summary="Alarms that last, past ones, and webhooks",
        handler=show,
        answer=record(
            active=array(_ALARM), recent=array(_ALARM), webhooks={"type": "object", "additionalProperties": _WEBHOOK}
        ),
    )
