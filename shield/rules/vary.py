"""Which fields of a client's request an origin sees, and which of a key's variants a request gets.

RFC 9110 §12.5.5, RFC 9111 §4.1. What isn't forwarded can't have had a part in choosing an answer, so only forwarded
fields tell variants apart, and each is forwarded in one spelling: thousands of Accept strings make a few variants.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from shield.errors import RequestError
from shield.messages import Field, Request
from shield.rules.key import CacheKey, key_of_text

# Never forwarded: of this hop, of the request's framing, conditions and ranges that are ours to set, and what makes
# frameworks believe that they were asked for something else than the key says.
_NEVER = frozenset(
    b"cdn-loop connection content-length expect forwarded host http2-settings if-match if-modified-since"
    b" if-none-match if-range if-unmodified-since keep-alive proxy-authenticate proxy-authorization"
    b" proxy-connection range te trailer transfer-encoding upgrade x-envoy-original-path x-host"
    b" x-http-host-override x-http-method x-http-method-override x-http-path-override x-method-override"
    b" x-middleware-subrequest x-original-host"
    b" x-original-uri x-original-url x-rewrite-url".split()
)
_FORWARDED = b"x-forwarded-"  # of which only For says nothing of what is asked for
_S3_MEANS = (b"x-amz-", b"x-goog-", b"x-ms-", b"x-minio-", b"x-rgw-")
MARK = b" vary="
"""Stands in the text of a variant's key behind that of the key itself: no canonical path or query has a space."""

