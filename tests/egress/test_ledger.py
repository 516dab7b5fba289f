"""The ledger keeps what workers count, each byte once, whatever ends and whenever."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shield.egress.ledger import (
    DAY,
    HOUR,
    KEEP_HOURS,
    KEEP_MINUTES,
    MINUTE,
    SERVED,
    Ledger,
    LedgerTerms,
    UsageRow,
    WorkerUsage,
)
from shield.egress.meter import EgressAccount, MeterReading
from shield.egress.tags import TagReading
from shield.errors import StoreError
from shield.rules.sites import OriginSite, SiteNote
from shield.rules.zones import PACIFIC, Zones, day_around, day_of
from tests.depth import tries

NOW = 20_000 * DAY + 5.0


def usage(process: str, received: int, *, requests: int = 0, reason: str = "miss", **served: int) -> WorkerUsage:
    reading = MeterReading(EgressAccount("fra", "images", reason), requests, received, {200: requests})
    return WorkerUsage(process, [reading], {word: (1, sent) for word, sent in served.items()})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(LedgerTerms(tmp_path / "ledger.sqlite", keep=400 * DAY))


def test_totals_of_workers_become_what_was_added_in_each_minute(ledger: Ledger) -> None:
    ledger.flush([usage("a", 100, requests=1), usage("b", 10, requests=2)], NOW)
    ledger.flush([usage("a", 150, requests=3), usage("b", 10, requests=2)], NOW + 5)
    ledger.flush([usage("a", 151, requests=3, hit=7)], NOW + MINUTE)

    assert ledger.rows(NOW - MINUTE, NOW + HOUR) == [
        UsageRow(20_000 * DAY, MINUTE, "fra", "images", "miss", 160, (5, 0, 0, 0, 0)),
        UsageRow(20_000 * DAY + MINUTE, MINUTE, SERVED, "", "hit", 7, (1, 0, 0, 0, 0)),
        UsageRow(20_000 * DAY + MINUTE, MINUTE, "fra", "images", "miss", 1, (0, 0, 0, 0, 0)),
    ]


def test_statuses_are_kept_by_class_and_requests_without_a_response_apart(ledger: Ledger) -> None:
    statuses = {200: 4, 206: 1, 304: 2, 404: 3, 503: 5, 0: 6, 999: 7}
    ledger.flush([WorkerUsage("a", [MeterReading(EgressAccount("fra", "", "probe"), 28, 1, statuses)], {})], NOW)

    (row,) = ledger.rows(NOW - MINUTE, NOW + MINUTE)

    assert row.statuses == (5, 2, 3, 5, 13) and row.requests == 28


def test_what_is_old_is_added_up_and_what_is_too_old_goes(ledger: Ledger) -> None:
    for minute in range(0, 180, 7):
        ledger.flush([usage("a", 1000 + minute, requests=minute)], NOW + minute * MINUTE)
    everything = sum(row.received for row in ledger.rows(0, 2 * NOW))

    ledger.tend(NOW + KEEP_MINUTES + 10 * HOUR)
    hours = ledger.rows(0, 2 * NOW)
    ledger.tend(NOW + KEEP_HOURS + 10 * DAY)
    days = ledger.rows(0, 2 * NOW)
    ledger.tend(NOW + 402 * DAY)

    assert [row.span for row in hours] == [HOUR] * 3 and [row.span for row in days] == [DAY]
    assert sum(row.received for row in hours) == sum(row.received for row in days) == everything
    assert ledger.rows(0, 2 * NOW) == []


@pytest.mark.parametrize(
    ("ends", "hours"), [(datetime(2026, 11, 1, tzinfo=UTC), 25), (datetime(2026, 3, 8, tzinfo=UTC), 23)]
)
def test_days_are_those_of_the_origins_zone_so_that_old_months_stay_whole(
    tmp_path: Path, ends: datetime, hours: int
) -> None:
    zones = Zones({"gcs": PACIFIC}, usual="UTC")
    ledger, start = Ledger(LedgerTerms(tmp_path / "l", 400 * DAY, zones)), ends.timestamp() - 3 * DAY
    for hour in range(7 * 24):
        readings = [
            MeterReading(EgressAccount(name, "", "miss"), hour + 1, (hour + 1) * 1000, {200: hour + 1})
            for name in ("aws", "gcs")
        ]
        tags = [TagReading(name, "tenant-1", hour + 1, hour + 1) for name in ("aws", "gcs")]
        ledger.flush([WorkerUsage("w", readings, {}, tags)], start + hour * HOUR)
    before = {name: _by_day(ledger, name, zone) for name, zone in (("aws", "UTC"), ("gcs", PACIFIC))}

    for days in (3.3, 93.2, 94.4, 95.1, 100.0):  # in parts, as a node that runs does
        ledger.tend(start + days * DAY)

    rows, tags_kept = ledger.rows(0, 1 << 40), ledger.tag_rows(0, 1 << 40)
    assert {row.span for row in rows} == {hours * HOUR, DAY} and {row.span for row in tags_kept} == {
        hours * HOUR,
        DAY,
    }
    for name, zone in (("aws", "UTC"), ("gcs", PACIFIC)):
        assert _by_day(ledger, name, zone) == before[name]
        assert {day_around(row.at, zone)[0] for row in rows if row.origin == name} == {
            row.at for row in rows if row.origin == name
        }


def test_sites_are_noted_when_they_change_and_the_last_one_outlasts_what_is_kept(tmp_path: Path) -> None:
    old, new = OriginSite("aws", "us-east-1", "images"), OriginSite("aws", "eu-west-1", "images")
    ledger = Ledger(LedgerTerms(tmp_path / "l", 400 * DAY, sites={"fra": old}))
    assert ledger.sites() == []
    for seconds in (0, 5, 90):
        ledger.note_sites(NOW + seconds)
    ledger.use(Zones(), {"fra": new, "iad": old})
    ledger.note_sites(NOW + HOUR)
    # A node that starts anew notes nothing that is known.
    Ledger(LedgerTerms(tmp_path / "l", 400 * DAY, sites={"fra": new})).note_sites(NOW + 2 * HOUR)

    minute = int(NOW) // MINUTE * MINUTE
    later = [SiteNote("iad", minute + HOUR, old), SiteNote("fra", minute + HOUR + MINUTE, new)]
    assert ledger.sites() == [SiteNote("fra", minute, old), *later]
    ledger.tend(NOW + 400 * DAY + HOUR / 2)
    assert len(ledger.sites()) == 3  # the first one says where it was within what is kept
    ledger.tend(NOW + 900 * DAY)
    assert ledger.sites() == later


def _by_day(ledger: Ledger, origin: str, zone: str) -> dict[date, tuple[int, int]]:
    """Bytes, and bytes by tag."""
    found: dict[date, tuple[int, int]] = {}
    for row in ledger.rows(0, 1 << 40):
        if row.origin == origin:
            size, tagged = found.get(day_of(row.at, zone), (0, 0))
            found[day_of(row.at, zone)] = size + row.received, tagged
    for tag in ledger.tag_rows(0, 1 << 40):
        if tag.origin == origin:
            size, tagged = found.get(day_of(tag.at, zone), (0, 0))
            found[day_of(tag.at, zone)] = size, tagged + tag.received
    return found


@hypothesis_settings(max_examples=tries(15))
@given(steps=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 1000), st.booleans(), st.integers(0, 300))))
def test_whatever_workers_come_and_go_each_byte_is_there_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, bool, int]]
) -> None:
    ledger = Ledger(LedgerTerms(tmp_path_factory.mktemp("ledger") / "l.sqlite", keep=400 * DAY))
    totals: dict[str, int] = {}
    now, lives = NOW, dict.fromkeys("abc", 0)
    for worker, size, dies, later in steps:
        process = f"{worker}{lives[worker]}"
        totals[process] = totals.get(process, 0) + size
        now += later
        ledger.flush([usage(name, received) for name, received in totals.items() if name[0] != worker], now)
        ledger.flush([usage(process, totals[process])], now)
        if dies:
            lives[worker] += 1
        ledger.tend(now)

    assert sum(row.received for row in ledger.rows(0, 2 * NOW)) == sum(totals.values())


def test_a_flush_that_is_killed_leaves_nothing_of_it(ledger: Ledger, tmp_path: Path) -> None:
    ledger.flush([usage("a", 100)], NOW)
    with sqlite3.connect(tmp_path / "ledger.sqlite") as half:
        half.execute("UPDATE usage SET received = 5000")
        half.rollback()

    ledger.flush([usage("a", 100)], NOW)

    assert [row.received for row in ledger.rows(0, 2 * NOW)] == [100]


@pytest.mark.parametrize("content", [b"this is no database, but some other file of the directory" * 50])
def test_a_file_that_isnt_one_is_named_and_left_alone(ledger: Ledger, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(content)

    with pytest.raises(StoreError, match=r"ledger .*ledger.sqlite: file is not a database"):
        ledger.flush([usage("a", 1)], NOW)

    assert (tmp_path / "ledger.sqlite").read_bytes() == content


def test_one_of_another_version_is_named(ledger: Ledger, tmp_path: Path) -> None:
    ledger.flush([usage("a", 1)], NOW)
    with sqlite3.connect(tmp_path / "ledger.sqlite") as file:
        file.execute("PRAGMA user_version = 9")

    with pytest.raises(StoreError, match=r"it is of another version \(9\): move it away"):
        ledger.rows(0, 2 * NOW)


def test_usage_is_the_same_after_its_way_between_workers() -> None:
    sent = usage("a", 100, requests=3, hit=7)

    assert WorkerUsage.decoded(sent.encoded()) == sent


def test_without_a_file_there_are_no_rows(ledger: Ledger) -> None:
    assert ledger.rows(0, 2 * NOW) == []


def test_an_account_that_counts_nothing_for_days_is_not_counted_again(ledger: Ledger) -> None:
    tags = [TagReading("fra", "tenant-1", 10, 900)]
    for hour in range(0, 80, 5):
        ledger.flush([usage("a", 1000, requests=10, hit=7)._replace(tags=tags)], NOW + hour * HOUR)
        ledger.tend(NOW + hour * HOUR)

    assert sum(row.received for row in ledger.rows(0, 2 * NOW) if row.origin) == 1000
    assert sum(row.received for row in ledger.rows(0, 2 * NOW) if not row.origin) == 7
    assert {(row.received, row.requests) for row in ledger.tag_rows(0, 2 * NOW)} == {(900, 10)}


def test_totals_of_a_process_that_is_gone_go_after_a_day(ledger: Ledger, tmp_path: Path) -> None:
    ledger.flush([usage("gone", 1000), usage("lives", 10)], NOW)
    for hour in range(1, 27):
        ledger.flush([usage("lives", 10)], NOW + hour * HOUR)
    ledger.tend(NOW + 26 * HOUR)

    with sqlite3.connect(tmp_path / "ledger.sqlite") as file:
        assert file.execute("SELECT process FROM totals").fetchall() == [("lives",)]
