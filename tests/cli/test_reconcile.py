"""`shield cost reconcile` reads the provider's files and compares them with the ledger."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from shield.cli.reconcile import ReconcileWish, reconcile
from shield.egress.ledger import Ledger, LedgerTerms, WorkerUsage
from shield.egress.meter import EgressAccount, MeterReading
from tests.rules.test_reports import AWS_ROWS, LEGACY, s3_line

HOUR = datetime(2026, 11, 3, tzinfo=UTC).timestamp()
SIZE = 3 * (1 << 28)  # 0.75 GiB, as in the rows


def write_ledger(path: Path, size: int, at: float = HOUR, requests: int = 1200) -> None:
    reading = MeterReading(EgressAccount("fra", "images", "miss"), requests, size, {200: requests})
    Ledger(LedgerTerms(path, keep=1e9)).flush([WorkerUsage("w", [reading], {})], at)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "shield.yaml"
    origin = {"provider": "ceph", "endpoint": "http://127.0.0.1:1", "bucket": "images", "region": "x"}
    keys = {"access_key_id": "AKEXAMPLE", "secret_key": "secretexample", "price": {"egress": 0.09}}
    settings = {"origins": {"fra": {**origin, **keys}}, "ledger": {"path": str(tmp_path / "ledger.sqlite")}}
    path.write_text(yaml.safe_dump(settings))
    return path


Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def run(config: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*files: Path | str, as_json: bool = True, **more: Any) -> tuple[int, Any]:
        code = reconcile(config, ReconcileWish([str(each) for each in files], as_json=as_json, **more))
        said = capsys.readouterr()
        return code, json.loads(said.out) if as_json and code < 2 else said.out + said.err

    return call


def test_a_report_that_agrees_is_0_and_one_that_doesnt_is_1(tmp_path: Path, run: Run) -> None:
    write_ledger(tmp_path / "ledger.sqlite", SIZE)
    report = tmp_path / "cur.csv.gz"
    report.write_bytes(gzip.compress((LEGACY + AWS_ROWS).encode()))

    code, found = run(report)
    assert code == 0 and found["total"]["drift"] == 0.0 and found["report"] == "AWS Cost and Usage Report"
    assert found["days"][0]["reported"] == {"requests": 1200, "bytes": SIZE, "cost": {"USD": pytest.approx(0.050516)}}

    report.write_bytes(gzip.compress((LEGACY + AWS_ROWS + AWS_ROWS.splitlines()[0]).encode()))
    code, text = run(report, as_json=False)
    assert code == 1
    assert "+66.67 %  (!)" in text and "536.9 MB (40.0%) was read by others than this node" in text


def test_ledgers_of_other_nodes_are_added(tmp_path: Path, run: Run) -> None:
    write_ledger(tmp_path / "ledger.sqlite", SIZE // 2)
    write_ledger(tmp_path / "other.sqlite", SIZE // 2)
    report = tmp_path / "cur.csv"
    report.write_text(LEGACY + AWS_ROWS)

    assert run(report)[0] == 1
    assert run(report, ledgers=[tmp_path / "other.sqlite"])[0] == 0


def test_gb_taken_for_gib_is_said(tmp_path: Path, run: Run) -> None:
    write_ledger(tmp_path / "ledger.sqlite", 750_000_000)
    report = tmp_path / "cur.csv"
    report.write_text(LEGACY + AWS_ROWS)

    code, found = run(report)
    assert code == 1 and "It is off by 7.4 %, as GB from GiB: try it with --decimal" in found["notes"]
    assert run(report, decimal=True)[0] == 0


def test_an_access_log_names_the_other_readers(tmp_path: Path, run: Run) -> None:
    at = datetime(2026, 2, 6, tzinfo=UTC).timestamp()
    write_ledger(tmp_path / "ledger.sqlite", 10 * 1900, at, requests=10)
    report = tmp_path / "2026-02-06-00-00-00"
    report.write_text("\n".join([s3_line()] * 10 + [s3_line(agent="rclone/1.6", requester="-")] * 5))

    code, found = run(report)
    assert code == 0 and found["total"]["others_bytes"] == 7500
    assert found["readers"] == [{"reader": "192.0.2.3 rclone", "requests": 5, "bytes": 7500}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "report.csv:1: no report that can be read; expected a Cost and Usage Report of AWS"),
        (
            LEGACY + AWS_ROWS.replace("0.25,", "many,"),
            "report.csv:4: lineItem/UsageAmount: expected a number, got many",
        ),
        (
            LEGACY.replace("lineItem/ResourceId", "x") + AWS_ROWS,
            "report.csv:1: lineItem/ResourceId: there is no such",
        ),
        (LEGACY, "no row tells of reads from a bucket"),
        (s3_line() + "\nnonsense\n", "report.csv:2: line: not one of an S3 access log"),
    ],
)
def test_what_cant_be_read_names_file_line_and_column(tmp_path: Path, run: Run, text: str, said: str) -> None:
    write_ledger(tmp_path / "ledger.sqlite", SIZE)
    report = tmp_path / "report.csv"
    report.write_text(text)

    code, found = run(report)
    assert code == 2 and said in found


def test_without_a_ledger_or_an_origin_of_that_name_the_remedy_is_said(tmp_path: Path, run: Run) -> None:
    report = tmp_path / "report.csv"
    report.write_text(LEGACY + AWS_ROWS)

    code, said = run(report)
    assert (
        code == 2 and "ledger.sqlite: there is none yet: a node with these settings writes it within seconds" in said
    )
    write_ledger(tmp_path / "ledger.sqlite", SIZE)
    code, said = run(report, origin="lon")
    assert code == 2 and "--origin lon: there is none in the settings: fra" in said


def test_parquet_is_read_as_csv_is(tmp_path: Path, run: Run) -> None:
    polars = pytest.importorskip("polars", reason="the extra `tables`")
    write_ledger(tmp_path / "ledger.sqlite", SIZE)
    (tmp_path / "cur.csv").write_text(LEGACY + AWS_ROWS)
    polars.read_csv(tmp_path / "cur.csv").write_parquet(tmp_path / "cur-1.parquet")

    code, found = run(tmp_path / "cur-*.parquet")
    assert code == 0 and found["total"]["reported"]["bytes"] == SIZE
    assert run(tmp_path / "none.parquet")[0] == 2
