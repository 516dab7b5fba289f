"""Who may ask: what a connection and a request say of their client, held against rules.

What a connection settles is settled once, in a `Visitor`; the rest is looked at in each request. Who can't be told is
not let in.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from shield.errors import RequestError
from shield.rules.addresses import Networks, Peer, clients_told, peer_of
from shield.rules.signed_urls import Link, Links

FORWARDED, X_FORWARDED_FOR = b"forwarded", b"x-forwarded-for"

_FORBIDDEN, _MISDIRECTED = 403, 421
_authority = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*)?").fullmatch


class Rule(Enum):
    """What may be asked of a client, the cheapest first; the value is its key in settings, metrics and logs."""

    ADDRESSES = "addresses"  # it has one of these addresses
    CLIENT_CERTIFICATE = "client_certificate"  # an authority of ours vouches for it
    HOSTS = "hosts"  # it means one of these hosts
    HEADER = "header"  # it knows a secret
    SIGNED_URLS = "signed_urls"  # it has a link that somebody signed who knows a key


Requirement = tuple[tuple[Rule, ...], ...]
"""Of each group one rule must hold. Empty: everyone is let in."""


class DeniedError(RequestError):
    """A request that isn't let in. `reason` says nothing; `rules` and `why` are for our own log and metrics."""

    def __init__(self, objections: Iterable[tuple[Rule, str]]) -> None:
        found = list(objections)
        self.rules = [rule for rule, _ in found]
        self.why = ", ".join(f"{rule.value}: {why}" for rule, why in found)
        misdirected = self.rules == [Rule.HOSTS]
        super().__init__(
            _MISDIRECTED if misdirected else _FORBIDDEN, "misdirected request" if misdirected else "forbidden"
        )


@dataclass(frozen=True, slots=True)
class Visitor:
    """What a connection says of its client. `settled`: rules that need no request; why one doesn't hold, or None."""

    peer: Peer
    settled: Mapping[Rule, str | None]


@dataclass(slots=True)
class Asked:
    """What of a request is looked at: its host, its fields in `AccessRules.fields`, and the link it may be.

    `text` is what such a link signs, None for a target that names no object.
    """

    host: bytes | None
    told: Mapping[bytes, bytes]
    link: Link | None
    text: bytes | None
    now: float


class Secrets:
    """Secrets of which any will do. Only digests are kept: equal lengths, and nothing to read in a core dump."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._digests = tuple(hashlib.sha256(secret).digest() for secret in secrets)

    def has(self, given: bytes) -> bool:
        """Compares with all of them, in the same time for each."""
        digest, found = hashlib.sha256(given).digest(), False
        for known in self._digests:
            found |= hmac.compare_digest(digest, known)
        return found


class Hosts:
    """Names of hosts; `*.cdn.example` is every name below that one."""

    def __init__(self, names: Iterable[str]) -> None:
        lower = [name.lower().encode() for name in names]
        self._exact = frozenset(name for name in lower if not name.startswith(b"*."))
        self._below = tuple(name[1:] for name in lower if name.startswith(b"*."))

    def has(self, authority: bytes) -> bool:
        """Whether a Host field's value, port included, is one of them."""
        match = _authority(authority)
        if match is None:
            return False
        host = match[1].lower().removesuffix(b".")
        return host in self._exact or (host.endswith(self._below) and not host.startswith(b"."))


