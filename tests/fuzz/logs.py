"""Queries over the log of requests."""

from __future__ import annotations

from shield.rules.log_lines import FIELDS, LogValue
from shield.rules.log_query import LogQueryError, log_query
from tests.fuzz.target import Target

_HIT: dict[str, LogValue] = {"cache": "hit", "client": "192.0.2.1", "target": "/a", "status": 200, "bytes": 1}
_FULL: dict[str, LogValue] = {**dict.fromkeys(FIELDS, 1), "cache": "miss", "client": "unix", "target": "/a?b"}


def check_query(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        query = log_query(text)
    except LogQueryError as error:
        assert 0 <= error.position <= len(text) and error.problem.isprintable()
        return
    assert query.of_hit() in (None, query.matches(_HIT))
    assert query.matches(_FULL) in (True, False)


TARGETS = {
    "log-query": Target(
        check_query,
        (
            b"miss reason=expired bytes>1MB",
            b'!(origin=fra or status>=500) path~"*.webp"',
            b"client=10.0.0.0/8 seconds>500ms",
        ),
        (
            b"miss",
            b"or",
            b"status",
            b"bytes",
            b"path~",
            b"client=",
            b">=",
            b"!=",
            b"(",
            b")",
            b"!",
            b"*",
            b"[!",
            b"::1/64",
        ),
    ),
}
