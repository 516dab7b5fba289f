"""A client's request, sent to another worker: of this node, or of another node of the cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shield.messages import Field, Request
from shield.origin.asked import Asked
from shield.origin.pool import Pool
from shield.origin.traced import noted, with_context
from shield.origin.want import Absent, Failed, Fetched, Want
from shield.peers import words
from shield.rules import loops
from shield.rules.key import CacheKey


@dataclass(frozen=True, slots=True)
class Respondent:
    """Another worker. `name` is its name in errors and traces; `own` is the member of Cache-Status that is left out
    of its responses, as `node_name` and a semicolon; b"" for none.
    """

    name: str
    pool: Pool
    own: bytes = b""


async def ask(
    other: Respondent,
    key: CacheKey,
    request: Request,
    want: Want,
    further: tuple[Field, ...] = (),
    *,
    deadline: float,
    clock: Callable[[], float],
    told: dict[bytes, bytes] | None = None,
) -> Fetched | Absent | Failed:
    """Its response to a client's request for this key, sent with these further fields. `deadline` is loop time. What
    it tells of the entry besides (`words.HOT`, `words.PURGED`) is put into `told`.

    Raises OriginError when the response is of no use.
    """
    judged = words.judged_by(request, want.forwarded)
    while True:
        asked = clock()
        passed = request.get(loops.NAME)
        fields = (*want.fields(), *judged, *(((loops.NAME, passed),) if passed else ()), *further)
        if request.identifier is not None:
            fields = (*fields, (words.REQUEST_ID, request.identifier))
        trace, attempt = want.trace, None
        if trace is not None:
            attempt = trace.begin(other.name, want.method, "", request.target.partition(b"?")[0], asked)
            fields = with_context(fields, trace, attempt)
        head = words.request_head(want.method, request.target, fields, host=words.named(key))
        sent = other.pool.fetch(Asked(head, want.method, deadline, want.inform, want.sent))
        response = await (sent if trace is None else noted(attempt, sent, clock))
        if told is not None:
            told.update([line for line in response.head.fields if line[0] in words.TOLD])
        said = words.strip_outcome(response, other.own)
        if want.tentative and response.head.status == 416:
            response.close()
            want = want.beginning() if want.span is not None and want.span.start else want.whole()
            continue
        result = words.read(other.name, want, response, said)
        if isinstance(result, Fetched):
            result.request_time, result.response_time = asked, clock()
        else:
            response.close()
        return result
