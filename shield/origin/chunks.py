"""The chunked coding (RFC 9112 §7.1), read by llhttp. Extensions are skipped, trailers dropped."""

from __future__ import annotations

from httptools import HttpParserCallbackError, HttpParserError, HttpResponseParser

from shield.errors import Fault
from shield.origin.head import MessageError
from shield.origin.response import Response


class ChunkReader:
    """Reads one body, and delivers what is in the chunks to its response."""

    __slots__ = ("_overhead", "_parser", "_response", "complete", "surplus")

    def __init__(self, response: Response) -> None:
        self._response = response
        self._overhead = 0  # framing bytes since the last body byte
        self._parser = HttpResponseParser(self)
        self._parser.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        self.complete = False
        self.surplus = False  # there were bytes after the end

    def feed(self, data: bytes, max_overhead: int) -> None:
        """Raises MessageError on malformed chunks, or on framing without end and without body."""
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserCallbackError:
            raise
        except HttpParserError as error:
            if not self.complete:
                raise MessageError(Fault.MALFORMED, f"{error} in its chunked body") from None
            self.surplus = True
        if self._overhead > max_overhead and not self.complete:
            raise MessageError(Fault.MALFORMED, f"more than {max_overhead} bytes of chunk framing")

    def on_message_begin(self) -> None:
        if self.complete:
            self.surplus = True

    def on_body(self, data: bytes) -> None:
        self._overhead = 0
        if not self.complete:
            self._response.deliver(data)

    def on_message_complete(self) -> None:
        self.complete = True
