"""Strict parsing of a client's requests: bytes in, a `Turn` for each request out.

llhttp rejects most ambiguous syntax (Content-Length with Transfer-Encoding or twice, folded lines, bare CR or LF,
space before a colon). `examined` and `Heads` check the rest. Plain heads don't come here: see `plain`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from abc import abstractmethod
from collections.abc import Callable

import httptools

from shield.edge.heads import AT_START, Heads
from shield.edge.plain import KEEP_ALIVE, WATCHED
from shield.edge.states import Reading
from shield.edge.turn import Turn, examined, refusal_of
from shield.errors import RequestError
from shield.messages import Field, Request
from shield.rules.access import DeniedError
from shield.rules.limits import ClientLimits
from shield.rules.loops import has_passed, may_be_forwarded

log = logging.getLogger("shield.edge")

_IDLE, _HEAD, _DEAF = Reading.IDLE, Reading.HEAD, Reading.DEAF  # globals: one lookup on the hot path instead of two
_BODY, _LATER = Reading.BODY, Reading.LATER
_NO_CHUNKS = b"0\r\n\r\n"  # the only accepted body: empty, without extension or trailer (RFC 9112 §7.1)

_PARSER_ERRORS = (httptools.HttpParserError, httptools.HttpParserUpgrade)
_begin_of_head = re.compile(rb"(?:\r\n)?(?![\r\n])|\r\Z").match  # one empty line may precede it (RFC 9112 §2.2)


class _LaterError(Exception):
    """Stops the parser at the start of a head that must wait. It can't be paused; a new one parses the head later."""


