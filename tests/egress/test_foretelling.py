"""Forecasts by the ledger's last hour, through the admin API of a node."""

from __future__ import annotations

from pathlib import Path

from shield.cli.origin.orders import foretold
from tests.admin.calls import ask
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of


def test_a_drain_is_foretold_and_not_done(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
    origins = {
        name: {"provider": "http", "endpoint": origin.url, "price": {"egress": price}}
        for name, price in (("fra", 1000.0), ("iad", 9000.0))
    }
    settings = settings_of({}, origins=origins, ledger={"path": str(tmp_path / "ledger.sqlite")})
    origin.serves("/a", bytes(1_000_000), lifetime=100)
    with Shield(settings, clock=clock) as shield:
        shield.get("/a")
    clock.advance(60.0)
    with Shield(settings, clock=clock) as shield:
        answer = ask(shield, "POST", "/origins/fra/drain", json={"dry_run": True})
        unused = ask(shield, "POST", "/origins/iad/drain", json={"dry_run": True}).json()["hourly"]

        [taken] = answer.json()["hourly"]
        assert (answer.status_code, taken["route"], taken["to"], taken["requests"]) == (200, "default", "iad", 1)
        assert taken["bytes"] > 1_000_000 and 1.0 < taken["before"] < 1.01 and 9.0 < taken["after"] < 9.1
        assert unused == []
        assert not any("drained" in each["flags"] for each in ask(shield, "GET", "/origins").json()["origins"])
        assert list(foretold("fra", [taken])) == [
            "route default: 1 MB in 1 request an hour -> iad, for 9.00 USD an hour instead of 1.00 USD"
        ]
        assert list(foretold("iad", unused)) == ["origin iad gave nothing in the last hour"]


def test_without_a_ledger_it_isnt_known(origin: FaultyOrigin, clock: FakeClock) -> None:
    with Shield(settings_of({"fra": origin}), clock=clock) as shield:
        answer = ask(shield, "POST", "/origins/fra/drain", json={"dry_run": True})

    assert answer.status_code == 409 and "no ledger is kept" in answer.text
