"""TLS towards clients."""

from __future__ import annotations

import ssl
from pathlib import Path

from shield.errors import ConfigError


def server_context(
    certificate_file: Path, key_file: Path, *, client_ca_file: Path | None = None, client_needed: bool = True
) -> ssl.SSLContext:
    """A context with this certificate chain and key (PEM); TLS 1.2 at least. Raises ConfigError.

    With `client_ca_file` clients show a certificate of these authorities and no others. Unless it is needed they may
    show none, but never a wrong one.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # The empty password keeps OpenSSL from asking on the terminal for that of an encrypted key.
        context.load_cert_chain(certificate_file, key_file, password="")
    except OSError as error:  # ssl.SSLError is one
        why = "no PEM certificate and its unencrypted key" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError([f"tls: {certificate_file} and {key_file} can't be used: {why}"]) from None
    if client_ca_file is not None:
        try:
            context.load_verify_locations(client_ca_file)
        except OSError as error:
            why = "no PEM certificates" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigError([f"access.client_certificate.ca_file: {client_ca_file} can't be used: {why}"]) from None
        context.verify_mode = ssl.CERT_REQUIRED if client_needed else ssl.CERT_OPTIONAL
    return context
