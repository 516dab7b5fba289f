"""A receiver of webhooks on 127.0.0.1: it keeps what it got, and answers as it is told."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.client import PATIENCE


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
class Receiver:
    """`with Receiver() as receiver:`. `answers` are statuses and fields to come; without any, it is 204. While
    `is_silent`, it doesn't answer.
    """

    got: list[Received] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    is_silent: bool = False
    came: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> Self:
        receiver, end = self, threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # http.server's name
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                fields = {name.lower(): value for name, value in self.headers.items()}
                with receiver.came:
                    receiver.got.append(Received(self.path, fields, body))
                    status, more = receiver.answers.pop(0) if receiver.answers else (204, {})
                    receiver.came.notify_all()
                if receiver.is_silent:
                    end.wait(PATIENCE)
                    return
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._end = end
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook?token=hidden"

    def wait_for(self, count: int) -> list[Received]:
        """The requests, once there are so many."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.got) >= count, PATIENCE), f"only {len(self.got)} came"
            return list(self.got)
