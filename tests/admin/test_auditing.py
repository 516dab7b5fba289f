"""The audit log: who called what, in a file that stays small, whatever happens to it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin import auditing
from shield.admin.api import AdminApi, admin_api
from shield.admin.auditing import AuditFile, AuditLog
from shield.admin.doorkeeper import Doorkeeper
from shield.admin.problems import ProblemError
from shield.admin.schemas import ANY_OBJECT
from shield.rules.tokens import Role
from shield.shared import Seat
from tests.admin.calls import TOKENS, bearer, call, operation
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of

JSON = {"content-type": "application/json"}


async def change(request: Request) -> Response:
    if b"bad" in request.state.body:
        raise ProblemError(409, "not now", "nor later")
    if b"large" in request.state.body:
        request.state.noted = {"paths": 7}
    return JSONResponse({})


def api(path: Path | None, *, tokens: bool = True) -> AdminApi:
    audit = AuditLog(None if path is None else AuditFile(path), clock=lambda: 7.0)
    operations = [
        operation(),
        operation("POST", handler=change, role=Role.PURGE, body=ANY_OBJECT, body_needed=False),
        auditing.auditing(audit),
    ]
    return admin_api(operations, doorkeeper=Doorkeeper(TOKENS) if tokens else None, witness=audit)


def kept(app: AdminApi, last: int = 100) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = call(app, "GET", f"/audit?last={last}", headers=bearer(Role.OPERATE)).json()[
        "calls"
    ]
    return calls


def test_a_changing_call_is_written_down_with_who_and_what_before_it_is_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = api(tmp_path / "audit.jsonl")
    with caplog.at_level(logging.INFO):
        call(app, "POST", "/thing", headers={**bearer(Role.PURGE), **JSON}, content=b'{"a": 1, "secret": "hunter2"}')

    (line,) = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "at": 7.0,
        "who": "purge",
        "role": "purge",
        "from": "127.0.0.1",
        "method": "POST",
        "path": "/thing",
        "body": {"a": 1, "secret": "***"},
        "status": 200,
        "problems": [],
    }
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600
    assert 'audit: POST /thing {"a": 1, "secret": "***"} by purge from 127.0.0.1: 200' in caplog.text
    assert "hunter2" not in caplog.text


def test_refusals_are_written_down_too_and_looks_and_strangers_arent(tmp_path: Path) -> None:
    app = api(tmp_path / "audit.jsonl")

    call(app, "POST", "/thing", headers={**bearer(Role.OPERATE), **JSON}, content=b'"bad"')
    call(app, "POST", "/thing", headers={**bearer(Role.READ), **JSON}, content=b'"denied"')
    call(app, "POST", "/thing", headers=JSON, content=b'"no token"')
    call(app, "GET", "/thing", headers=bearer(Role.READ))
    call(app, "POST", "/thing", headers={**bearer(Role.PURGE), **JSON}, content=b'"large"')

    assert [(each["who"], each["status"], each["body"], each["problems"]) for each in kept(app)] == [
        ("operate", 409, "bad", ["not now", "nor later"]),
        ("read", 403, None, ["token read has the role read; this takes purge"]),
        ("purge", 200, {"paths": 7}, []),
    ]
    assert [each["role"] for each in kept(app)] == ["operate", "read", "purge"]
    assert [each["status"] for each in kept(app, 2)] == [403, 200]


@pytest.mark.parametrize(("query", "status"), [("last=0", 400), ("last=x", 400), ("last=1001", 400), ("last=1", 200)])
def test_as_many_are_shown_as_are_wanted(tmp_path: Path, query: str, status: int) -> None:
    app = api(tmp_path / "audit.jsonl")

    assert call(app, "GET", f"/audit?{query}", headers=bearer(Role.OPERATE)).status_code == status
    assert call(app, "GET", f"/audit?{query}", headers=bearer(Role.PURGE)).status_code == 403


def test_without_a_place_calls_are_logged_alone(caplog: pytest.LogCaptureFixture) -> None:
    app = api(None, tokens=False)
    with caplog.at_level(logging.INFO):
        assert call(app, "POST", "/thing").status_code == 200

    assert "audit: POST /thing by local from 127.0.0.1: 200" in caplog.text
    assert call(app, "GET", "/audit").status_code == 404


def test_a_full_disk_stops_no_call_and_is_complained_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    app = api(tmp_path / "audit.jsonl", tokens=False)

    assert call(app, "POST", "/thing").status_code == 200
    assert call(app, "GET", "/audit").status_code == 500
    assert "can't be written: Is a directory" in caplog.text


def test_the_file_stays_small_and_the_last_lines_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "MOST_BYTES", 1000)
    file = AuditFile(tmp_path / "audit.jsonl")

    for number in range(50):
        file.append(entry(number))

    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) <= 2 and max(sizes) < 1300
    assert [each["at"] for each in file.last(8)] == [*range(42, 50)]
    assert len(file.last(100)) < 20


def test_torn_lines_are_left_out_and_nothing_is_glued_to_them(tmp_path: Path) -> None:
    file = AuditFile(tmp_path / "audit.jsonl")
    file.append(entry(1))
    with file.path.open("ab") as torn:
        torn.write(b'{"at": 2, "who"')
    file.append(entry(3))

    assert [each["at"] for each in file.last(10)] == [1, 3]


def test_a_file_that_was_just_put_aside_is_written_to_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AuditFile(tmp_path / "audit.jsonl")
    file.append(entry(1))

    def late(descriptor: int, how: int) -> None:
        if not file.older.exists():
            file.path.replace(file.older)  # by another process, while this one waits for the lock

    monkeypatch.setattr("shield.admin.auditing.fcntl.flock", late)
    file.append(entry(2))

    assert [json.loads(line)["at"] for line in file.path.read_text().splitlines()] == [2]


def test_others_are_kept_out_while_a_line_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, write = AuditFile(tmp_path / "audit.jsonl"), os.write

    def watched(descriptor: int, line: bytes) -> int:
        with file.path.open("ab") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return write(descriptor, line)

    monkeypatch.setattr("shield.admin.auditing.os.write", watched)
    file.append(entry(1))

    assert len(file.last(10)) == 1


def test_two_processes_write_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "MOST_BYTES", 20_000)
    files = [AuditFile(tmp_path / "audit.jsonl") for _ in range(2)]

    async def write() -> None:
        loop = asyncio.get_running_loop()
        wanted = [(file, number) for number in range(60) for file in files]
        await asyncio.gather(*[loop.run_in_executor(None, f.append, entry(n)) for f, n in wanted])

    asyncio.run(write())
    assert sorted(each["at"] for each in files[0].last(1000)) == sorted([*range(60)] * 2)


def test_a_node_keeps_its_own(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
    with Shield(settings_of({"fra": origin}), clock=clock, place=Seat(state=tmp_path)) as shield:
        call(shield.node.admin, "POST", "/drill/stop")

    (line,) = (tmp_path / "audit-test-1.jsonl").read_text().splitlines()
    assert json.loads(line)["problems"] == ["no drill runs"]


def entry(number: int) -> dict[str, Any]:
    padding = {"who": "a", "role": "", "from": "", "method": "", "path": "", "body": None, "status": 200}
    return {"at": number, **padding, "problems": [os.sep * 20]}
