"""A server on 127.0.0.1 that is sent POSTs over HTTP/1.0: the other end for tests of what a node sends."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self, TypeVar

from tests.client import PATIENCE

T = TypeVar("T")


@dataclass
class PostServer:
    """A context. Subclasses say what becomes of a request."""

    came: threading.Condition = field(default_factory=threading.Condition, init=False)

    def take(self, path: str, fields: dict[str, str], body: bytes) -> tuple[int, dict[str, str]] | None:
        """A request, its fields by lower-case name; returns the status and fields of the answer, None: there is none
        until the end. `came` is held, and notified afterwards.
        """
        raise NotImplementedError

    def __enter__(self) -> Self:
        server, end = self, threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # http.server's name
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                with server.came:
                    answer = server.take(self.path, {k.lower(): value for k, value in self.headers.items()}, body)
                    server.came.notify_all()
                if answer is None:
                    end.wait(PATIENCE)
                    return
                status, fields = answer
                self.send_response(status)
                for name, value in {**fields, "content-length": "0"}.items():
                    self.send_header(name, value)
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
    def place(self) -> str:
        """The beginning of its URLs."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def once(self, found: list[T], count: int) -> list[T]:
        """What has been found of the requests, once there is so much of it."""
        with self.came:
            assert self.came.wait_for(lambda: len(found) >= count, PATIENCE), f"only {len(found)} came"
            return list(found)
