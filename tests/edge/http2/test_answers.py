"""HTTP/2 behind TLS: the answers of the HTTP/1.1 front, on streams that don't disturb each other."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.client import request
from tests.doubles.faults import Fault, at_body, chunked, preceded_by
from tests.doubles.steps import Head, Reset, Stall, Wait
from tests.edge.http2.conftest import ENDLESS, LARGE, Ground
from tests.edge.http2.paper import connected
from tests.edge.http2.wire import DATA, END_HEADERS, END_STREAM, HEADERS, frame
from tests.edge.hypercorn_front import H2Client
from tests.node import Shield

HEAD = b"\x02\x04HEAD\x87\x04\x02/a\x01\x01x"  # of /a, in literals that leave no trace in the table


def _over_http_1(ground: Ground, target: str) -> bytes:
    with httpx.Client(verify=ground.authority.client(), trust_env=False) as client:
        answer = client.get(f"https://localhost:{ground.port}{target}")
    assert answer.http_version == "HTTP/1.1"
    return answer.content


def test_a_miss_and_a_hit(h2: H2Client, ground: Ground) -> None:
    miss, hit = h2.get("/a"), h2.get("/a")

    assert (miss.status, hit.status) == (200, 200)
    assert bytes(miss.body) == bytes(hit.body) == b"hello"
    assert "; hit" in hit.fields["cache-status"]
    assert hit.fields["content-length"] == "5"
    assert ground.origin.fetches("/a") == 1


def test_another_client_is_content_with_them(ground: Ground, node: Shield) -> None:
    with httpx.Client(http1=False, http2=True, verify=ground.authority.client(), trust_env=False) as client:
        answers = [client.get(f"https://localhost:{ground.port}{target}") for target in ("/a", "/a", "/large")]

    assert [answer.http_version for answer in answers] == ["HTTP/2"] * 3
    assert [answer.content for answer in answers] == [b"hello", b"hello", LARGE[:]]


@pytest.mark.parametrize(
    ("offered", "tls", "chosen"),
    [
        (["h2", "http/1.1"], {}, "h2"),
        (["http/1.1", "h2"], {}, "h2"),
        (["http/1.1"], {}, "http/1.1"),
        ([], {}, None),
        (["h2", "http/1.1"], {"http2": False}, "http/1.1"),
    ],
)
def test_client_and_node_agree_on_a_protocol(
    ground: Ground, offered: list[str], tls: dict[str, Any], chosen: str | None
) -> None:
    context = ground.authority.client()
    if offered:
        context.set_alpn_protocols(offered)

    with (
        ground.node(tls=tls),
        socket.create_connection(("127.0.0.1", ground.port), 10.0) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as secure,
    ):
        assert secure.selected_alpn_protocol() == chosen
        secure.sendall(b"" if chosen == "h2" else request("/a"))
        first = secure.recv(9)
        assert first[3] == 4 if chosen == "h2" else first == b"HTTP/1.1 "


def test_head_range_and_not_modified(h2: H2Client) -> None:
    etag = h2.get("/a").fields["etag"]

    head = h2.get("/a", method="HEAD")
    part = h2.get("/a", {"range": "bytes=1-3"})
    beyond = h2.get("/a", {"range": "bytes=9-"})
    same = h2.get("/a", {"if-none-match": etag})

    assert (head.status, bytes(head.body), head.fields["content-length"]) == (200, b"", "5")
    assert (part.status, bytes(part.body), part.fields["content-range"]) == (206, b"ell", "bytes 1-3/5")
    assert (beyond.status, beyond.fields["content-range"]) == (416, "bytes */5")
    assert (same.status, bytes(same.body)) == (304, b"")


def test_several_ranges_of_a_large_body(h2: H2Client) -> None:
    h2.get("/large")

    answer = h2.get("/large", {"range": "bytes=0-99,1000000-1099999"})

    assert answer.status == 206
    assert answer.fields["content-type"].startswith("multipart/byteranges")
    assert bytes(answer.body).count(LARGE[1_000_000:1_100_000]) == 1
    assert len(answer.body) == int(answer.fields["content-length"])


def test_large_bodies(h2: H2Client) -> None:
    for _ in range(2):
        answer = h2.get("/large")
        assert answer.ended
        assert bytes(answer.body) == LARGE[:]


def test_a_body_whose_length_nobody_knows(h2: H2Client, ground: Ground) -> None:
    ground.origin.spoils("/large", chunked(8000))

    answer = h2.get("/large")

    assert "content-length" not in answer.fields
    assert bytes(answer.body) == LARGE[:]


def test_an_empty_body(h2: H2Client, ground: Ground) -> None:
    ground.origin.serves("/empty", b"", lifetime=60)

    for _ in range(2):
        answer = h2.get("/empty")
        assert (answer.status, bytes(answer.body), answer.fields["content-length"]) == (200, b"", "0")


def test_refusals_end_their_streams_only(h2: H2Client) -> None:
    assert h2.get("/a", method="DELETE").fields["allow"] == "GET, HEAD"
    assert h2.finish(h2.ask("/a", body=b"body")).status == 400
    assert h2.get("/a%zz").status == 400
    assert h2.get("/absent").status == 404
    assert h2.finish(h2.ask("/" + "a" * 9000)).status == 414
    assert h2.get("/a", {"expect": "tea"}).status == 417
    assert h2.get("/a", {"cdn-loop": "test-1"}).status == 508
    assert h2.get("/a", {f"x-{place}": "" for place in range(101)}).status == 431
    assert h2.get("/a", {"x-long": "a" * 33_000}).status == 431
    assert h2.get("/a").status == 200


@pytest.mark.parametrize(
    "changes",
    [
        {":method": None},
        {":method": "G\u00cbT"},
        {":path": None},
        {":path": ""},
        {":path": "a"},
        {":path": "https://cdn.example/a"},
        {":path": "*"},
        {":scheme": None},
        {":scheme": "ftp"},
        {":method": "CONNECT"},
        {":protocol": "websocket", ":method": "CONNECT"},
        {":status": "200"},
        {"X-Upper": "1"},
        {"x y": "1"},
        {"x": " 1"},
        {"x": "1\t"},
        {"x": "1\r\ny: 2"},
        {"x": "1\x00"},
        {"": "1"},
        {"connection": "close"},
        {"transfer-encoding": "chunked"},
        {"upgrade": "websocket"},
        {"te": "gzip"},
        {"host": "other.example"},
    ],
)
@pytest.mark.parametrize("ends", [True, False])
def test_a_malformed_request_is_reset_and_recorded_and_disturbs_no_other(
    h2: H2Client, ground: Ground, changes: dict[str, str | None], ends: bool
) -> None:
    gate = ground.origin.gate()
    ground.origin.spoils("/large", at_body(1_000_000, Wait(gate)))
    large = h2.ask("/large")
    gate.reached()

    refused = h2.finish(h2.ask_for(changes, ends=ends))
    hit = h2.get("/a")
    gate.open()

    assert (refused.reset, refused.status) == (1, 0)  # PROTOCOL_ERROR
    assert hit.status == 200
    assert bytes(h2.finish(large).body) == LARGE[:]
    assert (ground.shield.log()[0]["status"], ground.shield.log()[0]["detail"]) == (400, "malformed-request")


def test_a_path_beyond_ascii_is_refused_as_over_http_1(h2: H2Client) -> None:
    assert h2.finish(h2.ask_for({":path": "/\u00fc"})).status == 400
    assert h2.get("/a").status == 200


def test_connect_is_refused(h2: H2Client) -> None:
    answer = h2.finish(h2.ask_for({":method": "CONNECT", ":scheme": None, ":path": None}))

    assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD")
    assert h2.get("/a").status == 200


@pytest.mark.parametrize("changes", [{"host": "cdn.example"}, {":authority": None, "host": "x"}, {"te": "trailers"}])
def test_what_http_2_allows_is_answered(h2: H2Client, changes: dict[str, str | None]) -> None:
    assert bytes(h2.finish(h2.ask_for(changes)).body) == b"hello"


def test_a_request_without_any_host_is_refused(h2: H2Client) -> None:
    assert h2.finish(h2.ask_for({":authority": None})).status == 400


def test_a_body_that_turns_out_to_be_empty(h2: H2Client) -> None:
    stream = h2.ask("/a", ends=False)
    h2.connection.end_stream(stream)
    h2.flush()

    assert bytes(h2.finish(stream).body) == b"hello"


def test_trailers_are_refused(h2: H2Client) -> None:
    stream = h2.ask("/a", ends=False)
    h2.connection.send_headers(stream, [("x-trailer", "1")], end_stream=True)
    h2.flush()

    assert h2.finish(stream).status == 400
    assert h2.get("/a").status == 200


def test_a_body_that_comes_after_the_answer_ends_no_other_stream(h2: H2Client) -> None:
    stream = h2.ask("/a", method="POST", ends=False)
    while not h2.streams[stream].ended:
        h2.step()

    h2.socket.sendall(frame(DATA, b"x" * 1000, stream=stream) * 20)  # on its way when the answer came
    h2.socket.sendall(frame(DATA, stream=stream, flags=END_STREAM))

    assert (h2.streams[stream].status, h2.streams[stream].reset) == (405, 0)  # NO_ERROR
    assert h2.get("/a").status == 200
    assert bytes(h2.get("/large").body) == LARGE[:]


def test_interim_responses_are_passed_on(h2: H2Client, ground: Ground) -> None:
    hints = Head(103, {"link": "</style.css>; rel=preload"})
    ground.origin.spoils("/a", preceded_by(hints))

    answer = h2.get("/a")

    assert answer.interims == [{":status": "103", "link": "</style.css>; rel=preload"}]
    assert (answer.status, bytes(answer.body)) == (200, b"hello")


# streams beside each other


def test_streams_do_not_wait_for_each_other(h2: H2Client, ground: Ground) -> None:
    gate = ground.origin.gate()
    ground.origin.spoils("/large", at_body(1000, Wait(gate)))
    slow = h2.ask("/large")
    gate.reached()

    assert h2.get("/a").ended
    gate.open()
    assert bytes(h2.finish(slow).body) == LARGE[:]


def test_bodies_on_one_connection_come_by_turns(h2: H2Client) -> None:
    h2.get("/large")

    first, second = h2.ask("/large"), h2.ask("/large")
    h2.read_body(first, 500_000)
    so_far = len(h2.streams[second].body)
    answers = [h2.finish(stream) for stream in (first, second)]

    assert so_far > 100_000
    assert [bytes(answer.body) for answer in answers] == [LARGE[:]] * 2


def test_one_fill_for_clients_of_both_protocols(h2: H2Client, ground: Ground) -> None:
    gate = ground.origin.gate()
    ground.origin.spoils("/large", at_body(1_000_000, Wait(gate)))
    streams = [h2.ask("/large") for _ in range(3)]
    gate.reached()

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(_over_http_1, ground, "/large")
        ground.shield.wait_for(lambda: ground.shield.node.fills.statistics().collapsed == 3)
        gate.open()
        answers = [h2.finish(stream) for stream in streams]

        assert other.result() == LARGE[:]
    assert [bytes(answer.body) for answer in answers] == [LARGE[:]] * 3
    assert ground.origin.fetches("/large") == 1


def test_a_hit_over_one_protocol_was_stored_over_the_other(h2: H2Client, ground: Ground) -> None:
    h2.get("/a")

    assert _over_http_1(ground, "/a") == b"hello"
    assert ground.origin.fetches("/a") == 1


# ends that aren't clean


@pytest.mark.parametrize("spoilt", [(at_body(1_000_000, Reset()),), (chunked(8000, last=False),)])
def test_a_body_that_breaks_off_resets_its_stream_only(
    h2: H2Client, ground: Ground, spoilt: tuple[Fault, ...]
) -> None:
    ground.origin.spoils("/large", *spoilt, times=1)
    ground.origin.spoils("/large", at_body(0, Reset()))  # what would continue it

    answer = h2.get("/large")

    assert answer.status == 200
    assert answer.reset == 2  # INTERNAL_ERROR
    assert not answer.ended
    assert LARGE.check(bytes(answer.body))
    assert h2.get("/a").ended


def test_a_client_that_cancels_ends_its_fill(h2: H2Client, ground: Ground) -> None:
    ground.origin.spoils("/endless", at_body(500_000, Stall()))
    stream = h2.ask("/endless")
    h2.read_body(stream, 400_000)

    h2.cancel(stream)

    ground.origin.wait_for(lambda: ground.origin.requests_active == 0)
    assert h2.get("/a").ended
    line = ground.shield.log()[0]
    assert (line["target"], line["status"], line["broken"]) == ("/endless", 499, True)


def test_a_client_that_leaves_ends_its_fills(h2: H2Client, ground: Ground) -> None:
    ground.origin.spoils("/endless", at_body(500_000, Stall()))
    h2.read_body(h2.ask("/endless"), 400_000)

    h2.socket.close()

    ground.origin.wait_for(lambda: ground.origin.requests_active == 0)
    ground.shield.wait_for(lambda: ground.shield.connections == 0)
    (line,) = ground.shield.log()
    assert (line["target"], line["status"], line["broken"]) == ("/endless", 499, True)


# what a slow client costs


def test_a_stream_that_is_not_read_stays_at_the_origin(h2: H2Client, ground: Ground) -> None:
    h2.reading = False
    slow = h2.ask("/endless")
    h2.read_body(slow, 65_535)

    seen = ground.origin.requests[-1]
    assert h2.get("/absent", method="HEAD").status == 404  # the node's loop has turned
    assert seen.sent < len(ENDLESS) // 4
    (held,) = ground.shield.call(lambda: [each.held() for each in ground.shield.node.front.http2.under_way])
    assert held is not None
    assert held[1] < 1_000_000

    h2.cancel(slow)
    ground.origin.wait_for(lambda: seen.ended)
    assert not seen.complete


def test_a_connection_that_is_not_read_holds_little_of_many_bodies(ground: Ground) -> None:
    with ground.node() as shield:
        client = ground.client(receive_buffer=4096)
        client.connection.increment_flow_control_window(2**30)
        client.connection.update_settings({4: 2**30})  # INITIAL_WINDOW_SIZE
        client.flush()
        gate = ground.origin.gate()
        ground.origin.spoils("/endless", at_body(1000, Wait(gate)))
        for _ in range(20):
            client.ask("/endless")
        shield.wait_for(
            lambda: len(ground.origin.requests) == 20
        )  # before the node's writes are held up, and its reads
        gate.open()
        shield.wait_for(lambda: any(each.waiting for each in shield.node.front.http2.under_way))
        shield.wait_for(lambda: len(shield.node.front.http2.under_way) == 20)

        held = shield.call(lambda: [each.waiting for each in shield.node.front.http2.under_way])

        assert sum(held) < 10_000_000
        client.socket.close()
        ground.origin.wait_for(lambda: ground.origin.requests_active == 0)


def test_a_client_that_reads_nothing_is_not_heard_either(ground: Ground) -> None:
    ground.origin.serves("/a", b"hello", lifetime=60, fields={"x-long": "a" * 8000})
    asked = [frame(HEADERS, HEAD, stream=2 * n + 1, flags=END_HEADERS | END_STREAM) for n in range(5000)]
    with ground.node(limits={"streams": 10_000}) as shield:
        ground.client().get("/a")
        connection, transport = shield.call(lambda: connected(shield))

        shield.call(lambda: connection.data_received(b"".join(asked[:4000])))
        shield.call(lambda: connection.data_received(b"".join(asked[4000:])))

        assert not transport.reading
        assert ground.statistics.requests < 300
        while not transport.reading:
            shield.call(transport.go_on)
        assert ground.statistics.requests == 5001
        shield.call(lambda: connection.connection_lost(None))


def test_what_a_client_sent_ahead_is_answered_once_it_reads(ground: Ground) -> None:
    ground.origin.serves("/a", b"hello", lifetime=60, fields={"x-long": "a" * 8000})
    with ground.node(limits={"streams": 10_000}) as shield:
        client = ground.client(receive_buffer=4096)
        client.get("/a")
        streams = [2 * n + 3 for n in range(2000)]
        asked = [frame(HEADERS, HEAD, stream=stream, flags=END_HEADERS | END_STREAM) for stream in streams]
        client.socket.sendall(b"".join(asked))
        shield.wait_for(lambda: any(not each.ready for each in shield._state.connections))

        answered: set[int] = set()
        while len(answered) < len(streams):
            for kind, stream, _ in client.frames():
                if kind == HEADERS:
                    answered.add(stream)

        assert answered == set(streams)


def test_what_streams_hold_counts_by_bodies(h2: H2Client, ground: Ground) -> None:
    h2.get("/large")
    h2.reading = False
    h2.connection.increment_flow_control_window(1 << 20)  # else the first of them may take all of it
    for _ in range(3):
        h2.ask("/large")
    for stream in (3, 5, 7):
        h2.read_body(stream, 1)

    held = ground.shield.call(lambda: {each.held() for each in ground.shield.node.front.http2.under_way})

    assert len(held) == 1  # one entry, however many read it
    assert {size for _, size in held} == {len(LARGE)}  # type: ignore[misc]


def test_one_line_in_the_access_log_for_each(h2: H2Client, ground: Ground) -> None:
    ground.origin.serves("/broken", LARGE, lifetime=60)
    ground.origin.spoils("/broken", at_body(100_000, Reset()))
    for target in ("/a", "/a", "/large", "/large", "/broken"):
        h2.get(target)

    lines = ground.shield.log()

    assert [(line["target"], line["status"], line["bytes"], line["cache"]) for line in lines[:4]] == [
        ("/a", 200, 5, "miss"),
        ("/a", 200, 5, "hit"),
        ("/large", 200, 3_000_000, "miss"),
        ("/large", 200, 3_000_000, "hit"),
    ]
    assert {line["protocol"] for line in lines} == {"HTTP/2"}
    assert "broken" not in lines[0]
    assert (lines[4]["target"], lines[4]["broken"]) == ("/broken", True)


def test_requests_are_counted_as_others_are(ground: Ground) -> None:
    with ground.node(access_log={"hits": 0}) as shield:
        client = ground.client()
        for target in ("/a", "/a", "/a", "/absent"):
            client.get(target)

        state = shield.state()
        families = shield.call(shield.node.figures.families)

    assert state["requests"]["plain_hit"] == 2
    assert state["requests"]["miss"] == 2
    assert state["http2"] == {"connections": 1, "requests": 4, "taken_back": 0, "refused": 0, "cut_off": {}}
    assert [family.samples[0].value for family in families if family.name == "http2_requests"] == [4]
