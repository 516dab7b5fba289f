"""Client certificates: the handshake, and access behind it, at both fronts."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypercorn.asyncio import serve
from hypercorn.config import Config

from shield.build.listeners import listener_tls
from shield.config.settings import Settings
from shield.edge.tls import server_context
from shield.errors import ConfigError
from tests.client import PATIENCE, request
from tests.doubles.certificates import DAY, Authority
from tests.doubles.faulty_origin import FaultyOrigin
from tests.edge.greeter import greeting
from tests.edge.hypercorn_front import H2Client
from tests.node import FakeClock, Shield, settings_of

NAMED = {"names": ["edge.cdn.example"]}


class Cdn(Authority):
    """An authority for clients."""

    def certificate(self, directory: Path, common_name: str, *names: str, server: bool = False) -> Path:
        """One with its key, in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        draft = self._draft(subject, key.public_key(), since=self._now - DAY, until=self._now + DAY)
        if names:
            draft = draft.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        made = draft.add_extension(x509.ExtendedKeyUsage([usage]), critical=False).sign(self._key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = directory / f"{common_name}-{len(list(directory.iterdir()))}.pem"
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
        return path


class Ground:
    """A node behind TLS, an authority for its certificate, and the CDN's for those of clients."""

    def __init__(self, directory: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
        self.directory, self.origin, self.clock = directory, origin, clock
        self.own, self.cdn = Authority(), Cdn("the CDN")
        self.chain, self.key = self.own.write_server(directory, "localhost")
        self.ca_file = directory / "cdn.pem"
        self.ca_file.write_text(self.cdn.pem)

    def settings(self, certificate: Mapping[str, Any] | None = None, **changes: Any) -> Settings:
        access = {"client_certificate": {"ca_file": str(self.ca_file), **(certificate or {})}}
        access.update(changes.pop("access", {}))
        tls = {"certificate_file": str(self.chain), "key_file": str(self.key)}
        return settings_of({"fra": self.origin}, tls=tls, access=access, **changes)

    @contextmanager
    def node(self, settings: Settings) -> Iterator[int]:
        """The port of the HTTP/1.1 front."""
        with Shield(settings, clock=self.clock) as shield, greeting(shield, settings) as port:
            yield port

    @contextmanager
    def hypercorn(self, settings: Settings) -> Iterator[int]:
        """The port of the ASGI front."""
        with Shield(settings, clock=self.clock) as shield:
            listener = socket.create_server(("127.0.0.1", 0))
            port = listener.getsockname()[1]
            config = Config()
            config.bind = [f"fd://{listener.detach()}"]
            config.errorlog = config.accesslog = None
            config.graceful_timeout = 0.1
            config.certfile, config.keyfile = str(self.chain), str(self.key)
            config.ca_certs, config.verify_mode = str(self.ca_file), ssl.CERT_OPTIONAL
            stop = asyncio.Event()
            asgi: Any = shield.node.asgi

            async def start() -> asyncio.Task[None]:
                return asyncio.create_task(serve(asgi, config, shutdown_trigger=stop.wait))

            async def end() -> None:
                stop.set()
                await task

            task = shield.run(start())
            try:
                yield port
            finally:
                shield.run(end())

    def connect(self, port: int, certificate: Path | None, *, alpn: str = "http/1.1") -> ssl.SSLSocket:
        context = self.own.client()
        context.set_alpn_protocols([alpn])
        if certificate is not None:
            context.load_cert_chain(certificate)
        plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
        try:
            return context.wrap_socket(plain, server_hostname="localhost")
        except OSError:
            plain.close()
            raise

    def status(self, port: int, certificate: Path | None, target: str = "/a") -> int | None:
        """What is said over HTTP/1.1 to who shows this; None: the handshake fails."""
        try:
            with self.connect(port, certificate) as connected:
                connected.sendall(request(target, [("Connection", "close")]))
                with connected.makefile("rb") as answer:
                    said = answer.read()
        except OSError:
            return None
        return int(said.split()[1]) if said else None


@pytest.fixture
def ground(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> Ground:
    origin.serves("/a", b"a", lifetime=60)
    origin.serves("/open", b"open", lifetime=60)
    return Ground(tmp_path, origin, clock)


def test_only_who_shows_the_cdns_certificate_gets_past_the_handshake(ground: Ground, origin: FaultyOrigin) -> None:
    good = ground.cdn.certificate(ground.directory, "edge")
    for_servers = ground.cdn.certificate(ground.directory, "web", server=True)
    strange = Cdn("somebody else").certificate(ground.directory, "edge")

    with ground.node(ground.settings()) as port:
        assert [ground.status(port, each) for each in (None, strange, for_servers)] == [None, None, None]
        assert origin.requests == []
        assert ground.status(port, good) == 200


def test_a_certificate_must_have_one_of_the_names(ground: Ground) -> None:
    certificates = [
        ground.cdn.certificate(ground.directory, "edge.cdn.example"),
        ground.cdn.certificate(ground.directory, "x", "a.cdn.example", "Edge.CDN.example"),
        ground.cdn.certificate(ground.directory, "x", "a.cdn.example"),
        ground.cdn.certificate(ground.directory, "another.cdn.example"),
    ]

    with ground.node(ground.settings(NAMED)) as port:
        assert [ground.status(port, each) for each in certificates] == [200, 200, 403, 403]


def test_without_a_certificate_one_gets_as_far_as_something_else_will_do(ground: Ground) -> None:
    good = ground.cdn.certificate(ground.directory, "edge.cdn.example")
    strange = Cdn("somebody else").certificate(ground.directory, "edge.cdn.example")
    routes = {"default": {}, "open": {"match": "/open", "access": "off"}}

    with ground.node(ground.settings(NAMED, routes=routes)) as port:
        assert [ground.status(port, good), ground.status(port, None)] == [200, 403]
        assert [ground.status(port, None, "/open"), ground.status(port, strange, "/open")] == [200, None]


def test_over_http_2_certificates_count_as_well(ground: Ground) -> None:
    good = ground.cdn.certificate(ground.directory, "edge.cdn.example")
    other = ground.cdn.certificate(ground.directory, "another.cdn.example")
    routes = {"default": {}, "open": {"match": "/open", "access": "off"}}

    with ground.node(ground.settings(NAMED, routes=routes)) as port:
        assert [over_h2(ground, port, each) for each in (good, other, None)] == [200, 403, 403]
        with H2Client.on(ground.connect(port, None, alpn="h2")) as client:
            assert client.get("/open").status == 200


def test_the_asgi_front_sees_certificates_too(ground: Ground) -> None:
    good = ground.cdn.certificate(ground.directory, "edge.cdn.example")
    other = ground.cdn.certificate(ground.directory, "another.cdn.example")

    with ground.hypercorn(ground.settings(NAMED)) as port:
        assert [ground.status(port, each) for each in (good, other, None)] == [200, 403, 403]
        assert [over_h2(ground, port, each) for each in (good, other, None)] == [200, 403, 403]


def over_h2(ground: Ground, port: int, certificate: Path | None) -> int:
    with H2Client.on(ground.connect(port, certificate, alpn="h2")) as client:
        return client.get("/a").status


def test_no_authorities_but_these_are_trusted(ground: Ground) -> None:
    context = server_context(ground.chain, ground.key, client_ca_file=ground.ca_file)

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert [name["subject"] for name in context.get_ca_certs()] == [((("commonName", "the CDN"),),)]


def test_authorities_that_cannot_be_used_are_a_configuration_error(ground: Ground) -> None:
    ground.ca_file.write_text("nothing")
    with pytest.raises(ConfigError, match=r"access\.client_certificate\.ca_file: .*cdn\.pem can't be used"):
        listener_tls(ground.settings())

    ground.ca_file.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        listener_tls(ground.settings())
