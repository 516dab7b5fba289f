"""Cache-Control of requests and responses (RFC 9111 §5.2, RFC 5861, RFC 8246), read strictly when in doubt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

MAX_SECONDS = 2**31
"""Longer delta-seconds are read as this (RFC 9111 §1.2.2)."""

_LONGEST = 2048  # bytes; genuine values are shorter

# No possessive quantifiers: Python before 3.11.5 gets them wrong.
_closes_its_quotes = re.compile(rb'(?:[^"]|"(?:[^"\\]|\\.)*")*', re.DOTALL).fullmatch
_quoting_elements = re.compile(rb'(?:[^",]|"(?:[^"\\]|\\.)*")+', re.DOTALL).findall
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)

# Directives that permit more. A malformed element doesn't set them, but does set all others.
_LOOSENING = frozenset({b"public", b"immutable", b"must-understand", b"only-if-cached"})


@dataclass(frozen=True, slots=True)
class CacheControl:
    """All directives of one message; seconds are None for an absent directive.

    `no_cache` and `private` are the unqualified forms; `no_cache_fields` and `private_fields` have the field names of
    qualified ones, lower case (§5.2.2.4, §5.2.2.7). A qualified form without a valid name counts as unqualified.
    `max_stale` without a number is `MAX_SECONDS`.
    """

    max_age: int | None = None
    s_maxage: int | None = None
    no_cache: bool = False
    no_cache_fields: tuple[bytes, ...] = ()
    no_store: bool = False
    no_transform: bool = False
    private: bool = False
    private_fields: tuple[bytes, ...] = ()
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    immutable: bool = False  # RFC 8246
    stale_while_revalidate: int | None = None  # RFC 5861 §3
    stale_if_error: int | None = None  # RFC 5861 §4
    # requests only, §5.2.1
    max_stale: int | None = None
    min_fresh: int | None = None
    only_if_cached: bool = False


ABSENT = CacheControl()
_UNREADABLE = CacheControl(max_age=0, no_cache=True, no_store=True, private=True)

# Of several values the most restrictive applies (§4.2.1); for min-fresh that is the largest.
_SECONDS = {
    b"max-age": ("max_age", min),
    b"s-maxage": ("s_maxage", min),
    b"stale-while-revalidate": ("stale_while_revalidate", min),
    b"stale-if-error": ("stale_if_error", min),
    b"max-stale": ("max_stale", min),
    b"min-fresh": ("min_fresh", max),
}
_FLAGS = {
    name: name.decode().replace("-", "_")
    for name in (
        b"no-store",
        b"no-transform",
        b"public",
        b"must-revalidate",
        b"proxy-revalidate",
        b"must-understand",
        b"immutable",
        b"only-if-cached",
    )
}
_QUALIFIED = {b"no-cache": "no_cache", b"private": "private"}


def parse(values: Iterable[bytes]) -> CacheControl:
    """The directives in all lines of a message's Cache-Control. Never raises.

    Invalid seconds are 0 (§4.2.1: stale), malformed elements restrict but never permit, unknown ones are ignored
    (§5.2.3), and a value longer than 2048 bytes counts as no-store.
    """
    joined = b",".join(values)
    if not joined:
        return ABSENT
    return _parse(joined) if len(joined) <= _LONGEST else _UNREADABLE


@lru_cache(maxsize=512)
def _parse(joined: bytes) -> CacheControl:
    found: dict[str, Any] = {}
    for padded in elements(joined):
        element = padded.strip(b" \t")
        match = _TOKEN.match(element)
        if match is None:
            continue
        name = match[0].lower()
        argument, valid = _argument(element[match.end() :])
        if name in _SECONDS:
            attribute, stricter = _SECONDS[name]
            seconds = _seconds(name, argument, valid=valid)
            known = found.get(attribute)
            found[attribute] = stricter(known, seconds) if isinstance(known, int) else seconds
        elif name in _QUALIFIED:
            attribute = _QUALIFIED[name]
            fields = field_names(argument) if argument else ()
            if fields:
                found[attribute + "_fields"] = found.get(attribute + "_fields", ()) + fields
            else:
                found[attribute] = True
        elif name in _FLAGS and (valid or name not in _LOOSENING):
            found[_FLAGS[name]] = True
    return CacheControl(**found) if found else ABSENT


def elements(joined: bytes) -> list[bytes]:
    """The list's elements (RFC 9110 §5.6.1). An unterminated quote doesn't quote: it can't hide a directive."""
    if b'"' in joined and _closes_its_quotes(joined):
        quoted: list[bytes] = _quoting_elements(joined)
        return quoted
    return joined.split(b",")


def _argument(rest: bytes) -> tuple[bytes | None, bool]:
    """The argument after a directive's name (None: none), and whether it is well-formed (§5.2)."""
    if not rest:
        return None, True
    if not rest.startswith(b"="):
        return None, False
    value = rest[1:]
    if _TOKEN.fullmatch(value):
        return value, True
    if quoted := _QUOTED.fullmatch(value):  # §5.2: either form is accepted
        return _QUOTED_PAIR.sub(rb"\1", quoted[1]), True
    return None, False


def seconds_of(digits: bytes) -> int:
    """The number in a text of any number of digits, at most `MAX_SECONDS` (RFC 9111 §1.2.2)."""
    significant = digits.lstrip(b"0")
    return min(int(significant or b"0"), MAX_SECONDS) if len(significant) <= 10 else MAX_SECONDS


def _seconds(name: bytes, argument: bytes | None, *, valid: bool) -> int:
    if argument is None:
        return MAX_SECONDS if name == b"max-stale" and valid else _tightest(name)
    return seconds_of(argument) if argument.isdigit() else _tightest(name)


def _tightest(name: bytes) -> int:
    """The most restrictive value, used in place of an invalid number."""
    return MAX_SECONDS if name == b"min-fresh" else 0


def field_names(argument: bytes) -> tuple[bytes, ...]:
    """The field names of a qualified form, lower case; () if any is malformed: then the directive applies to all."""
    listed = [name.strip(b" \t").lower() for name in argument.split(b",")]
    names = tuple([name for name in listed if name])
    return names if all(_TOKEN.fullmatch(name) for name in names) else ()
