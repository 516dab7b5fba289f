"""shield warm: what it orders of the node, keeps of its place, and says."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from shield.cli import _app
from shield.cli.warm.options import _speed
from shield.rules.warming import WarmSpeed
from tests.audit.storage import Put, storage


class WarmNode:
    """Answers orders in place of a node: `result` makes the result of each URL."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.orders: list[dict[str, Any]] = []
        self.result: Callable[[str], dict[str, Any]] = lambda url: {"result": "warmed", "bytes": 10, "origin": "fra"}
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                order = json.loads(self.rfile.read(int(self.headers["content-length"])))
                node.orders.append(order)
                blank = {"status": 200, "bytes": 0, "origin": None, "detail": None}
                results = [{"url": url, **blank, **node.result(url)} for url in order["urls"]]
                data = json.dumps({"results": results, "retry_after": 1.0}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.config = path / "shield.yaml"
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.config.write_text(
            f"admin: {{listen: {self.address}}}\norigins: {{fra: {{provider: http, endpoint: http://127.0.0.1:1}}}}\n"
        )

    @property
    def asked(self) -> list[str]:
        return [url for order in self.orders for url in order["urls"]]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def write(self, name: str, *lines: str) -> str:
        (self.path / name).write_text("".join(f"{line}\n" for line in lines))
        return str(self.path / name)

    def run(self, *arguments: str, input: str | None = None) -> Result:
        command = ["warm", "--config", str(self.config), *arguments]
        return CliRunner().invoke(_app, command, input=input, catch_exceptions=False)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WarmNode]:
    made = WarmNode(tmp_path)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    yield made
    made.close()


def logged(target: str, status: int = 200) -> str:
    return json.dumps({"method": "GET", "target": target, "status": status})


def test_a_list_is_warmed_and_summed_up(node: WarmNode) -> None:
    results = {
        "/b": {"result": "present"},
        "/c": {"result": "absent"},
        "/d": {"result": "failed", "detail": "fra=auth"},
    }
    node.result = lambda url: results.get(url, {"result": "warmed", "bytes": 2048, "origin": "fra"})
    urls = node.write("urls", "# those of today", "/a", "", "/b", "https://cdn.example/x", "/c", "/d")

    result = node.run(urls)

    assert node.asked == ["/a", "/b", "https://cdn.example/x", "/c", "/d"]
    assert result.exit_code == 1
    assert result.stdout == "2 warmed, 1 already there, 1 absent, 1 failed\n4.0KiB from fra\n"
    assert result.stderr == "/d: 200 fra=auth\n"


def test_standard_input_and_options(node: WarmNode) -> None:
    more = ["--only-missing", "--concurrency", "3", "--max-bytes", "1KiB", "--header", "Accept: image/webp", "--json"]

    result = node.run("-", *more, input="/a\n")

    assert node.orders == [
        {
            "urls": ["/a"],
            "only_missing": True,
            "concurrency": 3,
            "max_bytes": 1024,
            "fields": {"Accept": "image/webp"},
        }
    ]
    assert json.loads(result.stdout) == {
        "results": {"warmed": 1},
        "origin_bytes": {"fra": 10},
        "is_budget_spent": False,
    }


@pytest.mark.parametrize("packed", [False, True])
def test_a_log_by_popularity(node: WarmNode, packed: bool) -> None:
    lines = [logged(f"/{name}") for name in "abcbcc"] + [logged("/none", 404), "started"]
    path = Path(node.write("access.log", *lines))
    if packed:
        path = Path(f"{path}.gz")
        path.write_bytes(gzip.compress((node.path / "access.log").read_bytes()))

    result = node.run("--by", "popularity", "--top", "2", str(path))

    assert node.asked == ["/c", "/b"]
    assert "2 lines of the log name no object" in result.stdout


def test_what_was_deferred_is_ordered_again_once_the_origin_is_well(node: WarmNode) -> None:
    node.result = lambda url: (
        {"result": "deferred", "detail": "origin fra is throttled"}
        if url == "/b" and len(node.orders) < 3
        else {"result": "warmed"}
    )

    result = node.run(node.write("urls", "/a", "/b"))

    assert [order["urls"] for order in node.orders] == [["/a", "/b"], ["/b"], ["/b"]]
    assert result.stderr == "waiting: origin fra is throttled\n" * 2
    assert result.stdout == "2 warmed, 0 already there\n"


