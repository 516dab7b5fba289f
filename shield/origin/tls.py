"""TLS to origins. Verification can't be turned off: there is no switch for it, on purpose."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

from shield.errors import ConfigError

_contexts: WeakValueDictionary[tuple[object, ...], ssl.SSLContext] = WeakValueDictionary()


def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """A context that trusts the system's authorities, and those in `ca_file` (PEM) besides. Don't change it.

    TLS 1.2 at least, 1.3 where the origin has it; host names are checked. Raises ConfigError.

    Who trusts the same authorities gets the same context, as long as somebody has it: reading those of the system
    takes 20 ms and a megabyte.
    """
    try:
        trusted = (*_of_the_system(), b"" if ca_file is None else ca_file.read_bytes())
        known = _contexts.get(trusted)
        if known is None:
            known = _contexts[trusted] = _made(ca_file)
    except OSError as error:  # ssl.SSLError is one
        why = error.strerror if error.errno and not isinstance(error, ssl.SSLError) else "no PEM certificates"
        raise ConfigError([f"{ca_file}: certificates of authorities can't be read: {why}"]) from None
    return known


def _of_the_system() -> list[object]:
    """The places of its authorities, and their state: other ones, or changed ones, are read anew."""
    found: list[object] = []
    paths = ssl.get_default_verify_paths()
    for place in (paths.cafile, paths.capath):
        state = None
        with suppress(OSError):
            state = None if place is None else Path(place).stat()
        found += [place, state and (state.st_ino, state.st_size, state.st_mtime_ns)]
    return found


def _made(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def check_hostname(context: ssl.SSLContext, server_hostname: str) -> None:
    """Raises ConfigError for a name with which no handshake can begin. (uvloop would lose the socket over it.)"""
    try:
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=server_hostname)
    except ValueError:  # UnicodeError is one
        raise ConfigError([f"{server_hostname}: not a host name that TLS can verify"]) from None


def explain(error: OSError, server_hostname: str) -> str:
    """The reason of a failed handshake, for operators."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate of {server_hostname}: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"handshake with {server_hostname}: {(error.reason or str(error)).replace('_', ' ').lower()}"
    return f"handshake with {server_hostname}: {error.strerror or error or 'connection closed'}"
