"""Other settings for a node that serves, within one process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from shield.build.edition import Edition
from shield.build.renewal import WorkerRenewal
from shield.config.loading import Loaded, load
from shield.errors import ConfigError
from shield.origin.want import Fetched, Want
from tests.client import Client, request
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Wait
from tests.node import FakeClock, Shield

Settings = dict[str, Any]


def of(*origins: FaultyOrigin, **more: Any) -> Settings:
    names = ("fra", "iad")
    return {
        "node": "test-1",
        "origins": {
            name: {"provider": "http", "endpoint": origin.url} for name, origin in zip(names, origins, strict=False)
        },
        **more,
    }


def write(directory: Path, settings: Mapping[str, Any]) -> Path:
    file = directory / "shield.yaml"
    file.write_text(json.dumps(settings))
    return file


def read(directory: Path, settings: Mapping[str, Any]) -> Loaded:
    return load(write(directory, settings), environ={}, secret_directories=())


class Ground:
    """A node, and its settings' file."""

    def __init__(self, directory: Path, clock: FakeClock, settings: Settings) -> None:
        self.directory = directory
        self.shield = Shield((made := read(directory, settings)).settings, clock=clock, loaded=made)

    def reload(self, settings: Mapping[str, Any]) -> Edition:
        """Raises ConfigError."""
        renewal = self.shield.node.renewal
        assert renewal is not None
        write(self.directory, settings)
        edition: Edition = renewal.edition.next(self.shield.clock.now)

        async def change() -> None:
            (await renewal.prepare(edition)).commit()

        self.shield.run(change())
        return edition

    def tick(self) -> None:
        self.shield.call(self.shield.node.tick)


@pytest.fixture(autouse=True)
def served(origin: FaultyOrigin, replica: FaultyOrigin) -> None:
    for made, body in ((origin, b"from fra"), (replica, b"from iad")):
        for path in ("/a", "/b", "/c"):
            made.serves(path, body, lifetime=60)


# origins


