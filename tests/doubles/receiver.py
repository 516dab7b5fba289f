"""A receiver of webhooks on 127.0.0.1: it keeps what it got, and answers as it is told."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.doubles.posts import PostServer


@dataclass(frozen=True)
class Received:
    """A request, its fields by lower-case name."""

    path: str
    fields: dict[str, str]
    body: bytes

    @property
    def said(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver(PostServer):
    """`with Receiver() as receiver:`. `answers` are statuses and fields to come; without any, it is 204. While
    `is_silent`, it doesn't answer.
    """

    got: list[Received] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    is_silent: bool = False

    def take(self, path: str, fields: dict[str, str], body: bytes) -> tuple[int, dict[str, str]] | None:
        self.got.append(Received(path, fields, body))
        answer = self.answers.pop(0) if self.answers else (204, {})
        return None if self.is_silent else answer

    @property
    def url(self) -> str:
        return f"{self.place}/hook?token=hidden"

    def wait_for(self, count: int) -> list[Received]:
        """The requests, once there are so many."""
        return self.once(self.got, count)
