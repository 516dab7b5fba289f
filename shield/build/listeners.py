"""The TLS of listeners for clients."""

from __future__ import annotations

from shield.build.regime import access_rules
from shield.config.settings import Settings
from shield.edge.tls import ServerContext, server_context
from shield.rules.access import Rule


def listener_tls(settings: Settings) -> ServerContext | None:
    """TLS of the listeners for clients, if they use it. Raises ConfigError."""
    tls, rules = settings.tls, access_rules(settings)
    if tls is None:
        return None
    certificate = None if settings.access is None else settings.access.client_certificate
    return server_context(
        tls.certificate_file,
        tls.key_file,
        client_ca_file=None if certificate is None else certificate.ca_file,
        client_needed=rules is not None and rules.always(Rule.CLIENT_CERTIFICATE),
        protocols=("h2", "http/1.1") if tls.http2 else ("http/1.1",),
    )
