"""Access rules: which clients are admitted, by their connection and their request.

Rules on the connection are evaluated once, in its `ClientIdentity`; the others for each request. A client that can't
be identified is denied.
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
from shield.rules.addresses import Networks, Peer, peer_of, stated_clients
from shield.rules.signed_urls import Link, Links

FORWARDED, X_FORWARDED_FOR = b"forwarded", b"x-forwarded-for"

_FORBIDDEN, _MISDIRECTED = 403, 421
_authority = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*)?").fullmatch


class Rule(Enum):
    """A requirement on clients, the cheapest first; the value is its key in settings, metrics and logs."""

    ADDRESSES = "addresses"  # it has one of these addresses
    CLIENT_CERTIFICATE = "client_certificate"  # it has a certificate from a trusted authority
    HOSTS = "hosts"  # it requests one of these hosts
    HEADER = "header"  # it knows a secret
    SIGNED_URLS = "signed_urls"  # it has a link signed with one of the keys


Requirement = tuple[tuple[Rule, ...], ...]
"""One rule of each group must hold. Empty: everyone is admitted."""


class DeniedError(RequestError):
    """A denied request. `reason` reveals nothing; `rules` and `why` are for our own log and metrics."""

    def __init__(self, objections: Iterable[tuple[Rule, str]]) -> None:
        found = list(objections)
        self.rules = [rule for rule, _ in found]
        self.why = ", ".join(f"{rule.value}: {why}" for rule, why in found)
        misdirected = self.rules == [Rule.HOSTS]
        super().__init__(
            _MISDIRECTED if misdirected else _FORBIDDEN, "misdirected request" if misdirected else "forbidden"
        )


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """The client of one connection. `settled` has the results of rules that need no request: the objection, or None
    for a rule that holds.
    """

    peer: Peer
    settled: Mapping[Rule, str | None]


@dataclass(slots=True)
class RequestFacts:
    """The parts of a request that rules check: its host, its fields that are in `AccessRules.fields`, and its signed
    link, if any.

    `text` is the text that the link has to sign, None if the target names no object. `now` is epoch seconds.
    """

    host: bytes | None
    fields: Mapping[bytes, bytes]
    link: Link | None
    text: bytes | None
    now: float


class AcceptedSecrets:
    """Secrets, any of which is accepted. Only digests are kept: of equal length, and unreadable in a core dump."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._digests = tuple(hashlib.sha256(secret).digest() for secret in secrets)

    def has(self, given: bytes) -> bool:
        """Compares with all of them, in the same time for each."""
        digest, found = hashlib.sha256(given).digest(), False
        for known in self._digests:
            found |= hmac.compare_digest(digest, known)
        return found


class Hosts:
    """Host names; `*.cdn.example` stands for every name below `cdn.example`."""

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
    """The configured rules, and those required: `require`, with exceptions for some routes, and for the node's `own`
    path.

    `client_fields` are the fields in which `trusted` proxies name their clients. `names` None: any verified
    certificate is accepted.
    """

    require: Requirement
    routes: Mapping[str, Requirement] = field(default_factory=dict)
    own: Requirement | None = None
    addresses: Networks = field(default_factory=Networks)
    trusted: Networks = field(default_factory=Networks)
    client_fields: frozenset[bytes] = frozenset({FORWARDED, X_FORWARDED_FOR})
    names: frozenset[str] | None = None
    hosts: Hosts | None = None
    header: bytes | None = None
    secrets: AcceptedSecrets = field(default_factory=lambda: AcceptedSecrets(()))
    links: Links | None = None

    @cached_property
    def fields(self) -> frozenset[bytes]:
        """Names of the fields that are checked and not forwarded, lower case; Host is one more."""
        own = frozenset() if self.header is None else frozenset({self.header})
        return own | self.client_fields if self.trusted else own

    @cached_property
    def depend_on_target(self) -> bool:
        """Whether decisions depend on a request's target: routes have their own rules, or links are signed."""
        return bool(self.routes) or self.links is not None or self.own is not None

    def always(self, rule: Rule) -> bool:
        """Whether every admitted client satisfies this rule."""
        return all((rule,) in each for each in self._requirements)

    @cached_property
    def _requirements(self) -> tuple[Requirement, ...]:
        own = () if self.own is None else (self.own,)
        return (self.require, *self.routes.values(), *own)

    def identify(self, peer: str, certificate: Mapping[str, Any] | None) -> ClientIdentity:
        """The client of a connection from this address (or "unix"); `certificate` is as from `getpeercert`."""
        address = peer_of(peer)
        settled = {Rule.CLIENT_CERTIFICATE: self._of_certificate(certificate)}
        if address not in self.trusted:
            settled[Rule.ADDRESSES] = None if address in self.addresses else _shown(address)
        return ClientIdentity(address, settled)

    def admits_all_of(self, identity: ClientIdentity) -> bool:
        """Whether all requests of this client are admitted, whatever they contain."""
        return (
            self.header is None
            and self.links is None
            and all(
                any(identity.settled.get(rule, "") is None for rule in group)
                for requirement in self._requirements
                for group in requirement
            )
        )

    def judge(self, identity: ClientIdentity, facts: RequestFacts, requirement: Requirement) -> DeniedError | None:
        """The denial, None if the client is admitted. Stops at the first group in which no rule holds."""
        settled = identity.settled
        for group in requirement:
            objections = []
            for rule in group:
                why = settled[rule] if rule in settled else self._objection(rule, identity.peer, facts)
                if why is None:
                    break
                objections.append((rule, why))
            else:
                return DeniedError(objections)
        return None

    def _objection(self, rule: Rule, peer: Peer, facts: RequestFacts) -> str | None:
        """Why a request doesn't satisfy a rule; None if it does."""
        if rule is Rule.HEADER:
            given = None if self.header is None else facts.fields.get(self.header)
            if given is None:
                return "missing"
            return None if self.secrets.has(given) else "wrong"
        if rule is Rule.HOSTS:
            if facts.host is None or self.hosts is None:
                return "missing"
            return None if self.hosts.has(facts.host) else facts.host[:100].decode("ascii", "backslashreplace")
        if rule is Rule.SIGNED_URLS:
            return "no keys" if self.links is None else self.links.objection(facts.link, facts.text, facts.now)
        stated = {name: facts.fields[name] for name in self.client_fields if name in facts.fields}
        clients = stated_clients(peer, stated.get(FORWARDED), stated.get(X_FORWARDED_FOR), self.trusted)
        return ", ".join(_shown(client) for client in clients if client not in self.addresses) or None

    def _of_certificate(self, certificate: Mapping[str, Any] | None) -> str | None:
        if not certificate:
            return "missing"
        return None if self.names is None or self.names & certificate_names(certificate) else "another name"


def _shown(peer: Peer) -> str:
    return "unknown" if peer is None else str(peer)


def certificate_names(certificate: Mapping[str, Any]) -> frozenset[str]:
    """DNS names and common names of a certificate as `getpeercert` returns it, lower case."""
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    names += [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return frozenset(name.lower() for name in names)


def requirement_of(texts: Iterable[str]) -> Requirement:
    """A requirement from one text per group, such as `header or addresses`. Raises ValueError for an unknown rule."""
    order = list(Rule)
    groups = [tuple(sorted((Rule(word) for word in text.split(" or ")), key=order.index)) for text in texts]
    return tuple(sorted(groups, key=lambda group: max(map(order.index, group))))  # the most expensive last
