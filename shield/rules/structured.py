"""Structured fields (RFC 9651): strict parsing of lists, dictionaries and items, and serialisation.

The result of parsing an invalid field is None: half of a field may mean the opposite of all of it.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar
from urllib.parse import quote_from_bytes, unquote_to_bytes


class Token(str):
    """A token (§3.3.4), as opposed to a string of the same characters."""

    __slots__ = ()


class DisplayString(str):
    """Unicode text for display (§3.3.8)."""

    __slots__ = ()


class Date(int):
    """Epoch seconds (§3.3.7)."""


Bare = bool | int | float | str | bytes
"""A value without parameters. A plain `str` is a String, a plain `int` an Integer.

A `float` is a Decimal: these have at most 15 digits, so that they are written as they were read.
"""

Parameters = dict[str, Bare]


class Item(NamedTuple):
    value: Bare
    parameters: Parameters


class InnerList(NamedTuple):
    items: tuple[Item, ...]
    parameters: Parameters


Member = Item | InnerList
T = TypeVar("T")

_MAX_INTEGER = 999_999_999_999_999
_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
_NUMBER = re.compile(r"-?([0-9]+)(?:\.([0-9]*))?")
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BYTES = re.compile(r":([A-Za-z0-9+/]*)(={0,2}):")
_DISPLAY = re.compile(r'%"((?:[ !#$&-~]|%[0-9a-f]{2})*)"')
_BOOLEAN = re.compile(r"\?([01])")
_SPACES = re.compile(r" *")
_WHITESPACE = re.compile(r"[ \t]*")

_PRINTABLE = re.compile(r"[ -~]*")
_ESCAPED = re.compile(r'(["\\])')
_UNESCAPED = re.compile(r'\\(["\\])')
_PLAIN_IN_DISPLAY = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) not in '%"')


class _InvalidError(Exception):
    """Not a structured field."""


def parse_item(value: bytes) -> Item | None:
    """A field's value as an item (§4.2.3)."""
    return _parsed(value, _Scanner.item)


def parse_list(value: bytes) -> tuple[Member, ...] | None:
    """A field's value as a list, several lines joined by commas (§4.2.1); an empty value is an empty list."""
    return _parsed(value, _Scanner.members)


def parse_dictionary(value: bytes) -> dict[str, Member] | None:
    """A field's value as a dictionary, joined as above (§4.2.2). Of one key's members the last counts."""
    return _parsed(value, _Scanner.dictionary)


def serialize_item(item: Item) -> bytes:
    """An item as a field's value (§4.1.3). Raises ValueError for a value that can't be serialised, as do the next
    two.
    """
    return _item(item).encode()


def serialize_list(members: Iterable[Member]) -> bytes:
    """A list as a field's value (§4.1.1). An empty list is b"": the field must not be sent."""
    return ", ".join([_member(member) for member in members]).encode()


def serialize_dictionary(members: Mapping[str, Member]) -> bytes:
    """A dictionary as a field's value (§4.1.2), b"" if it is empty as above."""
    return ", ".join([_entry(key, member) for key, member in members.items()]).encode()


