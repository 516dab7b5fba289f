"""Our types for HTTP messages, free of any framework's types. Nothing here decides anything.

Field names are lower-case bytes everywhere past the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Field = tuple[bytes, bytes]
Fields = Sequence[Field]
Part = bytes | bytearray | memoryview
"""Bytes of a body."""

# Request fields that can change a response. A request with none of them is a plain one, as most are.
NOTABLE: Final = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"connection",
        b"content-length",
        b"expect",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"pragma",
        b"range",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"want-repr-digest",
    }
)


class Request:
    """A client's request: method and origin-form target as sent, fields in order with lower-case names.

    `notable` holds the fields in `NOTABLE` by name, several lines of one name joined by ", " (RFC 9110 §5.3).
    `identify` and `identify_by` give it an identifier, which most never need. It has passed so many nodes (`hops`).
    """

    __slots__ = ("_fields", "_hops", "_identifier", "_namer", "_reader", "method", "notable", "target")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        fields: list[Any],
        notable: dict[bytes, bytes],
        reader: Callable[[list[Any]], list[Field]] | None = None,
    ) -> None:
        """`reader` makes the fields from those passed when they are first needed, which is rare for a hit."""
        self.method = method
        self.target = target
        self.notable = notable
        self._fields: list[Field] = fields
        self._reader = reader
        self._identifier: bytes | None = None
        self._namer: Callable[[Fields], bytes] | None = None
        self._hops = 0

    @property
    def fields(self) -> list[Field]:
        """All fields; the holder of the request may change them."""
        if self._reader is not None:
            self._fields, self._reader = self._reader(self._fields), None
        return self._fields

    @classmethod
    def of(cls, method: bytes, target: bytes, fields: Iterable[Field] = ()) -> Request:
        """Build from fields whose names are lower case already; `notable` is found here."""
        kept = list(fields)
        notable: dict[bytes, bytes] = {}
        for name, value in kept:
            if name in NOTABLE:
                notable[name] = notable[name] + b", " + value if name in notable else value
        return cls(method, target, kept, notable)

    def identify(self, identifier: bytes) -> None:
        self._identifier = identifier

    def identify_by(self, namer: Callable[[Fields], bytes]) -> None:
        """As `identify`, with what this makes of the fields when the identifier is first read."""
        self._namer = namer

    @property
    def identifier(self) -> bytes | None:
        """The request's identifier in logs and at origins; None if it was given none."""
        identifier = self._identifier
        if identifier is None and self._namer is not None:
            identifier = self._identifier = self._namer(self.fields)
        return identifier

    @property
    def hops(self) -> int:
        """How far it has come in a cluster: 0 from a client; 1 from a node of this region, which won't ask another
        one of it; 2 from another region, and no node is asked for it.
        """
        return self._hops

    def note_hops(self, hops: int) -> None:
        """It has come at least so far."""
        self._hops = max(hops, self._hops)

    def get(self, name: bytes) -> bytes:
        """All values of a field joined by ", "; b"" when it is absent (RFC 9110 §5.3)."""
        return b", ".join([value.strip(b" \t") for each, value in self.fields if each == name])

    def whole(self) -> Request:
        """The same request without Range."""
        notable = {name: value for name, value in self.notable.items() if name != b"range"}
        whole = Request(self.method, self.target, self.fields, notable)
        whole._hops = self._hops
        return whole

    def __repr__(self) -> str:
        return f"Request({self.method.decode()} {self.target.decode('ascii', 'backslashreplace')})"


@dataclass(slots=True, init=False)
class ResponseHead:
    """Status and fields of an origin's final response, as received (names lower case, order kept).

    `length` is the body's length in bytes when the message states one that holds for the body to come,
    None when the body ends by chunks or by close. For a response to HEAD it is the length that GET would state.
    """

    status: int
    fields: tuple[Field, ...]
    length: int | None

    named: dict[bytes, bytes] = field(init=False, repr=False, compare=False)  # the last line's value of each name

    def __init__(self, status: int, fields: tuple[Field, ...], length: int | None) -> None:
        self.status = status
        self.fields = fields
        self.length = length
        self.named = dict(fields)

    def get(self, name: bytes) -> bytes | None:
        """All values of a field joined by ", ", or None when absent (RFC 9110 §5.3)."""
        named = self.named
        if name not in named or len(named) == len(self.fields):
            return named.get(name)
        return b", ".join(self.all(name))

    def has_any(self, names: Iterable[bytes]) -> bool:
        """Whether it has a field of one of these names, at a fraction of the cost of looking up each."""
        return not self.named.keys().isdisjoint(names)

    def all(self, name: bytes) -> list[bytes]:
        """Each line's value of a field, in order."""
        named = self.named
        if name not in named:
            return []
        if len(named) == len(self.fields):
            return [named[name]]
        return [value for line, value in self.fields if line == name]
