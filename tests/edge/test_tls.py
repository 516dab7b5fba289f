"""The context of listeners: sessions that clients remember go on when a certificate is renewed."""

from __future__ import annotations

import contextlib
import ssl
from inspect import isbuiltin
from pathlib import Path

import pytest

from shield.edge.tls import ServerContext, server_context
from tests.doubles.certificates import Authority


def shake(server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLObject:
    """A client's side after a handshake, and after a byte of the server's, behind which its tickets come."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(to_client, to_server, server_hostname="localhost", session=session)
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (theirs, ours, theirs, ours):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    ours.write(b"x")
    assert theirs.read(1) == b"x"
    return theirs


def made(directory: Path, authority: Authority, **terms: object) -> ServerContext:
    directory.mkdir(exist_ok=True)
    certificate, key = authority.write_server(directory, "localhost")
    return server_context(certificate, key, **terms)  # type: ignore[arg-type]


def serial(side: ssl.SSLObject) -> object:
    certificate = side.getpeercert()
    return certificate and certificate["serialNumber"]


def test_a_renewed_certificate_is_shown_and_sessions_go_on(tmp_path: Path) -> None:
    authority = Authority()
    context, client = made(tmp_path / "a", authority), authority.client()
    before = shake(context, client)

    renewed = context.renewed(made(tmp_path / "b", authority))

    assert renewed is context
    resumed = shake(renewed, client, before.session)
    assert resumed.session_reused
    fresh = shake(renewed, client)
    assert not fresh.session_reused
    assert serial(fresh) != serial(before)


def test_each_request_calls_openssl_itself(tmp_path: Path) -> None:
    context = made(tmp_path, Authority())

    wrapped = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)

    assert all(isbuiltin(call) for call in (wrapped.pending, wrapped.read, wrapped.write))


def test_sessions_end_when_the_rules_on_clients_certificates_change(tmp_path: Path) -> None:
    authority, others = Authority("first"), Authority("second")
    context, client = made(tmp_path / "a", authority), authority.client()
    before = shake(context, client)

    newer = made(tmp_path / "b", authority, client_ca_file=others.write(tmp_path), client_needed=False)

    assert context.renewed(newer) is newer
    assert not shake(newer, client, before.session).session_reused


@pytest.mark.parametrize("what", ["protocols", "gone"])
def test_what_cannot_be_taken_over_is_used_as_it_is(tmp_path: Path, what: str) -> None:
    authority = Authority()
    context = made(tmp_path / "a", authority)
    newer = made(tmp_path / "b", authority, protocols=("h2",) if what == "protocols" else ("http/1.1",))
    if what == "gone":
        newer.files[1].unlink()

    assert context.renewed(newer) is newer