class _Scanner:
    """Parses one value from left to right. Each method implements an algorithm of §4.2; raises `_InvalidError`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._text)

    def _next_is(self, mark: str) -> bool:
        return self._text.startswith(mark, self._at)

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise _InvalidError
        self._at = match.end()
        return match

    def members(self) -> tuple[Member, ...]:
        found = []
        while not self.at_end:
            found.append(self._member())
            self._comma()
        return tuple(found)

    def dictionary(self) -> dict[str, Member]:
        found: dict[str, Member] = {}
        while not self.at_end:
            key = self._take(_KEY)[0]
            if self._next_is("="):
                self._at += 1
                found[key] = self._member()
            else:
                found[key] = Item(True, self._parameters())
            self._comma()
        return found

    def item(self) -> Item:
        value = self._bare()
        return Item(value, self._parameters())

    def _comma(self) -> None:
        """Skip a comma that another member follows, or reach the end."""
        self._take(_WHITESPACE)
        if self.at_end:
            return
        if not self._next_is(","):
            raise _InvalidError
        self._at += 1
        self._take(_WHITESPACE)
        if self.at_end:
            raise _InvalidError  # nothing follows the comma

    def _member(self) -> Member:
        if not self._next_is("("):
            return self.item()
        self._at += 1
        items = []
        self._take(_SPACES)
        while not self._next_is(")"):
            items.append(self.item())
            if not self._take(_SPACES)[0] and not self._next_is(")"):
                raise _InvalidError
        self._at += 1
        return InnerList(tuple(items), self._parameters())

    def _parameters(self) -> Parameters:
        found: Parameters = {}
        while self._next_is(";"):
            self._at += 1
            self._take(_SPACES)
            key = self._take(_KEY)[0]
            if self._next_is("="):
                self._at += 1
                found[key] = self._bare()
            else:
                found[key] = True
        return found

    def _bare(self) -> Bare:
        first = self._text[self._at : self._at + 1]
        if first == '"':
            return _UNESCAPED.sub(r"\1", self._take(_STRING)[1])
        if first == "?":
            return self._take(_BOOLEAN)[1] == "1"
        if first == ":":
            return self._bytes()
        if first == "@":
            return self._date()
        if first == "%":
            return self._display_string()
        if first == "-" or first.isdigit():
            return self._number()
        return Token(self._take(_TOKEN)[0])

    def _number(self) -> int | float:
        match = self._take(_NUMBER)
        whole, fraction = match[1], match[2]
        if fraction is None:
            if len(whole) > 15:
                raise _InvalidError
            return int(match[0])
        if len(whole) > 12 or not 1 <= len(fraction) <= 3:
            raise _InvalidError
        return float(match[0])

    def _bytes(self) -> bytes:
        encoded, padding = self._take(_BYTES).groups()
        if len(encoded) % 4 == 1 or (padding and len(encoded + padding) % 4):
            raise _InvalidError
        # §4.2.7: padding may be missing, and its bits needn't be zero.
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4))

    def _date(self) -> Date:
        self._at += 1
        seconds = self._number()
        if not isinstance(seconds, int):
            raise _InvalidError
        return Date(seconds)

    def _display_string(self) -> DisplayString:
        try:
            return DisplayString(unquote_to_bytes(self._take(_DISPLAY)[1]).decode())
        except UnicodeDecodeError as error:
            raise _InvalidError from error


def _parsed(value: bytes, rule: Callable[[_Scanner], T]) -> T | None:
    try:
        scanner = _Scanner(value.decode("ascii").strip(" "))
        found = rule(scanner)
    except (_InvalidError, UnicodeDecodeError):
        return None
    return found if scanner.at_end else None


def _entry(key: str, member: Member) -> str:
    if isinstance(member, Item) and member.value is True:
        return _key(key) + _parameters(member.parameters)
    return f"{_key(key)}={_member(member)}"


def _member(member: Member) -> str:
    if isinstance(member, Item):
        return _item(member)
    return f"({' '.join([_item(item) for item in member.items])}){_parameters(member.parameters)}"


def _item(item: Item) -> str:
    return _bare(item.value) + _parameters(item.parameters)


def _parameters(parameters: Parameters) -> str:
    return "".join(
        [f";{_key(key)}" if value is True else f";{_key(key)}={_bare(value)}" for key, value in parameters.items()]
    )


def _key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"no key of a structured field: {key!r}")
    return key


def _bare(value: Bare) -> str:
    if isinstance(value, bool):
        return "?1" if value else "?0"
    if isinstance(value, int):
        if abs(value) > _MAX_INTEGER:
            raise ValueError(f"more than 15 digits: {value}")
        return f"@{int(value)}" if isinstance(value, Date) else str(value)
    if isinstance(value, float):
        return _decimal(value)
    if isinstance(value, bytes):
        return f":{base64.b64encode(value).decode()}:"
    if isinstance(value, DisplayString):
        return f'%"{_percent_encoded(value)}"'
    if isinstance(value, Token):
        if not _TOKEN.fullmatch(value):
            raise ValueError(f"no token: {value!r}")
        return str(value)
    if not _PRINTABLE.fullmatch(value):
        raise ValueError(f"no printable ASCII: {value!r}")
    return '"' + _ESCAPED.sub(r"\\\1", value) + '"'


def _decimal(value: float) -> str:
    if not math.isfinite(value) or abs(value) >= 1e13:
        raise ValueError(f"no decimal of 12 digits: {value}")
    whole, _, fraction = f"{value:.3f}".partition(".")
    if len(whole.lstrip("-")) > 12:
        raise ValueError(f"no decimal of 12 digits: {value}")
    return f"{whole}.{fraction.rstrip('0') or '0'}"


def _percent_encoded(text: str) -> str:
    """Text with all but printable ASCII escaped in lower case (§4.1.11)."""
    quoted = quote_from_bytes(text.encode(), safe=_PLAIN_IN_DISPLAY)
    return re.sub("%[0-9A-F]{2}", lambda escape: escape[0].lower(), quoted)
