"""Settings of a cluster: nodes that share one key space."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema

from shield.bus.address import engine_address
from shield.config.price import PriceSettings
from shield.config.section import (
    File,
    Listen,
    ListenAddress,
    Name,
    NodeName,
    Region,
    Secret,
    Section,
    parse_address,
)
from shield.config.units import Duration, ExpectedError, duration

SECRETS = (("cluster", "secret"), ("cluster", "bus"))
"""Keys whose values are never shown. They may also be given as `secret_file` and `bus_file`."""

FILES = (
    ("cluster", "secret_file"),
    ("cluster", "bus_file"),
    ("cluster", "tls", "certificate_file"),
    ("cluster", "tls", "key_file"),
    ("cluster", "tls", "ca_file"),
)
"""Keys that hold a path; in YAML, relative to the directory of that file."""

_LEAST_CHARACTERS, _MOST_SECRETS = 32, 4
_NAME_SCHEMA = {"type": "string", "pattern": r":[0-9]{1,5}$", "examples": ["shield.shield.svc:7071"]}


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ExpectedError("expected an IP address, as 10.0.0.1") from None


IpAddress = Annotated[str, AfterValidator(_address)]


def _are_secrets(value: SecretStr) -> SecretStr:
    found = _lines(value)
    if not all(line.isascii() and line.isprintable() and " " not in line for line in found):
        raise ExpectedError("expected printable ASCII without blanks; of several secrets each on a line of its own")
    if not found or min(map(len, found)) < _LEAST_CHARACTERS:
        raise ExpectedError(f"expected {_LEAST_CHARACTERS} characters at least; openssl rand -hex 32 makes good ones")
    if len(found) > _MOST_SECRETS:
        raise ExpectedError(f"expected {_MOST_SECRETS} lines at most, each with a secret, the newest first")
    return value


def _lines(value: SecretStr) -> list[str]:
    return [line for line in map(str.strip, value.get_secret_value().splitlines()) if line]


class ClusterNode(Section):
    """A node of the cluster."""

    address: Listen = Field(
        description="Address of its first worker for other nodes; worker n has the port n above it.",
    )
    weight: Annotated[float, Field(gt=0, le=1000)] = Field(
        default=1.0,
        description="The share of the keys that it owns, as compared with other nodes: its disk, or its RAM.",
    )
    region: Region | None = Field(default=None, description="Its region. If omitted: it is in none.")


def _is_engine(value: SecretStr) -> SecretStr:
    try:
        engine_address(value.get_secret_value())
    except ValueError as error:
        raise ExpectedError(str(error)) from None
    return value


def _address_is_a_node(value: Any) -> Any:
    return {"address": value} if isinstance(value, str | ListenAddress) else value


class ClusterTls(Section):
    """Certificates of connections between nodes: both ends show one, and accept those of `ca_file` only."""

    certificate_file: File = Field(description="PEM file with this node's certificate and the chain above it.")
    key_file: File = Field(description="PEM file with its key, not encrypted.")
    ca_file: File = Field(
        description="PEM file with the authority of the nodes' certificates. It must issue none to others: any "
        "holder of one counts as a node."
    )


class ClusterSettings(Section):
    """Several nodes that fetch each object once."""

    nodes: Mapping[NodeName, Annotated[ClusterNode, BeforeValidator(_address_is_a_node)]] = Field(
        default_factory=dict,
        description="All nodes by name, this one included, each with its address for the others, or with address, "
        "weight and region. The same on all nodes.",
    )
    dns: Annotated[ListenAddress, BeforeValidator(parse_address), WithJsonSchema(_NAME_SCHEMA)] | None = Field(
        default=None,
        description="In place of nodes: a name whose addresses are those of all nodes, as of a headless service in "
        "Kubernetes, and the port of their first workers. It is looked up each five seconds.",
    )
    address: IpAddress | None = Field(
        default=None,
        description="This node's own address among those of dns. If omitted: the one that this machine has.",
    )
    listen: Listen | None = Field(
        default=None,
        description="Address on which this node's first worker listens for other nodes; worker n on the port n "
        "above. If omitted: its own in nodes; with dns, that port on all IPv4 addresses.",
    )
    near: tuple[Name, ...] = Field(
        default=(),
        description="Origins that this node's region is near to. Nodes of other regions then ask this one for their "
        "objects, if it is nearer to them than the origin, or cheaper, by measurement.",
    )
    price: PriceSettings | None = Field(
        default=None,
        description="Price of bytes that this node sends to nodes of other regions. With it, and prices of origins, "
        "another region is also asked where that is cheaper, and not asked where it is dearer, as the route's "
        "exchange has it. If omitted: prices don't count.",
    )
    secret: Annotated[SecretStr, AfterValidator(_are_secrets)] | None = Field(
        default=None,
        description="Secret of all nodes, by which they sign requests to each other; 32 characters at least. Several "
        "lines are as many secrets, the newest first: requests may be signed by any of them. Without tls, "
        "traffic between nodes isn't encrypted: only for a network of your own.",
    )
    secret_file: File | None = Field(default=None, description="File with the secret.")
    tls: ClusterTls | None = Field(
        default=None, description="Certificates of connections between nodes. If omitted: plain, with a secret."
    )
    bus: Annotated[Secret, AfterValidator(_is_engine)] | None = Field(
        default=None,
        description="Valkey or Redis, shared by all nodes: redis://HOST:PORT/0, rediss:// "
        "for TLS, redis+sentinel://HOST,HOST/SERVICE, redis+cluster://HOST,HOST. If omitted: nodes tell each other "
        "of purges, and each has rate limits of its own. No request needs it. Needs the extra `cluster`.",
    )
    bus_file: File | None = Field(default=None, description="File with that URL, which may have a password.")
    bus_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = Field(
        default="shield",
        description="Prefix of its keys, where several clusters share an engine. The same on all nodes.",
    )
    purge_blind_max: Duration = duration(
        "10m",
        "After so long without the bus and most of the other nodes this one counts as blind: it may serve objects "
        "that were purged at others. Longer than restarts and failovers of the network take.",
        least="15s",
    )
    when_blind: Literal["serve", "revalidate", "not-ready"] = Field(
        default="serve",
        description="Its behaviour then, besides raising an alarm: serve; or revalidate entries that origins "
        "confirmed before it became blind, or longer than purge_blind_max ago, before each use; or say on `/ready` "
        "that it isn't ready, so that load balancers send its clients elsewhere. Serve, since a network that is down "
        "would take all nodes out at once, or send all hits to the origins.",
    )
    gap_pace: Duration = duration(
        "10m",
        "After orders were lost that no node remembers, all that is stored becomes stale over so long, in parts by "
        "the hash of keys: origins are asked for all that is in use in that time.",
        least="1m",
    )
    limits_without_bus: Literal["divided", "closed"] = Field(
        default="divided",
        description="Rate limits while the bus is away: each node gives its part, or refuses whatever a limit "
        "concerns. Divided, since the bus must not take clients down with it.",
    )

    def secrets(self) -> tuple[bytes, ...]:
        """The secrets, the newest first."""
        return () if self.secret is None else tuple([line.encode() for line in _lines(self.secret)])

    def listens_on(self, node: str, worker: int) -> ListenAddress | None:
        """The address on which a worker of this node listens for other nodes; None if it isn't known."""
        first = self.listen
        if first is None and self.dns is not None:
            first = ListenAddress("0.0.0.0", self.dns.port)
        elif first is None and node in self.nodes:
            first = self.nodes[node].address
        return None if first is None else ListenAddress(first.host, first.port + worker)
