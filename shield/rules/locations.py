"""Location and Content-Location: URLs of the origin itself are rewritten to the route's paths.

An origin that doesn't know of this proxy names its own host there, which clients usually can't reach and shouldn't
learn. References to other hosts, and to paths that the route doesn't cover, stay unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shield.messages import Field, Fields

NAMES = (b"location", b"content-location")

_PORTS = {b"http": b"80", b"https": b"443"}
# RFC 3986 §3 without user information, which no genuine reference to an origin has.
_absolute = re.compile(
    rb"(?:(?P<scheme>[A-Za-z]+):)?//(?P<host>\[[0-9A-Fa-f:.]+\]|[^/?#@:\[\]\\]+)(?::(?P<port>[0-9]*))?(?P<rest>[/?#].*|)"
).fullmatch
_dots = re.compile(rb"/(?:\.|%2[eE]){1,2}(?:[/?#\\;]|%2[fF]|%5[cC]|\Z)").search


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Whether a route rewrites locations; part of its policy's name (`policy`).

    The mapping itself is no part of it: rewritten for another route to the same origins, a reference leads to the
    same object.
    """

    on: bool = True


@dataclass(frozen=True, slots=True)
class PathMapping:
    """An origin's own URL, and the mapping of its paths to a route's: `below` in front is replaced by `strip`.

    `authority` omits the default port, as in requests to the origin; `tls` decides which port that is.
    """

    authority: bytes
    tls: bool
    below: bytes = b""
    strip: bytes = b""

    def mapped(self, value: bytes) -> bytes:
        """A reference that clients can follow: an absolute path in place of a URL of this origin."""
        if value[:1] == b"/" and value[1:2] not in (b"/", b"\\"):
            # It names no host, so it changes only if the route maps paths.
            return (self._path(value) or value) if self.below or self.strip else value
        match = _absolute(value)
        if match is None or not self._is_own(match["scheme"], match["host"], match["port"]):
            return value
        rest: bytes = match["rest"]
        return self._path(rest if rest[:1] == b"/" else b"/" + rest) or value

    def fields(self, fields: Fields) -> tuple[Field, ...]:
        """A response's fields with Location and Content-Location mapped."""
        return tuple([(name, self.mapped(value)) if name in NAMES else (name, value) for name, value in fields])

    def _is_own(self, scheme: bytes | None, host: bytes, port: bytes | None) -> bool:
        """Whether a URL is of this origin, scheme included: mapping an origin's redirect from http to https would
        send the client in a loop.
        """
        own = b"https" if self.tls else b"http"
        if scheme is not None and scheme.lower() != own:
            return False
        name, number = host.lower().removesuffix(b"."), (port or b"").lstrip(b"0")
        return (name if number in (b"", _PORTS[own]) else name + b":" + number) == self.authority.lower()

    def _path(self, path: bytes) -> bytes | None:
        """The route's path for a path of the origin; None if the route doesn't cover it."""
        below = self.below
        rest = path[len(below) :]
        if _dots(path) or not path.startswith(below) or rest[:1] not in (b"/", b"?", b"#", b""):
            return None
        # Two slashes in front would make the next segment a host (RFC 3986 §4.2). Browsers treat backslashes as
        # slashes, and ignore tabs.
        return b"/" + (self.strip + rest).lstrip(b"/\\\t")
