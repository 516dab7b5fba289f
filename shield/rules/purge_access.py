"""Permission to send PURGE requests to the listeners for clients. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from shield.messages import Request
from shield.rules.access import AcceptedSecrets
from shield.rules.addresses import Networks, peer_of

_KEY = b"fastly-key"


@dataclass(frozen=True, slots=True)
class PurgeAccess:
    """One of the `secrets`, and an address in `networks`; None: any will do. At least one of the two is there."""

    secrets: AcceptedSecrets | None
    networks: Networks | None

    def objection(self, request: Request, peer: str) -> str | None:
        """Why a request from this address isn't admitted, for the log; None if it is. The secret is read from
        `Authorization: Bearer` or `Fastly-Key`.
        """
        if self.networks is not None and peer_of(peer) not in self.networks:
            return "purge-address"
        if self.secrets is not None:
            given = _secret_in(request)
            if given is None:
                return "purge-secret-missing"
            if not self.secrets.has(given):
                return "purge-secret-wrong"
        return None if self.secrets is not None or self.networks is not None else "purge-off"


def _secret_in(request: Request) -> bytes | None:
    scheme, _, token = request.get(b"authorization").partition(b" ")
    if scheme.lower() == b"bearer" and token:
        return token.strip(b" ")
    return request.get(_KEY) or None
