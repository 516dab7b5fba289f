"""Limits on clients of a worker: connections, sizes of heads, and time."""

from __future__ import annotations

from dataclasses import dataclass

from shield.rules.addresses import Networks


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Limits on connections of clients. Seconds are counted in sweeps, one a second. `max_requests` 0: any number."""

    keep_alive_seconds: int = 650
    head_seconds: int = 10
    send_seconds: int = 60
    send_bytes: int = 16 * 1024
    unsent_bytes: int = 256 * 1024 * 1024
    max_connections: int = 10_000
    max_connections_per_address: int = 2_500
    exempt: Networks | None = None  # addresses without a limit on their number of connections
    max_requests: int = 0
    max_rate: int = 0  # bytes per second on a connection; 0: any number
    max_streams: int = 100  # requests at once, over HTTP/2
    pipelined_bytes: int = 32 * 1024
    max_head_bytes: int = 32 * 1024
    max_target_bytes: int = 8 * 1024
    max_fields: int = 100

    @property
    def send_step(self) -> int:
        """Sweeps between two checks of a client's progress, so that there are several in `send_seconds`."""
        return max(1, self.send_seconds // 8)
