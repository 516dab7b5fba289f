"""What a fill asks for, and asks again when the answer is of no use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shield.errors import Fault
from shield.fill.answers import is_part, judged, whole_head
from shield.messages import Request
from shield.origin.want import Absent, Failed, Fetched, Want, without_parts
from shield.peers.owners import judged_by
from shield.rules import ranges
from shield.rules.conditional import freshens, is_strong
from shield.rules.ranges import has_parts
from shield.rules.routes import Resource
from shield.rules.verdict import Share
from shield.store.entry import Entry

if TYPE_CHECKING:
    from shield.fill.table import FillTable


class Question:
    """`stored` is what is to be validated, if anything; it and `want` change when an origin's answer says so."""

    __slots__ = ("_in_parts", "_request", "_resource", "_shared", "_table", "stored", "want")

    def __init__(self, table: FillTable, resource: Resource, request: Request, want: Want, *, shared: bool) -> None:
        self.want = want
        want.asked = request.fields
        self.stored: Entry | None = None
        self._table = table
        self._resource = resource
        self._request = request
        self._shared = shared
        self._in_parts = True  # False: parts that origins give are too small to be kept

    async def ask(self) -> Fetched | Absent | Failed:
        """An answer that can be used, and belongs to the caller; or why there is none."""
        result = await self._ask()
        while self._must_ask_again(result):
            if isinstance(result, Fetched):
                result.response.close()
            self.want = self.want.whole()
            result = await self._ask()
        return result

    def may_slice(self, fetched: Fetched) -> bool:
        """Whether an answer's body can be kept in slices: it is large, may be stored, and a strong ETag names it."""
        slice_bytes = self._table.store.slice_bytes
        if not slice_bytes:
            return False
        head = whole_head(fetched.response.head)
        if head.length is None or head.length <= slice_bytes or not is_strong(head.get(b"etag")):
            return False
        if not has_parts(fetched.response.head.status, head.fields):
            return False
        if not self._shared or self.want.method != b"GET":
            return False
        return judged(self._request, fetched, head, self._resource.route).share is Share.STORE

    def _must_ask_again(self, result: Fetched | Absent | Failed) -> bool:
        """Whether only the whole object will do, which a question for it can't come to."""
        if self.stored is not None and self._is_for_another(result):
            # A 304 for something else: what is stored can't be trusted (RFC 9111 §4.3.3).
            self._table.store.drop(self._resource.key)
            self.stored = None
            return True
        return isinstance(result, Fetched) and self._is_useless(result)

    def _is_for_another(self, result: Fetched | Absent | Failed) -> bool:
        """Whether what is stored was to be validated, and an origin validates something else."""
        if isinstance(result, Failed):
            return result.names(Fault.VALIDATOR)
        if not isinstance(result, Fetched) or result.response.head.status != 304 or self.stored is None:
            return False
        return not freshens(self.stored.etag, self.stored.last_modified, result.response.head)

    async def _ask(self) -> Fetched | Absent | Failed:
        # Variants have one owner, that of their key.
        key, names, target = self._resource.named, self._resource.route.origins, self._request.target
        judged = judged_by(self._request, self._resource.forwarded) if self._shared else None
        fields = self._resource.route.fields
        result = await self._table.source.fetch(key, target, names, self.want, judged)
        if isinstance(result, Fetched):
            response = result.response
            response.head = fields.of(result.origin, by_peer=result.by_peer).changed(response.head)
            if not self._in_parts:
                response.head = without_parts(response.head)
        return result

    def _is_useless(self, fetched: Fetched) -> bool:
        """Whether it is a part of what can be neither kept nor shared in parts, or of not one slice."""
        if not self.want.tentative or not is_part(fetched):
            return False
        if not self.may_slice(fetched):
            return True
        stated = ranges.parse_content_range(fetched.response.head.get(b"content-range") or b"")
        first, last, length = stated or (0, 0, None)
        self._in_parts = last + 1 >= min(first + self._table.store.slice_bytes, length or 0)
        return not self._in_parts
