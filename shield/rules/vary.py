"""The request fields that are forwarded to origins, and the variant that a request selects.

RFC 9110 §12.5.5, RFC 9111 §4.1. A field that isn't forwarded can't affect a response, so only forwarded fields
distinguish variants. Each is normalised first, so that thousands of Accept strings make a few variants.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shield.errors import RequestError
from shield.messages import Field, Request
from shield.rules.key import CacheKey, key_of_text

# Never forwarded: hop-by-hop fields, the request's framing, conditions and ranges, which we set ourselves, and fields
# that make frameworks serve another resource than the one in the key.
_OF_OTHERS = frozenset(
    b"cdn-loop connection content-length expect forwarded host http2-settings if-match if-modified-since"
    b" if-none-match if-range if-unmodified-since keep-alive proxy-authenticate proxy-authorization"
    b" proxy-connection range te trailer transfer-encoding upgrade x-envoy-original-path x-host"
    b" x-http-host-override x-http-method x-http-method-override x-http-path-override x-method-override"
    b" x-middleware-subrequest x-original-host"
    b" x-original-uri x-original-url x-rewrite-url front-end-https x-scheme x-url-scheme".split()
)
# Never forwarded either: fields in which proxies report their client's address, user and certificate. Origins trust
# them, but any client can send them. The true client isn't reported either: a response is shared, so the origin must
# not choose it by a property of one client.
_OF_CLIENT = frozenset(
    b"ali-cdn-real-ip cf-connecting-ip cf-connecting-ipv6 cf-pseudo-ipv4 cf-visitor cdn-src-ip"
    b" client-cert client-cert-chain client-ip cloudfront-viewer-address do-connecting-ip fastly-client-ip"
    b" fastly-client fastly-ssl fly-client-ip forwarded-for http-client-ip incap-client-ip proxy-client-ip"
    b" real-ip remote-addr remote-user true-client-ip wl-proxy-client-ip x-appengine-user-ip x-azure-clientip"
    b" x-azure-socketip x-client-ip x-cluster-client-ip x-envoy-external-address x-forwarded"
    b" x-nf-client-connection-ip x-original-forwarded-for x-originating-ip x-proxyuser-ip x-real-ip x-remote-addr"
    b" x-remote-ip x-remote-user x-ssl-client-cert x-sucuri-clientip x-true-client-ip x-user-ip"
    b" x-vercel-forwarded-for".split()
)
_NEVER = _OF_OTHERS | _OF_CLIENT
_SET_BY_PROXIES = (b"x-forwarded-", b"cloudfront-forwarded-", b"ssl-client-", b"x-ssl-client-")
_S3_MEANS = (b"x-amz-", b"x-goog-", b"x-ms-", b"x-minio-", b"x-rgw-")
_NEVER_BEGINNINGS = _SET_BY_PROXIES + _S3_MEANS

MARK: Final = b" vary="
"""Follows the text of the base key in that of a variant's key. Canonical paths and queries have no space."""

