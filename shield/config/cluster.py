"""Settings of a cluster: nodes that share one key space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from shield.config.section import File, Listen, ListenAddress, NodeName, Region, Secret, Section
from shield.config.units import ExpectedError

SECRET = ("cluster", "secret")
"""The key whose value is never shown. It may also be given as `secret_file`."""

FILES = (
    ("cluster", "secret_file"),
    ("cluster", "tls", "certificate_file"),
    ("cluster", "tls", "key_file"),
    ("cluster", "tls", "ca_file"),
)
"""Keys that hold a path; in YAML, relative to the directory of that file."""

_LEAST_CHARACTERS = 32


def _is_long(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < _LEAST_CHARACTERS:
        raise ExpectedError(f"expected {_LEAST_CHARACTERS} characters at least; openssl rand -hex 32 makes good ones")
    return value


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


def _address_is_a_node(value: Any) -> Any:
    return {"address": value} if isinstance(value, str | ListenAddress) else value


class ClusterTls(Section):
    """Certificates of connections between nodes: both ends show one, and accept those of `ca_file` only."""

    certificate_file: File = Field(description="PEM file with this node's certificate and the chain above it.")
    key_file: File = Field(description="PEM file with its key, not encrypted.")
    ca_file: File = Field(
        description="PEM file with the authority of the nodes' certificates. It must issue none to others: who has "
        "one is a node."
    )


class ClusterSettings(Section):
    """Several nodes that fetch each object once."""

    nodes: Mapping[NodeName, Annotated[ClusterNode, BeforeValidator(_address_is_a_node)]] = Field(
        default_factory=dict,
        description="All nodes by name, this one included, each with its address for the others, or with address, "
        "weight and region. The same on all nodes.",
    )
    listen: Listen | None = Field(
        default=None,
        description="Address on which this node's first worker listens for other nodes; worker n on the port n "
        "above. If omitted: its own in nodes.",
    )
    secret: Annotated[Secret, AfterValidator(_is_long)] | None = Field(
        default=None,
        description="Secret of all nodes, by which they sign requests to each other; 32 characters at least. Without "
        "tls, what they send each other can be read on the way: only for a network of your own.",
    )
    secret_file: File | None = Field(default=None, description="File with the secret.")
    tls: ClusterTls | None = Field(
        default=None, description="Certificates of connections between nodes. If omitted: plain, with a secret."
    )

    def listens_on(self, node: str, worker: int) -> ListenAddress | None:
        """The address on which a worker of this node listens for other nodes; None if it isn't known."""
        first = self.listen or (self.nodes[node].address if node in self.nodes else None)
        return None if first is None else ListenAddress(first.host, first.port + worker)
