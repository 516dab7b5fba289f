"""`shield cost --suspects` in words."""

from __future__ import annotations

from shield.cli.suspects import lines_of

MISSED = {"missed": 200.0, "heads": 50.0, "ranges": 0.5, "queries": 0.0, "bypassed": 0.0, "absent": 0.0}


def test_suspects_are_told_with_their_amounts_and_remedies() -> None:
    suspect = {
        "kind": "crawler",
        "name": "203.0.113.7",
        "text": "900 misses of as many objects, 2 GB, and 3 hits",
        "bytes": 2e9,
        "hourly": 2.4,
        "remedy": "block it",
    }

    assert list(lines_of({"seconds": 300.0, "missed": MISSED, "suspects": [suspect]})) == [
        "The last 300 s: 200 misses: 25 % HEAD",
        "",
        "crawler: 203.0.113.7",
        "  900 misses of as many objects, 2 GB, and 3 hits; about 2.40 an hour",
        "  block it",
    ]


def test_a_calm_node_has_none() -> None:
    calm = {"seconds": 12.0, "missed": dict.fromkeys(MISSED, 0.0), "suspects": []}

    assert list(lines_of(calm)) == ["The last 12 s: 0 misses", "Nothing is suspect."]
