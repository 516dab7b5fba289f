"""`shield origin`, with a node and its workers as processes of their own: a drain outlasts all of them."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from loadtest.processes import free_port
from shield.cli import _app
from shield.cli.explain import explain
from tests.cli.test_admin import json_response
from tests.cli.test_health import answering, settings
from tests.client import Client
from tests.doubles.faulty_origin import FaultyOrigin
from tests.process import Process, settings_file, until

PATHS = [f"/images/{number}" for number in range(40)]


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("SHIELD_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)


def run(*words: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(_app, ["origin", *map(str, words)])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FaultyOrigin, FaultyOrigin, Path]]:
    """Two origins with the same objects, and settings of a node with two workers."""
    with FaultyOrigin() as fra, FaultyOrigin() as iad:
        for each in (fra, iad):
            for path in PATHS:
                each.serves(path, b"x", lifetime=0)
        origins = {
            name: {"provider": "http", "endpoint": origin.url} for name, origin in (("fra", fra), ("iad", iad))
        }
        yield fra, iad, settings_file(tmp_path, fra, origins=origins, workers=2)


def at(node: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the admin listener where the environment says."""
    monkeypatch.setenv("SHIELD_ADMIN__LISTEN", f"127.0.0.1:{node.admin_port}")


def fetched(node: Process, origin: FaultyOrigin) -> int:
    """Fetches from an origin for all paths, over several connections, which spread over the workers."""
    before = len(origin.requests)
    for path in PATHS:
        with Client(node.port) as client:
            assert client.ask(path).status == 200
    return len(origin.requests) - before


def flags(file: Path, name: str = "fra") -> list[str]:
    code, out, err = run("ls", "--config", file, "--json")
    assert code == 0, err
    found: list[str] = next(each["flags"] for each in json.loads(out) if each["name"] == name)
    return found


