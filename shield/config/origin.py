"""Settings of one origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from shield.config.credentials import CredentialSettings
from shield.config.price import PriceSettings
from shield.config.section import Bucket, EndpointUrl, File, Name, OrOff, Region, Secret, Section
from shield.config.units import KIB, ByteRate, Duration, duration
from shield.rules.providers import PROVIDERS, Location, Provider, locate

SECRETS = ("access_key_id", "secret_key", "session_token")
"""Keys of an origin whose values are never shown. Each may also be given as `<key>_file`."""

FILES = (*(f"{key}_file" for key in SECRETS), "ca_file")
"""Keys that hold a path; in YAML, relative to the directory of that file."""


TLS_FILES = (("tls", "certificate_file"), ("tls", "key_file"))
"""Other keys that hold a path."""


class OriginTimeouts(Section):
    """Time limits for each step of a request to an origin. Each begins when the previous step is done."""

    connect: Duration = duration(
        "2s",
        "Until connected, TLS handshake included. Short: another origin can answer, and a lost SYN is sent again "
        "after one second.",
        least="10ms",
    )
    first_byte: Duration = duration(
        "5s",
        "From the request sent to the head of the response. Object stores answer in well under a second; "
        "after five something is wrong. Other origins are tried beside a late one long before.",
        least="10ms",
    )
    between_bytes: Duration = duration(
        "10s",
        "Between two reads of a body. Longer than a TCP retransmission needs to recover, short enough that clients "
        "don't give up first.",
        least="10ms",
    )
    total: Duration = duration(
        "10min",
        "From the request sent until the body's last byte, without the time reading was paused for slow clients. "
        "Bounds trickling bodies; a large object over a slow line still fits.",
        least="100ms",
    )


class OriginSettings(Section):
    """One bucket at one endpoint in one region."""

    provider: Literal["aws", "gcs", "r2", "b2", "wasabi", "minio", "ceph", "swift", "http"] = Field(
        description="Its API: determines addressing, default endpoint and region, and how it reports throttling. "
        "`http` is a plain web server, without signatures."
    )
    endpoint: EndpointUrl | None = Field(
        default=None,
        description="URL without the bucket, such as https://s3.eu-central-1.amazonaws.com. If omitted, the "
        "provider's for the region (aws, gcs, b2, wasabi); others have none. A path is for provider http only.",
    )
    region: Region | None = Field(
        default=None,
        description="Region for signatures. If omitted, it is taken from the endpoint's host, or is the provider's "
        "default; aws and b2 have none.",
    )
    bucket: Bucket | None = Field(default=None, description="Name of the bucket; provider http needs none.")
    addressing: Literal["auto", "path", "virtual"] = Field(
        default="auto",
        description="The position of the bucket's name: `path` (endpoint/bucket/key), `virtual` "
        "(bucket.endpoint/key), or `auto`: virtual if the provider wants it and the name is a valid label of a host, "
        "else path.",
    )
    access_key_id: Secret | None = Field(default=None, description="Access key; better kept in a file.")
    secret_key: Secret | None = Field(default=None, description="Secret key; better kept in a file.")
    session_token: Secret | None = Field(default=None, description="Token of temporary credentials.")
    access_key_id_file: File | None = Field(default=None, description="File that holds the access key.")
    secret_key_file: File | None = Field(default=None, description="File that holds the secret key.")
    session_token_file: File | None = Field(default=None, description="File that holds the session token.")
    credentials: CredentialSettings | None = Field(
        default=None,
        description="Where its credentials come from, instead of the keys above: a command or AWS's chain. They are "
        "renewed before they expire, and new ones sign all requests only after a probe and a share have passed.",
    )
    role: Literal["primary", "replica"] = Field(
        default="replica",
        description="`primary`: objects are written to this origin first; at most one origin may be primary.",
    )
    max_lag: Duration | None = Field(
        default=None,
        description="How long replication from the primary may take. For so long after a purge, objects are fetched "
        "from the primary first. `shield audit` counts younger objects that are missing or older here as lagging, "
        "which is no difference. If omitted: 15min for purges, 0s for audits.",
    )
    weight: float = Field(
        default=100.0,
        ge=0,
        le=1_000_000,
        description="Share of the keys for which it is tried first, in proportion to the other origins' weights, in "
        "routes with `choose: weighted`. 0: only when all others have failed.",
    )
    price: PriceSettings | None = Field(
        default=None,
        description="The price of reading from it, for routes with `choose: nearest` or `cheapest` and for `shield "
        "audit --deep`: the name of a list price, as aws-eu-central-1, or a mapping. If omitted: unknown.",
    )
    labels: Mapping[Name, Annotated[str, Field(max_length=256)]] = Field(
        default_factory=dict,
        description="Labels of its own, besides and over those of the node: for `budgets`, and on the rows of "
        "`shield cost --focus`.",
        json_schema_extra={"additionalProperties": {"type": "string"}},
    )
    holds: Literal["all", "part"] = Field(
        default="all",
        description="`part`: it has only some of the objects, like a hot tier, so that objects missing here are no "
        "difference to `shield audit`, and its 404 says little.",
    )
    access_denied_is_absent: bool = Field(
        default=False,
        description="Read 403 AccessDenied as an absent object: S3 sends it for absent keys to credentials that "
        "may not list the bucket. Off, since it hides revoked credentials.",
    )
    pass_errors: bool = Field(
        default=False,
        description="Forward responses of any status unchanged, with their bodies: for a server of provider http "
        "whose errors are meant for clients. Off: after an error the next origin is tried, and clients don't see it.",
    )
    lenient_heads: bool = Field(
        default=False,
        description="Accept heads whose lines end without CR, from a server of provider http known to send them. "
        "Off: it is a fault, since other parsers may split the lines differently.",
    )
    ca_file: File | None = Field(
        default=None, description="PEM file of authorities to trust besides the system's. Verification stays on."
    )
    connections: int = Field(
        default=64,
        ge=1,
        le=65535,
        description="Connections to this origin at most. At 20 ms a response, 64 carry 3,200 misses a second.",
    )
    max_rate: Annotated[Annotated[ByteRate, Field(ge=64 * KIB)] | None, OrOff()] = Field(
        default=None,
        description="Bytes per second from this origin, for all workers together, as 200MB/s; off: any. Beyond that, "
        "its connections aren't read for a while, and misses wait for a place; after 5 s another origin is asked. "
        "For a shared line, or an origin of limited throughput. Below some MB/s, reduce `connections`, too.",
        json_schema_extra={"default": "off"},
    )
    timeouts: OriginTimeouts = Field(default_factory=OriginTimeouts, description="Time limits for each step.")
    dns_refresh: Duration = duration(
        "30s",
        "Interval at which the endpoint's addresses are resolved again. Object stores move within minutes; if that "
        "fails, the last addresses stay in use.",
        least="1s",
    )

    @property
    def profile(self) -> Provider:
        """The profile of the provider."""
        return PROVIDERS[self.provider]

    def location(self) -> Location:
        """The location of the bucket. Raises ConfigError whose problems begin with the key."""
        return locate(
            self.profile,
            endpoint=self.endpoint,
            region=self.region,
            bucket=self.bucket,
            addressing=self.addressing,
        )
