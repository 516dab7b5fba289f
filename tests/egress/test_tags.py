"""Bytes are counted by those tags of responses that cost is told by."""

from __future__ import annotations

from pathlib import Path

import pytest

from shield.egress.ledger import DAY, HOUR, Ledger, LedgerTerms, TagRow, WorkerUsage
from shield.egress.tags import MOST_TAGS, OTHERS, TAGGED, TagMeter, TagReading
from shield.messages import ResponseHead
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import Shield, settings_of

NOW = 1_760_000_000 // DAY * DAY + 5 * HOUR


def tagged(tags: str) -> ResponseHead:
    return ResponseHead(200, ((b"surrogate-key", tags.encode()),), 100)


def read(meter: TagMeter) -> dict[str, tuple[int, int]]:
    return {each.tag: (each.requests, each.received) for each in meter.readings()}


def test_only_tags_with_these_beginnings_count_and_each_response_once_in_all() -> None:
    meter = TagMeter([b"tenant-", b"shop-"], [b"surrogate-key"])

    meter.answered("fra", tagged("tenant-1 shop-2 product-3"), 100)
    meter.answered("fra", tagged("tenant-1"), 50)
    meter.answered("fra", tagged("product-3"), 50)
    meter.answered("fra", ResponseHead(200, (), 5), 5)

    assert read(meter) == {TAGGED: (2, 150), "tenant-1": (2, 150), "shop-2": (1, 100)}


def test_tags_beyond_so_many_count_together() -> None:
    meter = TagMeter([b"t"], [b"surrogate-key"])
    for number in range(MOST_TAGS + 5):
        meter.answered("fra", tagged(f"t{number} t{number}x"), 1)

    found = read(meter)

    assert len(found) == MOST_TAGS + 2
    assert found[OTHERS] == (MOST_TAGS // 2 + 5, MOST_TAGS // 2 + 5) and found[TAGGED][0] == MOST_TAGS + 5


def usage(process: str, *readings: TagReading) -> WorkerUsage:
    return WorkerUsage.decoded(WorkerUsage(process, [], {}, readings).encoded())


def test_the_ledger_adds_what_is_new_by_hour_and_rolls_it_up(tmp_path: Path) -> None:
    ledger = Ledger(LedgerTerms(tmp_path / "ledger.sqlite", keep=1e9))
    assert ledger.tag_rows(0, 1e12) == []
    ledger.flush([WorkerUsage("a", [], {"hit": (1, 1)})], NOW)  # of a node that counts no tags
    assert ledger.tag_rows(0, 1e12) == []

    ledger.flush([usage("a", TagReading("fra", "t", 1, 10)), usage("b", TagReading("fra", "t", 2, 20))], NOW)
    ledger.flush([usage("a", TagReading("fra", "t", 3, 30))], NOW + 60)
    ledger.flush([usage("a", TagReading("fra", "t", 4, 40))], NOW + HOUR)

    assert ledger.tag_rows(0, 1e12) == [
        TagRow(NOW, HOUR, "fra", "t", 50, 5),
        TagRow(NOW + HOUR, HOUR, "fra", "t", 10, 1),
    ]
    ledger.tend(NOW + 100 * DAY)
    assert ledger.tag_rows(0, 1e12) == [TagRow(NOW // DAY * DAY, DAY, "fra", "t", 60, 6)]


def test_a_worker_of_an_older_version_has_no_tags() -> None:
    assert WorkerUsage.decoded(b'["a", [], []]').tags == ()


@pytest.mark.parametrize("beginnings", [["tenant-"], []])
def test_a_node_counts_the_bodies_of_its_fetches(tmp_path: Path, beginnings: list[str]) -> None:
    path = tmp_path / "ledger.sqlite"
    with FaultyOrigin() as origin:
        for name, tag in (("/a", "tenant-1 x"), ("/b", "tenant-2"), ("/c", "x")):
            origin.serves(name, bytes(1000), lifetime=60, fields={"Surrogate-Key": tag})
        with Shield(settings_of({"fra": origin}, ledger={"path": str(path), "tags": beginnings})) as shield:
            for name in ("/a", "/a", "/b", "/c"):
                shield.get(name)

    found = {row.tag: (row.requests, row.received) for row in Ledger(LedgerTerms(path, 1e9)).tag_rows(0, 1e12)}

    assert found == ({TAGGED: (2, 2000), "tenant-1": (1, 1000), "tenant-2": (1, 1000)} if beginnings else {})
