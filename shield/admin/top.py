"""The admin API's `GET /top`: the most requested keys, routes, clients and origins, of all workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import Operation, QueryParameter
from shield.admin.problems import ProblemError
from shield.admin.schemas import NUMBER, TEXT, array, noted, one_of, record
from shield.observe.top import BY, MOST_ROWS, OF, WINDOW_SECONDS, Top, merged_rows
from shield.rules.tokens import Role

_USUAL = 20

Tops = Callable[[str, str], Awaitable[Sequence[Top]]]
"""The lists of all workers that answer, by subject and order."""

_ROW = record(
    optional={
        **{name.removesuffix("s"): TEXT for name in OF},
        "target": noted(TEXT, "the latest target of a key"),
    },
    requests=noted(NUMBER, "per second"),
    missed_bytes=noted(NUMBER, "body bytes per second of responses that an origin gave for just this request"),
    money=noted(NUMBER, "per hour, by the prices of origins"),
    hits=noted(NUMBER, "per second"),
    sent_bytes=noted(NUMBER, "body bytes per second"),
    error=noted(NUMBER, "the most by which the value that rows are ordered by may be too small"),
)
_ANSWER = record(of=one_of(*OF), by=one_of(*BY), seconds=NUMBER, rows=array(_ROW, maxItems=MOST_ROWS))


def top_route(tops: Tops) -> Operation:
    """The route. Rates are those of about the last minute; rows with the greatest come first."""

    async def show(request: Request) -> Response:
        of, by = _word(request, "of", OF), _word(request, "by", BY)
        count = _count(request.query_params.get("n", str(_USUAL)))
        rows = merged_rows(await tops(of, by), of, by, count)
        return JSONResponse({"of": of, "by": by, "seconds": WINDOW_SECONDS, "rows": rows})

    return Operation(
        method="GET",
        path="/top",
        role=Role.OPERATE,
        summary="The keys, routes, clients or origins with most requests, missed bytes or money",
        description="Rates of about the last minute, of all workers. On busy workers they are of a sample.",
        handler=show,
        query=(
            QueryParameter("of", "Of what", one_of(*OF)),
            QueryParameter("by", "In which order", one_of(*BY)),
            QueryParameter("n", "Rows at most", {"type": "integer", "minimum": 1, "maximum": MOST_ROWS}),
        ),
        answer=_ANSWER,
        refusals={400: "A parameter can't be understood"},
    )


def _word(request: Request, name: str, words: Sequence[str]) -> str:
    word = request.query_params.get(name, words[0])
    if word not in words:
        raise ProblemError(400, f"{name}: expected one of {' '.join(words)}")
    return word


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= MOST_ROWS):
        raise ProblemError(400, f"n: expected a number from 1 to {MOST_ROWS}")
    return int(text)