def test_a_budget_ends_it_and_its_place_is_kept(node: WarmNode) -> None:
    def spend(url: str) -> dict[str, Any]:
        if len(node.asked) > 16:
            return {"result": "deferred", "detail": "the budget of bytes is used up"}
        return {"result": "warmed", "bytes": 10, "origin": "fra"}

    node.result = spend
    urls = node.write("urls", *[f"/{number}" for number in range(40)])
    options = [urls, "--concurrency", "1", "--state", str(node.path / "place")]

    first = node.run(*options, "--max-bytes", "160")
    assert first.exit_code == 0
    assert "stopped: the budget of 160B is used up; the same command with a larger one goes on" in first.stdout

    node.result, before = lambda url: {"result": "present"}, len(node.asked)
    second = node.run(*options)
    assert node.asked[before] == "/16"
    assert second.stderr == "going on after 16 URLs\n"
    assert second.stdout == "16 warmed, 24 already there\n160B from fra\n"
    assert not (node.path / "place").exists()


def test_a_place_of_another_run_is_refused(node: WarmNode) -> None:
    (node.path / "place").write_text(json.dumps({"format": 1, "warm": {"list": "other"}, "after": 3}))

    result = node.run(node.write("urls", "/a"), "--state", str(node.path / "place"))

    assert result.exit_code == 2 and "holds the place of another run" in result.stderr
    assert node.orders == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected FILE, - for standard input, or --bucket"),
        (["-", "--bucket", "fra"], "expected FILE"),
        (["-", "--by", "size"], "expected popularity"),
        (["-", "--top", "3"], "--top goes with --by"),
        (["-", "--prefix", "a"], "--prefix goes with --bucket"),
        (["-", "--rate", "fast"], "expected objects or bytes in a time"),
        (["-", "--max-bytes", "much"], "expected a size"),
        (["-", "--header", "accept"], "expected a name and a value"),
        (["/nowhere/urls"], "/nowhere/urls: can't be read: No such file"),
        (["--bucket", "iad"], "there is no origin iad"),
        (["--bucket", "fra"], "is of provider http"),
    ],
)
def test_what_cannot_be_done_is_said(node: WarmNode, arguments: list[str], said: str) -> None:
    result = node.run(*arguments)

    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_a_log_without_its_option_is_noticed(node: WarmNode) -> None:
    result = node.run(node.write("access.log", logged("/a")))

    assert result.exit_code == 2 and "access.log:1: a line of an access log" in result.stderr


@pytest.mark.parametrize(
    ("text", "speed"),
    [
        (None, WarmSpeed()),
        ("50/s", WarmSpeed(objects=50.0)),
        ("3000/min", WarmSpeed(objects=50.0)),
        ("20MB/s", WarmSpeed(bytes=20e6)),
        ("1GiB/10min", WarmSpeed(bytes=float(2**30 // 600))),
    ],
)
def test_rates(text: str | None, speed: WarmSpeed) -> None:
    assert _speed(text) == speed


def test_without_a_node_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "shield.yaml"
    path.write_text("admin: {listen: 127.0.0.1:1}\norigins: {fra: {provider: http, endpoint: http://127.0.0.1:1}}\n")

    result = CliRunner().invoke(_app, ["warm", "--config", str(path), "-"], input="/a\n")

    assert result.exit_code == 2 and "no node answers on 127.0.0.1:1" in result.stderr


def test_when_it_is_interrupted_it_says_how_to_go_on(tmp_path: Path) -> None:
    node, got = WarmNode(tmp_path), threading.Event()

    def result(url: str) -> dict[str, Any]:
        got.set()
        return {"result": "deferred", "detail": "origin fra is out"}

    node.result = result
    command = [sys.executable, "-m", "shield", "warm", "--config", str(node.config), node.write("urls", "/a")]
    process = subprocess.Popen(
        [*command, "--state", str(tmp_path / "place")], stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert got.wait(60)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "stopped; the same command goes on from here" in said
    node.close()


@pytest.mark.slow
def test_a_bucket_is_warmed_by_the_urls_of_its_objects_and_resumed(node: WarmNode) -> None:
    with storage() as moto:
        keys = [f"images/{number:04d} a.webp" for number in range(1100)]
        moto.fill("one", [*map(Put, keys), Put("other/x")])
        settings = {
            "admin": {"listen": node.address},
            "origins": {"fra": moto.origin("one")},
            "routes": {"images": {"match": "/pictures", "strip": "/pictures", "add": "/images"}},
        }
        node.config.write_text(yaml.safe_dump(settings))
        options = ["--bucket", "fra", "--concurrency", "64", "--state", str(node.path / "place")]

        node.result = lambda url: (
            {"result": "deferred", "detail": "budget"} if len(node.orders) > 1 else {"result": "warmed"}
        )
        first = node.run(*options, "--max-bytes", "1MiB")
        assert first.exit_code == 0, first.stderr
        node.result, before = lambda url: {"result": "present"}, len(node.asked)
        second = node.run(*options)

    assert node.asked[0] == "/pictures/0000%20a.webp"
    assert node.asked[before] == "/pictures/1000%20a.webp"
    assert "1,000 warmed, 100 already there" in second.stdout
    assert "1 objects have no route" in second.stdout
