"""What an order to purge covers, and what fetching that again costs."""

from __future__ import annotations

import pytest

from shield.rules.prices import Price
from shield.rules.purge_orders import PurgeOrder
from shield.rules.purge_scope import GENTLE_ENTRIES, Bearing, PurgeScope, ScopeTally, advice, refetches


@pytest.mark.parametrize(
    ("order", "covered", "others"),
    [
        (PurgeOrder("x", everything=True), [b":/a", b"s1:/b vary=1"], []),
        (PurgeOrder("x", paths=(b"/a",)), [b"s1:/a", b"s1:/a vary=0/1"], [b":/a", b"s1:/ab"]),
        (PurgeOrder("x", prefixes=("/images/",)), [b":/images/a", b"s1:/images/b"], [b":/image", b":/x/images/a"]),
        (PurgeOrder("x", prefixes=("s1:/images/",)), [b"s1:/images/b"], [b":/images/a", b"s2:/images/a"]),
        (PurgeOrder("x", globs=("/a*.webp",)), [b":/a.webp", b"s1:/a/b/c.webp"], [b":/b/a.webp", b":/a.webpx"]),
        (PurgeOrder("x", globs=("s1:/a*",)), [b"s1:/a.webp"], [b"s2:/a.webp", b":/a"]),
        (PurgeOrder("x", globs=("*.webp?w=*",)), [b":/a.webp?w=1"], [b":/a.webp"]),
    ],
)
def test_an_order_covers_keys(order: PurgeOrder, covered: list[bytes], others: list[bytes]) -> None:
    scope = PurgeScope(order, {b"s1:/a"} if order.paths else ())

    assert [text for text in (*covered, *others) if scope.covers(text, b"")] == covered
    assert scope.is_exact is bool(order.paths)


def test_an_order_covers_entries_with_any_of_its_tags() -> None:
    scope = PurgeScope(PurgeOrder("x", tags=(b"a", b"b")), ())

    assert [scope.covers(b":/a", tags) for tags in (b"a", b"b\nc", b"c\nd", b"", b"ab")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_fetching_again_is_counted_by_the_origin_that_an_entry_came_from() -> None:
    tally = ScopeTally()
    for origin in ("fra", "fra", None):
        tally.add(origin, 10**9)

    found = refetches(tally, {"fra": Bearing(limit=1, p95_seconds=0.5, price=Price(0.09, 1.0))})

    assert [(each.origin, each.requests, each.bytes, each.money, each.seconds) for each in found] == [
        ("", 1, 10**9, None, None),
        ("fra", 2, 2 * 10**9, pytest.approx(0.182), 1.0),
    ]
    assert found[1].shown()["currency"] == "USD"


def test_an_estimate_has_the_same_shares() -> None:
    tally = ScopeTally(2, 300, {"fra": (1, 100), "iad": (1, 200)})

    assert tally.scaled(2.5) == ScopeTally(5, 750, {"fra": (2, 250), "iad": (2, 500)})
    assert tally.plus(ScopeTally(1, 7, {"sin": (1, 7)})).by_origin == {
        "fra": (1, 100),
        "iad": (1, 200),
        "sin": (1, 7),
    }


def test_a_large_hard_purge_comes_with_advice() -> None:
    order = PurgeOrder("x", everything=True)
    many = ScopeTally(GENTLE_ENTRIES + 1, 1, {"fra": (GENTLE_ENTRIES + 1, 1)})
    busy = refetches(many, {"fra": Bearing(limit=20, p95_seconds=0.2)})

    said = advice(order, many, busy)

    assert said[0] == (
        "origin fra gets 20 fetches at a time, and this can ask it for 1,001, 10 s of them: misses wait for their "
        "turn meanwhile"
    )
    assert said[1].startswith("a soft purge asks the origins for the same objects")
    assert advice(PurgeOrder("x", everything=True, soft=True), many, busy) == []
    assert advice(PurgeOrder("x", paths=(b"/a",)), ScopeTally(1, 1, {"fra": (1, 1)}), []) == []
    assert "no stored entry matches" in advice(order, ScopeTally(), [])[0]
