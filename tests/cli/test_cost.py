"""`shield cost` tells a month's bill from the ledger, in every form the same figures."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from shield.cli.cost import cost
from shield.egress.ledger import Ledger, LedgerTerms, WorkerUsage
from shield.egress.meter import EgressAccount, MeterReading
from shield.egress.tags import TAGGED, TagReading
from shield.rules.focus import COLUMNS
from shield.rules.sites import OriginSite
from shield.rules.zones import Zones

NOW = datetime(2026, 11, 16, tzinfo=UTC).timestamp()
GB = 10**9


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "shield.yaml"
    ledger = tmp_path / "ledger.sqlite"
    origins = {
        "fra": {
            "provider": "http",
            "endpoint": "http://127.0.0.1:1",
            "price": {"egress": 0.1, "requests": 0.5},
            "labels": {"team": "web"},
        },
        "iad": {"provider": "http", "endpoint": "http://127.0.0.1:2"},
    }
    settings = {"origins": origins, "ledger": {"path": str(ledger)}, "labels": {"environment": "prod"}}
    path.write_text(yaml.safe_dump(settings))
    readings = [
        MeterReading(EgressAccount("fra", "images", "miss"), 4000, 30 * GB, {200: 3000, 404: 500, 503: 500}),
        MeterReading(EgressAccount("fra", "images", "hedge"), 0, 10 * GB, {}),
        MeterReading(EgressAccount("iad", "images", "miss"), 10, 5 * GB, {200: 10}),
    ]
    usage = WorkerUsage("w", readings, {"hit": (90_000, 900 * GB), "miss": (4000, 45 * GB)})
    Ledger(LedgerTerms(ledger, keep=1e9)).flush([usage], NOW - 86400.0)
    return path


def test_the_table_has_lines_savings_a_forecast_and_what_has_no_price(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cost(config, by="origin", month=None, form="table", now=NOW) == 0

    said = capsys.readouterr().out
    assert "Egress in November 2026 (UTC), an estimate" in said
    assert "fra" in said and "4,000" in said and "40 GB" in said and "5.7500 USD" in said
    assert "Forecast for the whole month: 92.00 USD" in said
    assert "Clients got 945 GB; 900 GB of it (95.2 %) came from the cache" in said
    assert "5 GB came from origins without a price (origins.NAME.price)" in said


def test_json_and_csv_have_the_same_lines(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cost(config, by="reason", month="2026-11", form="json", now=NOW) == 0
    plain = json.loads(capsys.readouterr().out)
    assert cost(config, by="reason", month="2026-11", form="csv", now=NOW) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    assert plain["month"] == "2026-11" and plain["is_estimate"] is True
    sizes = [(row["reason"], row["currency"], int(row["received_bytes"])) for row in rows]
    assert sizes == [("miss", "", 5 * GB), ("miss", "USD", 30 * GB), ("hedge", "USD", 10 * GB)]
    assert sum(int(row["requests"]) for row in rows) == plain["total"]["requests"]
    assert {line["reason"]: line["received_bytes"] for line in plain["lines"]} == {"miss": 35 * GB, "hedge": 10 * GB}
    assert sum(float(row["cost"]) for row in rows) == pytest.approx(plain["total"]["cost"]["USD"])


@pytest.mark.parametrize("version", COLUMNS)
def test_focus_rows_add_up_to_the_bill_and_are_marked_as_estimates(
    config: Path, capsys: pytest.CaptureFixture[str], version: str
) -> None:
    assert cost(config, by="origin", month=None, form=version, now=NOW) == 0

    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert tuple(rows[0]) == COLUMNS[version]
    assert sum(float(row["EffectiveCost"]) for row in rows) == pytest.approx(5.75)
    assert {row["BilledCost"] for row in rows} == {"0"} and {row["ChargeCategory"] for row in rows} == {"Usage"}
    assert rows[0]["BillingPeriodStart"] == "2026-11-01T00:00:00Z"
    assert rows[0]["BillingPeriodEnd"] == "2026-12-01T00:00:00Z"
    tags = json.loads(rows[0]["Tags"])
    assert tags["x_estimate"] == "true" and tags["environment"] == "prod" and tags["x_origin"] == "fra"
    assert tags["team"] == "web"  # the origin's own
    for row in rows:
        # By the specification: what must not be null of usage that isn't a correction, and products that must hold.
        assert all(row[name] for name in COLUMNS[version] if name not in ("ChargeClass", "RegionId", "RegionName"))
        assert row["PricingCategory"] == "Standard" and row["SkuPriceId"] == row["SkuId"]
        cost_of_list = Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"])
        assert cost_of_list == Decimal(row["ListCost"]) == Decimal(row["ContractedCost"])
        place = row["ServiceCategory"], row["ServiceSubcategory"]
        assert place in {("Networking", "Network Connectivity"), ("Storage", "Object Storage")}


@pytest.mark.parametrize(
    ("month", "change", "said"),
    [
        ("November", {}, "--month November: expected a year and a month, as 2026-11"),
        (None, {"path": "off"}, "no ledger is kept: set ledger.path or state_directory"),
        (
            None,
            {"path": "/nowhere/l.sqlite"},
            "there is none yet: a node with these settings writes it",
        ),
    ],
)
def test_what_cant_be_told_is_said_with_its_remedy(
    config: Path, capsys: pytest.CaptureFixture[str], month: str | None, change: dict[str, str], said: str
) -> None:
    settings = yaml.safe_load(config.read_text())
    settings["ledger"].update(change)
    config.write_text(yaml.safe_dump(settings))

    assert cost(config, by="origin", month=month, form="table", now=NOW) == 2
    assert said in capsys.readouterr().err


def test_a_list_price_that_was_read_long_ago_is_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = yaml.safe_load(config.read_text())
    settings["origins"]["iad"]["price"] = "gcs-us-central1"
    config.write_text(yaml.safe_dump(settings))

    def said(days: float) -> str:
        assert cost(config, by="origin", month=None, form="table", now=NOW + days * 86400.0) == 0
        return capsys.readouterr().out

    assert "origins.iad.price: a list price of 2026-09-03, which may have changed: https://" in said(200)
    assert "which may have changed" not in said(0)


def test_by_tag_lines_have_their_share_and_the_rest_is_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = yaml.safe_load(config.read_text())
    assert cost(config, by="tag", month=None, form="table", now=NOW) == 0
    assert "No tags are counted: set ledger.tags to their beginnings" in capsys.readouterr().out
    settings["ledger"]["tags"] = ["tenant-"]
    config.write_text(yaml.safe_dump(settings))
    tags = [
        TagReading("fra", TAGGED, 1000, 20 * GB),
        TagReading("fra", "tenant-1", 1000, 20 * GB),
        TagReading("fra", "tenant-2", 500, 10 * GB),
    ]
    ledger = Ledger(LedgerTerms(Path(settings["ledger"]["path"]), keep=1e9))
    ledger.flush([WorkerUsage("t", [], {}, tags)], NOW - 86400.0)

    assert cost(config, by="tag", month=None, form="table", now=NOW) == 0
    assert "20 GB (44.4 %) had a tag that begins with tenant-" in capsys.readouterr().out
    assert cost(config, by="tag", month=None, form="json", now=NOW) == 0
    plain = json.loads(capsys.readouterr().out)

    found = {line["tag"]: (line["received_bytes"], line["cost"]["USD"]) for line in plain["lines"]}
    assert found["tenant-1"] == (20 * GB, pytest.approx(20 * 0.1 + 0.5))
    assert found["tenant-2"] == (10 * GB, pytest.approx(10 * 0.1 + 0.25))
    assert found["(no tag)"][0] == 25 * GB  # of 45: 5 of them have no price
    assert plain["total"]["received_bytes"] == 45 * GB


def test_labels_choose_origins(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = yaml.safe_load(config.read_text())
    settings["origins"]["iad"]["labels"] = {"team": "archive"}
    config.write_text(yaml.safe_dump(settings))

    def received(*labels: str) -> int:
        assert cost(config, by="origin", month=None, form="json", labels=labels, now=NOW) == 0
        size = json.loads(capsys.readouterr().out)["total"]["received_bytes"]
        assert isinstance(size, int)
        return size

    assert received("team=archive") == 5 * GB
    assert received("environment=prod") == received() == 45 * GB
    assert received("environment=prod", "team=archive") == 5 * GB
    assert cost(config, by="origin", month=None, form="json", labels=["team=x"], now=NOW) == 2
    assert "--label team=x: no origin has it" in capsys.readouterr().err
    assert cost(config, by="origin", month=None, form="json", labels=["team"], now=NOW) == 2


def test_focus_rows_have_the_labels_of_their_origin(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = yaml.safe_load(config.read_text())
    settings["origins"]["fra"]["labels"] = {"environment": "stage", "team": "web"}
    config.write_text(yaml.safe_dump(settings))

    assert cost(config, by="origin", month=None, form="1.2", now=NOW) == 0

    tags = json.loads(next(csv.DictReader(io.StringIO(capsys.readouterr().out)))["Tags"])
    assert tags["environment"] == "stage" and tags["team"] == "web" and tags["x_node"]


def test_days_and_months_are_those_of_each_providers_zone(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = yaml.safe_load(config.read_text())
    settings["origins"]["iad"]["price"] = {"egress": 0.2, "zone": "America/Los_Angeles"}
    config.write_text(yaml.safe_dump(settings))
    december = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    ledger = Ledger(LedgerTerms(Path(settings["ledger"]["path"]), keep=1e9))
    for number, hours in enumerate((-1, 7, 8)):  # of both origins: before, between and after both months' ends
        readings = [MeterReading(EgressAccount(name, "", "miss"), 1, GB, {200: 1}) for name in ("fra", "iad")]
        ledger.flush([WorkerUsage(str(number), readings, {})], december + hours * 3600.0)

    def said(by: str, month: str | None, *, form: str = "json", hours: float = 1.0) -> str:
        assert cost(config, by=by, month=month, form=form, now=december + hours * 3600.0) == 0
        return capsys.readouterr().out

    received = {line["origin"]: line["received_bytes"] for line in json.loads(said("origin", "2026-12"))["lines"]}
    assert received == {"fra": 2 * GB, "iad": GB}
    days = {line["day"]: line["received_bytes"] for line in json.loads(said("day", "2026-11"))["lines"]}
    assert days == {"2026-11-14": 5 * GB, "2026-11-15": 40 * GB, "2026-11-30": 3 * GB}
    # November runs until it is over everywhere, and until then there is something to foretell.
    november = json.loads(said("origin", None))
    assert november["month"] == "2026-11" and november["forecast"]["USD"] > november["total"]["cost"]["USD"]
    assert november["zones"] == {"fra": "UTC", "iad": "America/Los_Angeles", "*": "UTC"}
    assert json.loads(said("origin", None, hours=8.0))["month"] == "2026-12"
    assert "Egress in November 2026 (by provider: America/Los_Angeles, UTC)" in said("day", None, form="table")
    rows = list(csv.DictReader(io.StringIO(said("origin", "2026-11", form="1.2"))))
    periods = {json.loads(row["Tags"])["x_origin"]: row["BillingPeriodStart"] for row in rows}
    assert periods == {"fra": "2026-11-01T00:00:00Z", "iad": "2026-11-01T07:00:00Z"}
    assert {row["BillingPeriodEnd"] for row in rows} == {"2026-12-01T00:00:00Z", "2026-12-01T08:00:00Z"}


def test_days_that_were_added_up_are_rows_of_focus_for_that_long(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = yaml.safe_load(config.read_text())
    Ledger(LedgerTerms(Path(settings["ledger"]["path"]), keep=1e9)).tend(NOW + 100 * 86400.0)

    assert cost(config, by="origin", month="2026-11", form="1.2", now=NOW) == 0

    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {(row["ChargePeriodStart"], row["ChargePeriodEnd"]) for row in rows} == {
        ("2026-11-15T00:00:00Z", "2026-11-16T00:00:00Z")
    }


def test_what_was_counted_keeps_the_region_of_its_time(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = yaml.safe_load(config.read_text())
    settings["origins"]["fra"]["region"] = "eu-west-1"
    ledger = Ledger(LedgerTerms(Path(settings["ledger"]["path"]), keep=1e9))
    old, new = OriginSite("aws", "us-east-1", "old"), OriginSite("aws", "eu-west-1", "new")
    ledger.use(Zones(), {"fra": old})
    ledger.note_sites(NOW - 86400.0)
    ledger.use(Zones(), {"fra": new})
    ledger.note_sites(NOW - 60.0)
    ledger.flush([WorkerUsage("x", [MeterReading(EgressAccount("fra", "", "miss"), 1, GB, {200: 1})], {})], NOW)
    del settings["origins"]["iad"]
    config.write_text(yaml.safe_dump(settings))

    def lines(by: str) -> dict[str, int]:
        assert cost(config, by=by, month=None, form="json", now=NOW) == 0
        return {line[by]: line["received_bytes"] for line in json.loads(capsys.readouterr().out)["lines"]}

    assert lines("region") == {"us-east-1": 40 * GB, "eu-west-1": GB, "(removed)": 5 * GB}
    assert lines("provider") == {"aws": 41 * GB, "(removed)": 5 * GB}
    assert cost(config, by="origin", month=None, form="1.3", now=NOW) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {(row["ChargePeriodStart"][:10], row["ResourceId"], row["RegionId"]) for row in rows} == {
        ("2026-11-15", "old", "us-east-1"),
        ("2026-11-16", "new", "eu-west-1"),
    }


def test_what_came_from_other_nodes_is_told_apart_and_their_ledgers_are_added(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = yaml.safe_load(config.read_text())
    ledger = Ledger(LedgerTerms(Path(settings["ledger"]["path"]), keep=1e9))
    ledger.flush([WorkerUsage("p", [], {"peer-hit": (10, 50 * GB), "peer": (5, 5 * GB)})], NOW - 3600.0)
    other = Ledger(LedgerTerms(tmp_path / "other.sqlite", keep=1e9))
    readings = [MeterReading(EgressAccount("fra", "images", "miss"), 10, 60 * GB, {200: 10})]
    other.flush([WorkerUsage("o", readings, {"hit": (10, 10 * GB)})], NOW - 3600.0)

    assert cost(config, by="origin", month=None, form="table", now=NOW) == 0
    said = capsys.readouterr().out
    assert (
        "Clients got 1 TB; 950 GB of it (95.0 %) came from the cache, 50 GB of that from other nodes, worth" in said
    )
    assert "5 GB of it came through other nodes that fetched it: their ledgers have it (--ledger)" in said

    assert cost(config, by="origin", month=None, form="json", ledgers=[tmp_path / "other.sqlite"], now=NOW) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["from_other_nodes_bytes"] == 50 * GB and plain["fetched_by_other_nodes_bytes"] == 5 * GB
    assert plain["total"]["received_bytes"] == 105 * GB and plain["served_bytes"] == 1010 * GB
    assert cost(config, by="origin", month=None, form="table", ledgers=[tmp_path / "other.sqlite"], now=NOW) == 0
    assert "their ledgers have it" not in capsys.readouterr().out
    assert cost(config, by="origin", month=None, form="json", ledgers=[tmp_path / "no.sqlite"], now=NOW) == 2
    assert "no.sqlite: there is none yet: give a copy of a node's" in capsys.readouterr().err


def test_labels_are_on_every_row_where_they_are_true_of_all_of_it(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(by: str) -> list[dict[str, str]]:
        assert cost(config, by=by, month=None, form="csv", now=NOW) == 0
        return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    by_origin = {row["origin"]: (row["label_environment"], row["label_team"]) for row in rows("origin")}
    assert by_origin == {"fra": ("prod", "web"), "iad": ("prod", "")}
    assert {(row["label_environment"], row["label_team"]) for row in rows("reason")} == {("prod", "")}
    assert cost(config, by="origin", month=None, form="json", now=NOW) == 0
    lines = json.loads(capsys.readouterr().out)["lines"]
    assert {line["origin"]: line["labels"] for line in lines} == {
        "fra": {"environment": "prod", "team": "web"},
        "iad": {"environment": "prod"},
    }


def test_focus_says_what_it_leaves_out(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cost(config, by="origin", month=None, form="1.3", now=NOW) == 0

    assert "5 GB of origins without a price are left out" in capsys.readouterr().err


def test_reads_beyond_what_a_provider_allows_are_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = yaml.safe_load(config.read_text())
    settings["origins"]["fra"]["price"] = {"preset": "wasabi", "stored": "30GB"}
    settings["origins"]["iad"]["price"] = {"preset": "wasabi", "stored": "30GB"}
    config.write_text(yaml.safe_dump(settings))

    assert cost(config, by="origin", month=None, form="table", now=NOW) == 0

    said = capsys.readouterr().out
    assert "fra: 40 GB of 30 GB a month that the provider allows are read: it throttles" in said
    assert "iad: " not in said


def test_a_ledger_that_is_given_twice_counts_once_and_a_copy_of_it_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = config.with_name("ledger.sqlite")
    again = own.parent / ".." / own.parent.name / own.name
    assert cost(config, by="origin", month=None, form="json", now=NOW, ledgers=[again]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["received_bytes"] == 45 * GB

    copy = config.with_name("copy.sqlite")
    copy.write_bytes(own.read_bytes())
    assert cost(config, by="origin", month=None, form="json", now=NOW, ledgers=[copy]) == 2
    assert "copy.sqlite: it is a copy of" in capsys.readouterr().err


def test_a_ledger_that_may_not_be_seen_is_said(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "exists", denied)  # root may see everything

    assert cost(config, by="origin", month=None, form="table", now=NOW, ledgers=[]) == 2
    assert "ledger.sqlite: Permission denied: run this as the node's user, or as root" in capsys.readouterr().err
