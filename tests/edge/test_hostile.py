"""What clients and origins with bad intentions try beyond malformed messages: to have others get their answers, to
fill memory, to take the worker's time."""

from __future__ import annotations

import hmac
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from shield.edge.pace import too_much
from shield.messages import Request
from shield.origin import pool
from shield.rules.s3_errors import error_code
from shield.rules.vary import Forwarding
from tests.client import request
from tests.disks import with_disk
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.ledger import Received
from tests.doubles.pattern import Pattern
from tests.doubles.plan import Answer as Steps
from tests.doubles.raw import answer
from tests.doubles.steps import Bytes
from tests.edge.hypercorn_front import H2Client, hypercorn
from tests.node import FakeClock, Shield, settings_of

MIB = 1 << 20


def forwarding(origin: FaultyOrigin, clock: FakeClock, names: Any = "all", **changes: Any) -> Shield:
    routes = {"default": {"forward_request_headers": names}}
    return Shield(settings_of({"fra": origin}, routes=routes, **changes), clock=clock)


# what origins see unkeyed


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["cdn, other; v=1"], 200),
        (["a" * 1024], 200),
        (["a" * 1025], 400),
        (["a" * 600, "b" * 600], 400),
        (["<script>"], 400),
        (["cdn", "\x7f"], 400),
        (["cdn", "<", "test-1"], 508),
    ],
)
def test_a_way_that_an_origin_may_refuse_goes_no_further(
    shield: Shield, origin: FaultyOrigin, lines: Sequence[str], status: int
) -> None:
    origin.serves("/a", b"a", lifetime=60)

    told = shield.get("/a", [("cdn-loop", line) for line in lines])

    assert told.status == status
    assert len(origin.requests) == (status == 200)


@pytest.mark.parametrize("name", ["accept-language", "x-any", "cookie"])
def test_a_field_that_an_origin_may_find_too_long_is_refused_here(
    origin: FaultyOrigin, clock: FakeClock, name: str
) -> None:
    origin.serves("/a", b"a", lifetime=60)

    room = 8192 - 5000 - 2 * len(f"{name}: \r\n")
    with forwarding(origin, clock) as shield:
        told = [shield.get("/a", [(name, "x" * 5000), (name, "y" * size)]).status for size in (room, room + 1)]
        fresh = shield.get("/b", [(name, "x" * 9000)])

    assert told == [200, 431]
    assert fresh.status == 431
    assert len(origin.requests) == 1


@pytest.mark.parametrize(
    "name",
    [
        *("forwarded", "x_forwarded_host", "X-Forwarded_Host", "x-forwarded-proto", "x-forwarded-port"),
        *("x-forwarded-scheme", "x-original-uri", "x_original_url", "x-envoy-original-path"),
        *("x-middleware-subrequest", "x_amz_security_token", "x-http-path-override"),
    ],
)
def test_what_makes_an_origin_believe_it_was_asked_for_something_else_is_not_forwarded(name: str) -> None:
    asked = Request.of(b"GET", b"/a", [(name.lower().encode(), b"x"), (b"x-mine", b"1")])

    assert Forwarding(None).fields(asked) == ((b"x-mine", b"1"),)


