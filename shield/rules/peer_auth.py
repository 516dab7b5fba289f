"""Proof that a request comes from a node of the cluster: an HMAC over its time, method, target and the rest that
counts.

    shield-auth: <sender> <milliseconds since the epoch> <ring id> <HMAC-SHA256, hex>

A request that was listened to is worth nothing after `WINDOW` seconds; until then it can be repeated, which fetches
an object once more, or repeats an order that has an id. The text of the HMAC has no ambiguity: none of its parts
contains a line feed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

FIELD = b"shield-auth"

WINDOW = 30.0
"""Seconds by which clocks of nodes may differ, and for which a request can be repeated."""


def proof(
    secret: bytes, *, sender: bytes, ring: bytes, method: bytes, target: bytes, body: bytes, now: float
) -> bytes:
    """The value of `FIELD` for a request that is sent now (epoch seconds)."""
    stamp = b"%d" % (now * 1000)
    return b"%b %b %b %b" % (sender, stamp, ring, _mac(secret, (sender, stamp, ring, method, target), body))


def _mac(secret: bytes, parts: tuple[bytes, ...], body: bytes) -> bytes:
    text = b"\n".join((*parts, hashlib.sha256(body).hexdigest().encode() if body else b""))
    return hmac.digest(secret, text, "sha256").hex().encode()


class AskingNode:
    """The sender of a request, by its own words: its node's name, and the id of its ring."""

    __slots__ = ("name", "ring")

    def __init__(self, name: bytes, ring: bytes) -> None:
        self.name = name.decode("ascii", "replace")
        self.ring = ring


def sender_of(
    value: bytes, secrets: Sequence[bytes] | None, *, method: bytes, target: bytes, body: bytes, now: float
) -> AskingNode | str:
    """The sender of a request with this value of `FIELD`, or the objection to it.

    It may be signed by any of the secrets; None: the connection has proved it already (mutual TLS).
    """
    parts = value.split(b" ")
    if len(parts) != 4 or not parts[1].isdigit() or len(parts[1]) > 20:
        return "no proof" if not value else "malformed proof"
    sender, stamp, ring, mac = parts
    if secrets is None:
        return AskingNode(sender, ring)
    signed = (sender, stamp, ring, method, target)
    if not any(hmac.compare_digest(_mac(secret, signed, body), mac) for secret in secrets):
        return "wrong secret"
    if abs(int(stamp) / 1000 - now) > WINDOW:
        return "clock or replay"
    return AskingNode(sender, ring)
