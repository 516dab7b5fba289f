"""Requests as HTTP/2 puts them: pseudo-header fields in place of a request line, and stricter field lines (RFC 9113
§8). What isn't well-formed here is malformed, and its stream is reset; what HTTP/1.1 could say as well, and is
refused there, gets the same answer from the same place (`edge.turn.objection`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from shield.messages import Field, Request

_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})  # no :protocol: extended CONNECT isn't offered
_SCHEMES = (b"https", b"http")  # a proxy before us may have taken off TLS, or put it on
_OF_CONNECTIONS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})

_names = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z,-]*").fullmatch  # joined by commas
_method = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_wrong_in_values = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|(?:\A|\n)[ \t]|[ \t](?:\n|\Z)").search  # joined by "\n"


class MalformedError(Exception):
    """A request that no HTTP/2 client may send; the text says why."""


def request_of(fields: Iterable[Field]) -> Request:
    """The request that a header list makes, with Host as in HTTP/1.1. Raises MalformedError.

    The target of a CONNECT request is its authority; that of any other begins with "/" or is "*".
    """
    pseudo: dict[bytes, bytes] = {}
    kept: list[Field] = []
    hosted = False
    for name, value in fields:
        if name[:1] == b":":
            if kept:
                raise MalformedError("a pseudo-header field stands behind others")  # §8.3
            if name not in _PSEUDO or name in pseudo:
                raise MalformedError("a pseudo-header field is unknown or repeated")  # §8.3
            pseudo[name] = value
            continue
        kept.append((name, value))
        if name in _OF_CONNECTIONS:
            raise MalformedError("a field is about the connection")  # §8.2.2
        if name == b"te":
            if value.lower() != b"trailers":
                raise MalformedError("TE says something else than trailers")  # §8.2.2
            kept.pop()  # no answer of ours has any
        elif name == b"host":
            hosted = True
    _check_lines(pseudo, kept)
    method, authority = pseudo.get(b":method", b""), pseudo.get(b":authority")
    target = _target(method, pseudo)
    if authority is not None:
        if not hosted:
            kept.insert(0, (b"host", authority))
        elif any(name == b"host" and value != authority for name, value in kept):
            raise MalformedError("Host differs from :authority")  # §8.3.1
    return Request.of(method, target, kept)


def _target(method: bytes, pseudo: dict[bytes, bytes]) -> bytes:
    if not _method(method):
        raise MalformedError("there is no valid :method")
    path, scheme = pseudo.get(b":path"), pseudo.get(b":scheme")
    if method == b"CONNECT":
        if path is not None or scheme is not None or not pseudo.get(b":authority"):
            raise MalformedError("CONNECT has :authority, and neither :scheme nor :path")  # §8.5
        return pseudo[b":authority"]
    if scheme is None or scheme.lower() not in _SCHEMES:
        raise MalformedError("there is no valid :scheme")  # §8.3.1
    if path is None or not (path.startswith(b"/") or (path == b"*" and method == b"OPTIONS")):
        raise MalformedError("there is no valid :path")  # §8.3.1
    return path


def _check_lines(pseudo: dict[bytes, bytes], fields: list[Field]) -> None:
    """All names at once, and all values: a look at each line costs several times as much."""
    names = [name for name, _ in fields]
    joined = b",".join(names)
    if b"" in names or not _names(joined) or joined.count(b",") != max(len(names) - 1, 0):
        raise MalformedError("a field's name has other than lower-case letters and the like")  # §8.2.1
    values = [*pseudo.values(), *(value for _, value in fields)]
    joined = b"\n".join(values)
    if _wrong_in_values(joined) or joined.count(b"\n") != max(len(values) - 1, 0):
        raise MalformedError("a field's value has a control character, or a blank at an end")  # §8.2.1
