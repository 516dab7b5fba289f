"""A head that doesn't come in one segment, or whose lines may end without CR: its bytes until it is whole."""

from __future__ import annotations

from shield.errors import Fault
from shield.origin.head import MessageError, check_begun
from shield.origin.line_ends import with_line_ends
from shield.origin.terms import MessageLimits


class HeadPieces:
    """The bytes of one head so far."""

    __slots__ = ("_bytes", "_limits")

    def __init__(self, limits: MessageLimits) -> None:
        self._bytes = bytearray()
        self._limits = limits

    def add(self, data: bytes) -> tuple[bytes, int] | None:
        """All bytes, and where the head in them ends, once it is whole; None until then.

        Raises MessageError as soon as they can't become a head, or exceed what is allowed.
        """
        seen, kept, most = len(self._bytes), self._bytes, self._limits.head_bytes
        kept += data
        if self._limits.bare_lf:
            mended = with_line_ends(bytes(kept)) if b"\n" in data else None
            kept = self._bytes = kept if mended is None else bytearray(mended)
            seen = 0
        end = kept.find(b"\r\n\r\n", max(0, seen - 3), most) + 4
        if end >= 4:
            return bytes(kept), end
        if not self._limits.bare_lf:
            self._check(seen)
        if len(kept) >= most:
            raise MessageError(Fault.TOO_LARGE, f"its head exceeds {most} bytes")
        return None

    def _check(self, seen: int) -> None:
        """Refuse at once bytes that can't become a head: its end might never come. `seen` of them passed before."""
        check_begun(self._bytes)
        if self._bytes.count(b"\n", seen) != self._bytes.count(b"\r\n", max(0, seen - 1)):
            raise MessageError(Fault.MALFORMED, "a line that ends without CR in its head")