CLAIMS = [
    *("X-Forwarded-For", "X-Real-IP", "True-Client-IP", "Forwarded", "CF-Connecting-IP", "X-Client-IP", "x_real_ip"),
    *("Fastly-Client-IP", "X-Cluster-Client-IP", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port"),
    *("X-Original-Forwarded-For", "X-Forwarded-Client-Cert", "Client-Cert", "Remote-User", "X-Remote-User"),
]


@pytest.mark.parametrize("name", CLAIMS)
def test_nobody_tells_an_origin_whose_request_it_is_nor_has_variants_of_it(
    origin: FaultyOrigin, clock: FakeClock, name: str
) -> None:
    origin.serves("/a", b"a", lifetime=60, fields={"vary": name})

    with forwarding(origin, clock) as shield:
        answers = [shield.get("/a", [(name, f"203.0.113.{number}, 127.0.0.1")]) for number in range(5)]

    assert len(origin.requests) == 1
    assert origin.requests[0].get(name) is None
    assert [answer.hit for answer in answers] == [False, True, True, True, True]


def test_a_forged_address_doesnt_keep_an_absence_from_being_stored(origin: FaultyOrigin, clock: FakeClock) -> None:
    with forwarding(origin, clock) as shield:
        for number in range(3):
            assert shield.get("/none", [("x-forwarded-for", f"203.0.113.{number}")]).status == 404

    assert len(origin.requests) == 1


def test_fields_that_connection_names_stay_here(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"a", lifetime=60)

    with forwarding(origin, clock) as shield:
        shield.get("/a", [("connection", "x-mine"), ("x-mine", "1"), ("x-other", "1")])

    assert (origin.requests[0].get("x-mine"), origin.requests[0].get("x-other")) == (None, "1")


def test_a_field_that_is_forwarded_takes_the_place_of_ours(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"a", lifetime=60)

    with forwarding(origin, clock) as shield:
        shield.get("/a", [("accept-encoding", "br"), ("user-agent", "curl")])

    (seen,) = origin.requests
    names = [name for name, _ in seen.fields]
    assert (names.count("accept-encoding"), names.count("user-agent"), names.count("host")) == (1, 1, 1)
    assert (seen.get("accept-encoding"), seen.get("user-agent")) == ("br", "curl")


def test_what_is_only_kept_leaves_room_for_variants_that_are_asked_for(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    def make(received: Received) -> Steps:
        kind = received.get("accept") or ""
        return [Bytes(answer("Cache-Control: max-age=1", f'ETag: "{kind}"', "Vary: Accept", body=kind))]

    origin.makes("/a", make)
    routes = {"default": {"forward_request_headers": ["accept"], "max_variants": 2}}

    with Shield(settings_of({"fra": origin}, routes=routes, freshness={"grace": 0}), clock=clock) as shield:
        for junk in ("j/1", "j/2"):
            shield.get("/a", [("accept", junk)])
        clock.advance(2)
        answers = [shield.get("/a", [("accept", "image/webp")]) for _ in range(2)]

    assert answers[1].hit


# time


@pytest.mark.parametrize("blanks", [b" ", b"\t", b"\n", b"\x0b"])
@pytest.mark.parametrize("element", [b"Code", b"Message"])
def test_an_error_document_of_blanks_takes_no_time(element: bytes, blanks: bytes) -> None:
    """Else this doesn't end."""
    assert error_code(b"<Error><%b>" % element + blanks * 60_000)[0] is None
    assert error_code(b"<Error><Code>X</Code><%b>" % element + blanks * 60_000 + b"<")[0] == "X"


@pytest.mark.parametrize("value", [b"a" + b" " * 31_000 + b"b", b"a," * 15_000, b";=" * 15_000, b"a;q=" * 7_000])
@pytest.mark.parametrize("name", [b"accept", b"accept-language", b"accept-encoding"])
@pytest.mark.parametrize("rules", [Forwarding(None), Forwarding(None, types=(b"a/b",), codings=(b"br",))])
def test_preferences_of_any_length_take_no_time(name: bytes, value: bytes, rules: Forwarding) -> None:
    """Else this doesn't end."""
    for size in (4000, 8000):
        there = rules.fields(Request.of(b"GET", b"/a", [(name, value[:size])]))
        # Of a list that no honest client sends nothing is left but what is always there.
        assert bool(there) is (value[:2] != b"a," or bool(rules.types))


# memory


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "Content-Length: 100000000"])
def test_a_part_with_more_bytes_than_its_range_is_cut_off(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Any, framing: str
) -> None:
    piece = b"10000\r\n" + bytes(65536) + b"\r\n" if "chunked" in framing else bytes(65536)
    head = b'HTTP/1.1 206 Part\r\nCache-Control: max-age=60\r\nETag: "1"\r\nContent-Range: bytes 0-99/100\r\n'
    # Twice: what is no answer to a range is asked for again whole.
    origin.script("/a", Bytes(head + framing.encode() + b"\r\n\r\n"), *[Bytes(piece)] * 400, times=2)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield, shield.client() as client:
        client.send(request("/a", [("range", "bytes=0-9")]))
        told = client.read()
        shield.wait_for(lambda: not shield.node.fills.statistics().in_flight)
        used = shield.node.fills.statistics().memory_used_bytes
        after = shield.get("/a")

    assert told.status in (206, 503)
    assert used == 0
    assert not after.hit


class Held:
    def __init__(self, what: int, size: int) -> None:
        self._held = (what, size) if size else None

    def held(self) -> tuple[int, int] | None:
        return self._held


@pytest.mark.parametrize(
    ("held", "limit", "cut"),
    [
        ([(1, 10), (2, 20), (3, 30)], 60, []),
        ([(1, 10), (2, 20), (3, 30)], 59, [2]),
        ([(1, 10), (2, 20), (3, 30)], 29, [2, 1]),
        ([(1, 30), (1, 30), (1, 30), (2, 20)], 49, [3]),  # one body, counted once: to cut it frees less for each
        ([(1, 30), (1, 30), (2, 10)], 0, [0, 1, 2]),
        ([(1, 0), (2, 0)], 0, []),
    ],
)
def test_of_slow_readers_those_are_cut_that_free_most(held: Any, limit: int, cut: list[int]) -> None:
    connections = [Held(*each) for each in held]

    assert too_much(connections, limit) == [connections[at] for at in cut]


