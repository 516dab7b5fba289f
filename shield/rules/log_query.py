"""A small query language over records of requests (`rules.log_lines`), for logs as they happen.

    miss reason=expired bytes>1MB           all of these
    status>=500 or broken                   one of these; `or` binds less
    !(origin=fra or origin=iad) path~*.webp
    client=10.0.0.0/8 seconds>500ms

A term is a word for the result (`hit`, `miss`, ...), `stored`, `broken`, or a comparison: a field, an operator, and a
value, in double quotes if it has blanks or parentheses. A field that a request doesn't have is like no value.
"""

from __future__ import annotations

import difflib
import fnmatch
import ipaddress
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from shield.rules.log_lines import FIELDS, LogRecord, LogValue

LONGEST = 1000
"""Characters of a query."""

RESULTS = (*("hit", "stale", "miss", "collapsed", "revalidated", "bypass", "options", "health", "refused", "error"),)
"""The values of the field `cache`, each of which is a term."""

_FLAGS = ("stored", "broken")
_PATH = "path"
_NUMBERS = frozenset({"time", "status", "forward_status", "ttl", "attempts"})
_SIZES = frozenset({"bytes"})
_DURATIONS = frozenset({"seconds", "first_byte"})
_REASONS = {"expired": "stale", "new": "uri-miss"}  # other words for reasons
_LACKED = frozenset({"reason", "detail", "origin", "attempts", "forward_status", *_FLAGS})  # fields of no plain hit

