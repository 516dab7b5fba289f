"""The wire format between the workers of a node.

A worker sends the owner of a key a client's request, `GET target`, with the fields by which a response is judged. The
owner adds one field line to its response, the last of its head, which states the outcome (`outcome_line`). The
requesting worker removes it (`strip_outcome`), like the owner's member of Cache-Status, and interprets the response
by it (`read`).
"""

from __future__ import annotations

from collections.abc import Sequence

from shield.errors import Fault, OriginError
from shield.messages import Field, Request, ResponseHead
from shield.origin.response import Response
from shield.origin.want import Absent, Failed, Fetched, Keeping, Want, mismatch
from shield.outcome import Outcome
from shield.rules import digests, hidden
from shield.rules.freshness import allowed_lifetime
from shield.rules.key import CacheKey
from shield.rules.warming import MARK

FIELD = b"shield-peer"
HOT = (b"shield-hot", b"1")
"""A line of responses with an entry that many nodes ask for."""
JOINED = (b"shield-joined", b"1")
"""A line of responses whose fetch was begun for an earlier request."""
PURGED = b"shield-purged"
"""The field of responses with the node's position in the log of purges."""
WARMING = (b"shield-warm", b"1")
"""A line of requests for which no client waits."""
STORED_ONLY = (b"shield-stored-only", b"1")
"""A line of requests that are answered by a fresh entry that is stored as a whole, or refused."""
HOPS = b"shield-hops"
"""The field of requests with their hops, as in `Request.hops`, if there are any."""
REQUEST_ID = b"shield-request-id"
"""The field of a request with the identifier of the client's."""

TOLD = (HOT[0], JOINED[0], PURGED)
_OF_PEERS = (FIELD, *TOLD)
_HIT = b"hit"
_FAILED = b"failed"
_REFUSED = b"refused"
_FROM = b"from"
_ABSENT = b"absent"
_JUDGED = (b"authorization", b"cache-control", b"pragma")


def judged_by(request: Request, forwarded: Sequence[Field] = ()) -> tuple[Field, ...]:
    """The fields of a client's request by which a response to it is judged (RFC 9111 §3.5, §5.2.1), and whether it
    is one for warming.

    Without fields that are forwarded in any case.
    """
    notable = request.notable
    if not notable:
        return ()
    there = {name for name, _ in forwarded}
    judged = tuple([(name, notable[name]) for name in _JUDGED if name in notable and name not in there])
    return (*judged, WARMING) if MARK in notable else judged


def outcome_line(status: int, outcome: Outcome) -> bytes:
    """The field line, with its end, by which an owner states the outcome of a peer's request."""
    if outcome.hit or outcome.served_stale:
        said = _HIT
    elif outcome.forward is None:
        said = _REFUSED
    elif status >= 500 and outcome.forward_status is None:
        said = b"%b %b" % (_FAILED, _bytes(outcome.detail))  # its status is the response's
    elif outcome.origin is None and outcome.detail is not None:
        said = b"%b %b" % (_ABSENT, _bytes(outcome.detail))
    else:
        said = b"%b %b" % (_FROM, _bytes(outcome.origin))
        if outcome.attempts > 1:
            said += b" %d" % outcome.attempts
    return b"%b: %b\r\n" % (FIELD, said)


def _bytes(text: str | None) -> bytes:
    return (text or "").encode("ascii", "replace")


def named(key: CacheKey) -> bytes:
    """The owner's name in a request for one of its keys: workers may map a target to different keys, for as long as
    some of them don't know of other routes yet.
    """
    return key.digest.hex().encode()


def request_head(method: bytes, target: bytes, fields: Sequence[Field], *, host: bytes = b"shield") -> bytes:
    lines = b"".join([b"%b: %b\r\n" % line for line in fields])
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (method, target, host, lines)


def strip_outcome(response: Response, node: bytes) -> bytes:
    """Remove the owner's additions from a response's head, and return the stated outcome; b"" when there is none.
    `node` begins its member of Cache-Status, which is removed, too; b"": it stays, since it tells of another hop.

    Age stays, since freshness follows from it, and so does Via, which correctly names the node.
    """
    head = response.head
    fields = list(head.fields)
    said = head.all(FIELD)[-1:]
    status = (
        None
        if not node
        else max((place for place, line in enumerate(fields) if line[0] == b"cache-status"), default=None)
    )
    if status is not None and said and fields[status][1].startswith(node):
        del fields[status]  # the last member is the owner's
    kept = [line for line in fields if line[0] not in _OF_PEERS]
    held = digests.revealed(hidden.reveal(kept))
    response.head = ResponseHead(head.status, held, head.length)
    return said[0] if said else b""


def read(name: str, want: Want, response: Response, said: bytes) -> Fetched | Absent | Failed:
    """The meaning of an owner's response; OriginError when it doesn't answer `want`."""
    head = response.head
    status = head.status
    word, _, rest = said.partition(b" ")
    if word == _FAILED:
        again = head.get(b"retry-after") or b""
        failures = _failures(name, rest.decode("ascii", "replace"), float(again) if again.isdigit() else None)
        return Failed(failures, is_late=status == 504, attempts=len(failures))
    in_part = want.span is not None and not want.tentative
    if in_part and status in (404, 410):
        return Absent(status, allowed_lifetime(head))
    if status == 412 and want.span is not None:
        response.close()
        raise OriginError(name, Fault.VALIDATOR, "another version is there now", status=status)
    origin, detail, attempts = rest.decode("ascii", "replace"), None, 1
    if word == _FROM:
        origin, _, count = origin.partition(" ")
        attempts = int(count) if count.isdecimal() else 1
    if word == _ABSENT:
        word, origin, detail = _FROM, "", origin  # no origin by itself says that there is no such object
    if in_part and status >= 500 and word in (_HIT, _FROM):
        return Failed((OriginError(origin or name, Fault.SERVER, f"{status}, as {name} says", status=status),))
    problem = mismatch(want, head) if in_part or status < 300 or status == 304 else None
    if word not in (_HIT, _FROM) or status in (412, 416):  # a 5xx "from" an origin is the origin's own response
        problem = (Fault.REFUSED, f"it answers {status} {said.decode('ascii', 'replace')}")
    if problem is not None:
        response.close()
        raise OriginError(name, *problem, status=status)
    # It is the other worker that puts it on disk: written twice, a disk would hold half as much.
    brought = Fetched(origin, response, 0.0, 0.0, by_peer=True, keep=Keeping.MEMORY)
    brought.was_hit, brought.detail, brought.attempts = word == _HIT, detail, attempts
    return brought


def _failures(name: str, detail: str, retry_after: float | None = None) -> tuple[OriginError, ...]:
    """The errors named by an owner's detail (as `Failed.detail` writes them); none: its deadline passed.

    `retry_after` is the owner's Retry-After.
    """
    failures = []
    for part in detail.split():
        origin, is_named, fault = part.rpartition("=")
        try:
            failures.append(_error(origin if is_named else name, fault, name, retry_after))
        except ValueError:
            if part != "deadline":
                failures.append(OriginError(name, Fault.SERVER, detail))
    return tuple(failures)


def _error(origin: str, fault: str, name: str, retry_after: float | None) -> OriginError:
    return OriginError(origin, Fault(fault), f"as {name} says", retry_after=retry_after)
