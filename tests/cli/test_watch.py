"""shield top and shield log, against a listener that says what a node would."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner, Result

from shield.cli import _app
from shield.cli.watch.log import Counts, line_shown
from shield.cli.watch.top import table_of

ROW = {"requests": 12.0, "missed_bytes": 2048.0, "money": 0.0, "hits": 9.0, "sent_bytes": 4096.0, "error": 0.0}
LINE: dict[str, Any] = {
    "time": 1000.0,
    "client": "10.0.0.1",
    "method": "GET",
    "target": "/a?x=1",
    "status": 200,
    "bytes": 2048,
    "seconds": 0.25,
    "cache": "miss",
    "reason": "stale",
    "origin": "fra",
}


class Listener(BaseHTTPRequestHandler):
    answers: dict[str, tuple[int, str, str]]  # by path: status, media type, body
    asked: list[str]
    coding: str  # of the body, which is sent as it is

    def do_GET(self) -> None:  # http.server's name
        self.asked.append(self.path)
        status, media, body = self.answers[urlsplit(self.path).path]
        if self.coding:
            self.protocol_version = "HTTP/1.1"
        self.send_response(status)
        self.send_header("content-type", media)
        if self.coding:
            self.send_header("transfer-encoding", self.coding)
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


class Node:
    """The settings of a node, and what was asked of it."""

    def __init__(self, path: Path, asked: list[str]) -> None:
        self.path = path
        self.asked = asked

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(_app, [*words[:1], "--config", str(self.path), *words[1:]], env={"COLUMNS": "200"})


@contextmanager
def node(
    tmp_path: Path, path: str, body: str, *, status: int = 200, media: str = "application/json", coding: str = ""
) -> Iterator[Node]:
    asked: list[str] = []
    made = type("Made", (Listener,), {"answers": {path: (status, media, body)}, "asked": asked, "coding": coding})
    with ThreadingHTTPServer(("127.0.0.1", 0), made) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = tmp_path / "shield.yaml"
        config.write_text(f"admin: {{listen: 127.0.0.1:{server.server_port}}}\n")
        yield Node(config, asked)
        server.shutdown()


def lines(*said: Any) -> str:
    return "".join("\n" if line is None else json.dumps(line) + "\n" for line in said)


def test_top_prints_the_rows_once(tmp_path: Path) -> None:
    rows = [{"key": ":/a", **ROW, "target": "/a?x=1"}]
    with node(tmp_path, "/top", json.dumps({"rows": rows})) as asked:
        result = asked.run("top", "--of", "keys", "--by", "missed_bytes", "--once", "-n", "7")

    assert result.exit_code == 0
    assert asked.asked == ["/top?of=keys&by=missed_bytes&n=7"]
    head, row = [line.split() for line in result.stdout.splitlines()]
    assert head == ["requests/s", "hits", "missed/s", "sent/s", "key"]
    assert row == ["12.0", "75%", "2.0KiB", "4.0KiB", "/a?x=1"]


def test_top_as_json_is_for_scripts(tmp_path: Path) -> None:
    with node(tmp_path, "/top", json.dumps({"rows": [{"client": "10.0.0.1", **ROW}]})) as asked:
        result = asked.run("top", "--of", "clients", "--json")

    assert json.loads(result.stdout)[0]["client"] == "10.0.0.1"


def test_money_is_a_column_where_there_are_prices_and_names_do_no_harm() -> None:
    table = table_of("clients", "money", [{"client": "\x1b[2J", **ROW, "money": 1.5}])

    assert [column.header for column in table.columns] == [
        *("requests/s", "hits", "missed/s", "sent/s", "money/h", "client")
    ]
    assert [str(cell) for cell in table.columns[-1].cells] == ["?[2J"]


def test_what_the_node_refuses_is_said(tmp_path: Path) -> None:
    body = json.dumps({"problems": ["a token is needed"]})
    with node(tmp_path, "/top", body, status=401, media="application/problem+json") as asked:
        top = asked.run("top", "--once")
    with node(tmp_path, "/log", body, status=401, media="application/problem+json") as asked:
        log = asked.run("log")

    assert (top.exit_code, log.exit_code) == (2, 2)
    assert top.stderr.startswith("a token is needed\n") and log.stderr.startswith("a token is needed\n")


def test_a_node_that_is_not_there_is_said(tmp_path: Path) -> None:
    config = tmp_path / "shield.yaml"
    config.write_text("admin: {listen: 127.0.0.1:1}\n")

    results = [CliRunner().invoke(_app, [word, "--config", str(config)]) for word in ("top", "log")]

    assert [result.exit_code for result in results] == [2, 2]
    assert all("no node answers on 127.0.0.1:1 (admin.listen)" in result.stderr for result in results)


def test_log_prints_requests_and_says_what_was_too_much(tmp_path: Path) -> None:
    said = lines(None, LINE, {"dropped": 3, "unexamined": 4}, {**LINE, "target": "/b\x1b"})
    with node(tmp_path, "/log", said, media="application/x-ndjson") as asked:
        result = asked.run("log", "miss", "bytes>1KB", "--seconds", "5")

    assert result.exit_code == 0
    assert parse_qs(urlsplit(asked.asked[0]).query) == {"query": ["miss bytes>1KB"], "seconds": ["5.0"]}
    first, second = result.stdout.splitlines()
    assert first.split()[1:] == ["miss", "200", "2.0KiB", "250ms", "fra", "GET", "/a?x=1", "10.0.0.1", "stale"]
    assert "/b?" in second
    assert result.stderr == "too many: 3 requests aren't shown, 4 weren't looked at; ask for less\n"


@pytest.mark.parametrize("begun", [b"", b'5\r\n{"tim'])
def test_log_says_that_the_stream_broke_off_with_the_worker_that_sent_it(tmp_path: Path, begun: bytes) -> None:
    line = lines(LINE).encode()
    chunks = b"1\r\n\n\r\n%x\r\n%b\r\n%b" % (len(line), line, begun)  # the last one isn't there
    with node(tmp_path, "/log", chunks.decode(), coding="chunked") as found:
        result = found.run("log")

    assert result.exit_code == 1
    assert "GET /a?x=1" in result.stdout
    assert result.stderr.startswith("the stream broke off: ")


def test_log_ends_with_its_stream(tmp_path: Path) -> None:
    line = lines(LINE)
    with node(tmp_path, "/log", f"{len(line):x}\r\n{line}\r\n0\r\n\r\n", coding="chunked") as found:
        result = found.run("log", "--seconds", "1")

    assert (result.exit_code, result.stderr) == (0, "")
    assert "GET /a?x=1" in result.stdout


def test_log_as_json_has_the_nodes_lines_and_ends_after_so_many(tmp_path: Path) -> None:
    with node(tmp_path, "/log", lines(LINE, None, LINE, LINE), media="application/x-ndjson") as asked:
        result = asked.run("log", "--json", "-n", "2")

    assert [json.loads(line) for line in result.stdout.splitlines()] == [LINE, LINE]


def test_log_counts_by_a_field(tmp_path: Path) -> None:
    said = lines(LINE, {**LINE, "target": "/a"}, {**LINE, "target": "/b", "bytes": 0})
    with node(tmp_path, "/log", said, media="application/x-ndjson") as asked:
        result = asked.run("log", "--top", "path")

    assert [line.split() for line in result.stdout.splitlines()] == [
        ["requests", "share", "bytes", "seconds", "path"],
        ["2", "66.7%", "4.0KiB", "0.250", "/a"],
        ["1", "33.3%", "0B", "0.250", "/b"],
        ["3", "requests"],
    ]


def test_a_query_that_cannot_be_understood_is_shown_with_the_place(tmp_path: Path) -> None:
    with node(tmp_path, "/log", "") as asked:
        result = asked.run("log", "miss bytes>big")

    assert (result.exit_code, asked.asked) == (2, [])
    assert result.stderr.splitlines() == [
        "miss bytes>big",
        "           ^",
        'expected a size, as 512KB or 1MiB, not "big", at character 12',
    ]


def test_an_unknown_field_to_count_by_is_refused(tmp_path: Path) -> None:
    with node(tmp_path, "/log", "") as asked:
        result = asked.run("log", "--top", "keys")

    assert result.exit_code == 2
    assert result.stderr.startswith("--top keys: expected one of time client")


@pytest.mark.parametrize(
    ("more", "end"),
    [
        ({"reason": "uri-miss", "detail": "fra=connect"}, ["uri-miss", "fra=connect"]),
        ({"reason": "bad-target", "detail": "bad-target", "cache": "refused"}, ["bad-target"]),
        ({"broken": True, "reason": "stale"}, ["stale", "broken", "off"]),
    ],
)
def test_a_line_ends_with_what_is_unusual(more: dict[str, Any], end: list[str]) -> None:
    assert line_shown({**LINE, **more}).split()[9:] == end


def test_counts_keep_what_was_too_much() -> None:
    counts = Counts("origin")
    for line in (LINE, {}, {"dropped": 1, "unexamined": 2}):
        counts.add(line)

    assert counts.table(5).caption == (
        "1 requests; too many: 1 requests aren't shown, 2 weren't looked at; ask for less"
    )
