"""The place of a drill: between an origin and its pool."""

from __future__ import annotations

from typing import Protocol

from shield.origin.asked import Asked
from shield.origin.pool import Pool
from shield.origin.response import Response
from shield.origin.want import Want


class Drill(Protocol):
    """Comes between an origin and its pool while a drill runs. `mode` is its word; None: it's at another origin."""

    mode: str | None

    async def fetch(self, pool: Pool, want: Want, asked: Asked) -> Response:
        """As `Pool.fetch`, which it may call, or a fault."""
