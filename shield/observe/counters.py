"""Requests by what became of them, and bytes to clients. Plain numbers: read by the metrics, one loop writes them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """`hits` are plain ones, counted apart from `requests` (by word) because they are the hot path."""

    hits: int = 0
    sent_bytes: int = 0
    requests: dict[str, int] = field(default_factory=dict)

    def count(self, word: str) -> None:
        self.requests[word] = self.requests.get(word, 0) + 1
