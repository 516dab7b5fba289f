"""Settings of the method PURGE on the listeners for clients."""

from __future__ import annotations

from pydantic import Field

from shield.config.access import LongSecrets, Network, plain_secrets
from shield.config.section import File, Section
from shield.rules.access import AcceptedSecrets
from shield.rules.addresses import Networks
from shield.rules.purge_access import PurgeAccess


class PurgeMethodSettings(Section):
    """PURGE requests of those who have a secret, or come from an address; with both, both are needed. The rules of
    `access` apply to them, too.
    """

    secrets: LongSecrets = Field(
        default=(),
        description="Any of them is accepted, as `Authorization: Bearer SECRET` or `Fastly-Key: SECRET`. At least 16 "
        "characters each. In a secret file, one a line.",
    )
    secrets_file: File | None = Field(default=None, description="File with the secrets, one a line.")
    allow: tuple[Network, ...] = Field(
        default=(),
        description="Networks and addresses that connections come from; `unix`: a unix socket. Behind a proxy or a "
        "CDN that is its address, so that a secret is needed there.",
    )

    def access(self) -> PurgeAccess:
        """These settings as a rule."""
        secrets = AcceptedSecrets(plain_secrets(self.secrets)) if self.secrets else None
        return PurgeAccess(secrets, Networks(self.allow) if self.allow else None)
