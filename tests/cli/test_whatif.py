"""shield whatif: a time of the last day again, with other settings."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loadtest.processes import free_port
from shield.cli.whatif import whatif
from tests.cli.test_admin import json_response
from tests.cli.test_health import answering
from tests.cli.test_why import record, settings


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in os.environ:
        if name.upper().startswith("SHIELD_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    yield


def span(start: float, stop: float) -> str:
    return "..".join([datetime.fromtimestamp(each, UTC).isoformat() for each in (start, stop)])


def test_it_shows_the_shares_with_other_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = float(int(time.time() - 3600.0))
    notes = [
        {
            "at": start + at,
            "settings": "x",
            "origins": {"fra": fra, "iad": record(start)},
            "frozen": False,
            "drill": None,
        }
        for at, fra in ((0.0, record(start)), (60.0, record(start, state=2)))
    ]
    with answering(json_response("200 OK", json.dumps({"notes": notes}).encode())) as (port, heard):
        code = whatif(
            settings(tmp_path, port),
            at=span(start, start + 120.0),
            changes=["routes.default.choose=primary-first", "origins.iad.role=primary"],
        )

    lines = capsys.readouterr().out.splitlines()
    assert code == 0 and f"GET /decisions?at={start:.2f}&until={start + 120.0:.2f} ".encode() in heard[0]
    assert lines[2:5] == [
        "route      default",
        "           fra           50.0 %    0.0 %",
        "           iad           50.0 %  100.0 %",
    ]
    assert lines[-1].startswith("note       the node's settings were different then")


@pytest.mark.parametrize(
    ("at", "changes", "said"),
    [
        ("03:00", ["log.level=info"], "--at 03:00: expected two of these, as 03:00..04:00: "),
        ("soon..later", ["log.level=info"], "--at soon..later: expected two of these"),
        ("", ["routes.default"], "--set routes.default: expected KEY=VALUE, as routes.default.choose=weighted"),
        ("", ["routes.default.choose=fastest"], "SHIELD_ROUTES__DEFAULT__CHOOSE"),
        ("", ["rout.default=1"], "SHIELD_ROUT__DEFAULT"),
    ],
)
def test_what_cant_be_is_refused_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], at: str, changes: list[str], said: str
) -> None:
    now = time.time()
    file = settings(tmp_path, free_port())

    assert whatif(file, at=at or span(now - 100.0, now - 50.0), changes=changes) == 2
    assert said in capsys.readouterr().err