def test_an_origin_that_does_not_differ_keeps_its_connections(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    ground = Ground(tmp_path, clock, of(origin))
    with ground.shield as shield:
        shield.get("/a")
        ground.reload(of(origin, server="other"))
        shield.get("/b")
        state = shield.state()["origins"]["fra"]

    assert (state["pool"]["opened_total"], state["fetches"]) == (1, 2)


def test_other_canaries_are_probed(
    tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    ground = Ground(tmp_path, clock, of(origin, probes={"interval": "off"}))
    route = {"only": {"match": "/only", "add": "/x", "origins": ["iad"]}, "default": {}}
    with ground.shield as shield:
        prober = shield.node.origins.prober
        before = prober.plan
        probes = {"interval": "20s", "canaries": ["/a", "https://cdn.example/only/b?x=1"]}
        ground.reload(of(origin, replica, probes=probes, routes=route))

        plan = prober.plan

    assert (before.interval, plan.interval) == (None, 20.0)
    assert before.canaries == {"fra": []}
    assert plan.canaries == {"fra": [(b"/a", b"")], "iad": [(b"/a", b""), (b"/x/only/b", b"")]}
    assert plan.kin == {"fra": ["iad"], "iad": ["fra"]}


def test_the_health_path_moves(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
    ground = Ground(tmp_path, clock, of(origin))
    with ground.shield as shield:
        before = shield.get("/health").status
        ground.reload(of(origin, health={"path": "/health"}))
        first = shield.get("/health")
        ground.reload(of(origin, health={"path": "/well"}))
        after = [shield.get("/health").status, shield.get("/well").status]

    assert (before, first.status, first.get("content-type")) == (404, 200, "application/json")
    assert after == [404, 200]


def test_an_origin_is_moved_added_and_removed(
    tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    ground = Ground(tmp_path, clock, of(origin))
    with ground.shield as shield:
        bodies = [shield.get("/a").body]
        ground.reload(of(replica))
        bodies.append(shield.get("/b").body)
        ground.reload(of(origin, replica))
        names = list(shield.state()["origins"])
        ground.reload({**of(origin), "origins": {"iad": {"provider": "http", "endpoint": replica.url}}})
        bodies.append(shield.get("/c").body)
        left = list(shield.state()["origins"])

    assert bodies == [b"from fra", b"from iad", b"from iad"]
    assert (names, left) == (["fra", "iad"], ["iad"])


def test_a_body_under_way_comes_to_its_end_from_an_origin_that_is_removed(
    tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    gate = origin.gate()
    origin.spoils("/a", at_body(3, Wait(gate)), times=1)
    ground = Ground(tmp_path, clock, of(origin))
    with ground.shield as shield, Client(shield.port) as client:
        old = shield.node.origins.get("fra").pool
        client.send(request("/a"))
        gate.reached()

        ground.reload({**of(origin), "origins": {"iad": {"provider": "http", "endpoint": replica.url}}})
        ground.tick()
        is_used = shield.call(lambda: old.in_use)
        gate.open()
        answer = client.read()

        shield.wait_for(lambda: not old.in_use)

    assert is_used
    assert (answer.body, answer.clean) == (b"from fra", True)


def test_connections_of_an_origin_that_was_changed_end_once_they_are_not_needed(
    tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    ground = Ground(tmp_path, clock, of(origin))
    with ground.shield as shield:
        shield.get("/a")
        pool = shield.node.origins.get("fra").pool
        before = pool.statistics().idle
        ground.reload(of(replica))
        ground.tick()
        shield.wait_for(lambda: pool.statistics().idle == 0)

    assert before == 1


# what answers say


def test_what_the_node_says_of_itself_changes_for_entries_that_are_hot(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    ground = Ground(tmp_path, clock, of(origin, server="one"))
    with ground.shield as shield:
        before = [shield.get("/a"), shield.get("/a")][1]
        ground.reload(of(origin, server="two", cache_status="off"))
        after = shield.get("/a")

    assert [before.get("server"), after.get("server")] == ["one", "two"]
    assert after.body == b"from fra" and after.get("cache-status") is None
    assert origin.fetches("/a") == 1


def test_the_failover_deadline_and_retry_after_change(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.fails("/x", "InternalError", status=500)
    ground = Ground(tmp_path, clock, of(origin))
    with ground.shield as shield:
        before = shield.get("/x").get("retry-after")
        ground.reload(of(origin, failover={"retry_after": "77s"}))
        after = shield.get("/x").get("retry-after")

    assert (before, after) == ("5", "77")


def test_the_access_log_is_switched_for_connections_that_are_open(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    ground = Ground(tmp_path, clock, of(origin, access_log={"format": "off"}))
    with ground.shield as shield, Client(shield.port) as client:
        client.ask("/a")
        ground.reload(of(origin, access_log={"hits": 1}))
        client.ask("/b")
        ground.reload(of(origin, access_log={"format": "off"}))
        client.ask("/c")
        ground.reload(of(origin, access_log={"hits": 1}))

        assert [line["target"] for line in shield.log()] == ["/b"]


def test_misses_alone_are_logged_and_then_all_on_connections_that_are_open(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    ground = Ground(tmp_path, clock, of(origin, access_log={"hits": 0}))
    with ground.shield as shield, Client(shield.port) as client:
        client.ask("/a")
        client.ask("/a")
        ground.reload(of(origin, access_log={"hits": 1}))
        client.ask("/a")
        ground.reload(of(origin, access_log={"hits": 0}))
        client.ask("/a")

        assert [(line["target"], line["cache"]) for line in shield.log()] == [("/a", "miss"), ("/a", "hit")]
        assert shield.state()["requests"]["plain_hit"] == 3


def test_the_memory_of_the_access_log_changes(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
    ground = Ground(tmp_path, clock, of(origin, access_log={"hits": 1}))
    with ground.shield as shield:
        access = shield.node.access
        ground.reload(of(origin, access_log={"hits": 1, "memory": "64KiB"}))

        assert access.terms.max_bytes == 64 * 1024


def test_large_bodies_are_asked_for_again_as_long_as_the_new_deadline_allows(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    ground = Ground(tmp_path, clock, of(origin, failover={"deadline": "10s"}))
    with ground.shield as shield:
        ground.reload(of(origin, failover={"deadline": "3s"}))

        assert cast(WorkerRenewal, shield.node.renewal).parts.means.policy.persist_seconds == 3


def test_the_names_of_the_admin_api_change(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
    def asked() -> int:
        async def get() -> int:
            transport = httpx.ASGITransport(ground.shield.node.admin)
            async with httpx.AsyncClient(transport=transport, base_url="http://node.example.") as client:
                return (await client.get("/live")).status_code

        return shield.run(get())

    ground = Ground(tmp_path, clock, of(origin))
    with ground.shield as shield:
        before = asked()
        ground.reload(of(origin, admin={"hosts": ["Node.example"]}))

        assert (before, asked()) == (421, 200)


# what is refused, and what waits


def test_settings_that_cannot_be_used_change_nothing(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
    ground = Ground(tmp_path, clock, of(origin, server="one"))
    with ground.shield as shield:
        with pytest.raises(ConfigError, match="serverr: unknown key"):
            ground.reload(of(origin, server="two", serverr="x"))
        answer = shield.get("/a")

    assert answer.get("server") == "one"


def test_what_cannot_be_read_when_it_is_prepared_changes_nothing(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    settings = of(origin, server="two")
    settings["origins"]["fra"] |= {"endpoint": "https://127.0.0.1:1", "ca_file": "ca.pem"}
    ground = Ground(tmp_path, clock, of(origin, server="one"))
    with ground.shield as shield:
        with pytest.raises(ConfigError, match=r"ca\.pem.*no PEM"):
            ground.reload(settings)
        answer = shield.get("/a")

    assert (answer.get("server"), answer.body) == ("one", b"from fra")


def test_what_needs_a_restart_is_named_and_the_rest_holds(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    ground = Ground(tmp_path, clock, of(origin))
    with ground.shield as shield:
        changed = of(
            origin,
            server="two",
            listen="127.0.0.1:9999",
            workers=3,
            admin={"listen": "off", "connections": 7, "timeout": "9s"},
            cache={"memory": {"capacity": "1MiB"}, "fills": {"linger": "9s"}},
        )
        changed["node"] = "test-2"
        edition = ground.reload(changed)
        answer, state = shield.get("/a"), shield.state()["configuration"]
        again = ground.reload(of(origin))
        settled = shield.state()["configuration"]

    waiting = (
        *("node", "listen", "workers", "cache.memory.capacity", "cache.fills.linger"),
        *("admin.listen", "admin.connections", "admin.timeout"),
    )
    assert edition.waiting == waiting
    assert answer.get("server") == "two" and "test-1" in (answer.get("cache-status") or "")
    assert (state["generation"], state["waiting"]) == (2, waiting)
    assert (again.waiting, settled["waiting"]) == ((), ())


def test_nobody_is_let_in_by_rules_that_were_meant_for_another_listener(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    rules = {"header": {"secrets": ["0123456789abcdef"]}}
    ground = Ground(tmp_path, clock, of(origin, listen="0.0.0.0:9999", access=rules))
    with ground.shield as shield:
        with pytest.raises(ConfigError, match=r"can be reached from elsewhere.*until the node is restarted"):
            ground.reload(of(origin, listen="127.0.0.1:9999"))

        assert shield.get("/a").status == 403


def test_secrets_are_read_anew(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
    (tmp_path / "secret").write_text("a" * 16)
    settings = of(origin, access={"header": {"secrets_file": "secret"}})
    ground = Ground(tmp_path, clock, settings)
    with ground.shield as shield:
        (tmp_path / "secret").write_text("b" * 16)
        ground.reload(settings)

        assert [shield.get("/a", [("x-shield-secret", x * 16)]).status for x in "ab"] == [403, 200]


# who began before


def fetched(shield: Shield, name: str, path: bytes) -> str:
    """What comes of a fetch for a request whose route names an origin."""

    async def fetch() -> str:
        result = await shield.node.origins.fetch((name,), Want(b"GET", path))
        if isinstance(result, Fetched):
            await result.response.read(1 << 20)
        return type(result).__name__

    return shield.run(fetch())


def test_an_origin_that_is_removed_serves_requests_that_began_before(
    tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    ground = Ground(tmp_path, clock, of(origin))
    with ground.shield as shield:
        ground.reload({**of(origin), "origins": {"iad": {"provider": "http", "endpoint": replica.url}}})
        ground.tick()

        assert fetched(shield, "fra", b"/a") == "Fetched"


def test_an_origin_that_nobody_knows_any_more_proves_no_absence(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    ground = Ground(tmp_path, clock, of(origin))
    with ground.shield as shield:
        assert fetched(shield, "gone", b"/a") == "Failed"
