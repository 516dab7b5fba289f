"""TLS towards origins: who is trusted, for which name, how it ends, and what stands in the way."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from shield.errors import ConfigError, Fault, OriginError
from shield.origin.dial import Endpoint
from shield.origin.pool import Pool
from shield.origin.terms import Timeouts
from shield.origin.tls import client_context
from tests.doubles.certificates import Authority
from tests.origin.leg import LoopFactory, Origin, Visit, body, fails, get, no_descriptor_left, on_both_loops, run

OK5 = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
AUTHORITY = Authority()


@pytest.fixture
def trusting(tmp_path: Path) -> ssl.SSLContext:
    return client_context(AUTHORITY.write(tmp_path))


def place(port: int, context: ssl.SSLContext, name: str | None = "origin.test") -> Endpoint:
    return Endpoint("fra", "127.0.0.1", port, context, name)


async def hello(visit: Visit) -> None:
    while await visit.asked():
        await visit.says(OK5 + b"hello")


def test_verification_is_on_and_old_versions_are_off(trusting: ssl.SSLContext) -> None:
    assert trusting.verify_mode is ssl.CERT_REQUIRED
    assert trusting.check_hostname
    assert trusting.minimum_version is ssl.TLSVersion.TLSv1_2
    assert trusting.maximum_version in (ssl.TLSVersion.MAXIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_3)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_authorities_that_can_not_be_read_are_a_problem_of_the_settings(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ConfigError, match=r"ca\.pem: certificates of authorities can't be read"):
        client_context(path)


def test_who_trusts_the_same_authorities_has_the_same_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = AUTHORITY.write(tmp_path)
    first = client_context()

    assert client_context() is first
    assert client_context(own) is not first

    before = client_context(own)
    own.write_text(AUTHORITY.pem + Authority().pem)
    assert client_context(own) is not before, "the file has changed"

    system = tmp_path / "system.pem"
    system.write_text(AUTHORITY.pem + Authority().pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    changed = client_context()
    assert len(changed.get_ca_certs()) == 2, "other authorities of the system"
    system.write_text(AUTHORITY.pem)
    assert len(client_context().get_ca_certs()) == 1, "the system's have changed"


@on_both_loops
def test_the_server_is_asked_for_by_name_and_speaks_1_3(new_loop: LoopFactory, trusting: ssl.SSLContext) -> None:
    async def scenario() -> None:
        asked: list[str] = []
        context = AUTHORITY.server("origin.test")
        context.sni_callback = lambda tls, name, _: asked.append(name)

        async def notes(visit: Visit) -> None:
            asked.append(visit.tls_version())
            await hello(visit)

        async with Origin(notes, tls=context) as origin:
            pool = Pool(place(origin.port, trusting))

            assert [await body(pool), await body(pool)] == [b"hello"] * 2

            assert asked == ["origin.test", "TLSv1.3"]
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
def test_1_2_will_do(new_loop: LoopFactory, trusting: ssl.SSLContext) -> None:
    async def scenario() -> None:
        context = AUTHORITY.server("origin.test")
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with Origin(hello, tls=context) as origin:
            pool = Pool(place(origin.port, trusting))
            assert await body(pool) == b"hello"
            await pool.close()

    run(new_loop, scenario)


@on_both_loops
def test_the_host_names_the_server_by_default_an_address_too(new_loop: LoopFactory, trusting: ssl.SSLContext) -> None:
    async def scenario() -> None:
        async with Origin(hello, tls=AUTHORITY.server("127.0.0.1")) as origin:
            pool = Pool(place(origin.port, trusting, None))
            assert await body(pool) == b"hello"
            await pool.close()

    run(new_loop, scenario)


@on_both_loops
@pytest.mark.parametrize(
    ("server", "name", "why"),
    [
        (lambda: AUTHORITY.expired("origin.test"), "origin.test", "expired"),
        (lambda: AUTHORITY.server("other.test"), "origin.test", "(?i)hostname mismatch"),
        (lambda: Authority("stranger").server("origin.test"), "origin.test", "unable to get local issuer"),
    ],
    ids=["expired", "other host", "unknown authority"],
)
def test_a_server_that_can_not_be_trusted_is_not_asked(
    new_loop: LoopFactory, trusting: ssl.SSLContext, server: Callable[[], ssl.SSLContext], name: str, why: str
) -> None:
    async def scenario() -> None:
        requests: list[bytes] = []

        async def notes(visit: Visit) -> None:
            requests.append(await visit.asked())

        async with Origin(notes, tls=server()) as origin:
            pool = Pool(place(origin.port, trusting, name))
            for _ in range(2):
                with pytest.raises(OriginError, match=why) as raised:
                    await get(pool)
                assert raised.value.fault is Fault.TLS
            assert (pool.statistics().busy, pool.statistics().idle) == (0, 0)
            assert requests in ([], [b""], [b""] * 2)
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@pytest.mark.parametrize("name", ["x" * 70 + ".test", ".origin.test", "a..test"])
def test_a_name_that_can_not_be_verified_is_a_problem_of_the_settings(trusting: ssl.SSLContext, name: str) -> None:
    async def scenario() -> None:
        with pytest.raises(ConfigError, match="not a host name"):
            Pool(place(1, trusting, name))

    asyncio.run(scenario())


@on_both_loops
def test_plain_http_where_tls_is_expected_is_a_fault_of_tls(new_loop: LoopFactory, trusting: ssl.SSLContext) -> None:
    async def scenario() -> None:
        async def shouts(visit: Visit) -> None:
            await visit.says(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            await visit.left()

        async with Origin(shouts) as origin:
            pool = Pool(place(origin.port, trusting))
            await fails(pool, Fault.TLS)
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
def test_a_handshake_cut_off_is_a_fault_of_tls(new_loop: LoopFactory, trusting: ssl.SSLContext) -> None:
    async def scenario() -> None:
        async def cuts(visit: Visit) -> None:
            visit.cuts()

        async with Origin(cuts) as origin:
            pool = Pool(place(origin.port, trusting))
            await fails(pool, Fault.TLS)
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
@pytest.mark.parametrize(
    ("timeouts", "patience", "fault"),
    [(Timeouts(connect=0.01), 10.0, Fault.CONNECT_TIMEOUT), (Timeouts(), 0.01, Fault.CONNECT_TIMEOUT)],
)
def test_a_handshake_that_stalls_ends_with_the_limit(
    new_loop: LoopFactory, trusting: ssl.SSLContext, timeouts: Timeouts, patience: float, fault: Fault
) -> None:
    async def scenario() -> None:
        async def stalls(visit: Visit) -> None:
            await visit.left()

        async with Origin(stalls) as origin:
            pool = Pool(place(origin.port, trusting), timeouts=timeouts)
            await fails(pool, fault, patience=patience)
            assert pool.statistics().busy == 0
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
@pytest.mark.parametrize("paused", [False, True])
def test_a_body_until_close_must_end_with_close_notify(
    new_loop: LoopFactory, trusting: ssl.SSLContext, paused: bool
) -> None:
    async def scenario() -> None:
        async def answers(visit: Visit) -> None:
            request = await visit.asked()
            await visit.says(b"HTTP/1.1 200 OK\r\n\r\nhello")
            if b"/cut" in request:
                visit.cuts()

        async with Origin(answers, tls=AUTHORITY.server("origin.test")) as origin:
            pool = Pool(place(origin.port, trusting))
            for path in ("/whole", "/cut"):
                response = await get(pool, path)
                if paused:
                    response.pause()
                    response.resume()
                if path == "/whole":
                    assert await response.read(100) == b"hello"
                    continue
                with pytest.raises(OriginError) as raised:
                    await response.read(100)
                assert raised.value.fault is Fault.SHORT_BODY
            await pool.close()

    with no_descriptor_left():
        run(new_loop, scenario)


@on_both_loops
def test_a_paused_reader_stops_the_origin_under_tls_too(new_loop: LoopFactory, trusting: ssl.SSLContext) -> None:
    async def scenario() -> None:
        size = 20_000_000

        sent = False

        async def sends_much(visit: Visit) -> None:
            nonlocal sent
            await visit.asked()
            await visit.says(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            for _ in range(20):
                await visit.says(bytes(size // 20))
            sent = True

        async with Origin(sends_much, tls=AUTHORITY.server("origin.test")) as origin:
            pool = Pool(place(origin.port, trusting))
            response = await get(pool)
            response.pause()
            for _ in range(1000):
                await asyncio.sleep(0)
            assert not sent

            response.resume()

            assert len(await response.read(size)) == size
            await pool.close()

    run(new_loop, scenario)
