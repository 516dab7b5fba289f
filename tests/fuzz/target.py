"""What a fuzz target is: a parser's promises to any bytes, and what to try them with."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from shield.messages import Field

SLOWEST = 2.0
"""Seconds of a thread's time that no input may take: nearly all take a thousandth of that, and a pattern that goes
back and forth takes minutes."""

_is_name = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch


@dataclass(frozen=True, slots=True)
class Target:
    """`check` fails by any exception. `seeds` are good inputs and nearly good ones, `words` are worth putting in."""

    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()

    def run(self, data: bytes) -> None:
        """Check, and that it doesn't take long."""
        begun = time.thread_time()
        self.check(data)
        took = time.thread_time() - begun
        assert took < SLOWEST, f"it took {took:.1f} s"


def parts(data: bytes, count: int) -> list[bytes]:
    """So many pieces of an input: its lines, the last with all that is left; b"" for what isn't there."""
    found = data.split(b"\n", count - 1)
    return found + [b""] * (count - len(found))


def fields_in(data: bytes) -> tuple[Field, ...]:
    """The field lines of an input, as far as they could have come over the wire."""
    lines = [line.partition(b":") for line in data.split(b"\n") if b"\r" not in line and b"\0" not in line]
    return tuple([(name.lower(), value.strip(b" \t")) for name, _, value in lines if _is_name(name.lower())])


def pieces(data: bytes) -> list[list[bytes]]:
    """An input cut in several ways, always the same ones for the same input; no piece is empty."""
    chance = zlib.crc32(data)
    places = [chance % (len(data) + 1), (chance >> 8) % (len(data) + 1), (chance >> 16) % (len(data) + 1)]
    ways = [sorted(set(places[:count])) for count in (1, 2, 3)]
    if len(data) <= 300:
        ways.append(list(range(len(data))))
    return [_cut(data, way) for way in ways]


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    found = [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)]
    return [piece for piece in found if piece]
