"""A client's bytes cut into frames, before any is taken apart (RFC 9113 §4).

h2 keeps what is incomplete, of any length up to 16 MiB, and takes GOAWAY for the end of all streams, though clients
send it to end after the answers under way. Here frames that are too large are refused by their first nine bytes, so
are header blocks that can't fit their limit, and GOAWAY is taken out. All that follows is h2's.
"""

from __future__ import annotations

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME = 16_384
"""Bytes of a frame's payload: the least that may be said, and enough for requests (RFC 9113 §4.2)."""

_HEAD = 9
_PER_STEP = 256  # bytes of a frame without a request that count as one more frame: SETTINGS can have thousands
_DATA, _HEADERS, _GOAWAY, _CONTINUATION = 0, 1, 7, 9
_END_HEADERS = 4

PROTOCOL_ERROR, FRAME_SIZE_ERROR, ENHANCE_YOUR_CALM = 1, 6, 11  # RFC 9113 §7


class FrameError(Exception):
    """What a client sends can't be taken: the error code to end the connection by, and a word for counters."""

    def __init__(self, code: int, word: str) -> None:
        super().__init__(word)
        self.code = code
        self.word = word


class Frames:
    """The frames of one connection, as they come."""

    __slots__ = ("_block", "_kept", "_max_block", "_preface", "goes_away", "steps", "units")

    def __init__(self, *, max_block: int) -> None:
        self._max_block = max_block  # bytes of a header block
        self._kept = bytearray()  # the beginning of a frame
        self._preface = PREFACE  # what is still to come of it
        self._block: int | None = None  # bytes so far of a header block without its end
        self.units = 0  # frames and header blocks that came to their end
        self.steps = 0  # frames that carry no request, since they were last counted
        self.goes_away = False  # the client opens no more streams (§6.8)

    @property
    def open(self) -> bool:
        """Whether a frame, a header block or the preface has begun, or is due, and has no end yet."""
        return bool(self._kept) or self._block is not None or bool(self._preface)

    def take(self, data: bytes) -> bytes:
        """All frames that are complete now, without those that are nobody else's. Raises FrameError."""
        handed_on = b""
        if self._preface:
            handed_on, data = data[: len(self._preface)], data[len(self._preface) :]
            if not self._preface.startswith(handed_on):
                raise FrameError(PROTOCOL_ERROR, "no-preface")
            self._preface = self._preface[len(handed_on) :]
        if self._kept:
            self._kept += data
            if not self._is_whole(self._kept):
                return handed_on
            data = bytes(self._kept)
            self._kept.clear()
        begin = at = 0
        size = len(data)
        while size - at >= _HEAD:
            kind = data[at + 3]
            length = self._length(data, at)
            end = at + _HEAD + length
            if end > size:
                break
            if self._block is not None:
                self._go_on_with_block(kind, length, data[at + 4])
            elif kind == _HEADERS:
                if data[at + 4] & _END_HEADERS:
                    self.units += 1
                else:
                    self._block = length
            else:
                self.units += 1
                self.steps += 1 if kind == _DATA else 1 + length // _PER_STEP
                if kind == _GOAWAY:
                    self.goes_away = True
                    handed_on += data[begin:at]
                    begin = end
            at = end
        if at < size:
            self._kept += data[at:]
        if begin == 0 and at == size and not handed_on:
            return data
        return handed_on + data[begin:at]

    def _is_whole(self, kept: bytearray) -> bool:
        return len(kept) >= _HEAD and len(kept) >= _HEAD + self._length(kept, 0)

    def _length(self, data: bytes | bytearray, at: int) -> int:
        length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
        if length > MAX_FRAME:
            raise FrameError(FRAME_SIZE_ERROR, "frame-too-large")
        return length

    def _go_on_with_block(self, kind: int, length: int, flags: int) -> None:
        """CONTINUATION; h2 refuses any other (§6.10)."""
        assert self._block is not None
        self._block += length
        self.steps += 1
        if self._block > self._max_block:
            raise FrameError(ENHANCE_YOUR_CALM, "head-too-large")
        if kind == _CONTINUATION and flags & _END_HEADERS:
            self._block = None
            self.units += 1
