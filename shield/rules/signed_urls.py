"""Signed links: their bearer may request one path until they expire. Applications make them with one of our keys.

The signed text is UTF-8: the canonical path (`key`), "?" and the canonical query if the route keeps one, a line feed,
and the expiry in epoch seconds as written in the link. The signature is HMAC-SHA256 in lower-case hex.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from shield.rules.key import MAX_PARAMETERS, canonical_path
from shield.rules.routes import Resource

_is_expiry = re.compile(rb"[1-9][0-9]{0,11}").fullmatch


@dataclass(frozen=True, slots=True)
class LinkParameters:
    """The names of a link's query parameters."""

    expires: bytes = b"expires"
    key: bytes = b"key"
    signature: bytes = b"signature"


class Link(NamedTuple):
    """The values of a signed link's parameters as sent; b"" for one that is missing or repeated."""

    expires: bytes
    key: bytes
    signature: bytes

    def rest(self, now: float) -> int:
        """Whole seconds until it expires; 0 without a valid expiry."""
        return max(0, int(int(self.expires) - now)) if _is_expiry(self.expires) else 0


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and checks signed links. `keys` has the secrets by key id; all of them are valid."""

    keys: Mapping[bytes, bytes]
    parameters: LinkParameters = LinkParameters()

    def taken_off(self, target: bytes) -> tuple[bytes, Link | None]:
        """A target without the parameters of a link, and the link, None if the target has none of them."""
        path, mark, query = target.partition(b"?")
        if not mark or query.count(b"&") >= MAX_PARAMETERS:
            return target, None
        names = self.parameters
        found = {names.expires: b"", names.key: b"", names.signature: b""}
        seen: set[bytes] = set()
        kept = []
        for parameter in query.split(b"&"):
            name, _, value = parameter.partition(b"=")
            if b"%" in name:
                name = unquote_to_bytes(name)
            if name in found:
                found[name] = b"" if name in seen else value
                seen.add(name)
            else:
                kept.append(parameter)
        if not seen:
            return target, None
        link = Link(found[names.expires], found[names.key], found[names.signature])
        return path + b"?" + b"&".join(kept) if kept else path, link

    def objection(self, link: Link | None, text: bytes | None, now: float) -> str | None:
        """Why a link isn't valid for a `signable` text, None if it is. `text` None: the target names no object."""
        if link is None or b"" in link:
            return "not signed"
        secret = self.keys.get(link.key)
        if secret is None:
            return "unknown key"
        if text is None or not _is_expiry(link.expires):
            return "wrong signature"
        if not hmac.compare_digest(signature(secret, text, link.expires), link.signature):
            return "wrong signature"
        return "expired" if now >= int(link.expires) else None

    def signed(self, target: bytes, text: bytes, *, key: bytes, expires: int) -> bytes:
        """A target with the parameters of a link appended. `expires` is epoch seconds. Raises KeyError for an unknown
        key id.
        """
        names, until = self.parameters, b"%d" % expires
        bare, _ = self.taken_off(target)
        parts = ((names.expires, until), (names.key, key), (names.signature, signature(self.keys[key], text, until)))
        return bare + (b"&" if b"?" in bare else b"?") + b"&".join([name + b"=" + value for name, value in parts])


def signable(target: bytes, resource: Resource) -> bytes:
    """The signed text without the expiry: the canonical path of a target before its route's strip and add, and the
    query that is kept. Raises RequestError for an invalid path.
    """
    path = canonical_path(target.partition(b"?")[0], resource.route.key)
    return path + b"?" + resource.query if resource.query else path


def signature(secret: bytes, text: bytes, expires: bytes) -> bytes:
    """The signature of a `signable` text and an expiry: HMAC-SHA256 in lower-case hex."""
    return hmac.digest(secret, text + b"\n" + expires, "sha256").hex().encode()
