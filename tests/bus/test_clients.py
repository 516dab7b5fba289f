"""Engines as they are installed: with sentinels, as a cluster, with TLS, and with users of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from shield.bus.address import engine_address
from shield.bus.bus import BEGINNING, Bus, BusError, LeaseClaim
from shield.bus.engine import EngineBus
from tests.bus.servers import WHY_NOT, Engine, EngineCluster, Sentinels, are_there, has_tls, programs
from tests.doubles.certificates import Authority

pytestmark = pytest.mark.skipif(not are_there(), reason=WHY_NOT)

RIGHTS = "+xadd +xread +eval +evalsha +time +get +set +hset +hgetall +hdel +xrevrange +client|setname +select"
"""Of a user, as the handbook has them."""


def program(place: int) -> str:
    """One of the engines that are installed: tests take turns, so that each sees some of them."""
    return list(programs().values())[place % len(programs())]


def on(url: str, story: Callable[[Bus], Awaitable[None]], *, seconds: float = 2.0) -> None:
    async def told() -> None:
        bus = EngineBus(engine_address(url), seconds=seconds)
        try:
            await story(bus)
        finally:
            await bus.close()

    asyncio.run(told())


async def do_everything(bus: Bus) -> None:
    position = await bus.append("orders", b"a")
    entries = await bus.read_from({"orders": BEGINNING, "acks": BEGINNING}, 0.0)
    assert entries[-1].position == position
    assert (await bus.tick("one", b"said", 5.0, ["orders"])).newest == {"orders": position}
    assert (await bus.lease([LeaseClaim("x", 1, 0), LeaseClaim("y", 1, 0)]))[1].is_granted


async def goes_on(bus: Bus) -> None:
    """Wait until it does."""
    end = time.monotonic() + 15.0
    while True:
        try:
            return await do_everything(bus)
        except BusError:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)


def complaint(url: str) -> str:
    """What is said by a bus that can't be used."""
    said = []

    async def story(bus: Bus) -> None:
        with pytest.raises(BusError) as raised:
            await bus.append("orders", b"a")
        said.append(str(raised.value))

    on(url, story)
    return said[0]


@pytest.mark.slow
def test_sentinels_name_the_next_primary(tmp_path: Path) -> None:
    with Sentinels(program(0), tmp_path, sentinels=1) as engines:

        async def story(bus: Bus) -> None:
            await do_everything(bus)
            engines.primary.kill()
            with pytest.raises(BusError):
                await bus.append("orders", b"b")
            await goes_on(bus)
            engines.primary.start()
            await do_everything(bus)

        gone = f"127.0.0.1:{engines.primary.port + 1}"  # a sentinel that isn't there is no matter
        on(engines.url.replace("://", f"://{gone},"), story)
        assert "no sentinel names a primary" in complaint(f"{engines.url}-of-others")


@pytest.mark.slow
def test_a_cluster_is_used_wherever_our_slot_is(tmp_path: Path) -> None:
    with EngineCluster(program(1), tmp_path) as engines:
        slot = engines.slot_of("{shield}:orders")
        owner = engines.engines[slot // 5461]
        other, third = [engine for engine in engines.engines[:3] if engine is not owner]
        engines.follow(other)
        here, there = engines.id_of(owner), engines.id_of(other)

        async def beside_a_frozen_server(bus: Bus) -> None:
            with pytest.raises(BusError):
                await bus.append("others", b"a")
            await bus.append("others", b"b")  # whoever hasn't our slot is asked once

        async def moves(bus: Bus) -> None:
            await do_everything(bus)

            other.says(f"CLUSTER SETSLOT {slot} IMPORTING {here}")
            owner.says(f"CLUSTER SETSLOT {slot} MIGRATING {there}")
            owner.says(f"MIGRATE 127.0.0.1 {other.port} {{shield}}:orders 0 1000")
            await bus.append("orders", b"on its way")
            with pytest.raises(BusError):  # a script whose keys are at two servers
                await bus.tick("one", b"", 5.0, ["orders"])
            for name in ("epoch", "nodes", "lease:x", "lease:y", "others"):
                owner.says(f"MIGRATE 127.0.0.1 {other.port} {{shield}}:{name} 0 1000")
            for engine in (other, owner):
                engine.says(f"CLUSTER SETSLOT {slot} NODE {there}")
            await do_everything(bus)
            assert len(await bus.read_from({"orders": BEGINNING}, 0.0)) == 3

            other.kill()  # its replica takes over
            await goes_on(bus)

        third.freeze()
        try:
            first = f"127.0.0.1:{third.port}"
            on(engines.url.replace("://", f"://{first},"), beside_a_frozen_server, seconds=0.3)
        finally:
            third.thaw()
        on(engines.url, moves)


@pytest.mark.skipif(not has_tls(), reason="needs a redis-server with TLS: apt-get install redis-server")
def test_connections_with_tls_and_what_is_said_where_it_is_wrong(tmp_path: Path) -> None:
    authority, other = Authority(), Authority("another")
    ca_file, (certificate, key) = authority.write(tmp_path), authority.write_server(tmp_path, "localhost")
    (tmp_path / "other").mkdir()
    other_ca, (wrong, wrong_key) = (
        other.write(tmp_path / "other"),
        other.write_server(tmp_path / "other", "localhost"),
    )
    context = authority.client()
    context.load_cert_chain(certificate, key)
    options = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(ca_file)]
    own = f"&certificate_file={certificate}&key_file={key}"
    with Engine(programs()["redis"], tmp_path, options=options, tls=context) as engine:
        url = f"rediss://localhost:{engine.port}/0"

        on(f"{url}?ca_file={ca_file}{own}", do_everything)

        assert "must be in ca_file" in complaint(f"{url}?ca_file={other_ca}{own}")
        assert "certificate_file and key_file" in complaint(f"{url}?ca_file={ca_file}")
        assert "certificate_file" in complaint(
            f"{url}?ca_file={ca_file}&certificate_file={wrong}&key_file={wrong_key}"
        )
        by_number = url.replace("localhost", "127.0.0.1")
        assert "by a host that its certificate has" in complaint(f"{by_number}?ca_file={ca_file}{own}")
        assert "rediss://" in complaint(url.replace("rediss", "redis"))


def test_a_user_with_the_rights_of_the_handbook_is_enough(tmp_path: Path) -> None:
    users = f"user default off\nuser shield on >right ~{{shield}}:* {RIGHTS}\nuser few on >right ~* +@connection\n"
    (tmp_path / "users").write_text(users)
    with Engine(program(1), tmp_path, options=["--aclfile", str(tmp_path / "users")]) as engine:
        place = f"127.0.0.1:{engine.port}/3"

        on(f"redis://shield:right@{place}", do_everything)

        assert "compare user and password" in complaint(f"redis://shield:wrong@{place}")
        assert "its password" in complaint(f"redis://{place}")
        assert "the rights that its user needs" in complaint(f"redis://few:right@{place}")
    handbook = Path(__file__).parents[2] / "docs" / "cluster.md"
    assert RIGHTS in handbook.read_text()
