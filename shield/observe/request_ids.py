"""Identifiers of requests: taken over from a CDN's field, or made."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Sequence
from typing import Final

from shield.messages import Fields

_usable: Final = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}").fullmatch


class RequestIds:
    """Gives requests their identifiers. Those it makes are unique, over all workers and restarts of all nodes."""

    def __init__(self, *, start: bytes | None = None) -> None:
        """`start` begins those that are made."""
        self.answer = b""
        """The field in which responses state them; none if empty."""
        self._names: dict[bytes, int] = {}
        self._start = start or secrets.token_hex(6).encode()
        self._numbers = itertools.count(1)

    def use(self, names: Sequence[bytes], *, answer: bytes = b"") -> None:
        """Take them from these fields from now on: names in lower case, the most trusted first."""
        self._names = {name: place for place, name in enumerate(names)}
        self.answer = answer

    def of(self, fields: Fields) -> bytes:
        """The identifier of a request with these fields: a new one at each call if they have none of use."""
        names = self._names
        found, best = b"", len(names)
        for name, value in fields:
            place = names.get(name)
            if place is not None and place < best and _usable(text := value.strip(b" \t")):
                found, best = text, place
        return found or b"%b-%x" % (self._start, next(self._numbers))
