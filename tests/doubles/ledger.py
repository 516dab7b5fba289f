"""What the origin has seen: requests in order and connections by number. The loop writes, tests read."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.doubles.gate import Watch


@dataclass(slots=True)
class Received:
    """One request as it came, and how far its answer got."""

    order: int  # 0 for the first request of this origin
    connection: int  # 1 for the first connection of this origin
    method: str
    target: str  # as on the wire
    path: str  # decoded, without query and bucket
    fields: list[tuple[str, str]]  # names lower case
    body: bytes = b""
    server_name: str | None = None  # SNI
    sent: int = 0  # bytes of the answer handed to the kernel, so far: no client has more
    complete: bool = False  # the whole script was played and handed to the kernel
    ended: bool = False  # nothing more will be sent for this one

    def get(self, name: str) -> str | None:
        """All values of a field joined by ", ", or None when absent."""
        found = [value for key, value in self.fields if key == name]
        return ", ".join(found) if found else None


@dataclass
class Ledger:
    """Counts and records; `watch` tells of every change."""

    watch: Watch = field(default_factory=Watch)
    requests: list[Received] = field(default_factory=list)
    connections_opened: int = 0
    connections_open: int = 0
    connections_peak: int = 0
    requests_active: int = 0
    requests_peak: int = 0
    handshakes_failed: int = 0
    acknowledged_by_closed: int = 0  # bytes, by the clients of connections that are closed
    malformed: list[bytes] = field(default_factory=list)
    crashes: list[BaseException] = field(default_factory=list)

    def opened(self) -> int:
        """Number of the connection that was just opened."""
        with self.watch.lock:
            self.connections_opened += 1
            self.connections_open += 1
            self.connections_peak = max(self.connections_peak, self.connections_open)
            number = self.connections_opened
        self.watch.changed()
        return number

    def closed(self) -> None:
        with self.watch.lock:
            self.connections_open -= 1
        self.watch.changed()

    def received(self, request: Received) -> None:
        with self.watch.lock:
            request.order = len(self.requests)
            self.requests.append(request)
            self.requests_active += 1
            self.requests_peak = max(self.requests_peak, self.requests_active)
        self.watch.changed()

    def answered(self, request: Received, *, complete: bool) -> None:
        with self.watch.lock:
            request.complete = complete
            request.ended = True
            self.requests_active -= 1
        self.watch.changed()

    def handshake_failed(self) -> None:
        with self.watch.lock:
            self.handshakes_failed += 1
        self.watch.changed()

    def misunderstood(self, raw: bytes) -> None:
        with self.watch.lock:
            self.malformed.append(raw)
        self.watch.changed()

    def crashed(self, error: BaseException) -> None:
        with self.watch.lock:
            self.crashes.append(error)
        self.watch.changed()
