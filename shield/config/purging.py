"""Settings of purges: CDNs that they are passed on to, and the method PURGE on the listeners for clients."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from shield.config.access import LongSecrets, Network, plain_secrets
from shield.config.credentials import CredentialSettings
from shield.config.places import KeyPath
from shield.config.section import File, Name, Secret, Section
from shield.config.units import Duration, ExpectedError, duration
from shield.rules.access import AcceptedSecrets
from shield.rules.addresses import Networks
from shield.rules.edge_purge import APIS, EdgeProvider
from shield.rules.purge_access import PurgeAccess

EDGES = ("purge", "edges")

SECRETS = ("token", "access_key_id", "secret_key")
"""Keys of a CDN whose values are never shown. Each may also be given as `<key>_file`."""

FILES = tuple([f"{key}_file" for key in SECRETS])
"""Keys that hold a path; in YAML, relative to the directory of that file."""

PLACES = {
    EdgeProvider.CLOUDFLARE: "zone",
    EdgeProvider.FASTLY: "service",
    EdgeProvider.CLOUDFRONT: "distribution",
    EdgeProvider.BUNNY: "pullzone",
}
"""The key that names the configuration at each CDN."""

_is_id = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch


def secrets(names: Iterable[str]) -> list[KeyPath]:
    """The keys of secrets of CDNs with these names."""
    return [(*EDGES, name, key) for name in names for key in SECRETS]


def _id(value: str) -> str:
    if not _is_id(value):
        raise ExpectedError("expected the id, of letters and digits, as the CDN shows it")
    return value


def _url(value: str) -> str:
    """Without a slash at its end."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment or parts.username:
        raise ExpectedError("expected http:// or https:// and a host, as https://images.example")
    if not value.isascii() or any(c <= " " for c in value):
        raise ExpectedError("expected a URL in ASCII, without blanks")
    return value.rstrip("/")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_Id = Annotated[str, AfterValidator(_id)]
_Url = Annotated[str, AfterValidator(_url)]
_Urls = Annotated[
    tuple[_Url, ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class EdgeSettings(Section):
    """A CDN to whose API purges are passed on."""

    provider: Literal["cloudflare", "fastly", "cloudfront", "bunny"] = Field(description="Whose API it is.")
    zone: _Id | None = Field(default=None, description="Cloudflare: id of the zone.")
    service: _Id | None = Field(default=None, description="Fastly: id of the service.")
    distribution: _Id | None = Field(default=None, description="CloudFront: id of the distribution.")
    pullzone: _Id | None = Field(default=None, description="bunny: id of the pull zone, a number.")
    base_url: _Urls = Field(
        default=(),
        description="The beginning of clients' URLs, as https://images.example, or a list: paths and prefixes of an "
        "order are purged below each. CloudFront needs none: its purges hold for all host names.",
    )
    token: Secret | None = Field(
        default=None,
        description="API token of Cloudflare (permission Cache Purge) or Fastly (scope purge_select, and "
        "purge_all for everything), or bunny's API key.",
    )
    token_file: File | None = Field(default=None, description="File that holds the token.")
    access_key_id: Secret | None = Field(
        default=None, description="CloudFront: access key of an identity that may cloudfront:CreateInvalidation."
    )
    access_key_id_file: File | None = Field(default=None, description="File that holds the access key.")
    secret_key: Secret | None = Field(default=None, description="CloudFront: its secret key.")
    secret_key_file: File | None = Field(default=None, description="File that holds the secret key.")
    credentials: CredentialSettings | None = Field(
        default=None,
        description="CloudFront: where its credentials come from, instead of the keys above: a command or AWS's "
        "chain. They are obtained when a purge needs them, and again before they expire.",
    )
    tags: bool = Field(
        default=True,
        description="Whether the CDN gets the tags of responses, in the field that it reads. false: purges by tag "
        "aren't passed on, and the receipt says so.",
    )
    again: Duration = duration(
        "1min",
        "Each purge is sent once more after this time, since a response that began before it may reach one of the "
        "CDN's machines after it: as long as the longest transfer to the CDN takes. 0s: it isn't.",
    )
    corrupt_urls: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=3000,
        description="When an origin turns out to be corrupt, the URLs of so many entries that had come from it are "
        "purged here, as they are removed; CloudFront charges for each. 0: none.",
    )
    corrupt_all: bool = Field(
        default=False,
        description="Whether everything is purged here if there are more of them. false: the log says that it is to "
        "be done, since all objects are fetched anew then.",
    )
    api: _Url | None = Field(
        default=None, description="Base URL of the API, for a proxy before it. If omitted: the provider's own."
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        provider = EdgeProvider(self.provider)
        for each, key in PLACES.items():
            if (each is provider) is (getattr(self, key) is None):
                needed = PLACES[provider]
                raise ExpectedError(f"{self.provider} needs {needed}, and no other id; expected {needed} alone")
        keys = ("access_key_id", "secret_key") if provider is EdgeProvider.CLOUDFRONT else ("token",)
        if self.credentials is not None:
            if provider is not EdgeProvider.CLOUDFRONT:
                raise ExpectedError(f"{self.provider} has no credentials; expected token")
            if any(getattr(self, key) is not None for key in keys):
                raise ExpectedError("credentials stand for the keys; expected them, or access_key_id and secret_key")
        for key in keys:
            if getattr(self, key) is None and self.credentials is None:
                more = ", or credentials" if provider is EdgeProvider.CLOUDFRONT else ""
                raise ExpectedError(f"{self.provider} needs {key}; expected it, or {key}_file{more}")
        for key in SECRETS:
            if key not in keys and getattr(self, key) is not None:
                raise ExpectedError(f"{self.provider} has no {key}; expected {' and '.join(keys)}")
        if provider is not EdgeProvider.CLOUDFRONT and not self.base_url:
            raise ExpectedError(f"{self.provider} needs base_url; expected what clients' URLs begin with")
        api = self.api or APIS[provider]
        if provider is EdgeProvider.CLOUDFRONT and urlsplit(api).path:
            raise ExpectedError("api: requests to CloudFront are signed; expected a base URL without a path")
        return self


class PurgeSettings(Section):
    """Purges beyond this node and its cluster."""

    edges: Mapping[Name, EdgeSettings] = Field(
        default_factory=dict,
        description="CDNs to whose APIs purges are passed on once the nodes have them, by name.",
        json_schema_extra={"additionalProperties": False},
    )


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
