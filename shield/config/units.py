"""Sizes and durations as people write them. Settings hold int bytes and float seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

SIZE_SPELLING = r"^[0-9]+(\.[0-9]+)? ?([KMGTkmgt][Ii]?)?[Bb]?$"
DURATION_SPELLING = r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|min|h|d)?$"
SHARE_SPELLING = r"^[0-9]+(\.[0-9]+)? ?%?$"
"""Patterns of the JSON Schema, by which editors and the reference know these types."""

_SIZES: Mapping[str, int] = {
    "TiB": 1 << 40,
    "GiB": GIB,
    "MiB": MIB,
    "KiB": KIB,
    "TB": 10**12,
    "GB": 10**9,
    "MB": 10**6,
    "KB": 10**3,
    "B": 1,
}
_DURATIONS: Mapping[str, Decimal] = {
    "d": Decimal(86400),
    "h": Decimal(3600),
    "min": Decimal(60),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
_BY_LOWER = {unit.lower(): count for unit, count in _SIZES.items()}
_NUMBER = r"([0-9]{1,20}(?:\.[0-9]{1,30})?)"
_SIZE = re.compile(_NUMBER + r" ?([A-Za-z]*)").fullmatch
_DURATION = re.compile(_NUMBER + r" ?([a-z]*)").fullmatch
_RATE = re.compile(r"([0-9]{1,15}) ?/ ?([0-9]{0,9}) ?([a-z]+)").fullmatch
_SHARE = re.compile(_NUMBER + r" ?(%?)").fullmatch
_EXACTLY = Context(prec=80)
_NANOSECOND = Decimal("1e-9")
_MAX_BYTES = 1 << 60
_MAX_SECONDS = 3660 * 86400
_MAX_RATE_SECONDS = 30 * 86400
_MAX_RATE = 1_000_000  # a second
_MAX_BYTE_RATE = 10**12  # a second


class ExpectedError(ValueError):
    """An invalid value. The text states the expectation and never contains the value."""


def parse_size(value: object) -> int:
    """Bytes in `256MiB`, `1GB`, `1.5 GiB`, `4096` or a number. Raises ExpectedError."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    match = _SIZE(value) if isinstance(value, str) else None
    unit = _BY_LOWER.get((match[2] or "B").lower()) if match is not None else None
    if match is None or unit is None:
        raise ExpectedError("expected a size: bytes, or a number with KiB MiB GiB TiB or KB MB GB TB, as 256MiB")
    count = _EXACTLY.multiply(Decimal(match[1]), Decimal(unit))
    if count != count.to_integral_value():
        raise ExpectedError("expected a size in whole bytes")
    if count > _MAX_BYTES:
        raise ExpectedError("expected a size of at most 1048576TiB")
    return int(count)


def parse_share(value: object) -> float:
    """A share from 0 to 1 in `0.1%`, `10 %` or a number. Raises ExpectedError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = _plain(value)
    match = _SHARE(value) if isinstance(value, str) else None
    number = None if match is None else Decimal(match[1]) / (100 if match[2] else 1)
    if number is None or number > 1:
        raise ExpectedError("expected a share: a percentage from 0% to 100%, as 0.1%, or a number from 0 to 1")
    return float(number)


def format_size(count: int) -> str:
    """The shortest spelling that `parse_size` reads as exactly this."""
    if count == 0:
        return "0B"
    return min((f"{count // size}{unit}" for unit, size in _SIZES.items() if count % size == 0), key=len)


def parse_duration(value: object) -> float:
    """Seconds, to the nanosecond, in `30s`, `250ms`, `10m`, `10min`, `2h`, `7d` or a number. Raises ExpectedError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = _plain(value)
    match = _DURATION(value) if isinstance(value, str) else None
    unit = _DURATIONS.get(match[2] or "s") if match is not None else None
    if match is None or unit is None:
        raise ExpectedError("expected a duration: seconds, or a number with ms s m (or min) h d, as 30s or 250ms")
    seconds = _EXACTLY.quantize(_EXACTLY.multiply(Decimal(match[1]), unit), _NANOSECOND)
    if seconds > _MAX_SECONDS:
        raise ExpectedError("expected a duration of at most 3660d")
    return float(seconds)


