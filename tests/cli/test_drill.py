"""shield drill: options, refusals, and what is shown. tests/test_drill.py runs it at a node of two workers."""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loadtest.processes import free_port
from shield.cli import _app
from shield.cli.drill import run as module
from tests.cli.test_admin import json_response
from tests.cli.test_health import answering, response, settings

SHOWN: dict[str, Any] = {
    "state": "running",
    "number": 4,
    "began_at": 1_750_000_000.0,
    "origin": "fra",
    "mode": "slow",
    "seconds": 60.0,
    "scope": 0.1,
    "ending": None,
    "lasted_seconds": 12.0,
    "detected_seconds": None,
    "opened_seconds": None,
    "recovered_seconds": None,
    "faults": 0,
    "spared": 2,
    "requests": 9,
    "failed": 0,
    "late": 1,
    "extra_fetches": 3,
    "extra_bytes": 2048,
    "money": {"USD": 0.00125},
    "proved": None,
}
OVER = {**SHOWN, "state": "over", "ending": "its time was over", "proved": False}


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in os.environ:
        if name.upper().startswith("SHIELD_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.0)
    yield


def shield(*words: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(_app, ["drill", *map(str, words)])
    return done.exit_code, done.stdout, done.stderr


@contextmanager
def saying(said: Any, status: str = "200 OK") -> Iterator[int]:
    """The port of a listener that says so to each request."""
    answer = json_response(status, json.dumps(said).encode())

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while b"\r\n\r\n" not in self.request.recv(4096):
                pass
            self.request.sendall(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "expected --config FILE"),
        (("--config", "f"), "expected --origin NAME"),
        (("--config", "f", "--origin", "fra", "--for", "soon"), "expected a duration"),
        (("--config", "f", "--origin", "fra", "--scope", "110%"), "expected a share"),
        (("stop",), "Missing option '--config'"),
    ],
)
def test_options_that_are_missing_or_cant_be_are_named(words: tuple[str, ...], said: str) -> None:
    code, _, error = shield(*words)

    assert code == 2 and said in error


def test_a_drill_is_watched_to_its_report(tmp_path: Path) -> None:
    with saying(OVER) as port:
        code, out, _ = shield("--config", settings(tmp_path, admin=f"127.0.0.1:{port}"), "--origin", "fra")

    assert code == 1
    assert out.splitlines() == [
        "drill 4 runs at origin fra: slow for 60 s",
        "drill        4 at origin fra: slow, 10 % of keys",
        "ended        after 12 s: its time was over",
        "detected     the origin was never suspect",
        "out          never",
        "recovered    not so far",
        "faults       0 requests to the origin, 2 spared as nothing would notice",
        "clients      0 failed, 1 later than 1 s, of 9",
        "elsewhere    3 fetches, 2.0KiB, 0.001250 USD",
        "failover     not proven: no request was for a key in its scope",
    ]


def test_one_that_proves_failover_is_a_success_and_json_is_all_of_it(tmp_path: Path) -> None:
    with saying({**OVER, "proved": True}) as port:
        file = settings(tmp_path, admin=f"127.0.0.1:{port}")
        code, out, _ = shield("--config", file, "--origin", "fra", "--json")

    assert code == 0 and json.loads(out) == {**OVER, "proved": True}


def test_a_refusal_says_why(tmp_path: Path) -> None:
    with saying({"problems": ["route a: no", "route b: no"]}, "409 Conflict") as port:
        file = settings(tmp_path, admin=f"127.0.0.1:{port}")
        begun = shield("--config", file, "--origin", "fra")
        stopped = shield("stop", "--config", file)
        history = shield("--history", "--config", file)

    assert begun == (2, "", "route a: no\nroute b: no\n") == history
    assert stopped == (1, "", "route a: no\nroute b: no\n")


def test_without_a_node_nothing_is_claimed(tmp_path: Path) -> None:
    port = free_port()
    file = settings(tmp_path, admin=f"127.0.0.1:{port}")
    for words in (("--origin", "fra"), ("stop",), ("status",), ("history",)):
        code, out, error = shield(*words, "--config", file)
        assert (code, out) == (2, "") and error.startswith(f"no node answers on 127.0.0.1:{port} (admin.listen): ")
    with answering(response("200 OK", b"hello")) as (port, _):
        code, out, error = shield("status", "--config", settings(tmp_path, admin=f"127.0.0.1:{port}"))
    assert (code, out) == (2, "") and "is no Shield node, or one without drills" in error
    code, _, error = shield("status", "--config", settings(tmp_path, admin="off"))
    assert code == 2 and "admin.listen is off, so the node can't be asked" in error


def test_what_was_is_listed(tmp_path: Path) -> None:
    drills = [{**OVER, "proved": True}, {"origin": "iad", "began_at": 1_750_000_000.0, "refused": ["no", "never"]}]
    with saying({"drills": drills}) as port:
        file = settings(tmp_path, admin=f"127.0.0.1:{port}")
        lines = shield("history", "--config", file)[1].splitlines()
        as_json = shield("--history", "--json", "--config", file)[1].splitlines()

    assert lines == [
        "2025-06-15 15:06:40Z  fra          slow        proven      0 faults; 0 failed, 1 late of 9; never suspect",
        "2025-06-15 15:06:40Z  iad          refused: no; never",
    ]
    assert [json.loads(line) for line in as_json] == drills


def test_the_state_of_a_drill_is_shown_while_it_runs(tmp_path: Path) -> None:
    with saying(SHOWN) as port:
        code, out, _ = shield("status", "--config", settings(tmp_path, admin=f"127.0.0.1:{port}"))
    assert (
        code == 0 and out.startswith("state        running\ndrill        4 at origin fra") and "failover" not in out
    )
    with saying({"state": "none"}) as port:
        code, out, _ = shield("status", "--config", settings(tmp_path, admin=f"127.0.0.1:{port}"))
    assert (code, out) == (0, "there was no drill since the node's start\n")
