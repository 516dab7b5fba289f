"""Where heads begin and end in the bytes that come, which the parser's callbacks don't tell.

llhttp takes request lines that aren't in order: several spaces, empty lines before, other protocols' versions. Only
the raw bytes show those.
"""

from __future__ import annotations

AT_START = 0
ALONE = -1
"""At the start as well, and nothing is known yet of a second head in the piece."""
BEHIND_FIRST = -2
"""Behind the first head, which was plain: its end wasn't looked for."""

_END = b"\r\n\r\n"


class Heads:
    """The bytes of one connection's heads, as far as they aren't known to be in order."""

    __slots__ = ("at", "kept", "piece")

    def __init__(self) -> None:
        self.kept = b""  # what has no end yet, of the pieces before
        self.piece = b""  # what the parser is fed
        self.at = AT_START  # where in it the next head begins

    def parts(self, data: bytes, limit: int) -> tuple[bytes, bytes]:
        """Cut so that the first part can't bring more of a head than `limit`; what must wait."""
        room = limit - len(self.kept)
        return data[:room], data[room:]

    def take(self) -> bytes:
        """The head that has just ended, with what stood before it. For each head of a piece that wasn't plain."""
        begin, kept = self._begin(), self.kept
        if not kept:
            self.at = self.piece.find(_END, begin) + len(_END)
            return self.piece[begin : self.at]
        self.kept = b""
        whole = kept + self.piece
        end = whole.find(_END, max(0, len(kept) - len(_END) + 1)) + len(_END)
        self.at = end - len(kept)
        return whole[:end]

    def takes(self, exactly: bytes) -> bool:
        """Whether these very bytes stand behind the last head; if so, they are taken."""
        begin, kept = self._begin(), self.kept
        if (kept + self.piece[begin : begin + len(exactly)])[: len(exactly)] != exactly:
            return False
        self.kept, self.at = b"", begin + len(exactly) - len(kept)
        return True

    def keep(self) -> bytes:
        """What of the piece belongs to no head that has ended, together with what was kept before."""
        self.kept += self.piece[self._begin() :]
        self.piece, self.at = b"", AT_START  # an idle connection would hold the piece
        return self.kept

    def give_up(self) -> bytes:
        """As `keep`, but nothing is kept: a new parser begins with it."""
        rest, self.kept = self.keep(), b""
        return rest

    def _begin(self) -> int:
        if self.at == BEHIND_FIRST:
            return self.piece.find(_END) + len(_END)
        return max(self.at, AT_START)
