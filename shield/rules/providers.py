"""Profiles of object storage providers: addressing, regions, extra request fields, throttling.

A profile has all that Shield knows of a provider; everything else is the same for all of them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote_from_bytes, urlsplit

from shield.errors import ConfigError

Addressing = Literal["auto", "path", "virtual"]


@dataclass(frozen=True, slots=True)
class Provider:
    """The profile of one provider.

    `endpoint` is the default URL, which may contain `{region}`; None: it must be configured. `region` is the default
    region; None: it must be configured, or part of the endpoint's host, where `region_in_host` finds it.
    `virtual_hosts` are host endings for which `auto` addressing puts the bucket into the host. `md5_etags`: according
    to its documentation, the ETag of an object uploaded in one part is its MD5. `checksums`: it sends an object's
    checksums on request, by x-amz-checksum-mode.
    """

    name: str
    signed: bool = True
    endpoint: str | None = None
    region: str | None = None
    region_in_host: re.Pattern[str] | None = None
    virtual_hosts: tuple[str, ...] = ()
    accept_encoding: bytes = b"identity"
    throttles_with_400: bool = False
    md5_etags: bool = False
    checksums: bool = False


_AWS_HOST = re.compile(
    r"(?:^|\.)s3[.-](?:dualstack\.|fips\.|fips\.dualstack\.)?([a-z]{2,}(?:-[a-z]+)+-\d+)\.amazonaws\.com(?:\.cn)?$"
)

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        provider.name: provider
        for provider in (
            Provider(
                "aws",
                endpoint="https://s3.{region}.amazonaws.com",
                region_in_host=_AWS_HOST,
                virtual_hosts=(".amazonaws.com", ".amazonaws.com.cn"),
                md5_etags=True,
                checksums=True,
            ),
            # Unless gzip is accepted, Google decompresses objects stored as gzip on the way, and length and ETag no
            # longer match. The field must stay unsigned: Google changes it before it checks the signature.
            Provider("gcs", endpoint="https://storage.googleapis.com", region="auto", accept_encoding=b"gzip"),
            Provider("r2", region="auto"),
            Provider(
                "b2",
                endpoint="https://s3.{region}.backblazeb2.com",
                region_in_host=re.compile(r"(?:^|\.)s3\.([a-z0-9-]+)\.backblazeb2\.com$"),
            ),
            Provider(
                "wasabi",
                endpoint="https://s3.{region}.wasabisys.com",
                region="us-east-1",
                region_in_host=re.compile(r"(?:^|\.)s3\.([a-z0-9-]+)\.wasabisys\.com$"),
                throttles_with_400=True,
                md5_etags=True,
            ),
            Provider("minio", region="us-east-1", checksums=True),
            Provider("ceph", region="us-east-1", checksums=True),
            Provider("swift", region="us-east-1"),
            Provider("http", signed=False),
        )
    }
)

_DNS_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")  # no dots: wildcard certificates don't cover them
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Location:
    """The location of a bucket: the endpoint to connect to, and the prefix of its objects' paths.

    `authority` is the value of Host; `base` precedes "/" + key in the path on the wire. Host, TLS (RFC 6066 §3) and
    signatures have the host without a trailing dot; `rooted`: it is configured with one.
    """

    tls: bool
    host: str
    port: int
    authority: bytes
    base: bytes
    region: bytes
    rooted: bool = False

    @property
    def name(self) -> str:
        """The name to resolve. With a trailing dot no search domain is tried. localhost never gets one: resolvers
        (RFC 6761 §6.3) and hosts files have it without.
        """
        return f"{self.host}." if self.rooted else self.host

    def object_url(self, path: bytes, query: bytes = b"") -> str:
        """The URL of an object, by its canonical path."""
        scheme = "https" if self.tls else "http"
        url = b"%b://%b%b%b" % (scheme.encode(), self.authority, self.base, path)
        return (url + b"?" + query if query else url).decode()


def locate(
    provider: Provider,
    *,
    endpoint: str | None,
    region: str | None,
    bucket: str | None,
    addressing: Addressing = "auto",
) -> Location:
    """The location of a bucket by the rules of its provider. Raises ConfigError for missing or unusable values."""
    region = region or _region_in(provider, endpoint) or provider.region
    if region is None and provider.signed:
        raise ConfigError([f"region: expected one, {provider.name} has no default"])
    if endpoint is None:
        if provider.endpoint is None:
            raise ConfigError([f"endpoint: expected a URL, {provider.name} has no default"])
        endpoint = provider.endpoint.format(region=region)
    if not bucket and provider.signed:
        raise ConfigError(["bucket: expected the bucket's name"])

    parts = urlsplit(endpoint)
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError([f"endpoint: {endpoint}: {error}"]) from error
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise ConfigError([f"endpoint: {endpoint}: expected http:// or https:// and a host"])
    rooted = host.endswith(".")
    host = host.removesuffix(".")
    if port is None:
        port = _DEFAULT_PORTS[parts.scheme]

    base = quote_from_bytes(parts.path.rstrip("/").encode(), safe="/%")
    if bucket and _is_virtual(provider, addressing, host, bucket):
        host = f"{bucket}.{host}"
    elif bucket:
        base += "/" + quote_from_bytes(bucket.encode(), safe="")
    shown = f"[{host}]" if ":" in host else host
    return Location(
        tls=parts.scheme == "https",
        host=host,
        port=port,
        authority=(shown if port == _DEFAULT_PORTS[parts.scheme] else f"{shown}:{port}").encode(),
        base=base.encode(),
        region=(region or "").encode(),
        rooted=rooted and host != "localhost" and not _is_address(host),
    )


def _region_in(provider: Provider, endpoint: str | None) -> str | None:
    if endpoint is None or provider.region_in_host is None:
        return None
    found = provider.region_in_host.search((urlsplit(endpoint).hostname or "").removesuffix("."))
    return found[1] if found else None


def _is_virtual(provider: Provider, addressing: Addressing, host: str, bucket: str) -> bool:
    if addressing != "auto":
        if addressing == "virtual" and _is_address(host):
            raise ConfigError([f"addressing: virtual needs a host name in endpoint, {host} is an address"])
        return addressing == "virtual"
    return host.endswith(provider.virtual_hosts) and _DNS_BUCKET.fullmatch(bucket) is not None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
