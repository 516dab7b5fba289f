"""What connections to an origin are held to: time limits and sizes. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds an origin may take, each from the step before it."""

    connect: float = 3.0  # until connected, TLS handshake included
    first_byte: float = 10.0  # from the request sent until its final head has arrived whole
    between_bytes: float = 10.0  # between two reads of a body
    total: float = 600.0  # from the request sent until the body's last byte, without the time it was paused


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """How much of an answer is taken before anything is known of it."""

    head_bytes: int = 64 * 1024
    head_fields: int = 200
    interim_heads: int = 10  # 1xx before the final one
    unstarted_bytes: int = 128 * 1024  # of a body nobody has started to take; then reading pauses
    bare_lf: bool = False  # lines of heads may end without CR (RFC 9112 §2.2)


@dataclass(frozen=True, slots=True)
class Terms:
    """What all connections to one origin share; `origin` is its name, for errors."""

    origin: str
    timeouts: Timeouts
    limits: MessageLimits


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds on an origin's connections."""

    connections: int = 64
    idle: float = 60.0  # seconds a connection is kept unused
    age: float = 900.0  # seconds after which it isn't used again, so that load follows the origin's addresses
    watch: float = 1.0  # seconds of silence behind a bodiless answer that prove the origin; 0: it needs no proof
    message: MessageLimits = field(default_factory=MessageLimits)
