"""TLS towards clients: the listeners' context, and connections up to the end of their handshake."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from shield.edge.door import Door
from shield.errors import ConfigError
from shield.rules.certificates import parse_expiry, parse_key_algorithm

_AT_ONCE = 100  # connections accepted in a row before the event loop goes on


class ServerContext(ssl.SSLContext):
    """A context that knows when its certificate expires, in epoch seconds; None if that can't be told.

    Clients' sessions resume with the context that they began with, and with its copies in forked processes.
    """

    expires: float | None = None
    files: tuple[Path, Path]
    terms: tuple[object, ...] = ()
    """All that it was made of but the certificate and the key themselves."""

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:
        """As there, but requests call OpenSSL's own functions, without the Python around them."""
        made = super().wrap_bio(*given, **named)
        inner = getattr(made, "_sslobj", None)
        if inner is not None:
            for name in ("pending", "read", "write"):
                setattr(made, name, getattr(inner, name))
        return made

    def renewed(self, newer: ServerContext) -> ServerContext:
        """This context with the certificate and key of a newer one, so that clients' sessions go on. The newer one
        itself if it differs in more, as in the rules on clients' certificates: resumed sessions show none.
        """
        if newer.terms != self.terms or None in self.terms:
            return newer
        try:
            self.load_cert_chain(*newer.files, password="")
        except OSError:  # they are being replaced once more, and this context may be half changed
            return newer
        self.expires = newer.expires
        return self


def server_context(
    certificate_file: Path,
    key_file: Path,
    *,
    client_ca_file: Path | None = None,
    client_needed: bool = True,
    protocols: Sequence[str] = ("http/1.1",),
) -> ServerContext:
    """A context with this certificate chain and key (PEM), for TLS 1.2 and later. Raises ConfigError.

    `protocols` are offered by ALPN, the best first.

    With `client_ca_file` clients must present a certificate of these authorities. Unless `client_needed`, they may
    present none, but an invalid one still fails the handshake.
    """
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # RFC 9113 §9.2.1
    context.set_alpn_protocols(list(protocols))
    try:
        # The empty password keeps OpenSSL from prompting for that of an encrypted key.
        context.load_cert_chain(certificate_file, key_file, password="")
        certificate = certificate_file.read_bytes()
        context.expires = parse_expiry(certificate)
    except OSError as error:  # ssl.SSLError is one
        why = "no PEM certificate and its unencrypted key" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError([f"tls: {certificate_file} and {key_file} can't be used: {why}"]) from None
    authorities = b""
    if client_ca_file is not None:
        try:
            context.load_verify_locations(client_ca_file)
            authorities = client_ca_file.read_bytes()
        except OSError as error:
            why = "no PEM certificates" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigError([f"access.client_certificate.ca_file: {client_ca_file} can't be used: {why}"]) from None
        context.verify_mode = ssl.CERT_REQUIRED if client_needed else ssl.CERT_OPTIONAL
    context.files = certificate_file, key_file
    # A context has one certificate for each kind of key: one of another kind wouldn't replace it.
    context.terms = (parse_key_algorithm(certificate), authorities, context.verify_mode, tuple(protocols))
    return context


class Greeter:
    """Accepts connections from a listener and starts TLS on them. Each is counted at the door as soon as it is
    accepted, and its handshake is limited in time: asyncio's own servers report a connection only after that.

    `welcome` makes the protocol behind TLS, for a connection that is admitted already; `inside` returns the number of
    connections that have one, `seconds` the time allowed for a handshake.
    """

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        door: Door,
        *,
        welcome: Callable[[], asyncio.Protocol],
        inside: Callable[[], int],
        seconds: Callable[[], float],
    ) -> None:
        self._listener = listener
        self._context = context
        self._door = door
        self._welcome = welcome
        self._inside = inside
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None
        self._loop.add_reader(listener, self._accept)

    def use(self, context: ssl.SSLContext) -> None:
        """Use this context for handshakes from now on. Open connections aren't affected."""
        self._context = context

    def close(self) -> None:
        """Accept no more connections. Handshakes in progress continue."""
        self._loop.remove_reader(self._listener)
        if self._again is not None:
            self._again.cancel()
        self._listener.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connected, peer = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # out of descriptors or memory: try again when others may have been released
                self._loop.remove_reader(self._listener)
                self._again = self._loop.call_later(1.0, self._loop.add_reader, self._listener, self._accept)
                return
            if not self._door.enter(peer[0], connected, self._inside()):
                connected.close()
                continue
            connected.setblocking(False)
            self._door.greeted += 1
            task = self._loop.create_task(self._shake(connected, peer[0]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _shake(self, connected: socket.socket, place: str) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._welcome, connected, ssl=self._context, ssl_handshake_timeout=self._seconds()
            )
        except (OSError, TimeoutError):  # no TLS, a rejected certificate, or a client that left or stays silent
            self._door.leave(place)
            connected.close()
        except asyncio.CancelledError:
            connected.close()
            raise
        finally:
            self._door.greeted -= 1
