"""Addresses of peers, and the client addresses that proxies state (RFC 7239, X-Forwarded-For).

IPv4-mapped IPv6 addresses count as IPv4 addresses; zones are ignored.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Peer = IPAddress | Literal["unix"] | None
"""An address, the peer of a unix socket, or None if unknown."""

UNIX: Literal["unix"] = "unix"

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_port = r"(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?"
_node = re.compile(
    rf"\[(?P<bracketed>[0-9A-Fa-f:.]+)(?:%[^\]]*)?\]{_port}"
    rf"|(?P<v4>[0-9.]+){_port}"
    r"|(?P<bare>[0-9A-Fa-f:.]+)(?:%.*)?"
).fullmatch
_MOST = 4096  # bytes; a longer field identifies no client: no genuine chain of proxies is so long
_LONGEST = 128  # characters of an address; bounds the cache
_token = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_quoted = r'"(?:[^"\\]|\\.)*"'
# A pair of an element, if any, and its terminator. Node names needn't be quoted, though RFC 7239 §6 demands it.
_pair = re.compile(rf'[ \t]*(?:(?P<name>{_token})=(?P<value>{_quoted}|[^",;\s]*)[ \t]*)?(?P<end>[;,]|\Z)').match


class Networks:
    """A set of addresses, given as networks or single addresses; "unix" stands for all unix sockets.

    One set lookup for each prefix length in use, so that a CDN's hundreds of networks cost no more than ten. Raises
    ValueError for an invalid network.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._has_unix = False
        self._shifted: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        for text in texts:
            if text == UNIX:
                self._has_unix = True
                continue
            network = network_of(text)
            shift = network.max_prefixlen - network.prefixlen
            self._shifted[network.version].setdefault(shift, set()).add(int(network.network_address) >> shift)

    def __contains__(self, peer: Peer) -> bool:
        if peer is None:
            return False
        if isinstance(peer, str):
            return self._has_unix
        number = int(peer)
        return any(number >> shift in known for shift, known in self._shifted[peer.version].items())

    def __bool__(self) -> bool:
        return self._has_unix or any(self._shifted.values())


def network_of(text: str) -> IPNetwork:
    """The network of a text such as `192.0.2.0/24` or `192.0.2.1`. Raises ValueError, also for set host bits."""
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network):
        if network.network_address.scope_id is not None:
            raise ValueError("a zone")
        if network.subnet_of(_MAPPED):
            mapped = int(network.network_address) & 0xFFFFFFFF
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def peer_of(text: str) -> Peer:
    """The peer of a socket, from its address or "unix"."""
    return UNIX if text == UNIX else _address(text.partition("%")[0])


def stated_clients(
    peer: Peer, forwarded: bytes | None, x_forwarded_for: bytes | None, trusted: Networks
) -> list[Peer]:
    """The client behind a trusted peer according to each field: the rightmost address that isn't trusted.

    One result for each field present: a proxy that writes one of them may forward a client's forgery of the other,
    so all results have to be admitted. A peer that isn't trusted, or sends neither field, is itself the client.
    """
    if peer not in trusted:
        return [peer]
    stated = [
        _rightmost(peer, hops_in(value.decode("latin-1")) if len(value) <= _MOST else [""], trusted)
        for value, hops_in in ((forwarded, _forwarded), (x_forwarded_for, _x_forwarded_for))
        if value is not None
    ]
    return stated or [peer]


def _rightmost(peer: Peer, hops: list[str], trusted: Networks) -> Peer:
    """The last hop that isn't trusted, the first one if all are; None for a hop without a valid address."""
    found = peer
    for hop in reversed(hops):
        found = _node_address(hop)
        if found not in trusted:
            break
    return found


def _x_forwarded_for(value: str) -> list[str]:
    """The hops' texts, in order."""
    hops = [hop.strip(" \t") for hop in value.split(",")]
    return [hop for hop in hops if hop]


def _forwarded(value: str) -> list[str]:
    """The `for` of each element, in order; [""] for a malformed value.

    An unterminated quote from a client would swallow the elements that proxies append, so that value is rejected.
    """
    hops: list[str] = []
    element: dict[str, str] = {}
    at = 0
    while (match := _pair(value, at)) is not None:
        name, text = match["name"], match["value"]
        if name is not None:
            if name.lower() in element:
                return [""]
            element[name.lower()] = _unquoted(text)
        if match["end"] != ";":
            if element:
                hops.append(element.get("for", ""))
            element = {}
            if not match["end"]:
                return hops
        at = match.end()
    return [""]


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


@lru_cache(maxsize=4096)  # a CDN has hundreds of machines
def _node_address(text: str) -> IPAddress | None:
    """The address of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`; None for anything else."""
    match = _node(text) if len(text) <= _LONGEST else None
    return None if match is None else _address(match["bracketed"] or match["v4"] or match["bare"])


def _address(text: str) -> IPAddress | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
