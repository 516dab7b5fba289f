"""Settings of credentials that come from elsewhere than the settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from shield.config.section import Section, Text
from shield.config.units import Duration, ExpectedError, duration


class CredentialSettings(Section):
    """Another source of an origin's credentials than its settings: a command, or a cloud's own chain."""

    command: tuple[Text, ...] = Field(
        default=(),
        description="A program and its arguments, run without a shell by each worker; it prints one JSON object: "
        '`{"Version": 1, "AccessKeyId": "...", "SecretAccessKey": "...", "SessionToken": "...", "Expiration": '
        '"2030-01-01T00:00:00Z"}`, as for AWS\'s `credential_process`. The last two may be omitted.',
    )
    chain: Literal["aws"] | None = Field(
        default=None,
        description="`aws`: AWS's own order: variables, web identity (EKS, OIDC), shared files, container (ECS, EKS "
        "Pod Identity), instance metadata v2. Needs the extra `aws`. All origins that use it without `profile` share "
        "one identity.",
    )
    profile: Text | None = Field(default=None, description="Profile of AWS's shared files, for `chain: aws`.")
    timeout: Duration = duration(
        "10s", "For one run of the command. Longer ones are killed, and count as failed.", least="100ms"
    )
    refresh: Duration = duration(
        "5min",
        "Between two runs, if the credentials tell no expiry. Those that do are renewed 15 minutes before it, or "
        "at half of their remaining lifetime if that is later.",
        least="5s",
    )

    @model_validator(mode="after")
    def _is_one_source(self) -> CredentialSettings:
        if bool(self.command) is (self.chain is not None):
            raise ExpectedError("expected one of command and chain, as {command: [/usr/local/bin/keys, fra]}")
        if self.profile is not None and self.chain is None:
            raise ExpectedError("expected chain: aws beside profile")
        return self
