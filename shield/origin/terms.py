"""The terms for connections to an origin: time limits, sizes, and the cap on its bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from shield.origin.flow import Flow


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds an origin may take, each counted from the step before it."""

    connect: float = 3.0  # until connected, TLS handshake included
    first_byte: float = 10.0  # from the request sent until its final head has arrived whole
    between_bytes: float = 10.0  # between two reads of a body
    total: float = 600.0  # from the request sent until the body's last byte, without the time it was paused


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """How much of a response is accepted before its content is known."""

    head_bytes: int = 64 * 1024
    head_fields: int = 200
    interim_heads: int = 10  # 1xx before the final one
    unstarted_bytes: int = 128 * 1024  # of a body whose reader hasn't started; then reading pauses
    bare_lf: bool = False  # lines of heads may end without CR (RFC 9112 §2.2)


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms shared by all connections to one origin; `origin` is its name, for errors. `flow` caps its bytes."""

    origin: str
    timeouts: Timeouts
    limits: MessageLimits
    flow: Flow | None = None


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds on an origin's connections."""

    connections: int = 64
    idle: float = 60.0  # seconds a connection is kept unused
    age: float = 900.0  # seconds after which it isn't reused, so that load follows the origin's addresses
    watch: float = 1.0  # seconds of silence after a bodiless response that clear the origin; 0: trusted
    message: MessageLimits = field(default_factory=MessageLimits)