class RequestReader(asyncio.Protocol):
    """The receiving half of a connection, for heads that aren't plain: a connection that has none needs no parser."""

    __slots__ = (
        "_awaited",
        "_bulky_above",
        "_cdn_loop_lines",
        "_clock",
        "_error",
        "_fields",
        "_heads",
        "_heard",
        "_is_checked",
        "_left",
        "_limits",
        "_max_fields",
        "_node",
        "_notable",
        "_now",
        "_parser",
        "_reading",
        "_target",
        "_turn",
        "_watched",
        "ready",
    )

    def __init__(self, limits: ClientLimits, clock: Callable[[], float], *, node: bytes) -> None:
        self._clock = clock
        self._abide_by(limits)
        self._heads = Heads()
        self._parser: httptools.HttpRequestParser | None = None  # made for the first head that isn't plain
        self._watched = WATCHED
        self._is_checked = False  # `_objection_to` has to check its requests
        self._node = node
        self._left = 0  # requests still allowed; 0: any number
        self._reading = _IDLE
        self._heard = False  # bytes have arrived since the last sweep
        self._now = 0.0
        self._turn: Turn | None = None  # in progress
        self.ready = True  # False: the transport's write buffer is above its limit

        # per request being parsed
        self._awaited: Turn | None = None  # its head is complete, its body is expected
        self._target = b""
        self._fields: list[Field] = []
        self._notable: dict[bytes, bytes] = {}
        self._cdn_loop_lines = 0  # lines of CDN-Loop
        self._error: httptools.HttpParserError | None = None  # of the parser, which then gets no more bytes

    def _abide_by(self, limits: ClientLimits) -> None:
        self._limits = limits
        self._max_fields = limits.max_fields
        self._bulky_above = min(limits.max_target_bytes, limits.max_head_bytes)

    def data_received(self, data: bytes) -> None:
        reading = self._reading
        if reading is not _IDLE and reading is not _HEAD and reading is not _BODY:
            if reading is _LATER:
                self._put_off(data)
            return
        self._heard = True
        self._now = self._clock()
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpRequestParser(self)
        heads, limit = self._heads, self._limits.max_head_bytes
        while data and self._reading is not _DEAF:
            heads.piece, data = heads.parts(data, limit)
            heads.at = AT_START
            if self._error is None:
                try:
                    parser.feed_data(heads.piece)
                except _PARSER_ERRORS as error:
                    self._fail(error)
            self._look_at_rest()
            if self._reading is _LATER:
                self._put_off(data)
                return
            if len(heads.kept) >= limit:
                too_long = len(self._target) > self._limits.max_target_bytes
                self._refuse(
                    RequestError(414, "target-too-long") if too_long else RequestError(431, "head-too-large")
                )

    def _fail(self, error: httptools.HttpParserError | httptools.HttpParserUpgrade) -> None:
        if self._reading is _LATER:
            self._parser = None  # another one goes on
            return
        if isinstance(error, httptools.HttpParserUpgrade):
            if self._reading is _BODY:
                return  # of a request behind a body that wasn't empty: `_look_at_rest` refuses that
            self._end_after_last()  # its Upgrade was ignored (RFC 9110 §7.8), but llhttp parses no further
            return
        self._error = error
        if isinstance(error, httptools.HttpParserCallbackError):
            log.error("a request failed", exc_info=error.__context__ or error)

    def _look_at_rest(self) -> None:
        """Keep an incomplete head for the next bytes; refuse it if it can no longer become a valid one."""
        if self._reading is _DEAF:
            return
        if self._reading is _LATER:
            self._put_off(self._heads.give_up())
            return
        rest = self._heads.keep()
        if self._reading is _BODY:
            if not _NO_CHUNKS.startswith(rest):
                self._refuse(RequestError(400, "body-not-allowed"))
        elif self._error is not None:
            refusal = refusal_of(self._error, rest)
            if refusal is not None:
                self._refuse(refusal)
        elif not _begin_of_head(rest):
            self._refuse(RequestError(400, "malformed-request"))
        elif len(self._fields) > self._max_fields:  # parsed fields take ten times the memory of their bytes
            self._refuse(RequestError(431, "head-too-large"))

    # parser

    def on_message_begin(self) -> None:
        if self._reading is _IDLE:
            if self._turn is not None or not self.ready:
                self._reading = _LATER
                raise _LaterError
            self._reading = _HEAD
        self._target = b""
        self._fields = []
        self._notable = {}
        self._cdn_loop_lines = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._fields.append((name, value))
        if name in self._watched:
            if name == b"host":
                return
            if name == b"cdn-loop":
                self._cdn_loop_lines += 1
                if self._cdn_loop_lines == 1 and may_be_forwarded(value) and not has_passed(value, self._node):
                    return  # most CDNs send it: a single valid line leaves the request plain
            if name == b"proxy-connection":  # llhttp treats it as Connection
                name = b"connection"
            if name == b"connection" and value in KEEP_ALIVE:
                return
            notable, value = self._notable, value.rstrip(b" \t")
            notable[name] = notable[name] + b", " + value if name in notable else value

    def on_headers_complete(self) -> None:
        parser = self._parser
        if self._reading is not _HEAD or parser is None:
            return
        self._reading = _IDLE
        request = Request(parser.get_method(), self._target, self._fields, self._notable)
        over = None
        if self._is_checked:
            over = self._objection_to(request)
            if isinstance(over, DeniedError):
                self._deny(request, over)
                return
        self._examine(request, over)

    def _examine(self, request: Request, error: RequestError | None = None) -> None:
        """Check and take a request that isn't plain, or that is refused for `error` if it is sound."""
        assert self._parser is not None
        turn = examined(request, self._heads.take(), self._parser, self._limits, self._now)
        turn.error = turn.error or error
        if self._left:
            self._left -= 1
            turn.keep_alive = turn.keep_alive and self._left > 0
        if turn.awaits_body:
            self._reading, self._awaited = _BODY, turn
        else:
            self._go_through(turn)

    def on_chunk_complete(self) -> None:
        """Called for the last chunk at the end of the body: take the request whose body was expected to be empty."""
        turn = self._awaited
        if turn is not None and self._reading is _BODY and self._heads.takes(_NO_CHUNKS):
            self._reading, self._awaited = _IDLE, None
            self._go_through(turn)

    def _go_through(self, turn: Turn) -> None:
        """Take a complete request; after the last one of the connection, ignore further bytes."""
        goes_on = turn.keep_alive and (turn.error is None or not turn.error.ends_connection)
        self._take(turn)
        if not goes_on:
            self._take_no_more()

    def _take_no_more(self) -> None:
        """Discard all further bytes."""
        if self._reading is not Reading.ENDED:
            self._reading = _DEAF

    def _objection_to(self, request: Request) -> RequestError | None:
        """The denial of a request, or the refusal of one beyond a limit; None if it is admitted. Called if
        `_is_checked`.
        """
        return None

    def _deny(self, request: Request, denied: DeniedError) -> None:
        """Refuse a request without looking at the rest of it, and take no more."""
        self._take(Turn(Request(request.method, request.target, [], {}), False, False, self._now, denied))
        self._take_no_more()

    # the sending half

    @abstractmethod
    def _take(self, turn: Turn) -> None: ...

    @abstractmethod
    def _put_off(self, data: bytes) -> None: ...

    @abstractmethod
    def _refuse(self, error: RequestError) -> None: ...

    @abstractmethod
    def _end_after_last(self) -> None: ...
