"""What all HTTP/2 connections of a listener share: their figures, and the streams that hold memory."""

from __future__ import annotations

from dataclasses import dataclass

from shield.edge.http2.stream import ClientStream


@dataclass(frozen=True, slots=True)
class Http2Statistics:
    """`taken_back` are requests that clients reset, `refused` those that came at a wrong time, which clients may send
    again; `cut_off` are connections that were ended for what their clients did, by reason."""

    connections: int
    requests: int
    taken_back: int
    refused: int
    cut_off: dict[str, int]


class Traffic:
    """Counts. `under_way` are streams of which something waits for the client."""

    def __init__(self) -> None:
        self.under_way: set[ClientStream] = set()
        self.connections = 0
        self.requests = 0
        self.taken_back = 0
        self.refused = 0
        self.cut_off: dict[str, int] = {}

    def statistics(self) -> Http2Statistics:
        return Http2Statistics(self.connections, self.requests, self.taken_back, self.refused, dict(self.cut_off))
