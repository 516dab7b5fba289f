"""The HTTP/1.1 front and the ASGI front send equal responses, to the byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.client import Answer, request
from tests.depth import tries
from tests.doubles.faults import says
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.edge.wire import said
from tests.node import Shield, settings_of

DATE = "Sun, 15 Jun 2014 15:06:40 GMT"


@dataclass(frozen=True)
class Stored:
    """An entry that both fronts have."""

    status: int
    size: int
    fields: tuple[tuple[str, str], ...]

    @property
    def path(self) -> str:
        return f"/{hashlib.sha256(repr(self).encode()).hexdigest()}"


ENTRIES = st.builds(
    Stored,
    st.sampled_from([200] * 6 + [301, 404, 410]),
    st.sampled_from([0, 1, 10, 1000, 1000, 256 * 1024, 256 * 1024 + 1, 700_000]),
    st.dictionaries(
        st.sampled_from(
            [
                *(
                    "content-type",
                    "content-language",
                    "content-disposition",
                    "content-encoding",
                    "x-a",
                    "link",
                    "vary",
                ),
                *("surrogate-key", "cache-tag", "expires", "age", "pragma", "server", "x-amz-meta-a", "x-powered-by"),
                *("accept-ranges", "access-control-allow-origin", "timing-allow-origin", "location"),
            ]
        ),
        st.sampled_from(["a", "a, b", '"q"', "x y\tz", DATE, "bytes", "*", "/small", "0", "\u00fc"]),
        max_size=6,
    ).map(lambda fields: tuple(fields.items())),
)
OTHER_TARGETS = st.sampled_from(
    [
        *("/", "//", "/x/..", "/a%zz", "/a#b", "/a?b#c", "/" + "x" * 1025, "/" + "x" * 9000, "*"),
        *("/x/y", "/x/y", "/x/%79", "http://cdn.example/x/y"),
        *("http://cdn.example", "http://other.example/a", "http://u@cdn.example/a"),
    ]
)
SPELLINGS = st.sampled_from(["{}", "{}", "{}?x=1", "/{}", "/x/..{}", "http://cdn.example{}", "/.{}?"])
RANGES = st.one_of(
    st.builds("bytes={}-{}".format, st.integers(0, 1200), st.integers(0, 1200)),
    st.builds("bytes=-{}".format, st.integers(0, 1200)),
    st.sampled_from(
        ["bytes=0-", "bytes=0-0, 5-6", "bytes=500-400", "bytes=5-4,0-0", "bytes=", "lines=1-2", "bytes=999999-"]
    ),
)
ETAGS = st.sampled_from(['"x"', '"x", "{}"', "{}", "*", 'W/"w"', "W/{}", '""', "x"])
DATES = st.sampled_from([DATE, "Mon, 15 Jun 2099 15:06:40 GMT", "yesterday", "{modified}", "{etag}"])
FIELD = st.one_of(
    st.tuples(st.just("Range"), RANGES),
    st.tuples(st.sampled_from(["If-None-Match", "If-Match", "If-Range"]), ETAGS),
    st.tuples(st.sampled_from(["If-Modified-Since", "If-Unmodified-Since", "If-Range"]), DATES),
    st.tuples(st.just("Content-Length"), st.sampled_from(["0", "5", "00"])),
    st.tuples(st.just("Expect"), st.sampled_from(["100-continue", "x"])),
    st.tuples(st.just("Cache-Control"), st.sampled_from(["no-cache", "max-age=0", "only-if-cached", "no-store"])),
    st.tuples(st.sampled_from(["Accept", "Authorization", "Cookie", "X-Y", "TE", "Pragma", "Upgrade"]), st.just("a")),
    st.tuples(st.just("X-Z"), st.sampled_from([0, 40_000]).map(lambda length: "y" * length)),
)
CORS = {"access-control-allow-origin": "*", "x-own": "not in answers to OPTIONS"}
METHODS = st.sampled_from(["GET"] * 6 + ["HEAD"] * 3 + ["POST", "OPTIONS", "DELETE"])
HOSTS = st.sampled_from(["cdn.example"] * 8 + ["cdn.example:8080", "", "a@b", "a, b"])


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Shield, FaultyOrigin]]:
    preflights = {"match": "/x", "methods": ["GET", "OPTIONS"], "response_fields": {"set": CORS}}
    routes = {"default": {}, "x": preflights}
    with FaultyOrigin() as origin, Shield(settings_of({"fra": origin}, routes=routes)) as shield:
        origin.serves("/x/y", b"y", lifetime=3600)
        shield.get("/x/y")
        yield shield, origin


@pytest.mark.slow
@given(
    entry=ENTRIES,
    target=st.one_of(SPELLINGS, SPELLINGS, SPELLINGS, OTHER_TARGETS),
    method=METHODS,
    host=HOSTS,
    fields=st.lists(FIELD, max_size=3, unique_by=lambda field: field[0]),
)
@settings(max_examples=tries(100))
def test_both_fronts_give_the_same_answer(
    place: tuple[Shield, FaultyOrigin],
    entry: Stored,
    target: str,
    method: str,
    host: str,
    fields: list[tuple[str, str]],
) -> None:
    shield, origin = place
    known = _fetched(shield, origin, entry)
    target = target.format(entry.path)
    named = {"etag": known.get("etag"), "modified": known.get("last-modified")}
    fields = [(name, value.replace("{}", "{etag}").format(**named)) for name, value in fields]

    ours = shield.call(lambda: said(shield, request(target, fields, method=method, host=host))).answers
    asgi = shield.run(_asked(shield, target, [("Host", host), *fields], method=method))

    status_line, _, rest = ours.partition(b"\r\n")
    assert status_line.split()[1] == asgi[0]
    assert rest == asgi[1]


def _fetched(shield: Shield, origin: FaultyOrigin, entry: Stored) -> Answer:
    """What is stored of it from now on."""
    origin.serves(entry.path, Pattern(entry.size), fields={"cache-control": "max-age=3600", **dict(entry.fields)})
    if entry.status != 200:
        origin.spoils(entry.path, says(entry.status))
    shield.get(entry.path)
    answer = shield.get(entry.path)
    assume(answer.hit)  # for some of these fields, nothing is stored
    return answer


async def _asked(shield: Shield, target: str, fields: list[tuple[str, str]], *, method: str) -> tuple[bytes, bytes]:
    """Status, and all that follows the status line as it is in HTTP/1.1."""
    path, _, query = target.encode().partition(b"?")
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "raw_path": path,
        "query_string": query,
        "headers": [(name.lower().encode(), value.encode()) for name, value in fields],
        "client": ("192.0.2.1", 1234),
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    app: Any = shield.node.asgi
    await app(scope, receive, send)
    start, *bodies = sent
    lines = b"".join(b"%b: %b\r\n" % line for line in start["headers"])
    return b"%d" % start["status"], lines + b"\r\n" + b"".join(each["body"] for each in bodies)
