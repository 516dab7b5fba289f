"""The directives that govern a response: those of a targeted field (RFC 9213), or of Cache-Control.

The first field in a configured list that is valid and not empty overrides Cache-Control and Expires altogether;
invalid ones count as absent. Surrogate-Control, which predates structured fields, may be in the list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from shield.messages import ResponseHead
from shield.rules.cache_control import MAX_SECONDS, CacheControl, elements, field_names, seconds_of
from shield.rules.cache_control import parse as parse_cache_control
from shield.rules.structured import Item, parse_dictionary

CDN = b"cdn-cache-control"
SURROGATE = b"surrogate-control"
CAPABILITY = b"surrogate-capability"

READ_BY_OTHERS = frozenset({CDN, SURROGATE})
"""Targeted fields that caches between us and the client may read, too."""

_LONGEST = 2048  # bytes; results for longer values aren't cached

_SECONDS = frozenset({"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"})
_QUALIFIED = frozenset({"no-cache", "private"})
_TIGHTENING = frozenset({"no-store", "no-transform", "must-revalidate", "proxy-revalidate"})
_LOOSENING = frozenset({"public", "must-understand", "immutable"})

_LIFETIME = re.compile(rb"max-age=([0-9]+)(?:\+([0-9]+))?")


def governing(head: ResponseHead, targeted: tuple[bytes, ...], surrogate: bytes = b"") -> tuple[CacheControl, bool]:
    """The directives that govern a response, and whether they are from a targeted field: then Expires is ignored.

    `targeted` are field names in lower case, in order of precedence (RFC 9213 §2.2). `surrogate` is our name as a
    target of directives in Surrogate-Control.
    """
    for name in targeted:
        lines = head.all(name)
        if lines:
            value = b", ".join(lines)
            read = _remembered if len(value) <= _LONGEST else _read
            control = read(name, value, surrogate)
            if control is not None:
                return control, True
    return parse_cache_control(head.all(b"cache-control")), False


def _read(name: bytes, value: bytes, surrogate: bytes) -> CacheControl | None:
    return parse_surrogate(value, surrogate) if name == SURROGATE else parse(value)


_remembered = lru_cache(maxsize=512)(_read)


def parse(value: bytes) -> CacheControl | None:
    """The directives of a targeted field; None if it is invalid or empty. Never raises.

    A value of the wrong type isn't converted (RFC 9213 §2.1): a restrictive directive applies with its strictest
    value, a permissive one is ignored. Parameters (§2.1) and unknown directives (§2.2) are ignored.
    """
    members = parse_dictionary(value)
    if not members:
        return None
    found: dict[str, Any] = {}
    for name, member in members.items():
        said = member.value if isinstance(member, Item) else None
        attribute = name.replace("-", "_")
        if name in _SECONDS:
            found[attribute] = min(max(0, said), MAX_SECONDS) if type(said) is int else 0
        elif name in _QUALIFIED:
            fields = field_names(said.encode()) if type(said) is str else ()
            found[attribute + "_fields" if fields else attribute] = fields or said is not False
        elif name in _TIGHTENING:
            found[attribute] = said is not False
        elif name in _LOOSENING:
            found[attribute] = said is True
    return CacheControl(**found)


def capability(surrogate: bytes) -> bytes:
    """The value of Surrogate-Capability (Edge Architecture Specification 1.0, §2.1)."""
    return b'%b="Surrogate/1.0"' % surrogate


def parse_surrogate(value: bytes, surrogate: bytes = b"") -> CacheControl | None:
    """The directives of Surrogate-Control (Edge Architecture Specification 1.0, §2.2); None if none are for us.

    `max-age=60+30` allows another 30 s of serving stale. Directives with a target apply to that surrogate only, and
    ours override those without a target; `content` and unknown ones are ignored. Never raises.
    """
    said: dict[bytes, dict[str, Any]] = {b"": {}, surrogate.lower(): {}}
    for element in elements(value):
        directive, *rest = element.lower().split(b";")
        targets = {target.strip(b" \t") for target in rest} - {b""}
        found = said.get(b"".join(targets)) if len(targets) < 2 else None
        if found is None:
            continue
        directive = directive.strip(b" \t")
        if directive in (b"no-store", b"no-store-remote"):
            found["no_store"] = True
        elif directive.partition(b"=")[0].rstrip(b" \t") == b"max-age":
            found.update(_surrogate_lifetime(directive, found))
    all_of_it = {**said[b""], **said[surrogate.lower()]}
    return CacheControl(**all_of_it) if all_of_it else None


def _surrogate_lifetime(directive: bytes, before: Mapping[str, Any]) -> dict[str, int]:
    """The attributes set by a max-age after the directives `before` it: the shortest counts, an invalid one is 0."""
    match = _LIFETIME.fullmatch(directive)
    lifetime = seconds_of(match[1]) if match else 0
    said = {"max_age": min(lifetime, before.get("max_age", lifetime))}
    if match and match[2] is not None:
        said["stale_while_revalidate"] = said["stale_if_error"] = seconds_of(match[2])
    return said