_LONGEST_LIST = 4096  # bytes; longer lists aren't parsed
_MOST_MEMBERS = 64  # of a parsed list; genuine ones have fewer
_PREFERENCES = frozenset({b"accept", b"accept-charset", b"accept-encoding", b"accept-language"})
_TELLING = 8  # a value of at least so many bytes isn't repeated by chance
_OF_CORS = frozenset({b"access-control-request-headers", b"access-control-request-method", b"origin"})
_OPAQUE = frozenset({b"authorization", b"cookie"})
_QUALITY = re.compile(rb";[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*(?:;|\Z)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Forwarding:
    """The request fields that are forwarded: `names`, in lower case; None: all that may be.

    `types` are the media types that the platform serves, the best first; `codings` are its content codings;
    `languages` are its languages in lower case, the default first. With them, Accept is forwarded as the best type
    that the client accepts, Accept-Encoding as the codings that it accepts, Accept-Language as the language that it
    prefers. `storage`: one of the origins is S3, which selects by the fields of CORS, but names them in Vary only if
    they were sent. Requests that would forward more than `max_fields` or `max_bytes`, names and line ends included,
    are refused.
    """

    names: frozenset[bytes] | None = frozenset()
    types: tuple[bytes, ...] = ()
    codings: tuple[bytes, ...] = ()
    languages: tuple[bytes, ...] = ()
    storage: bool = False
    max_bytes: int = 8192  # of all forwarded fields: origins refuse longer heads
    max_fields: int = 64

    @property
    def any(self) -> bool:
        """Whether any field is forwarded."""
        return self.names is None or bool(self.names)

    def has(self, name: bytes) -> bool:
        """Whether a field is forwarded."""
        return (self.names is None or name in self.names) and may_forward(name)

    def fields(self, request: Request) -> tuple[Field, ...]:
        """The forwarded fields of a request: each once, normalised, sorted by name.

        Raises RequestError 431 if they exceed the limits.
        """
        found: dict[bytes, list[bytes]] = {}
        nominated = _nominated(request)
        for name, value in request.fields:
            if nominated is None:
                break
            if (self.names is None or name in self.names) and name not in nominated and may_forward(name):
                found.setdefault(name, []).append(value)
        if self.types and (self.names is None or b"accept" in self.names):
            found[b"accept"] = [_best_type(b",".join(found.get(b"accept", ())), self.types)]
        if self.codings and (self.names is None or b"accept-encoding" in self.names):
            found[b"accept-encoding"] = [_codings(b",".join(found.get(b"accept-encoding", ())), self.codings)]
        if self.languages and (self.names is None or b"accept-language" in self.names):
            found[b"accept-language"] = [_language(b",".join(found.get(b"accept-language", ())), self.languages)]
        for name in _PREFERENCES.intersection(found):
            if sum([value.count(b",") + 1 for value in found[name]]) > _MOST_MEMBERS:
                del found[name]  # too long to parse: any response will do (RFC 9110 §12.5)
        sizes = [(len(name) + 4) * len(values) + sum(map(len, values)) for name, values in found.items()]
        if sum(sizes) > self.max_bytes:
            raise RequestError(431, "fields-too-long")
        if len(found) > self.max_fields:
            raise RequestError(431, "too-many-fields")
        return tuple(
            [
                (name, _preferences(name, found[name]) if name in _PREFERENCES else _joined(name, found[name]))
                for name in sorted(found)
            ]
        )


def may_forward(name: bytes) -> bool:
    """Whether a field may ever be forwarded. `name` is in lower case; _ counts as -, since servers that pass fields
    in environment variables equate them.
    """
    plain = name.replace(b"_", b"-")
    return plain not in _NEVER and not plain.startswith(_NEVER_BEGINNINGS)


def names_in(values: Sequence[bytes]) -> tuple[bytes, ...] | None:
    """The field names in the lines of Vary, in lower case, unique and sorted; None if `*` is among them."""
    names = {name.strip(b" \t").lower() for value in values for name in value.split(b",")} - {b""}
    return None if b"*" in names else tuple(sorted(names))


def choosing(names: Sequence[bytes], forwarding: Forwarding) -> tuple[bytes, ...]:
    """The fields that can have selected a response: forwarded ones that Vary names, and those that storages select by
    without naming them.
    """
    if forwarding.names is None:
        return tuple([name for name in names if may_forward(name)])
    if forwarding.storage:
        names = sorted(_OF_CORS.union(names))
    return tuple([name for name in names if name in forwarding.names])


def unkeyed(names: Sequence[bytes], forwarded: Sequence[Field], forwarding: Forwarding) -> tuple[Field, ...]:
    """The forwarded fields with arbitrary values of the client that don't distinguish variants of a response with
    these `names` in its Vary.
    """
    confined = {*choosing(names, forwarding)}
    if forwarding.types:
        confined.add(b"accept")  # normalised to one of a few values
    if forwarding.codings:
        confined.add(b"accept-encoding")
    if forwarding.languages:
        confined.add(b"accept-language")
    return tuple([line for line in forwarded if line[0] not in confined])


def reflects(answered: Sequence[Field], asked: Sequence[Field]) -> bool:
    """Whether a response's fields repeat values of a request's fields.

    Preferences and values below 8 bytes don't count, since they may recur by chance. Nor does a value under its own
    name: that is an echo, such as a trace id.
    """
    values = b"\n".join([value for _, value in answered])
    return any(
        len(said) >= _TELLING
        and name not in _PREFERENCES
        and said in values
        and any(said in value and line != name for line, value in answered)
        for name, said in asked
    )


def variant(names: Sequence[bytes], forwarded: Sequence[Field]) -> bytes:
    """The named fields with their values, equal for requests that match (RFC 9111 §4.1).

    An absent field differs from an empty one.
    """
    there = dict(forwarded)
    return b"\n".join([name + b":" + there[name] if name in there else name for name in names])


def variant_key(base: CacheKey, salt: bytes, names: Sequence[bytes], forwarded: Sequence[Field]) -> CacheKey:
    """The key of the variant that a request selects. A new `salt` makes all existing variants of a key unreachable.

    Clients choose these values freely, at any length, so the key has a collision-resistant hash of them.
    """
    digest = hashlib.blake2b(variant(names, forwarded), digest_size=16).hexdigest().encode()
    return key_of_text(b"%b%b%b/%b" % (base.text, MARK, salt, digest))


def _joined(name: bytes, values: Sequence[bytes]) -> bytes:
    """The lines of a field joined into one, with white space around commas normalised (RFC 9110 §5.3, RFC 9111 §4.1).

    Values that aren't lists stay unchanged; the pieces of Cookie are joined by "; " (RFC 9113 §8.2.3).
    """
    is_long = sum([value.count(b",") for value in values]) >= _MOST_MEMBERS
    if name in _OPAQUE or is_long or any(b'"' in value for value in values):
        pieces = [value.strip(b" \t") for value in values]
        return (b"; " if name == b"cookie" else b", ").join([piece for piece in pieces if piece])
    return b", ".join([part.strip(b" \t") for part in b",".join(values).split(b",")])


def _preferences(name: bytes, values: Sequence[bytes]) -> bytes:
    """A client's preferences, normalised: white space and case don't matter, and for types, codings and charsets
    neither does the order. Weights do (RFC 9110 §12.4.2, §12.5). Languages of equal weight keep their order, since
    some origins take the first.
    """
    joined = b",".join(values)
    if b'"' in joined or len(joined) > _LONGEST_LIST:
        return b", ".join([value.strip(b" \t") for value in values])
    weighted: list[tuple[float, bytes]] = []
    for padded in joined.split(b","):
        member = padded.strip(b" \t")
        if member:
            first, *parameters = member.split(b";")
            said = [first.rstrip(b" \t").lower(), *map(_parameter, parameters)]
            weighted.append((-_weight(b";".join(said[1:])), b";".join(said)))
    if name == b"accept-language":
        weighted.sort(key=lambda each: each[0])
    else:
        weighted.sort()
    return b", ".join([member for _, member in weighted])


def _parameter(text: bytes) -> bytes:
    """A parameter, normalised. Its name is case-insensitive, its value may not be (RFC 9110 §5.6.6)."""
    name, equals, value = text.strip(b" \t").partition(b"=")
    return name.rstrip(b" \t").lower() + equals + value.lstrip(b" \t")


def _weight(parameters: bytes) -> float:
    weight = _QUALITY.search(b";" + parameters) if parameters else None
    return 1.0 if weight is None else float(weight[1])


def _nominated(request: Request) -> frozenset[bytes] | None:
    """The fields that Connection makes hop-by-hop; None, meaning all, if it names too many."""
    # Read from the fields: a front may have removed it from the notable ones.
    values = b",".join([value for name, value in request.fields if name == b"connection"])
    if values.count(b",") >= _MOST_MEMBERS:
        return None
    return frozenset([name.strip(b" \t").lower() for name in values.split(b",")])


def _best_type(accept: bytes, types: Sequence[bytes]) -> bytes:
    """The best type that a client names explicitly; else the last one, which every client accepts.

    Wildcards don't count: browsers send `*/*` though they can't display all formats.
    """
    named = _accepted(accept)
    return next((kind for kind in types if named.get(kind, 0.0) > 0.0), types[-1])


def _codings(accept: bytes, codings: Sequence[bytes]) -> bytes:
    named = _accepted(accept)
    rest = named.get(b"*", 0.0)
    taken = [coding for coding in codings if named.get(coding, rest) > 0.0]
    return b", ".join(taken) or b"identity"


def _language(accept: bytes, languages: Sequence[bytes]) -> bytes:
    """The language that a client prefers (RFC 4647 §3.4 lookup, with §3.3.1 filtering for languages more specific
    than its range); the first one if none matches.
    """
    named = _accepted(accept)
    for wanted in sorted(filter(named.__getitem__, named), key=lambda name: -named[name]):
        if wanted == b"*":
            rest = next((each for each in languages if named.get(each, 1.0) > 0.0), None)
            if rest is not None:
                return rest
            continue
        shorter = wanted
        while shorter:
            if shorter in languages and named.get(shorter, 1.0) > 0.0:
                return shorter
            shorter = shorter.rpartition(b"-")[0]
        longer = next((each for each in languages if each.startswith(wanted + b"-") and named.get(each, 1.0)), None)
        if longer is not None:
            return longer
    return languages[0]


def _is_read(preferences: bytes) -> bool:
    """Whether a list is short enough to be parsed."""
    return len(preferences) <= _LONGEST_LIST and preferences.count(b",") < _MOST_MEMBERS


def _accepted(value: bytes) -> dict[bytes, float]:
    """The members of a list in lower case, with their weights (RFC 9110 §12.4.2)."""
    found: dict[bytes, float] = {}
    for part in value.split(b",") if _is_read(value) else ():
        name, _, rest = part.partition(b";")
        found[name.strip(b" \t").lower()] = _weight(rest)
    return found
