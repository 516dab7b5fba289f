"""Reports and the ledger are compared for the time that both cover, by day and bucket."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from shield.rules.bill import Charges, Usage
from shield.rules.prices import Price
from shield.rules.reconcile import HEAD_BYTES, Reconciled, Reconciliation, mistaken_unit
from shield.rules.reports import GB, ReportedRead
from shield.rules.zones import Zones

DAY = datetime(2026, 11, 3, tzinfo=UTC).timestamp()
PRICES = {"fra": Price(0.1), "ams": Price(0.1), "iad": None}


def usage(at: float, origin: str, size: int, span: int = 3600, requests: int = 10) -> Usage:
    return Usage(int(at), origin, "all", "miss", size, (requests, 0, 0, 1, 1), span)


def compared(
    reads: list[ReportedRead],
    rows: list[Usage],
    *,
    since: float = DAY,
    is_log: bool = False,
    zones: Zones | None = None,
) -> Reconciled:
    made = Reconciliation({"images": ["fra", "ams"], "copies": ["iad"]}, zones or Zones(), since=since, is_log=is_log)
    for each in reads:
        made.report(each)
    return made.with_ledger(rows, Charges(rows, PRICES))


def hour(number: int, bucket: str, sent: int, requests: int = 0) -> ReportedRead:
    return ReportedRead(DAY + 3600 * number, DAY + 3600 * (number + 1), bucket, requests, sent, 0.5, "USD")


def test_days_and_buckets_are_compared_and_the_surplus_was_read_by_others() -> None:
    found = compared(
        [hour(0, "images", 3 * GB, 7), hour(1, "images", 3 * GB), hour(25, "images", 2 * GB), hour(1, "copies", GB)],
        [
            usage(DAY, "fra", 3 * GB),
            usage(DAY + 3600, "ams", 2 * GB),
            usage(DAY + 90_000, "fra", 2 * GB),
            usage(DAY, "iad", GB),
        ],
    )

    assert [(day.day, day.origins, day.drift, day.others) for day in found.days] == [
        (date(2026, 11, 3), "iad", 0.0, 0),
        (date(2026, 11, 3), "ams+fra", 0.2, GB),
        (date(2026, 11, 4), "ams+fra", 0.0, 0),
    ]
    assert found.days[1].reported.requests == 7 and found.days[1].counted.requests == 20
    assert found.days[1].counted.money["USD"] == pytest.approx(0.5) and found.days[1].reported.money == {"USD": 1.0}
    assert found.total.reported.size == 9 * GB and found.total.counted.size == 8 * GB


def test_days_are_those_of_the_providers_zone() -> None:
    found = compared(
        [hour(number, "images", GB) for number in range(24)],
        [usage(DAY + 3600 * number, "fra", GB) for number in range(24)],
        zones=Zones(usual="America/Los_Angeles"),
    )

    assert [(str(day.day), day.reported.size, day.counted.size) for day in found.days] == [
        ("2026-11-02", 8 * GB, 8 * GB),
        ("2026-11-03", 16 * GB, 16 * GB),
    ]


def test_only_the_time_that_both_cover_counts() -> None:
    early = ReportedRead(DAY - 3600, DAY, "images", 0, GB)
    found = compared(
        [early, hour(0, "images", GB), ReportedRead(DAY, DAY + 3600, "other", 0, 5)],
        [usage(DAY, "fra", GB), usage(DAY + 3600, "fra", GB), usage(DAY - 7200, "fra", GB)],
    )

    assert [(day.reported.size, day.counted.size) for day in found.days] == [(GB, GB)]
    assert found.early == 1 and found.strangers == {"other": 5}


def test_a_log_tells_our_reads_from_others_and_who_they_are() -> None:
    ours = ReportedRead(DAY + 5, DAY + 5, "images", 1, 1000, reader="me shield", is_ours=True)
    found = compared(
        [ours] * 10 + [ReportedRead(DAY + 9, DAY + 9, "images", 1, 700, reader="x curl")] * 3,
        [usage(DAY, "fra", 10 * (1000 + HEAD_BYTES) + HEAD_BYTES, span=60)],  # an error 503 has a head, too
        is_log=True,
    )

    (day,) = found.days
    assert day.ours is not None and (day.ours.size, day.drift, day.others) == (10_000, 0.0, 2100)
    assert found.readers[0][0] == "x curl" and found.readers[0][1].size == 2100


def test_what_the_ledger_lacks_has_no_drift_and_is_all_of_others() -> None:
    (day,) = compared([hour(0, "images", GB)], []).days

    assert day.drift is None and day.others == GB


@pytest.mark.parametrize(
    ("drift", "is_mistaken"), [(0.0737, True), (-0.0687, True), (0.02, False), (0.1, False), (None, False)]
)
def test_a_drift_as_between_gb_and_gib_is_told(drift: float | None, is_mistaken: bool) -> None:
    assert mistaken_unit(drift) is is_mistaken
