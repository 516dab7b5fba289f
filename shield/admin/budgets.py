"""The admin API's `/budgets`: the standing of budgets of egress, and the measures in force."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation
from shield.admin.schemas import NUMBER, TEXT, TEXTS, array, nullable, record
from shield.rules.budgets import BudgetStanding
from shield.rules.tokens import Role

_BUDGET = record(
    name=TEXT,
    origins=TEXTS,
    per=TEXT,
    amount=NUMBER,
    unit=TEXT,
    spent=NUMBER,
    share=NUMBER,
    projected_share=NUMBER,
    burst=nullable(NUMBER),
    in_hour=NUMBER,
    acts=TEXTS,
    until=nullable(NUMBER),
    ends=NUMBER,
)


def budgeting(standings: Callable[[], Sequence[BudgetStanding]]) -> Operation:
    """`GET /budgets` is answered with `{"budgets": [{"name": "far", "spent": 412.5, "unit": "EUR", ...}]}`."""

    async def show(request: Request) -> Response:
        return JSONResponse({"budgets": [{"name": each.budget.name, **each.plain()} for each in standings()]})

    return Operation(
        method="GET",
        path="/budgets",
        role=Role.READ,
        summary="Budgets of egress: amounts spent, and measures in force",
        handler=show,
        answer=record(budgets=array(_BUDGET)),
    )
