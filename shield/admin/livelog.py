"""The admin API's `GET /log`: requests as they happen, of all workers, that match a query."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from shield.admin.operations import Operation, QueryParameter
from shield.admin.problems import ProblemError
from shield.observe.livelog import EVERY_SECONDS, MOST_STREAMS, LiveLog, LogBatch, TooManyStreamsError
from shield.rules.log_query import LONGEST, LogQueryError
from shield.rules.tokens import Role

_LINES = "application/x-ndjson"
_EVENTS = "text/event-stream"
_LONGEST_SECONDS = 86_400.0
_SIGN_OF_LIFE = round(5.0 / EVERY_SECONDS)  # batches without lines, after which something is sent all the same
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def log_route(log: LiveLog) -> Operation:
    """The route. Each line is an object with the fields of the access log; `{"dropped": N, "unexamined": M}` says how
    many requests didn't get one, since there were too many: they matched, or weren't looked at.
    """

    async def follow(request: Request) -> Response:
        asked = request.query_params
        as_events = _EVENTS in request.headers.get("accept", "")
        media = _EVENTS if as_events else _LINES
        if request.method == "HEAD":  # of a stream without an end
            return Response(media_type=media)
        try:
            batches = log.stream(asked.get("query", ""), seconds=_seconds(asked.get("seconds")))
        except LogQueryError as error:
            raise ProblemError(400, f"query: {error}", more={"position": error.position}) from None
        except TooManyStreamsError:
            raise ProblemError(503, f"{MOST_STREAMS} streams are open already: close one") from None
        return StreamingResponse(_sent(batches, _event if as_events else _line), media_type=media, headers=_HEADERS)

    return Operation(
        method="GET",
        path="/log",
        role=Role.OPERATE,
        summary="Requests as they happen, as lines of JSON or, if accepted, as server-sent events",
        description="Of all workers. Without a query: all requests. Empty lines, or comments, are signs of life.",
        handler=follow,
        query=(
            QueryParameter("query", "As `miss reason=expired bytes>1MB`", {"type": "string", "maxLength": LONGEST}),
            QueryParameter(
                "seconds", "The time after which it ends", {"type": "number", "maximum": _LONGEST_SECONDS}
            ),
        ),
        media=_LINES,
        refusals={400: "The query can't be understood", 503: "Too many streams"},
    )


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.0 <= seconds <= _LONGEST_SECONDS:
        raise ProblemError(400, f"seconds: expected a number from 0 to {_LONGEST_SECONDS:.0f}")
    return seconds


async def _sent(batches: AsyncIterator[LogBatch], form: Callable[[str, object], str]) -> AsyncIterator[str]:
    quiet = 0
    async for batch in batches:
        parts = [form("request", line) for line in batch.lines]
        if batch.dropped or batch.unexamined:
            parts.append(form("dropped", {"dropped": batch.dropped, "unexamined": batch.unexamined}))
        quiet = 0 if parts else quiet + 1
        if parts:
            yield "".join(parts)
        elif quiet % _SIGN_OF_LIFE == 1:
            yield form("", None)


def _line(kind: str, said: object) -> str:
    return "\n" if said is None else json.dumps(said, separators=(",", ":")) + "\n"


def _event(kind: str, said: object) -> str:
    if said is None:
        return ":\n\n"
    return f"event: {kind}\ndata: {json.dumps(said, separators=(',', ':'))}\n\n"
