from __future__ import annotations

from collections.abc import Sequence

import pytest

from shield.admin.api import admin_api
from shield.admin.top import top_route
from shield.observe.heavy import Hitter
from shield.observe.top import Top
from tests.admin.calls import call

SUMS = [[120.0, 6000.0, 0.5, 60.0, 12_000.0], [60.0, 3000.0, 0.25, 30.0, 6000.0]]


async def tops(of: str, by: str) -> Sequence[Top]:
    return [Top(60.0, [Hitter("/a", "/a?x", sums, 6.0)]) for sums in SUMS]


def test_rows_are_rates_of_all_workers() -> None:
    answer = call(admin_api([top_route(tops)]), "GET", "/top?of=keys&by=requests&n=5")

    assert answer.json() == {
        "of": "keys",
        "by": "requests",
        "seconds": 60.0,
        "rows": [
            {
                "key": "/a",
                "requests": 3.0,
                "missed_bytes": 150.0,
                "money": 45.0,
                "hits": 1.5,
                "sent_bytes": 300.0,
                "error": 0.2,
                "target": "/a?x",
            }
        ],
    }
    assert "target" not in call(admin_api([top_route(tops)]), "GET", "/top?of=clients").json()["rows"][0]


@pytest.mark.parametrize("query", ["of=key", "by=bytes", "n=0", "n=1000", "n=x", "of="])
def test_what_is_not_known_is_refused(query: str) -> None:
    answer = call(admin_api([top_route(tops)]), "GET", f"/top?{query}")

    assert answer.status_code == 400
    assert answer.json()["problems"][0].startswith(f"{query.partition('=')[0]}: expected")
