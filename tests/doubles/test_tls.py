"""The origin under TLS: good, expired and foreign certificates, handshakes that stall, ends without close_notify."""

from __future__ import annotations

import socket
import ssl

import pytest

from tests.doubles.certificates import Authority
from tests.doubles.client import Client
from tests.doubles.faults import at_body, followed_by
from tests.doubles.faulty_origin import HOST, FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Bytes, Close, Cut, Pause, Reset, Stall, Wait


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def test_a_client_that_trusts_the_authority_is_served(authority: Authority) -> None:
    with FaultyOrigin(tls=authority.server("localhost")) as origin:
        origin.serves("/a", b"secret")
        origin.spoils("/a", followed_by(Close()))
        with Client(origin, tls=authority.client()) as client:
            client.ask("/a")
            raw, clean = client.rest()

        assert raw.endswith(b"\r\n\r\nsecret") and clean
        assert origin.url == f"https://{HOST}:{origin.port}"
        assert origin.requests[0].server_name == "localhost"
        assert origin.handshakes_failed == 0


def test_a_certificate_may_be_for_an_address_and_several_names(authority: Authority) -> None:
    with FaultyOrigin(tls=authority.server(HOST, "one.test", "*.two.test")) as origin:
        for host in (HOST, "one.test", "images.two.test"):
            Client(origin, tls=authority.client(), host=host).__exit__(None, None, None)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("expired", "expired"),
        ("other host", "Hostname mismatch"),
        ("unknown authority", "unable to get local issuer"),
    ],
)
def test_a_bad_certificate_is_found_out(authority: Authority, kind: str, why: str) -> None:
    tls = {
        "expired": lambda: authority.expired("localhost"),
        "other host": lambda: authority.server("elsewhere.test"),
        "unknown authority": lambda: Authority("other").server("localhost"),
    }[kind]()

    with FaultyOrigin(tls=tls) as origin:
        with pytest.raises(ssl.SSLCertVerificationError, match=why):
            Client(origin, tls=authority.client())
        origin.wait_for(lambda: origin.connections_open == 0)

        assert origin.requests == []


def test_a_client_without_tls_is_no_client(authority: Authority) -> None:
    with FaultyOrigin(tls=authority.server("localhost")) as origin, Client(origin) as plain:
        plain.ask("/a")
        plain.rest()

        origin.wait_for(lambda: origin.handshakes_failed == 1)
        assert origin.requests == []


def test_a_handshake_can_be_held_before_it_begins(authority: Authority) -> None:
    with FaultyOrigin(tls=authority.server("localhost")) as origin:
        origin.serves("/a", b"x")
        gate = origin.gate()
        origin.greets(Wait(gate))
        client = _Handshake(origin, authority)
        with pytest.raises(ssl.SSLWantReadError):
            client.go_on()
        gate.reached()

        gate.open()
        client.finish()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_handshake_can_be_held_in_the_middle(authority: Authority, version: ssl.TLSVersion) -> None:
    tls = authority.server("localhost")
    tls.maximum_version = version
    with FaultyOrigin(tls=tls) as origin:
        origin.serves("/a", b"x")
        gate = origin.gate()
        origin.halts_handshakes(gate, after=40)
        client = _Handshake(origin, authority)
        with pytest.raises(ssl.SSLWantReadError):
            client.go_on()
        gate.reached()
        assert client.read() == 40

        gate.open()
        client.finish()

        origin.halts_handshakes(None)
        Client(origin, tls=authority.client()).__exit__(None, None, None)


def test_a_held_handshake_ends_when_the_client_leaves(authority: Authority) -> None:
    with FaultyOrigin(tls=authority.server("localhost")) as origin:
        gate = origin.gate()
        origin.halts_handshakes(gate)
        with Client(origin) as client:
            client.socket.sendall(_Handshake.hello(authority))
            gate.reached()

        origin.wait_for(lambda: origin.connections_open == 0)


def test_a_handshake_can_stall_or_be_garbage(authority: Authority) -> None:
    with FaultyOrigin(tls=authority.server("localhost")) as origin:
        origin.greets(Stall())
        with Client(origin):
            origin.wait_for(lambda: origin.connections_open == 1)
        origin.wait_for(lambda: origin.connections_open == 0)

        origin.greets(Bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Close())
        with pytest.raises(OSError):  # of TLS or, when its hello comes too late to be read, of the socket
            Client(origin, tls=authority.client())

        origin.greets(Pause(), times=1)
        Client(origin, tls=authority.client()).__exit__(None, None, None)


def test_a_cut_is_told_from_an_end(authority: Authority) -> None:
    with FaultyOrigin(tls=authority.server("localhost")) as origin:
        origin.serves("/a", b"0123456789")
        origin.spoils("/a", at_body(4, Cut()))
        with Client(origin, tls=authority.client()) as client:
            client.ask("/a")
            raw, clean = client.rest()

    assert raw.endswith(b"\r\n\r\n0123") and not clean


def test_a_reset_comes_after_all_that_was_sent_before(authority: Authority) -> None:
    body = Pattern(3_000_000)
    with FaultyOrigin(tls=authority.server("localhost")) as origin:
        origin.serves("/a", body)
        origin.spoils("/a", at_body(2_500_000, Reset()))
        with Client(origin, tls=authority.client()) as client:
            client.ask("/a")
            head = client.head()
            got = client.read(2_500_000)
            assert client.rest() == (b"", False)

    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body.check(got)


class _Handshake:
    """A client's handshake in steps, on memory, so that a test sees where it stands."""

    def __init__(self, origin: FaultyOrigin, authority: Authority) -> None:
        self._socket = socket.create_connection((HOST, origin.port), 10)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = authority.client().wrap_bio(self._in, self._out, server_hostname="localhost")

    @staticmethod
    def hello(authority: Authority) -> bytes:
        """The bytes a client begins with."""
        out = ssl.MemoryBIO()
        tls = authority.client().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        return out.read()

    def go_on(self) -> None:
        """As far as it gets with what was read."""
        try:
            self._tls.do_handshake()
        finally:
            self._socket.sendall(self._out.read())

    def read(self) -> int:
        """Read what the server has said; how many bytes those were."""
        data = self._socket.recv(1 << 16)
        return self._in.write(data)

    def finish(self) -> None:
        """To its end, and close."""
        with self._socket:
            while True:
                try:
                    return self.go_on()
                except ssl.SSLWantReadError:
                    assert self.read()