@pytest.mark.slow
def test_a_drain_holds_for_all_workers_and_outlasts_them_a_reload_and_a_restart(
    two: tuple[FaultyOrigin, FaultyOrigin, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fra, _, file = two
    (tmp_path / "state").mkdir()
    with Process(file, STATE_DIRECTORY=str(tmp_path / "state")) as node:
        at(node, monkeypatch)
        assert fetched(node, fra) == len(PATHS)

        code, out, err = run("drain", "fra", "--config", file, "--until", "2h")
        assert (code, err) == (0, "")
        assert out.splitlines()[0].split() == ["origin", "state", "since", "flags", "p95", "probe", "reason"]
        assert "drained until 20" in out.splitlines()[1]
        assert fetched(node, fra) == 0
        node.says("origin fra: drained until 20")

        assert explain("/images/1", file, live=True) == 0
        assert "origins    iad, fra" in (shown := capsys.readouterr().out) and "drained until 20" in shown
        assert 'shield_origin_flag{flag="drained",origin="fra"} 1.0' in node.admin("/metrics").body.decode()

        workers = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
        for pid in workers:
            os.kill(int(pid), signal.SIGKILL)
        node.says("worker 0 is back")
        node.says("worker 1 is back")
        assert fetched(node, fra) == 0

        changed = json.loads(file.read_text())
        changed["origins"]["fra"]["connections"] = 7  # another origin, for the node
        file.write_text(json.dumps(changed))
        node.signal(signal.SIGHUP)
        until(lambda: json.loads(node.admin("/state").body)["configuration"]["generation"] == 2)
        assert fetched(node, fra) == 0
        node.signal()
        assert node.ended() == 0

    with Process(file, STATE_DIRECTORY=str(tmp_path / "state")) as node:
        at(node, monkeypatch)
        node.says("origin fra: drained since before the start")
        assert fetched(node, fra) == 0
        assert flags(file) == ["drained"]
        assert run("drain", "iad", "--config", file)[::2] == (
            1,
            "fra is drained already: restore one of them first, so that another origin can serve\n",
        )

        code, out, err = run("restore", "fra", "--config", file, "--json")
        assert (code, err) == (0, "")
        until(lambda: flags(file) == [])
        node.says("origin fra: restored; its share of keys grows")
        assert fetched(node, fra) < len(PATHS) / 2
        assert json.loads((tmp_path / "state/drained-origins.json").read_text()) == {}


ORIGIN: dict[str, Any] = {
    "name": "fra",
    "state": "up",
    "since_seconds": None,
    "out_seconds": 0.0,
    "reason": "no trouble yet",
    "flags": [],
    "drained_until": None,
    "p95_seconds": 0.042,
    "probes": {"canaries": [], "last": None, "last_at": None, "first_byte_ms": None},
}
PROBES = [
    {"path": "/a", "asked": 4096, "result": "clean", "first_byte_ms": 12.3, "problem": None},
    {"path": "/b", "asked": 262144, "result": "learned", "first_byte_ms": 9.0, "problem": None},
]


class Listener(BaseHTTPRequestHandler):
    """A node that does as it is told, and remembers the requests: their lines and bodies."""

    heard: ClassVar[list[tuple[str, bytes]]] = []
    probes: ClassVar[list[dict[str, Any]]] = PROBES

    def do_GET(self) -> None:
        self.heard.append((self.requestline, self.rfile.read(int(self.headers.get("content-length", "0")))))
        body = json.dumps(
            {"origin": ORIGIN, "notes": ["so it is"], "origins": [ORIGIN], "probes": self.probes}
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


def order(tmp_path: Path, *words: str) -> tuple[tuple[int, str, str], tuple[str, bytes]]:
    """A command, and the request that a node gets."""
    Listener.heard.clear()
    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        said = run(*words, "--config", settings(tmp_path, admin=f"127.0.0.1:{server.server_port}"))
        server.shutdown()
        thread.join()
    return said, Listener.heard[0]


def test_a_table_has_a_row_for_each_and_notes_are_told_apart(tmp_path: Path) -> None:
    (code, out, err), heard = order(tmp_path, "restore", "fra")

    assert code == 0
    assert out.splitlines() == [
        "origin  state  since  flags  p95    probe  reason",
        "fra     up     -      -      42 ms  -      no trouble yet",
    ]
    assert err == "note: so it is\n"
    assert heard[0] == "POST /origins/fra/restore HTTP/1.1"


def test_a_list_is_asked_for_and_shown_as_it_is(tmp_path: Path) -> None:
    (code, out, _), heard = order(tmp_path, "ls", "--json")

    assert (code, json.loads(out)) == (0, [ORIGIN])
    assert heard[0] == "GET /origins HTTP/1.1"


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("30min", 1795.0, 1805.0), ("90", 85.0, 95.0), ("2199-01-01T00:00Z", 1e9, 1e10), ("00:00", 0.0, 86400.0)],
)
def test_the_end_of_a_drain_is_sent_as_a_time(tmp_path: Path, text: str, least: float, most: float) -> None:
    (code, _, _), heard = order(tmp_path, "drain", "fra", "--until", text)

    wish = json.loads(heard[1])
    assert code == 0
    assert least <= wish["until"] - time.time() <= most


def test_without_an_end_none_is_sent(tmp_path: Path) -> None:
    _, heard = order(tmp_path, "drain", "a/b")

    assert heard == ("POST /origins/a%2Fb/drain HTTP/1.1", b"{}")


@pytest.mark.parametrize("text", ["soon", "", "25:00", "2026-13-01T00:00", datetime.now(UTC).strftime("%Y-%m-%d")])
def test_a_time_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    said = run("drain", "fra", "--until", text, "--config", settings(tmp_path, admin="off"))

    assert said == (
        2,
        "",
        f"--until {text}: expected a duration as 30min or 2h, or a time as 18:30, 2026-03-01T06:00 or "
        "2026-03-01T06:00Z\n",
    )


def test_probes_have_a_row_each_and_say_whether_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code, out, _), heard = order(tmp_path, "probe", "fra")
    bad = {**PROBES[0], "result": "failed", "problem": "origin fra: reset"}
    monkeypatch.setattr(Listener, "probes", [*PROBES, bad])
    (failed, table, _), _ = order(tmp_path, "probe", "fra")
    (_, plain, _), _ = order(tmp_path, "probe", "fra", "--json")

    assert heard[0] == "POST /origins/fra/probe HTTP/1.1"
    assert (code, failed) == (0, 1)
    assert out.splitlines() == [
        "object  bytes   result   first byte  problem",
        "/a      4.0KiB  clean    12 ms",
        "/b      256KiB  learned  9 ms",
    ]
    assert table.splitlines()[3].split(None, 5)[2:] == ["failed", "12", "ms", "origin fra: reset"]
    assert json.loads(plain)["probes"][2] == bad


@pytest.mark.parametrize("words", [("ls",), ("drain", "fra"), ("restore", "fra"), ("probe", "fra")])
def test_no_node_or_a_refusal_is_an_error(tmp_path: Path, words: tuple[str, ...]) -> None:
    port = free_port()
    gone = run(*words, "--config", settings(tmp_path, admin=f"127.0.0.1:{port}"))
    off = run(*words, "--config", settings(tmp_path, admin="off"))
    with answering(json_response("404 Not Found", b'{"problems": ["no origin fra"]}')) as (port, _):
        refused = run(*words, "--config", settings(tmp_path, admin=f"127.0.0.1:{port}"))

    assert (gone[0], off[0], refused[0]) == (1, 1, 1)
    assert gone[2].startswith("no node answers on 127.0.0.1:")
    assert off[2].endswith("admin.listen is off, so the node can't be asked\n")
    assert refused[2] == "no origin fra\n"
