"""Orders to purge by the admin API: their receipts, their log, and that each is carried out once."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from shield.purge_orders import OrderConflictError
from shield.rules.purge_lines import LoggedPurge
from shield.rules.purge_orders import MOST_GLOBS, PurgeOrder, to_text
from shield.shared import Seat
from tests.admin.calls import ask
from tests.client import Answer
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import START, FakeClock, Shield, settings_of
from tests.purging import order, refusal


def stores(shield: Shield, origin: FaultyOrigin, *paths: str, tags: str = "") -> None:
    for path in paths:
        origin.serves(path, b"old", lifetime=60, fields={"Surrogate-Key": tags} if tags else None)
        shield.get(path)
        assert shield.get(path).hit


def test_an_order_is_answered_with_a_receipt_and_is_in_the_log(
    shield: Shield, origin: FaultyOrigin, caplog: pytest.LogCaptureFixture
) -> None:
    stores(shield, origin, "/a", "/b")

    with caplog.at_level(logging.INFO, "shield.purge"):
        receipt = order(shield, id="job-1", paths=["https://cdn.example/a", "/c"])

    assert not shield.get("/a").hit
    assert shield.get("/b").hit
    assert receipt == {
        "id": "job-1",
        "sequence": receipt["sequence"],
        "at": START,
        "who": "local",
        "soft": False,
        "takedown": False,
        "paths": 2,
        "tags": 0,
        "prefixes": 0,
        "globs": 0,
        "all": False,
        "origins": 0,
        "examples": ['"/a"', '"/c"'],
        "removed": 1,
        "completed": True,
        "durable": False,
        "workers": 1,
        "applied": ["test-1"],
        "missing": [],
        "edge": {},
    }
    assert caplog.messages == ['purge job-1 by local: hard, 2 paths: "/a", "/c"']
    assert ask(shield, "GET", "/purges").json() == {"purges": [receipt]}


def test_the_log_has_the_newest_first(shield: Shield, clock: FakeClock) -> None:
    for number in range(3):
        order(shield, id=f"job-{number}", paths=["/a"])
        clock.advance(1.0)

    assert [each["id"] for each in ask(shield, "GET", "/purges?most=2").json()["purges"]] == ["job-2", "job-1"]
    for most in ("0", "x", "1001", "-1", "\u0661"):
        assert ask(shield, "GET", "/purges", params={"most": most}).status_code == 400


def test_an_order_with_an_id_is_carried_out_once(shield: Shield, origin: FaultyOrigin) -> None:
    stores(shield, origin, "/a", "/b")
    first = order(shield, id="job-1", paths=["/a", "/b"])
    shield.get("/a")

    again = order(shield, id="job-1", paths=["/b", "/a"])

    assert again == first
    assert first["removed"] == 2
    assert shield.get("/a").hit
    reason = refusal(shield, 409, id="job-1", paths=["/b"])
    assert reason == 'id: another order was sent as "job-1"; expected an id of its own for each'
    assert refusal(shield, 409, id="job-1", paths=["/a", "/b"], soft=True)
    assert len(ask(shield, "GET", "/purges").json()["purges"]) == 1


def test_an_order_that_is_under_way_is_waited_for_and_another_under_its_id_is_refused(shield: Shield) -> None:
    orders = shield.node.purge_orders

    async def together() -> list[object]:
        calls = [orders.carry_out(PurgeOrder("x", paths=(path,)), "a") for path in (b"/a", b"/a", b"/b")]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    first, second, other = shield.run(together())

    assert first is second
    assert isinstance(other, OrderConflictError)


def test_an_order_goes_on_when_its_caller_leaves(shield: Shield, origin: FaultyOrigin) -> None:
    stores(shield, origin, "/a")

    async def give_up() -> None:
        task = asyncio.ensure_future(shield.node.purge_orders.carry_out(PurgeOrder("x", paths=(b"/a",)), "a"))
        await asyncio.sleep(0)
        task.cancel()
        await shield.node.purge_orders.close()

    shield.run(give_up())

    assert not shield.get("/a").hit


def test_a_soft_purge_leaves_a_stale_entry_that_is_refreshed(shield: Shield, origin: FaultyOrigin) -> None:
    stores(shield, origin, "/a")
    origin.serves("/a", b"new", lifetime=60)

    receipt = order(shield, paths="/a", soft=True)

    assert (receipt["soft"], receipt["removed"]) == (True, None)
    assert shield.get("/a").body == b"old"
    shield.wait_for(lambda: not shield.node.fills.statistics().in_flight)
    assert shield.get("/a").body == b"new"


@pytest.mark.parametrize(
    ("said", "purged"),
    [
        ({"tags": ["even"]}, {"/images/0", "/images/2"}),
        ({"tags": ["odd", "none"]}, {"/images/1"}),
        ({"prefixes": ["/images/"]}, {"/images/0", "/images/1", "/images/2"}),
        ({"prefixes": ["https://cdn.example/other"]}, {"/other"}),
        ({"globs": ["/*/1", "*er"]}, {"/images/1", "/other"}),
        ({"all": True}, {"/images/0", "/images/1", "/images/2", "/other"}),
        ({"paths": ["/other"], "tags": ["odd"], "prefixes": ["/images/2"]}, {"/other", "/images/1", "/images/2"}),
    ],
)
@pytest.mark.parametrize("soft", [False, True])
def test_groups_of_entries_are_purged_and_no_others(
    shield: Shield, origin: FaultyOrigin, said: dict[str, Any], purged: set[str], soft: bool
) -> None:
    paths = [f"/images/{number}" for number in range(3)]
    for number, path in enumerate(paths):
        stores(shield, origin, path, tags="odd all" if number % 2 else "even all")
    stores(shield, origin, "/other")
    for path in (*paths, "/other"):
        origin.serves(path, b"new", lifetime=60, fields={"Surrogate-Key": "later"})

    receipt = order(shield, **said, soft=soft)

    assert receipt["completed"] and receipt["soft"] is soft
    first = {path: shield.get(path) for path in (*paths, "/other")}
    shield.wait_for(lambda: not shield.node.fills.statistics().in_flight)
    assert {path for path in first if shield.get(path).body == b"new"} == purged
    stale = {path for path, answer in first.items() if answer.body == b"old" and "ttl=-" in _status(answer)}
    assert stale == (purged if soft else set())


def _status(answer: Answer) -> str:
    return answer.get("cache-status") or ""


def test_too_many_globs_are_refused_and_nothing_is_purged(shield: Shield, origin: FaultyOrigin) -> None:
    stores(shield, origin, "/a", tags="x")
    order(shield, globs=[f"/none{number}/*" for number in range(MOST_GLOBS)])

    reason = refusal(shield, 409, tags=["x"], globs=["/more/*"])

    assert "64 patterns can be in force at a time" in reason
    assert shield.get("/a").hit
    assert len(ask(shield, "GET", "/purges").json()["purges"]) == 1


def test_a_takedown_is_an_order(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin, tmp_path: Path
) -> None:
    settings = settings_of({"fra": origin, "iad": replica})
    for each in (origin, replica):
        each.serves("/a", b"old", lifetime=60)
    with Shield(settings, clock=clock, place=Seat(state=tmp_path)) as shield:
        shield.get("/a")
        origin.absent("/a")

        receipt = order(shield, paths=["/a"], takedown=True)

        assert (receipt["takedown"], receipt["removed"], receipt["durable"]) == (True, 1, True)
        assert shield.get("/a").status == 404


def test_a_path_without_a_route_is_refused_before_anything_is_purged(shield: Shield, origin: FaultyOrigin) -> None:
    stores(shield, origin, "/a")

    reason = refusal(shield, 400, paths=["/a", "/%zz"])

    assert reason == 'paths[1]: got "/%zz"; it would be rejected in a request: bad-escape'
    assert shield.get("/a").hit
    assert ask(shield, "GET", "/purges").json() == {"purges": []}


def test_what_is_no_order_is_refused(shield: Shield) -> None:
    assert refusal(shield, 400, urls=["/a"]).startswith('"urls": there is no such part')
    assert ask(shield, "POST", "/purge", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert ask(shield, "GET", "/purge").status_code == 405


def test_a_token_that_may_purge_is_needed_and_its_name_is_logged(clock: FakeClock, origin: FaultyOrigin) -> None:
    tokens = {name: {"role": role, "secret": name * 16} for name, role in (("r", "read"), ("p", "purge"))}
    with Shield(settings_of({"fra": origin}, admin={"tokens": tokens}), clock=clock) as shield:
        answers = [
            ask(shield, method, path, json=wish, headers={"authorization": f"Bearer {name * 16}"})
            for name, method, path, wish in (
                ("r", "POST", "/purge", {"paths": "/a"}),
                ("p", "POST", "/purge", {"paths": "/a"}),
                ("r", "GET", "/purges", None),
            )
        ]

    assert [answer.status_code for answer in answers] == [403, 200, 200]
    assert [each["who"] for each in answers[2].json()["purges"]] == ["p"]


def test_an_order_that_was_interrupted_is_carried_out_again(shield: Shield, origin: FaultyOrigin) -> None:
    stores(shield, origin, "/a")
    wish = PurgeOrder("job-1", paths=(b"/a",))
    logged = LoggedPurge("job-1", START, "deployer", digest=wish.digest, order=to_text(wish))
    shield.node.purge.log.append(logged)

    shield.run(shield.node.purge_orders.carry_out_again(logged))

    assert not shield.get("/a").hit
    (receipt,) = ask(shield, "GET", "/purges").json()["purges"]
    assert (receipt["who"], receipt["completed"]) == ("deployer", True)


def test_orders_are_counted_by_kind_and_way(shield: Shield) -> None:
    order(shield, paths="/a")
    order(shield, paths="/a", soft=True)
    order(shield, paths="/a", takedown=True)

    counts = shield.node.purge_orders.statistics().orders

    assert counts == {("paths", "hard"): 1, ("paths", "soft"): 1, ("paths", "takedown"): 1}
