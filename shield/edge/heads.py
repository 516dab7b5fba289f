"""The raw bytes of request heads, whose boundaries the parser's callbacks don't state.

llhttp accepts malformed request lines: several spaces, empty lines in front, versions of other protocols. Only the
raw bytes show them.
"""

from __future__ import annotations

AT_START = 0

_END = b"\r\n\r\n"


class Heads:
    """The bytes of one connection's heads that haven't been checked yet."""

    __slots__ = ("at", "kept", "piece")

    def __init__(self) -> None:
        self.kept = b""  # the incomplete head from earlier pieces
        self.piece = b""  # the bytes that the parser is fed
        self.at = AT_START  # offset of the next head in the piece

    def parts(self, data: bytes, limit: int) -> tuple[bytes, bytes]:
        """Split data so that its first part can't make a head longer than `limit` bytes; the second must wait."""
        room = limit - len(self.kept)
        return data[:room], data[room:]

    def take(self) -> bytes:
        """The head that has just ended, with any bytes in front of it. Call it for each head."""
        begin, kept = self.at, self.kept
        if not kept:
            self.at = self.piece.find(_END, begin) + len(_END)
            return self.piece[begin : self.at]
        self.kept = b""
        whole = kept + self.piece
        end = whole.find(_END, max(0, len(kept) - len(_END) + 1)) + len(_END)
        self.at = end - len(kept)
        return whole[:end]

    def takes(self, exactly: bytes) -> bool:
        """Whether exactly these bytes follow the last head; if so, they are consumed."""
        begin, kept = self.at, self.kept
        if (kept + self.piece[begin : begin + len(exactly)])[: len(exactly)] != exactly:
            return False
        self.kept, self.at = b"", begin + len(exactly) - len(kept)
        return True

    def keep(self) -> bytes:
        """Keep the bytes after the last complete head; returns them together with those kept before."""
        self.kept += self.piece[self.at :]
        self.piece, self.at = b"", AT_START  # else an idle connection would keep the piece in memory
        return self.kept

    def give_up(self) -> bytes:
        """As `keep`, but forgets them: they are for a new parser."""
        rest, self.kept = self.keep(), b""
        return rest
