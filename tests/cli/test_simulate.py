"""`shield simulate` compares settings by access logs, in a table, as JSON and as a page."""

from __future__ import annotations

import gzip
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from typer.testing import CliRunner, Result

from shield.cli import _app
from tests.admin.calls import ask
from tests.audit.storage import REGION, Storage, storage
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import Shield, settings_of

ORIGIN = {"provider": "http", "endpoint": "http://127.0.0.1:1", "price": {"egress": 0.1}}


def line(target: str, at: float, *, size: int = 10_000, cache: str = "hit") -> str:
    said = {"time": at, "method": "GET", "target": target, "status": 200, "bytes": size, "cache": cache}
    return json.dumps(said, separators=(",", ":"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two rounds through fifty objects, a day apart."""
    path = tmp_path / "access.log"
    path.write_text("".join(line(f"/o/{n % 50}", 86_400.0 * (n // 50) + n) + "\n" for n in range(100)))
    return path


def config(directory: Path, name: str, **changes: Any) -> Path:
    path = directory / name
    path.write_text(yaml.safe_dump({"origins": {"fra": ORIGIN}, **changes}))
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(_app, ["simulate", *map(str, words)])


def plain(*words: object) -> dict[str, Any]:
    found = run(*words, "--json")
    assert found.exit_code == 0, found.output
    said: dict[str, Any] = json.loads(found.stdout)
    return said


def test_settings_are_compared_side_by_side(tmp_path: Path, log: Path) -> None:
    short = config(tmp_path, "short.yaml")
    long = config(tmp_path, "long.yaml", freshness={"default_lifetime": "7d"})

    found = run("--config", short, "--config", long, "--log", log)

    assert found.exit_code == 0
    rows = {each.split("  ")[1].strip(): each.split()[-4:] for each in found.stdout.splitlines() if "%" in each}
    assert "short.yaml" in found.stdout and "long.yaml" in found.stdout
    assert rows["hit ratio"] == ["0.00", "%", "50.00", "%"]
    assert "revalidation" in found.stdout and "USD in 30 days" in found.stdout
    assert "100 requests from 1970-01-01 00:00:00 to 1970-01-02 00:01:39 UTC" in found.stdout


def test_each_currency_is_told_of_the_nodes_that_have_it_and_what_has_no_price_is_said(
    tmp_path: Path, log: Path
) -> None:
    euros = {"fra": {**ORIGIN, "price": {"egress": 0.1, "currency": "EUR"}}}
    some = {**euros, "ams": {**ORIGIN, "price": None}}
    routes = {"some": {"match": "/o/1", "origins": ["ams"]}, "all": {"match": "/", "origins": ["fra"]}}
    words = ("--config", config(tmp_path, "a.yaml"), "--config", config(tmp_path, "b.yaml", origins=euros))

    found = run(*words, "--log", log)
    with_routes = run("--config", config(tmp_path, "c.yaml", origins=some, routes=routes), "--log", log)

    bills = [each.split()[-2:] for each in found.stdout.splitlines() if "in 30 days" in each]
    assert [[cell == "-" for cell in each] for each in bills] == [[False, True], [True, False]]
    assert "without a price" not in found.stdout and "Origins without a price" in with_routes.stdout


def test_a_page_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    words = ("--config", config(tmp_path, "a.yaml"), "--log", tmp_path / "none.log")

    for place in (tmp_path / "none" / "a.html", tmp_path):
        found = run(*words, "--html", place)
        assert found.exit_code == 2 and f"--html {place}: can't be written" in found.stderr


def test_json_has_figures_of_the_log_and_of_each_node(tmp_path: Path, log: Path) -> None:
    said = plain("--config", config(tmp_path, "a.yaml"), "--log", log)

    assert said["log"]["requests"] == said["log"]["lines"] == 100
    (node,) = said["nodes"]
    assert node["name"] == "a.yaml" and node["hit_ratio"] == {"value": 0.0, "error": 0.0}
    assert node["origin_requests"]["miss"]["value"] == node["origin_requests"]["revalidation"]["value"] == 50
    assert node["origin_bytes"]["miss"]["value"] == 50 * (10_000 + 400)


def test_logs_may_be_many_and_packed(tmp_path: Path, log: Path) -> None:
    packed = tmp_path / "old.log.gz"
    packed.write_bytes(gzip.compress(line("/o/1", 5.0).encode() + b"\n"))

    said = plain("--config", config(tmp_path, "a.yaml"), "--log", log, packed)

    assert said["log"]["lines"] == 101


def test_a_log_may_come_by_standard_input_with_any_bytes(tmp_path: Path) -> None:
    words = ["simulate", "--config", str(config(tmp_path, "a.yaml")), "--log", "-"]

    found = CliRunner().invoke(_app, words, input=b"\xff\x80\n" + line("/a", 1.0).encode() + b"\n")

    assert found.exit_code == 0, found.output
    assert "1 request from" in found.stdout and "1 line couldn't be read" in found.stdout


def test_a_log_may_come_packed_by_standard_input_and_not_packed_under_a_packed_name(tmp_path: Path) -> None:
    words = ["simulate", "--config", str(config(tmp_path, "a.yaml")), "--json", "--log", "-", "-"]
    unpacked = tmp_path / "a.log.gz"
    unpacked.write_bytes(b"\xef\xbb\xbf" + line("/a", 1.0).encode())  # with a mark that the text is UTF-8

    found = CliRunner().invoke(_app, [*words, str(unpacked)], input=gzip.compress(line("/b", 1.0).encode()))

    assert found.exit_code == 0, found.output
    log = json.loads(found.stdout)["log"]
    assert (log["lines"], log["requests"], log["unreadable"]) == (2, 2, 0)


def test_lines_that_count_for_nothing_are_told_with_the_first_and_its_trouble(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.log", tmp_path / "bad.log"
    post = line("/a", 2.0).replace("GET", "POST")
    good.write_text("\n".join([line("/a", 1.0), "", "hello", "{", post]))
    bad.write_text("hello\n")

    said = " ".join(run("--config", config(tmp_path, "a.yaml"), "--log", good, bad).stdout.split())

    assert f"3 lines in 2 files couldn't be read; the first is {good}:3: of no known format" in said
    assert "1 more line left out: no GET or HEAD" in said


def test_a_long_time_without_requests_is_pointed_out(tmp_path: Path) -> None:
    log = tmp_path / "gap.log"
    log.write_text("\n".join([line("/a", 0.0), *[line("/a", 1e9 + 3600.0 * n) for n in range(100)]]))

    found = run("--config", config(tmp_path, "a.yaml"), "--log", log)

    assert "No request is from between 1970-01-01 00:00:00 and 2001-09-09 01:46:40" in found.stdout


def test_a_log_without_any_size_is_pointed_out(tmp_path: Path) -> None:
    log = tmp_path / "heads.log"
    log.write_text(line("/a", 1.0).replace("GET", "HEAD"))

    found = run("--config", config(tmp_path, "a.yaml"), "--log", log)

    assert "No line has the size of an object" in found.stdout and "guessed" not in found.stdout


def test_a_sweep_tries_sizes_and_draws_them(tmp_path: Path, log: Path) -> None:
    page = tmp_path / "ram.html"
    settings = config(tmp_path, "a.yaml", freshness={"default_lifetime": "7d"})

    said = plain("--config", settings, "--log", log, "--sweep", "memory=400KB,1MiB", "--html", page)

    small, large = said["nodes"]
    assert (small["name"], large["name"]) == ("a.yaml 400KB", "a.yaml 1MiB")
    assert small["hit_ratio"]["value"] < large["hit_ratio"]["value"] == 0.5
    assert "<svg" in page.read_text() and "1MiB" in page.read_text()


def test_a_tier_on_disk_can_be_swept(tmp_path: Path, log: Path) -> None:
    tiers = [{"name": "ssd", "directories": [{"path": str(tmp_path / "ssd"), "capacity": "1GiB"}]}]
    memory = {"capacity": "100KB", "max_entry": "20KB"}
    changes = {"freshness": {"default_lifetime": "7d"}, "cache": {"tiers": tiers, "memory": memory}}

    (node,) = plain("--config", config(tmp_path, "a.yaml", **changes), "--log", log, "--sweep", "ssd=2GiB")["nodes"]

    assert node["hit_ratio_by_tier"]["ssd"]["value"] == 0.5
    assert not (tmp_path / "ssd").exists()


def test_samples_have_errors(tmp_path: Path, log: Path) -> None:
    found = run("--config", config(tmp_path, "a.yaml"), "--log", log, "--sample", "25%")

    assert found.exit_code == 0
    assert "±" in found.stdout and "4 samples of 0.25 of the paths" in found.stdout


def test_samples_whose_ram_is_too_small_to_tell_are_pointed_out(tmp_path: Path) -> None:
    log = tmp_path / "large.log"
    log.write_text("".join(line(f"/o/{n}", float(n)) + "\n" for n in range(4000)))
    words = ("--config", config(tmp_path, "a.yaml"), "--log", log, "--sample", "25%", "--sweep")

    assert "the RAM of a.yaml 1MiB has room for" in run(*words, "memory=1MiB,16MiB").stdout
    assert "has room for" not in run(*words, "memory=16MiB").stdout


def test_samples_whose_disks_are_too_small_for_slices_are_pointed_out(tmp_path: Path) -> None:
    log = tmp_path / "large.log"
    log.write_text("".join(line(f"/o/{n % 16}", float(n), size=20 << 20) + "\n" for n in range(64)))
    tiers = [{"name": "ssd", "directories": [{"path": str(tmp_path / "ssd"), "capacity": "192MiB"}]}]
    words = ("--config", config(tmp_path, "a.yaml", cache={"tiers": tiers}), "--log", log, "--sample", "25%")

    assert "the disks of a.yaml were too small for" in run(*words).stdout
    assert "were too small" not in run(*words, "--sweep", "ssd=1GiB").stdout


def test_many_nodes_are_shown_below_each_other(tmp_path: Path, log: Path) -> None:
    sizes = ",".join(f"{size}MiB" for size in range(1, 7))

    found = run("--config", config(tmp_path, "a.yaml"), "--log", log, "--sweep", f"memory={sizes}")

    assert found.stdout.count("hit ratio") == 2 and "6MiB" in found.stdout


def test_the_log_of_a_node_without_hits_is_pointed_out(tmp_path: Path) -> None:
    log = tmp_path / "misses.log"
    log.write_text(line("/a", 1.0, cache="miss") + "\n")

    found = run("--config", config(tmp_path, "a.yaml"), "--log", log)

    assert "set access_log.hits: 1" in found.stdout


def test_settings_that_have_only_some_hits_logged_are_pointed_out(tmp_path: Path, log: Path) -> None:
    def said(hits: float) -> str:
        return run("--config", config(tmp_path, "a.yaml", access_log={"hits": hits}), "--log", log).stdout

    assert "These settings have 0.01 of the hits logged" in said(0.01)
    assert "of the hits logged" not in said(1.0) + said(0.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sweep", "memory"), "--sweep memory: expected a tier and sizes, as memory=1GiB,2GiB"),
        (("--sweep", "memory=1QiB"), "--sweep 1QiB: expected a size"),
        (("--sweep", "memory=0"), "--sweep 0: expected a size above 0"),
        (("--sweep", "tape=1GiB"), "--sweep: there is no tier tape; expected one of memory"),
        (("--sample", "0"), "--sample 0: expected a share above 0"),
        (("--sample", "120%"), "--sample 120%: expected a share"),
        (("--warm-up", "1"), "--warm-up 1: expected less than the whole log"),
        (("--origin-lifetime", "soon"), "--origin-lifetime soon: expected a duration"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(tmp_path: Path, log: Path, words: tuple[str, ...], said: str) -> None:
    found = run("--config", config(tmp_path, "a.yaml"), "--log", log, *words)

    assert found.exit_code == 2
    assert said in found.stderr


def test_a_log_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    settings, broken, empty = config(tmp_path, "a.yaml"), tmp_path / "broken.gz", tmp_path / "other.log"
    broken.write_bytes(gzip.compress(b"x" * 1000)[:-9])
    empty.write_text("hello\n")
    nothing, zstd = tmp_path / "nothing.log", tmp_path / "a.log.zst"
    nothing.touch()
    zstd.write_bytes(b"\x28\xb5\x2f\xfd....")

    for path, said in (
        (tmp_path / "none.log", "none.log: can't be read: No such file or directory"),
        (broken, "broken.gz: can't be read"),
        (empty, "none of its lines (1) is a GET or HEAD of an object; expected a line of JSON each"),
        (empty, "other.log:1: of no known format"),
        (nothing, "nothing.log: nothing is in it"),
        (zstd, "a.log.zst: can't be read: it is packed by zstd: expected text, packed by gzip or not"),
    ):
        found = run("--config", settings, "--log", path)
        assert found.exit_code == 2
        assert said in found.stderr


def test_settings_that_cannot_be_used_are_named(tmp_path: Path, log: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("origins: 3")

    found = run("--config", wrong, "--log", log)

    assert found.exit_code == 2
    assert "wrong.yaml" in found.stderr


def unsized_log(path: Path) -> Path:
    """Objects of 10,000 bytes, one that was only seen as 304 and one only in parts."""
    lines = [line(f"/o/{n}", float(n)) for n in range(3)]
    for target, status in (("/o/304", 304), ("/o/206", 206)):
        said = {"time": 5.0, "method": "GET", "target": target, "status": status, "bytes": 7, "cache": "miss"}
        lines.append(json.dumps(said))
    path.write_text("\n".join(lines))
    return path


def test_sizes_that_the_log_lacks_come_from_a_listing(tmp_path: Path) -> None:
    log, settings = unsized_log(tmp_path / "access.log"), config(tmp_path, "a.yaml")
    listing = tmp_path / "inventory.csv.gz"
    listing.write_bytes(gzip.compress(b"key,size\no/304,50000\no/0,1\nother,9\n"))

    def received(*options: object) -> tuple[float, float]:
        (node,) = plain("--config", settings, "--log", log, *options)["nodes"]
        return node["origin_bytes"]["all"]["value"] - 5 * 400, round(node["guessed_requests_ratio"], 3)

    assert received() == (5 * 10_000, 0.4)
    assert received("--sizes", listing) == (4 * 10_000 + 50_000, 0.2)


def test_it_says_of_how_many_parts_the_log_lacks_the_place(tmp_path: Path) -> None:
    log, settings = unsized_log(tmp_path / "access.log"), config(tmp_path, "a.yaml")

    found = run("--config", settings, "--log", log)

    assert "20.0% of requests are for parts of objects, of which no line tells the place" in found.stdout
    assert plain("--config", settings, "--log", log)["nodes"][0]["guessed_places_ratio"] == 0.2


def test_sizes_come_from_the_cache_directories_too(tmp_path: Path) -> None:
    tiers = [{"name": "ssd", "directories": [{"path": str(tmp_path / "ssd"), "capacity": "128MiB"}]}]
    with FaultyOrigin() as origin:
        origin.serves("/o/206", bytes(60_000), lifetime=60)
        with Shield(settings_of({"fra": origin}, cache={"tiers": tiers})) as shield:
            assert shield.get("/o/206").status == 200
    settings = config(tmp_path, "a.yaml", node="test-1", cache={"tiers": tiers})

    (node,) = plain("--config", settings, "--log", unsized_log(tmp_path / "access.log"), "--sizes", "store")["nodes"]

    assert node["origin_bytes"]["all"]["value"] == 4 * 10_000 + 60_000 + 5 * 400


class AdminDoorstep(BaseHTTPRequestHandler):
    """Passes requests on to a node's admin application."""

    node: Shield

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        answer = ask(self.node, "POST", self.path, content=body, headers={"content-type": "application/json"})
        self.send_response(answer.status_code)
        self.send_header("content-type", answer.headers["content-type"])
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


def test_sizes_come_from_the_running_node_too(tmp_path: Path) -> None:
    log = unsized_log(tmp_path / "access.log")
    with FaultyOrigin() as origin, HTTPServer(("127.0.0.1", 0), AdminDoorstep) as door:
        origin.serves("/o/206", bytes(60_000), lifetime=60)
        settings = config(tmp_path, "a.yaml", admin={"listen": f"127.0.0.1:{door.server_port}"})
        with Shield(settings_of({"fra": origin})) as shield:
            shield.get("/o/206")
            AdminDoorstep.node = shield
            thread = threading.Thread(target=door.serve_forever, args=(0.01,))
            thread.start()
            (node,) = plain("--config", settings, "--log", log, "--sizes", "node")["nodes"]
            door.shutdown()
            thread.join()

    assert node["origin_bytes"]["all"]["value"] == 4 * 10_000 + 60_000 + 5 * 400
    gone = run("--config", settings, "--log", log, "--sizes", "node")
    assert gone.exit_code == 2 and f"--sizes node: no node answers on 127.0.0.1:{door.server_port}" in gone.stderr
    off = run("--config", config(tmp_path, "b.yaml", admin={"listen": "off"}), "--log", log, "--sizes", "node")
    assert off.exit_code == 2 and "--sizes node: admin.listen is off" in off.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [("nothing of use\n", "no line names an object and its size; expected"), (None, "can't be read: No such file")],
)
def test_a_listing_that_is_none_is_said(tmp_path: Path, text: str | None, said: str) -> None:
    listing = tmp_path / "listing"
    if text is not None:
        listing.write_text(text)
    log = unsized_log(tmp_path / "access.log")

    found = run("--config", config(tmp_path, "a.yaml"), "--log", log, "--sizes", listing)

    assert found.exit_code == 2 and f"--sizes {listing}" in found.stderr and said in found.stderr


def test_logs_may_be_parquet(tmp_path: Path, log: Path) -> None:
    polars = pytest.importorskip("polars", reason="the extra `tables`")
    table = polars.DataFrame([json.loads(text) for text in log.read_text().splitlines()])
    table.with_columns(time=polars.from_epoch("time", time_unit="s")).write_parquet(tmp_path / "log-1.parquet")
    settings = config(tmp_path, "a.yaml")

    as_text, as_table = (plain("--config", settings, "--log", each) for each in (log, tmp_path / "log-*.parquet"))

    assert as_table["nodes"] == as_text["nodes"] and as_table["log"] == as_text["log"]
    table.select("cache").write_parquet(tmp_path / "other.parquet")
    found = run("--config", settings, "--log", tmp_path / "other.parquet")
    assert found.exit_code == 2 and "is a GET or HEAD of an object" in found.stderr
    found = run("--config", settings, "--log", tmp_path / "none-*.parquet")
    assert found.exit_code == 2 and "none-*.parquet: there is no such file" in found.stderr


class Bucket:
    """One of an S3 server, `logs`; its place and credentials are for the environment, where other tools find them."""

    def __init__(self, moto: Storage) -> None:
        moto.fill("logs", [])
        said = moto.origin("logs")
        self.environment = {
            "AWS_ENDPOINT_URL": said["endpoint"],
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": said["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": said["secret_key"],
        }
        names = {"aws_access_key_id": said["access_key_id"], "aws_secret_access_key": said["secret_key"]}
        self._client = boto3.client("s3", endpoint_url=said["endpoint"], region_name=REGION, **names)

    def put(self, key: str, body: bytes) -> None:
        self._client.put_object(Bucket="logs", Key=key, Body=body)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    pytest.importorskip("obstore", reason="the extra `tables`")
    with storage() as moto:
        made = Bucket(moto)
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.mark.slow  # a server that starts
def test_logs_and_listings_may_be_in_a_bucket(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, settings = unsized_log(tmp_path / "access.log"), config(tmp_path, "a.yaml")
    lines = log.read_bytes().splitlines(keepends=True)
    listing = tmp_path / "inventory.csv"
    listing.write_text("key,size\no/304,50000\n")
    bucket.put("cdn/E1.2026-11-01", gzip.compress(b"".join(lines[:3])))  # packed, which its name doesn't tell
    bucket.put("cdn/E1.2026-11 02+%.log", b"".join(lines[3:]))
    bucket.put("cdn/E2.2026-11-01", b"not of these\n")
    bucket.put("cdn/E1.2026/below", b"nor this\n")
    bucket.put("inventory/1.csv.gz", gzip.compress(listing.read_bytes()))
    words = ("--config", settings)

    local = plain(*words, "--log", log, "--sizes", listing)
    remote = plain(*words, "--log", "s3://logs/cdn/E1.2026*", "--sizes", "s3://logs/inventory/1.csv.gz")

    assert remote["nodes"] == local["nodes"] and remote["log"] == local["log"]
    for name, said in (
        ("s3://logs/cdn/E3*", "s3://logs/cdn/E3*: there is no such object"),
        ("s3://logs/cdn/none", "s3://logs/cdn/none: can't be read: Object at location cdn/none not found"),
        ("s3://logs", "s3://logs: expected s3://BUCKET/KEY"),
        ("https://127.0.0.1/*.log", "a web server lists nothing: name each file"),
    ):
        found = run(*words, "--log", name)
        assert found.exit_code == 2 and said in found.stderr
    bucket.put("cdn/torn.gz", gzip.compress(b"".join(lines))[:-12])
    found = run(*words, "--log", "s3://logs/cdn/torn.gz")
    assert found.exit_code == 2 and "torn.gz: can't be read: its gzip breaks off" in found.stderr
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert "pip install 'shield[tables]'" in run(*words, "--log", "s3://logs/cdn/E1.2026*").stderr