def format_duration(seconds: float) -> str:
    """A short spelling that `parse_duration` reads as exactly this."""
    exact = Decimal(repr(seconds))
    for unit, size in _DURATIONS.items():
        count = exact / size
        if unit != "m" and count >= 1 and count == count.to_integral_value():
            return f"{count:.0f}{unit}"
    return f"{exact.normalize():f}s"


@dataclass(frozen=True, slots=True)
class PerTime:
    """A number of events in so many seconds."""

    count: int
    seconds: float


def parse_rate(value: object) -> PerTime:
    """Requests in a time, in `100/s`, `6000/min`, `5/10s` or `100000/h`. Raises ExpectedError."""
    if isinstance(value, PerTime):
        return value
    match = _RATE(value) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise ExpectedError("expected a rate: a number of requests, a slash and a time, as 100/s, 6000/min or 5/10s")
    try:
        seconds = parse_duration(f"{match[2] or 1}{match[3]}")
    except ExpectedError:
        raise ExpectedError("expected a rate in a time of s m (or min) h d, as 100/s, 6000/min or 5/10s") from None
    if not 0 < seconds <= _MAX_RATE_SECONDS or int(match[1]) > _MAX_RATE * seconds:
        raise ExpectedError("expected a rate of at most 1000000/s, in a time of at most 30d")
    return PerTime(int(match[1]), seconds)


def parse_byte_rate(value: object) -> int:
    """Bytes in a second, in `200MB/s`, `1 GiB/10min` or a number. Raises ExpectedError."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"{value}B/s"
    size, slash, time = value.partition("/") if isinstance(value, str) else ("", "", "")
    time = time.strip()
    try:
        count = parse_size(size.strip())
        seconds = parse_duration(time if time[:1].isdigit() else f"1{time}") if slash and time else 0.0
    except ExpectedError:
        count, seconds = 0, 0.0
    if not seconds or not 1 <= (rate := int(count / seconds)) <= _MAX_BYTE_RATE:
        raise ExpectedError("expected bytes in a time, a second at best, as 200MB/s or 10MiB/s; 1TB/s at most")
    return rate


def _plain(number: float) -> str:
    """Without an exponent."""
    return f"{Decimal(repr(number)):f}"


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": SIZE_SPELLING},
            ]
        }
    ),
]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": DURATION_SPELLING},
            ]
        }
    ),
]
RequestRate = Annotated[
    PerTime,
    PlainValidator(parse_rate),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+ ?/ ?[0-9]* ?(ms|s|m|min|h|d)$"}),
]
ByteRate = Annotated[
    int,
    BeforeValidator(parse_byte_rate),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {
                    "type": "string",
                    "pattern": r"^[0-9]+(\.[0-9]+)? ?([KMGTkmgt][Ii]?)?[Bb]? ?/ ?[0-9]* ?(ms|s|m|min|h|d)$",
                },
            ]
        }
    ),
]
Portion = Annotated[
    float,
    BeforeValidator(parse_share),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1},
                {"type": "string", "pattern": SHARE_SPELLING},
            ]
        }
    ),
]


def size(default: str, description: str, *, least: int = 0) -> Any:
    """A field of `Size`; the schema shows its default as spelled here."""
    shown: dict[str, Any] = {"default": default}
    bound = least or None  # negative sizes can't be written
    return Field(default=parse_size(default), ge=bound, description=description, json_schema_extra=shown)


def size_needed(description: str, *, least: int) -> Any:
    """A field of `Size` that has no default."""
    return Field(ge=least, description=description)


def duration(default: str, description: str, *, least: str = "0s") -> Any:
    """A field of `Duration`; the schema shows its default as spelled here."""
    shown: dict[str, Any] = {"default": default}
    bound = parse_duration(least) or None
    return Field(default=parse_duration(default), ge=bound, description=description, json_schema_extra=shown)


def share(default: str, description: str, *, least: float = 0.0) -> Any:
    """A field of `Portion`; the schema shows its default as spelled here."""
    shown: dict[str, Any] = {"default": default}
    return Field(default=parse_share(default), ge=least or None, description=description, json_schema_extra=shown)