_DEEPEST = 20
_token = re.compile(r"\s*(?:(?P<mark>[()!])|(?P<word>[^\s()!=<>~\"]+)|(?P<rest>\S))").match
_operator = re.compile(r"\s*(!=|!~|>=|<=|=|~|>|<)").match
_value = re.compile(r'\s*(?:"([^"]*)"|([^\s()"]+))').match
_number = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)([A-Za-z]*)").fullmatch
_SIZE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_TIME_UNITS = {"": 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_ORDERS: Mapping[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


class LogQueryError(ValueError):
    """A query that can't be understood; `position` counts characters from 0."""

    def __init__(self, problem: str, position: int) -> None:
        super().__init__(f"{problem}, at character {position + 1}")
        self.problem = problem
        self.position = position


class LogQuery(Protocol):
    """A query that was understood."""

    def matches(self, record: LogRecord) -> bool:
        """Whether a request is one of those that are asked for."""

    def of_hit(self) -> bool | None:
        """Whether it matches plain hits: all (True), none (False), or some (None)."""


def log_query(text: str) -> LogQuery:
    """The query in these words; an empty one matches everything. Raises LogQueryError."""
    if len(text) > LONGEST:
        raise LogQueryError(f"longer than {LONGEST} characters", LONGEST)
    return _Parser(text).whole()


@dataclass(frozen=True, slots=True)
class _Test:
    """A test of one field. `empty` is its result without one."""

    field: str
    holds: Callable[[LogValue], bool]
    empty: bool = False

    def matches(self, record: LogRecord) -> bool:
        value = _path_of(record) if self.field == _PATH else record.get(self.field)
        return self.empty if value is None else self.holds(value)

    def of_hit(self) -> bool | None:
        if self.field == "cache":
            return self.holds("hit")
        return self.empty if self.field in _LACKED else None


@dataclass(frozen=True, slots=True)
class _Not:
    part: LogQuery

    def matches(self, record: LogRecord) -> bool:
        return not self.part.matches(record)

    def of_hit(self) -> bool | None:
        found = self.part.of_hit()
        return None if found is None else not found


@dataclass(frozen=True, slots=True)
class _All:
    parts: tuple[LogQuery, ...]

    def matches(self, record: LogRecord) -> bool:
        return all(part.matches(record) for part in self.parts)

    def of_hit(self) -> bool | None:
        found = {part.of_hit() for part in self.parts}
        return False if False in found else None if None in found else True


@dataclass(frozen=True, slots=True)
class _Any:
    parts: tuple[LogQuery, ...]

    def matches(self, record: LogRecord) -> bool:
        return any(part.matches(record) for part in self.parts)

    def of_hit(self) -> bool | None:
        found = {part.of_hit() for part in self.parts}
        return True if True in found else None if None in found else False


class _Parser:
    """By recursive descent: alternatives of sequences of terms."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def whole(self) -> LogQuery:
        found = self._alternatives() if self._text.strip() else _All(())
        if self._peek() is not None:
            raise LogQueryError('")" without "("', self._place())
        return found

    def _alternatives(self) -> LogQuery:
        parts = [self._sequence()]
        while self._peek() == "or":
            self._take()
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else _Any(tuple(parts))

    def _sequence(self) -> LogQuery:
        parts: list[LogQuery] = []
        while (token := self._peek()) not in (None, ")", "or"):
            if token == "and" and parts:
                self._take()
            parts.append(self._term())
        if not parts:
            raise LogQueryError("expected a term, as miss or status>=500", self._place())
        return parts[0] if len(parts) == 1 else _All(tuple(parts))

    def _term(self) -> LogQuery:
        begin, token = self._place(), self._peek()
        self._depth += 1
        if self._depth > _DEEPEST:
            raise LogQueryError(f"nested more than {_DEEPEST} deep", begin)
        try:
            if token in (None, ")", "or"):
                raise LogQueryError("expected a term, as miss or status>=500", begin)
            self._take()
            if token == "!":
                return _Not(self._term())
            if token == "(":
                found = self._alternatives()
                if self._peek() != ")":
                    raise LogQueryError('expected ")"', self._place())
                self._take()
                return found
            return self._word(str(token), begin)
        finally:
            self._depth -= 1

    def _word(self, word: str, begin: int) -> LogQuery:
        compared = _operator(self._text, self._at)
        if compared is None:
            if word in RESULTS:
                return _Test("cache", lambda value: value == word)
            if word in _FLAGS:
                return _Test(word, bool)
            raise LogQueryError(_unknown(word), begin)
        if word not in FIELDS and word != _PATH:
            raise LogQueryError(_unknown(word), begin)
        self._at = compared.end()
        found = _value(self._text, self._at)
        if found is None:
            raise LogQueryError(f"expected a value after {compared[1]}", self._place())
        self._at = found.end()
        text, at = (found[1], found.start(1)) if found[2] is None else (found[2], found.start(2))
        try:
            return _test(word, compared[1], text)
        except ValueError as error:
            raise LogQueryError(str(error), at) from None

    def _place(self) -> int:
        """Where the next token begins."""
        at = self._at
        while at < len(self._text) and self._text[at].isspace():
            at += 1
        return at

    def _peek(self) -> str | None:
        """The next token; None at the end."""
        found = _token(self._text, self._at)
        if found is None:
            return None
        if found["rest"] is not None:
            raise LogQueryError(f"unexpected {_quoted(found['rest'])}", self._place())
        return found["mark"] or found["word"]

    def _take(self) -> None:
        found = _token(self._text, self._at)
        assert found is not None
        self._at = found.end()


def _unknown(word: str) -> str:
    known = (*RESULTS, *_FLAGS, *FIELDS, _PATH)
    near = difflib.get_close_matches(word, known, 1)
    return f"unknown word {_quoted(word)}" + (
        f"; did you mean {near[0]}?" if near else f"; fields: {' '.join(FIELDS)} path"
    )


def _test(field: str, sign: str, text: str) -> LogQuery:
    """A comparison. Raises ValueError."""
    if field in _FLAGS:
        raise ValueError(f"{field} is a term by itself: {field} or !{field}")
    if field in _NUMBERS or field in _SIZES or field in _DURATIONS:
        return _numeric(field, sign, text)
    if sign not in ("=", "!=", "~", "!~"):
        raise ValueError(f"{field} is text: it has no order; expected = != ~ !~")
    if field == "client" and sign in ("=", "!="):
        holds = _network(text)
    elif sign in ("=", "!="):
        holds = _equal_to(_REASONS.get(text, text) if field == "reason" else text)
    else:
        holds = _like(text)
    test = _Test(field, holds)
    return _Not(test) if sign.startswith("!") else test


def _equal_to(wanted: str) -> Callable[[object], bool]:
    return lambda value: value == wanted


def _like(text: str) -> Callable[[object], bool]:
    pattern = re.compile(fnmatch.translate(text))
    return lambda value: pattern.match(str(value)) is not None


def _numeric(field: str, sign: str, text: str) -> LogQuery:
    if sign not in _ORDERS:
        raise ValueError(f"{field} is a number; expected = != > < >= <=")
    if field in ("status", "forward_status") and re.fullmatch("[1-5]xx", text) and sign in ("=", "!="):
        hundreds = int(text[0])
        of_class = _Test(field, lambda value: int(value) // 100 == hundreds)
        return _Not(of_class) if sign == "!=" else of_class
    wanted, order = _quantity(field, text), _ORDERS[sign]
    return _Test(field, lambda value: order(float(value), wanted), empty=sign == "!=")


def _quantity(field: str, text: str) -> float:
    found = _number(text)
    if field in _SIZES:
        unit = _SIZE_UNITS.get(found[2].upper()) if found else None
        if found is None or unit is None:
            raise ValueError(f"expected a size, as 512KB or 1MiB, not {_quoted(text)}")
        return float(found[1]) * unit
    if field in _DURATIONS:
        seconds = _TIME_UNITS.get(found[2]) if found else None
        if found is None or seconds is None:
            raise ValueError(f"expected a duration, as 0.5 or 250ms, not {_quoted(text)}")
        return float(found[1]) * seconds
    if found is None or found[2]:
        raise ValueError(f"expected a number, not {_quoted(text)}")
    return float(found[1])


def _network(text: str) -> Callable[[LogValue], bool]:
    """Whether an address is this one, or in this network."""
    if text == "unix":
        return lambda value: value == "unix"
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"expected an address or a network, as 10.0.0.0/8, not {_quoted(text)}") from None

    def holds(value: LogValue) -> bool:
        try:
            return ipaddress.ip_address(str(value)) in network
        except ValueError:
            return False

    return holds


def _path_of(record: LogRecord) -> str:
    return str(record.get("target", "")).partition("?")[0]


def _quoted(text: str) -> str:
    shown = text[:40]
    return f'"{shown}"' if shown.isprintable() else ascii(shown)