@pytest.mark.parametrize("target", ["/small", "/stored", "/streamed"])
def test_what_a_slow_reader_holds_is_known(shield: Shield, origin: FaultyOrigin, target: str) -> None:
    body = bytes(7 * MIB if target != "/small" else 10)
    origin.serves(target, body, lifetime=60)
    if target == "/stored":
        shield.get(target)

    with shield.client(receive_buffer=65536) as client:
        client.send(request(target))
        client.read_head()
        if target != "/small":
            shield.wait_for(lambda: any(not each.ready for each in shield._state.connections))
        held = shield.call(lambda: [each.held() for each in shield._state.connections])

    assert [each and each[1] for each in held] == [None if target == "/small" else len(body)]


def test_slow_readers_take_no_connection_from_those_who_wait_for_one(
    origin: FaultyOrigin, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(pool, "RELIEF_SECONDS", 0.01)
    origin.serves("/endless", Pattern(64 * MIB), fields={"cache-control": "no-store"})
    origin.serves("/a", b"a", lifetime=60)
    origins = {"fra": {"provider": "http", "endpoint": origin.url, "connections": 1}}

    shield = Shield(settings_of({}, origins=origins), clock=clock)
    with shield, shield.client(receive_buffer=65536) as slow:
        slow.send(request("/endless"))
        head = slow.read_head()
        shield.wait_for(lambda: any(not each.ready for each in shield._state.connections))
        answer = shield.get("/a")
        slow.read_body(head)

    assert (answer.status, answer.body) == (200, b"a")
    assert not head.clean


# HTTP/2


def test_limits_hold_for_http_2_as_well(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"a", lifetime=60)
    limits = {"head_bytes": "1KiB", "target_bytes": 256, "fields": 10, "head": "1s"}

    shield = Shield(settings_of({"fra": origin}, limits=limits), clock=clock)
    with shield, hypercorn(shield) as port, H2Client(port) as client:
        answers = [
            client.get("/a"),
            client.get("/a", {"x": "y" * 2000}),
            client.get("/a?" + "x" * 400),
            client.get("/a", {f"x{number}": "y" for number in range(40)}),
        ]
        endless = client.finish(client.ask("/a", ends=False))

    assert [answer.status for answer in answers] == [200, 431, 414, 431]
    assert endless.status == 408


# readings


SECRET = "0123456789abcdef0123456789abcdef"


def _crafted(clock: FakeClock, version: str) -> bytes:
    """A valid link whose other parameters stand so that, without the link's parts, "H" and "1" are in the places of
    a version."""
    expires = b"%d" % (clock() + 1000)
    signed = hmac.digest(SECRET.encode(), b"/a\n" + expires, "sha256").hex().encode()
    filler = b"zHzzzzzzzH1H1H1H1zz1zzzzz"
    for before, behind in itertools.product(range(40), range(1, 60)):
        kept = b"&".join([b"z" * before + filler, b"z" * behind])
        link = b"expires=%b&key=k1&%b&signature=%b" % (expires, kept, signed)
        piece = b"GET /a?%b %b\r\nHost: cdn.example\r\n\r\n" % (link, version.encode())
        end = len(b"/a?" + kept)
        if (piece[end + 5], piece[end + 12]) == (ord("H"), ord("1")):
            return piece
    raise AssertionError("no such link")


@pytest.mark.parametrize(("version", "status"), [("HTTP/2.0", 505), ("HTTP/0.9", 505), ("HTTP/1.0", 200)])
def test_a_link_hides_no_other_version(origin: FaultyOrigin, clock: FakeClock, version: str, status: int) -> None:
    """The parts of a link are taken off the target: what stands behind it is looked at where it came."""
    origin.serves("/a", b"a", lifetime=60)
    access = {"signed_urls": {"keys": {"k1": SECRET}}}
    link = _crafted(clock, "HTTP/1.1")

    with Shield(settings_of({"fra": origin}, access=access), clock=clock) as shield, shield.client() as client:
        client.send(link)
        good = client.read()
        client.send(_crafted(clock, version))
        told = client.read()
        assert client.at_end()

    assert (good.status, told.status, told.get("connection")) == (200, status, "close")


def test_what_the_last_answer_of_a_connection_holds_is_known(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/stored", bytes(7 * MIB), lifetime=60)
    shield.get("/stored")

    with shield.client(receive_buffer=65536) as client:
        client.send(request("/stored", [("Connection", "close")]))
        client.read_head()
        shield.wait_for(lambda: any(not each.ready for each in shield._state.connections))
        held = shield.call(lambda: [each.held() for each in shield._state.connections])

    assert [each and each[1] for each in held] == [7 * MIB]


def test_lists_that_no_honest_client_sends_are_not_read(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"a", lifetime=60, fields={"etag": '"x"'})

    with forwarding(origin, clock) as shield:
        shield.get("/a", [("accept-language", ",".join(["de;q=0.1"] * 400))])
        told = [shield.get("/a", [("if-none-match", '"",' * n + '"x"')]).status for n in (10, 9000)]
        escaped = shield.get("/" + "%61" * 2600)

    assert told == [304, 200]
    assert escaped.status == 414
    assert [received.get("accept-language") for received in origin.requests] == [None]
