"""Where an origin's answer sends its client: an origin's own URL means the path that leads there through here.

An origin that doesn't know of us names its own host in Location and Content-Location, which clients mostly can't
reach, and must not learn of. What names another host stays as it is, and so does what a route doesn't lead to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shield.messages import Field, Fields

NAMES = (b"location", b"content-location")

_PORTS = {b"http": b"80", b"https": b"443"}
# RFC 3986 §3 without user information: nobody names a host of ours like that.
_absolute = re.compile(
    rb"(?:(?P<scheme>[A-Za-z]+):)?//(?P<host>\[[0-9A-Fa-f:.]+\]|[^/?#@:\[\]\\]+)(?::(?P<port>[0-9]*))?(?P<rest>[/?#].*|)"
).fullmatch
_dots = re.compile(rb"/(?:\.|%2[eE]){1,2}(?:[/?#\\;]|%2[fF]|%5[cC]|\Z)").search


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Whether a route maps them. Mapped by another route to the same origins they lead to the same place."""

    on: bool = True


@dataclass(frozen=True, slots=True)
class PathMapping:
    """An origin's own place, and how a route's paths map to its paths: without `strip` and below `below`.

    `authority` has no default port, as in requests to the origin; `tls` says which one that is.
    """

    authority: bytes
    tls: bool
    below: bytes = b""
    strip: bytes = b""

    def mapped(self, value: bytes) -> bytes:
        """A reference as clients can follow it: an absolute path in place of a URL of this origin."""
        if value[:1] == b"/" and value[1:2] not in (b"/", b"\\"):
            # It names no host, so it needs a change only where paths do.
            return (self._path(value) or value) if self.below or self.strip else value
        match = _absolute(value)
        if match is None or not self._is_own(match["scheme"], match["host"], match["port"]):
            return value
        rest: bytes = match["rest"]
        return self._path(rest if rest[:1] == b"/" else b"/" + rest) or value

    def fields(self, fields: Fields) -> tuple[Field, ...]:
        """An answer's fields with these mapped."""
        return tuple([(name, self.mapped(value)) if name in NAMES else (name, value) for name, value in fields])

    def _is_own(self, scheme: bytes | None, host: bytes, port: bytes | None) -> bool:
        """Whether it is this very place: an origin's redirect to its other scheme must not lead back to where the
        client came from, for ever.
        """
        own = b"https" if self.tls else b"http"
        if scheme is not None and scheme.lower() != own:
            return False
        name, number = host.lower().removesuffix(b"."), (port or b"").lstrip(b"0")
        return (name if number in (b"", _PORTS[own]) else name + b":" + number) == self.authority.lower()

    def _path(self, path: bytes) -> bytes | None:
        """A path of the origin's as a route has it; None for one that the route doesn't lead to."""
        below = self.below
        rest = path[len(below) :]
        if _dots(path) or not path.startswith(below) or rest[:1] not in (b"/", b"?", b"#", b""):
            return None
        # More than one slash in front would lead to the host behind them (RFC 3986 §4.2); browsers take backslashes
        # for slashes, and tabs for nothing.
        return b"/" + (self.strip + rest).lstrip(b"/\\\t")
