"""shield why: the origin that had a URL first at a time of the last day, by a running node."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loadtest.processes import free_port
from shield.cli.why import why
from tests.cli.test_admin import json_response
from tests.cli.test_health import answering
from tests.client import Client
from tests.doubles.faulty_origin import FaultyOrigin
from tests.process import Process, settings_file, until


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in os.environ:
        if name.upper().startswith("SHIELD_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    yield


def settings(tmp_path: Path, port: int | str, *, origins: Any = None) -> Path:
    file = tmp_path / "found.yaml"
    origins = origins or {
        name: {"provider": "http", "endpoint": f"http://127.0.0.1:{number}"}
        for number, name in ((1, "fra"), (2, "iad"))
    }
    admin = port if isinstance(port, str) else f"127.0.0.1:{port}"
    file.write_text(json.dumps({"node": "test-1", "origins": origins, "admin": {"listen": admin}}))
    return file


def record(at: float, *, state: int = 0, flags: int = 0) -> list[Any]:
    return [state, at - 4.0, 0.0, at - 5.0 if state else 0.0, 0, flags, 2, 5, 0.0, 9, 5, 0, 3]


def answer(moment: float, **changes: Any) -> bytes:
    origins = {"fra": record(moment, state=2), "iad": record(moment)}
    plain = {"at": moment, "settings": "x", "origins": origins, "frozen": False, "drill": None, **changes}
    return json_response("200 OK", json.dumps(plain).encode())


def past(seconds: float) -> tuple[float, str]:
    at = float(int(time.time() - seconds))
    return at, datetime.fromtimestamp(at, UTC).isoformat()


def test_it_names_the_first_origin_and_the_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at, text = past(3600.0)
    with answering(answer(at)) as (port, heard):
        code = why("https://cdn.example/images/a.webp?w=1", settings(tmp_path, port), at=text)

    lines = capsys.readouterr().out.splitlines()
    assert code == 0 and f"GET /decisions?at={at:.2f} ".encode() in heard[0]
    assert lines[0] == "target     /images/a.webp?w=1"
    assert lines[3:8] == [
        "first      iad instead of fra: out for 4.0 s, 5 failures in a row",
        "order      iad, fra",
        "           iad: as listed",
        "             fetches: 9 answered, 5 failed; 3 waiting",
        "           fra: as listed; out for 4.0 s, 5 failures in a row",
    ]
    assert "the node's settings were different then" in "\n".join(lines)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frozen": True}, "all origins had failed together"),
        ({"at": 100.0}, "nothing was noted in the"),
        ({"drill": [3, "fra", "slow", 1.0, 7]}, "drill 3, slow for 100 % of keys, this key among them"),
    ],
)
def test_circumstances_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], said: str
) -> None:
    at, text = past(60.0)
    with answering(answer(at, **changes)) as (port, _):
        assert why("/a", settings(tmp_path, port), at=text) == 0

    assert said in capsys.readouterr().out


def test_an_origin_in_its_place_is_as_usual(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at, text = past(60.0)
    with answering(answer(at, origins={"fra": record(at), "iad": record(at)})) as (port, _):
        assert why("/a", settings(tmp_path, port), at=text) == 0

    assert "first      fra, as usual\n" in capsys.readouterr().out


def test_an_order_by_cost_that_wasnt_noted_is_said_not_to_be_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at, text = past(60.0)
    given = {"provider": "http", "endpoint": "http://127.0.0.1:1", "price": "r2"}
    with answering(answer(at)) as (port, _):
        assert why("/a", settings(tmp_path, port, origins={"fra": given, "iad": given}), at=text) == 0

    said = capsys.readouterr().out
    assert "the route's order by cost at that time isn't kept" in said and "iad: as listed" in said


@pytest.mark.parametrize("at", ["soon", "25:00", "2020-01-01T00:00Z", "2999-01-01T00:00Z"])
def test_a_time_that_isnt_of_the_last_day_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], at: str
) -> None:
    assert why("/a", settings(tmp_path, free_port()), at=at) == 2
    assert capsys.readouterr().err.startswith(f"--at {at}: expected a time as 18:30, ")


def test_what_cant_be_told_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, text = past(60.0)
    assert why("/a/%2e%2e/%00", settings(tmp_path, free_port()), at=text) == 1
    assert why("/a", settings(tmp_path, free_port()), at=text) == 2
    with answering(json_response("404 Not Found", b'{"problems": ["nothing was noted"]}')) as (port, _):
        assert why("/a", settings(tmp_path, port), at=text) == 2
    with answering(json_response("200 OK", b'{"at": "x"}')) as (port, _):
        assert why("/a", settings(tmp_path, port), at=text) == 2

    said = capsys.readouterr()
    assert said.out.startswith("refused    400 ")
    assert "no node answers" in said.err and "nothing was noted" in said.err and "another version" in said.err


@pytest.mark.slow
def test_a_node_of_two_workers_tells_why_another_origin_was_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FaultyOrigin() as fra, FaultyOrigin() as iad:
        for path in ("/a", "/b", "/c", "/d", "/e"):
            for origin in (fra, iad):
                origin.serves(path, b"x", lifetime=60)
        fra.refuses()
        origins = {name: {"provider": "http", "endpoint": one.url} for name, one in (("fra", fra), ("iad", iad))}
        file = settings_file(tmp_path, fra, workers=2, origins=origins, state_directory=str(tmp_path / "state"))
        with Process(file) as node, Client(node.port) as client:
            for path in ("/a", "/b", "/c", "/d", "/e"):
                assert client.ask(path).body == b"x"
            node.says("origin fra: suspect")
            until(lambda: any(b'"fra":[2' in each.read_bytes() for each in (tmp_path / "state").glob("decisions-*")))
            found = settings(tmp_path, node.admin_port, origins=origins)
            code = why("/a", found, at=datetime.fromtimestamp(time.time() - 0.01, UTC).isoformat())

    said = capsys.readouterr().out
    assert code == 0 and re.search(
        r"^first      iad instead of fra: (out|suspect) for [0-9.]+ s, ", said, re.MULTILINE
    )
    assert "others then" not in said and "wasn't running" not in said


def test_an_order_by_cost_is_that_of_its_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at, text = past(60.0)
    origins = {"fra": record(at), "iad": record(at)}
    with answering(answer(at, origins=origins, ranked={"default": ["iad", "fra"]})) as (port, _):
        file = settings(tmp_path, port)
        file.write_text(json.dumps({**json.loads(file.read_text()), "routes": {"default": {"choose": "nearest"}}}))
        assert why("/a", file, at=text) == 0

    said = capsys.readouterr().out
    assert "first      iad, as usual\norder      iad, fra\n           iad: number 1 by cost\n" in said