@dataclass(frozen=True, kw_only=True)
class AccessRules:
    """The rules that there are, and which of them are asked for: `require`, for some routes something else.

    `told_by` are the fields in which `trusted` proxies name their clients. `names` None: any certificate will do that
    was verified.
    """

    require: Requirement
    routes: Mapping[str, Requirement] = field(default_factory=dict)
    addresses: Networks = field(default_factory=Networks)
    trusted: Networks = field(default_factory=Networks)
    told_by: frozenset[bytes] = frozenset({FORWARDED, X_FORWARDED_FOR})
    names: frozenset[str] | None = None
    hosts: Hosts | None = None
    header: bytes | None = None
    secrets: Secrets = field(default_factory=lambda: Secrets(()))
    links: Links | None = None

    @cached_property
    def fields(self) -> frozenset[bytes]:
        """Names of the fields that are looked at and go no further, lower case; Host is one more."""
        own = frozenset() if self.header is None else frozenset({self.header})
        return own | self.told_by if self.trusted else own

    @cached_property
    def depend_on_target(self) -> bool:
        """Whether what a target names has a say."""
        return bool(self.routes) or self.links is not None

    def always(self, rule: Rule) -> bool:
        """Whether nobody is let in for whom it doesn't hold."""
        return all((rule,) in each for each in (self.require, *self.routes.values()))

    def visitor(self, peer: str, certificate: Mapping[str, Any] | None) -> Visitor:
        """Of a connection from this address (or "unix"), with a certificate as `getpeercert` shows it."""
        address = peer_of(peer)
        settled = {Rule.CLIENT_CERTIFICATE: self._of_certificate(certificate)}
        if address not in self.trusted:
            settled[Rule.ADDRESSES] = None if address in self.addresses else _shown(address)
        return Visitor(address, settled)

    def welcome(self, visitor: Visitor) -> bool:
        """Whether nothing is left to be looked at in this visitor's requests, whatever they ask for."""
        return (
            self.header is None
            and self.links is None
            and all(
                any(visitor.settled.get(rule, "") is None for rule in group)
                for requirement in (self.require, *self.routes.values())
                for group in requirement
            )
        )

    def judge(self, visitor: Visitor, asked: Asked, requirement: Requirement) -> DeniedError | None:
        """None for who is let in. Stops at the first group of which no rule holds."""
        settled = visitor.settled
        for group in requirement:
            objections = []
            for rule in group:
                why = settled[rule] if rule in settled else self._objection(rule, visitor.peer, asked)
                if why is None:
                    break
                objections.append((rule, why))
            else:
                return DeniedError(objections)
        return None

    def _objection(self, rule: Rule, peer: Peer, asked: Asked) -> str | None:
        """Why a rule doesn't hold for a request."""
        if rule is Rule.HEADER:
            given = None if self.header is None else asked.told.get(self.header)
            if given is None:
                return "missing"
            return None if self.secrets.has(given) else "wrong"
        if rule is Rule.HOSTS:
            if asked.host is None or self.hosts is None:
                return "missing"
            return None if self.hosts.has(asked.host) else asked.host[:100].decode("ascii", "backslashreplace")
        if rule is Rule.SIGNED_URLS:
            return "no keys" if self.links is None else self.links.objection(asked.link, asked.text, asked.now)
        told = {name: asked.told[name] for name in self.told_by if name in asked.told}
        clients = clients_told(peer, told.get(FORWARDED), told.get(X_FORWARDED_FOR), self.trusted)
        return ", ".join(_shown(client) for client in clients if client not in self.addresses) or None

    def _of_certificate(self, certificate: Mapping[str, Any] | None) -> str | None:
        if not certificate:
            return "missing"
        return None if self.names is None or self.names & certificate_names(certificate) else "another name"


def _shown(peer: Peer) -> str:
    return "unknown" if peer is None else str(peer)


def certificate_names(certificate: Mapping[str, Any]) -> frozenset[str]:
    """DNS names and common names of a certificate as `getpeercert` shows it, lower case."""
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    names += [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return frozenset(name.lower() for name in names)


def requirement_of(texts: Iterable[str]) -> Requirement:
    """What `header or addresses`, one for each group, means. Raises ValueError for a word that is no rule."""
    order = list(Rule)
    groups = [tuple(sorted((Rule(word) for word in text.split(" or ")), key=order.index)) for text in texts]
    return tuple(sorted(groups, key=lambda group: max(map(order.index, group))))  # what costs most comes last
