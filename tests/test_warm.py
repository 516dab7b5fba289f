"""Objects warmed through the admin API of a node, over real sockets to its origins."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx

from shield.outcome import Outcome
from shield.reply import UnderWay
from shield.warm import _WarmBudget, _WarmSink
from tests.disks import KIB, MIB, SLICE, with_disk
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Close, Wait
from tests.node import FakeClock, Shield, settings_of
from tests.peers.pair import two


async def ask(shield: Shield, wish: object) -> Any:
    transport = httpx.ASGITransport(app=shield.node.admin)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post("/warm", json=wish)
    assert answer.status_code == 200, answer.text
    return answer.json()


def warm(shield: Shield, *urls: str, **more: object) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = shield.run(ask(shield, {"urls": urls, **more}))["results"]
    assert [each["url"] for each in results] == list(urls)
    return results


def words(results: Sequence[dict[str, Any]]) -> list[str]:
    return [each["result"] for each in results]


def test_what_was_warmed_is_a_hit_and_the_rest_is_told_apart(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"aaa", lifetime=60)
    origin.serves("/b", b"bbbb", lifetime=60)
    origin.serves("/private", b"ppp", fields={"cache-control": "private"})
    origin.fails("/broken", "InternalError")
    shield.get("/b")

    results = warm(shield, "/a", "https://cdn.example/b", "/none", "/private", "/broken", "/%zz")

    assert words(results) == ["warmed", "present", "absent", "unkept", "failed", "failed"]
    assert results[0] == {
        "url": "/a",
        "result": "warmed",
        "status": 200,
        "bytes": 3,
        "origin": "fra",
        "detail": None,
    }
    assert results[3]["detail"] == "private" and "fra=server" in results[4]["detail"]
    assert shield.get("/a").hit
    assert origin.fetches("/a") == origin.fetches("/b") == 1


def test_warming_is_counted_apart_from_requests_of_clients(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"aaa", lifetime=60)

    warm(shield, "/a", "/none")

    state = shield.state()
    assert state["warm"] == {"results": {"warmed": 1, "absent": 1}, "origin_bytes": 3, "under_way": 0}
    assert state["requests"] == {"plain_hit": 0} and shield.log() == []
    assert state["origins"]["fra"]["requests"] == {"warm": 2}


def test_stale_entries_are_brought_up_to_date_unless_only_missing_ones_are_wanted(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", b"old", lifetime=60, grace=0)
    warm(shield, "/a")
    clock.advance(61)

    assert words(warm(shield, "/a", only_missing=True)) == ["present"]
    assert origin.fetches("/a") == 1
    origin.serves("/a", b"new", lifetime=60, grace=0)
    assert words(warm(shield, "/a")) == ["warmed"]
    assert (shield.get("/a").body, shield.get("/a").hit) == (b"new", True)


def test_a_large_object_is_warmed_slice_by_slice_and_what_is_there_is_not_read(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = bytes(range(256)) * (3 * SLICE // 256) + b"end"
    origin.serves("/large", body, lifetime=60)
    with Shield(with_disk(origin, tmp_path), clock=clock) as shield:
        shield.get("/large", [("Range", "bytes=0-9")])

        (first,) = warm(shield, "/large")
        shield.wait_for(lambda: not shield.node.fills.statistics().in_flight)
        asked = len(origin.requests)
        (second,) = warm(shield, "/large")

        assert (first["result"], second["result"], second["bytes"]) == ("warmed", "present", 0)
        assert len(origin.requests) == asked
        assert shield.get("/large").body == body and len(origin.requests) == asked
        assert "warm" in shield.state()["origins"]["fra"]["requests"]


def test_a_body_that_comes_as_fast_as_memory_leaves_time_for_other_work() -> None:
    async def scenario() -> list[bool]:
        sink, advanced = _WarmSink(asyncio.get_running_loop(), _WarmBudget(math.inf)), []
        sink.transfer = cast(UnderWay, SimpleNamespace(advance=lambda: advanced.append(sink.ready)))
        sink.begin(b"", None, status=200, length=None, outcome=Outcome(hit=True))
        for _ in range(3):
            assert sink.ready
            sink.write(bytes(MIB))
            assert not sink.ready
            await asyncio.sleep(0)
        return advanced

    assert asyncio.run(scenario()) == [True] * 3


def test_variants_are_warmed_by_the_fields_of_the_order(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.varies("/a", lambda request: (request.get("accept") or "").encode(), vary="accept")
    routes = {"default": {"forward_request_headers": ["accept"]}}
    with Shield(settings_of({"fra": origin}, routes=routes), clock=clock) as shield:
        assert words(warm(shield, "/a", fields={"Accept": "image/webp"})) == ["warmed"]

        assert shield.get("/a", [("Accept", "image/webp")]).hit
        assert not shield.get("/a", [("Accept", "image/png")]).hit


def test_the_budget_of_bytes_is_not_exceeded(shield: Shield, origin: FaultyOrigin) -> None:
    for path in ("/a", "/b", "/c"):
        origin.serves(path, b"x" * KIB, lifetime=60)

    results = warm(shield, "/a", "/b", "/c", max_bytes=2 * KIB + 10, concurrency=1)

    assert words(results) == ["warmed", "warmed", "deferred"]
    assert results[2]["detail"] == "the budget of bytes is used up"
    assert shield.state()["warm"]["origin_bytes"] == 2 * KIB


def test_nothing_is_begun_while_the_origin_is_in_trouble(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", lifetime=60)
    seen = shield.node.origins.get("fra").seen
    shield.call(lambda: seen.suspect(shield.node.origins._now()))

    said = shield.run(ask(shield, {"urls": ["/a"]}))

    assert said["results"][0]["result"] == "deferred" and said["retry_after"] > 0
    assert said["results"][0]["detail"] == "origin fra is suspect"
    assert origin.fetches("/a") == 0


def test_a_client_joins_a_fetch_for_warming(shield: Shield, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.spoils("/a", at_body(1, Wait(gate)))
    origin.serves("/a", b"aaa", lifetime=60)

    async def both() -> Any:
        return await asyncio.gather(ask(shield, {"urls": ["/a"]}), asyncio.to_thread(joined))

    def joined() -> bytes:
        origin.wait_for(lambda: origin.fetches("/a") == 1)
        with shield.client() as client:
            client.send(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
            shield.wait_for(lambda: shield.node.fills.statistics().collapsed == 1)
            gate.open()
            return client.read().body

    said, body = shield.run(both())

    assert (words(said["results"]), body, origin.fetches("/a")) == (["warmed"], b"aaa", 1)


def test_a_body_that_breaks_off_is_told(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"x" * 100 * KIB, lifetime=60)
    origin.spoils("/a", at_body(10 * KIB, Close()))

    (result,) = warm(shield, "/a")

    assert (result["result"], result["detail"]) == ("failed", "its body broke off")


def test_an_order_that_is_cancelled_leaves_nothing_under_way(shield: Shield, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.spoils("/a", at_body(1, Wait(gate)))
    origin.serves("/a", b"x" * 4096 * KIB, lifetime=60)

    async def begin_and_cancel() -> None:
        work = asyncio.ensure_future(ask(shield, {"urls": ["/a"]}))
        await origin.wait_for_async(lambda: origin.fetches("/a") == 1)
        work.cancel()
        await asyncio.wait([work])

    shield.run(begin_and_cancel())
    gate.open()

    assert shield.state()["warm"]["under_way"] == 0


def test_an_owner_is_told_that_no_client_waits(origin: FaultyOrigin, clock: FakeClock) -> None:
    gate = origin.gate()
    with two(origin, clock) as workers:
        origin.spoils(workers.path, at_body(1, Wait(gate)))
        origin.serves(workers.path, b"aaa", lifetime=60, fields={"vary": "x"})

        async def ask_and_look() -> Any:
            work = asyncio.ensure_future(ask(workers.asker, {"urls": [workers.path]}))
            await origin.wait_for_async(lambda: origin.fetches(workers.path) == 1)
            return work

        def clients() -> list[int]:
            return [fill._readers.clients for fill in workers.owner.node.fills._alive]

        work = workers.asker.run(ask_and_look())
        assert workers.owner.call(clients) == [0]
        gate.open()
        said = workers.asker.run(_result(work))

        assert words(said["results"]) == ["warmed"]
        assert workers.owner.get(workers.path).hit
        (request,) = origin.requests
        assert not any("shield" in name.lower() for name, _ in request.fields if name.lower() != "via")


async def _result(work: asyncio.Future[Any]) -> Any:
    return await work