_LONGEST_LIST = 4096  # bytes of a list that is taken apart
_MOST_MEMBERS = 64  # of one that is; no honest list has more
_PREFERENCES = frozenset({b"accept", b"accept-charset", b"accept-encoding", b"accept-language"})
_TELLING = 8  # bytes of a value that is nowhere by chance
_OF_CORS = frozenset({b"access-control-request-headers", b"access-control-request-method", b"origin"})
_OPAQUE = frozenset({b"authorization", b"cookie"})
_QUALITY = re.compile(rb";[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*(?:;|\Z)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Which request fields go to origins: `names`, lower case, or None for all that may.

    `types` are the media types that the platform serves, best first; `codings` its content codings, `languages` its
    languages, lower case, the usual one first. Where they are given, Accept and Accept-Encoding are forwarded as what
    of them the client takes, Accept-Language as the one of them that it prefers. `storage`: one of the origins is
    S3, which answers by the fields of CORS, and says so in Vary only where they were sent. A request of which more
    than `max_fields` and `max_bytes`, names and lines' ends included, would be forwarded is refused.
    """

    names: frozenset[bytes] | None = frozenset()
    types: tuple[bytes, ...] = ()
    codings: tuple[bytes, ...] = ()
    languages: tuple[bytes, ...] = ()
    storage: bool = False
    max_bytes: int = 8192  # of all that is forwarded: origins refuse longer heads, and that answer is nobody else's
    max_fields: int = 64

    @property
    def any(self) -> bool:
        """Whether anything is forwarded at all."""
        return self.names is None or bool(self.names)

    def has(self, name: bytes) -> bool:
        """Whether a field goes to origins."""
        return (self.names is None or name in self.names) and may_forward(name)

    def fields(self, request: Request) -> tuple[Field, ...]:
        """What goes to an origin: each field once, sorted by name, in its one spelling.

        Raises RequestError 431 for what is too much to be.
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
                del found[name]  # whoever takes so much takes anything (RFC 9110 §12.5)
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
    """Whether a field, lower case, may go to an origin at all. What reads fields from variables takes _ for -."""
    plain = name.replace(b"_", b"-")
    if plain.startswith(_FORWARDED):
        return plain == b"x-forwarded-for"
    return plain not in _NEVER and not plain.startswith(_S3_MEANS)


def names_in(values: Sequence[bytes]) -> tuple[bytes, ...] | None:
    """The field names of a Vary field's lines, lower case, each once and sorted; None when `*` is among them."""
    names = {name.strip(b" \t").lower() for value in values for name in value.split(b",")} - {b""}
    return None if b"*" in names else tuple(sorted(names))


def choosing(names: Sequence[bytes], forwarding: Forwarding) -> tuple[bytes, ...]:
    """What can have chosen an answer: those of a Vary's names that are forwarded, and those that choose unnamed."""
    if forwarding.names is None:
        return tuple([name for name in names if may_forward(name)])
    if forwarding.storage:
        names = sorted(_OF_CORS.union(names))
    return tuple([name for name in names if name in forwarding.names])


def unkeyed(names: Sequence[bytes], forwarded: Sequence[Field], forwarding: Forwarding) -> tuple[Field, ...]:
    """Those of the forwarded fields by which an answer with these names in its Vary isn't told apart from others,
    though they say what a client wants them to say.
    """
    confined = {*choosing(names, forwarding)}
    if forwarding.types:
        confined.add(b"accept")  # one of few values
    if forwarding.codings:
        confined.add(b"accept-encoding")
    if forwarding.languages:
        confined.add(b"accept-language")
    return tuple([line for line in forwarded if line[0] not in confined])


def reflects(answered: Sequence[Field], asked: Sequence[Field]) -> bool:
    """Whether an answer's fields repeat what a request's say. Preferences and short values are everywhere; and what
    comes back under its own name is a mark of the request, as tracing has them.
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
    """What tells variants apart: the named fields with their values; equal for requests that match (RFC 9111 §4.1).

    A field that isn't there differs from one that is empty.
    """
    there = dict(forwarded)
    return b"\n".join([name + b":" + there[name] if name in there else name for name in names])


def variant_key(base: CacheKey, salt: bytes, names: Sequence[bytes], forwarded: Sequence[Field]) -> CacheKey:
    """The key of the variant that a request gets. Another `salt` makes all variants of a key unreachable.

    What clients send can be long and of their choosing, so it goes in as a hash that can't be made to collide.
    """
    told = hashlib.blake2b(variant(names, forwarded), digest_size=16).hexdigest().encode()
    return key_of_text(b"%b%b%b/%b" % (base.text, MARK, salt, told))


def _joined(name: bytes, values: Sequence[bytes]) -> bytes:
    """Several lines as one, white space around commas as it is usual (RFC 9110 §5.3, RFC 9111 §4.1).

    What is no list stays as it is; cookies come in crumbs (RFC 9113 §8.2.3).
    """
    is_long = sum([value.count(b",") for value in values]) >= _MOST_MEMBERS
    if name in _OPAQUE or is_long or any(b'"' in value for value in values):
        return (b"; " if name == b"cookie" else b", ").join([value.strip(b" \t") for value in values])
    return b", ".join([part.strip(b" \t") for part in b",".join(values).split(b",")])


def _preferences(name: bytes, values: Sequence[bytes]) -> bytes:
    """What a client prefers in one spelling: white space and case mean nothing, and of types, codings and character
    sets the order neither. Weights do (RFC 9110 §12.4.2, §12.5). Of languages some origins take the first of several.
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
    """Of a parameter the name has no case, its value may have one (RFC 9110 §5.6.6)."""
    name, equals, value = text.strip(b" \t").partition(b"=")
    return name.rstrip(b" \t").lower() + equals + value.lstrip(b" \t")


def _weight(parameters: bytes) -> float:
    weight = _QUALITY.search(b";" + parameters) if parameters else None
    return 1.0 if weight is None else float(weight[1])


def _nominated(request: Request) -> frozenset[bytes] | None:
    """What Connection names for this hop; None, which is everything, if it names more than any honest one."""
    # Not among the notable ones where the front has dealt with it.
    values = b",".join([value for name, value in request.fields if name == b"connection"])
    if values.count(b",") >= _MOST_MEMBERS:
        return None
    return frozenset([name.strip(b" \t").lower() for name in values.split(b",")])


def _best_type(accept: bytes, types: Sequence[bytes]) -> bytes:
    """The best type that a client names itself; the last one, which everybody takes, if it names none.

    Wildcards don't count: browsers send `*/*` for formats that they can't show.
    """
    named = _accepted(accept)
    return next((kind for kind in types if named.get(kind, 0.0) > 0.0), types[-1])


def _codings(accept: bytes, codings: Sequence[bytes]) -> bytes:
    named = _accepted(accept)
    rest = named.get(b"*", 0.0)
    taken = [coding for coding in codings if named.get(coding, rest) > 0.0]
    return b", ".join(taken) or b"identity"


def _language(accept: bytes, languages: Sequence[bytes]) -> bytes:
    """The one of the languages that a client prefers (RFC 4647 §3.4, and §3.3.1 for what is listed in more detail
    than it is asked for); the first one if it names none.
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
    """Whether a list is short enough to be taken apart."""
    return len(preferences) <= _LONGEST_LIST and preferences.count(b",") < _MOST_MEMBERS


def _accepted(value: bytes) -> dict[bytes, float]:
    """What a list with weights names, with its weights (RFC 9110 §12.4.2)."""
    found: dict[bytes, float] = {}
    for part in value.split(b",") if _is_read(value) else ():
        name, _, rest = part.partition(b";")
        found[name.strip(b" \t").lower()] = _weight(rest)
    return found
