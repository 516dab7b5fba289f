"""What a file from elsewhere brings, held against what an origin may answer here. Pure.

Checksums prove that a record is as it was written; they say nothing of whoever wrote it. So a head is read like an
origin's, judged by this node's rules and written anew; its times are no longer than these rules would have given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from shield.messages import Request, ResponseHead
from shield.rules import hidden
from shield.rules.fields import FieldRules
from shield.rules.freshness import Freshness, FreshnessRules
from shield.rules.heads import StoredHead, as_judged, of_fields
from shield.rules.tags import LONGEST, MAX_BYTES, MAX_TAGS
from shield.rules.verdict import Share, judge_response
from shield.store.directory.log import Draft
from shield.store.directory.record import Record, RecordKind, record_of
from shield.store.variants import LIFETIME

MARKER = 0
"""Status of an entry that only says what the answers under its key vary by."""

_LONGEST_KEY = 32 << 10
_LONGEST_ETAG = 8 << 10
_MOST_SLICES = 1 << 32
_LARGEST = 1 << 63
_key = re.compile(rb"[!-9;-~]*:/[!-~]*(?: vary=[0-9a-f]{1,64}/[0-9a-f]{32})?").fullmatch
_marker = re.compile(rb"[0-9a-f]{1,64}(?: [!#$%&'*+.^_`|~0-9a-z-]{1,256}){0,64}").fullmatch
_value = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch
_tag = re.compile(rb"[\x20-\x7e\x80-\xff]+").fullmatch
_NOT_STORED = frozenset({206, 304})  # of a part, and of what somebody else has
_PASSING = FieldRules(drop=frozenset(), prefixes=())  # like another worker's answer: fields of one hop go no further
_QUESTION = Request.of(b"GET", b"/")


_SKEW_SECONDS = 60.0  # by which clocks of two nodes differ at most, with the time that a fetch takes


class UnfitError(ValueError):
    """A record that no origin's answer can have become on this node."""


class Customs:
    """`parse` reads a whole head with its blank line as strictly as an origin's, and raises UnfitError. `rules` are
    those of all routes, for a key doesn't name its own: what none of them would store isn't taken. `origins` are the
    names that mean something here; a head has `most_head` bytes at most.
    """

    def __init__(
        self,
        parse: Callable[[bytes], ResponseHead],
        rules: Iterable[FreshnessRules],
        origins: Collection[str],
        *,
        most_head: int,
        now: float,
    ) -> None:
        self._parse = parse
        self._rules = tuple(dict.fromkeys(rules))
        self._origins = frozenset(origins)
        self._most_head = most_head
        self._now = now
        most = max((max(r.max_lifetime, r.forced_lifetime or 0.0, r.keep) for r in self._rules), default=0.0)
        self._longest = Freshness(0.0, most, most, most, most)

    def cleared(self, draft: Draft) -> Draft:
        """The draft as this node may store it. Raises UnfitError."""
        record = draft.record
        if len(record.key.text) > _LONGEST_KEY or not _key(record.key.text):
            raise UnfitError("its key is none")
        made = self._cleared(record, draft.length)
        made.origin = record.origin if record.origin in self._origins else None
        made.stored_at = min(_time(record.stored_at), self._now)
        # Purges there aren't ours: what was made before one of ours falls under it. Sequences are microseconds.
        made.since = int(max(0.0, made.freshness.born - _SKEW_SECONDS) * 1e6)
        return replace(draft, record=made)

    def _cleared(self, record: Record, length: int) -> Record:
        if record.kind is RecordKind.SLICE:
            return self._slice(record, length)
        if record.kind is RecordKind.HEAD:
            if length or record.slice_bytes == 0 or not 0 < record.total < _LARGEST:
                raise UnfitError("it is no head of slices")
            if -(-record.total // record.slice_bytes) > _MOST_SLICES:
                raise UnfitError("it has more slices than can be counted")
            return self._entry(record, record.total)
        if record.kind is not RecordKind.WHOLE:
            raise UnfitError("it is no entry")
        return self._marker(record, length) if record.status == MARKER else self._entry(record, length)

    def _marker(self, record: Record, length: int) -> Record:
        if length or not _marker(record.head):
            raise UnfitError("it doesn't say what answers vary by")
        freshness = record.freshness
        made = Freshness(min(_time(freshness.born), self._now), min(_time(freshness.lifetime), LIFETIME), 0.0, 0.0)
        return record_of(record.key, StoredHead(MARKER, record.head, (), None, None), made)

    def _slice(self, record: Record, length: int) -> Record:
        start = record.slice * record.slice_bytes
        if record.head or record.slice_bytes == 0 or not start < record.total < _LARGEST:
            raise UnfitError("it is no slice")
        if length != min(record.slice_bytes, record.total - start):
            raise UnfitError("its length isn't that of its slice")
        if len(record.etag or b"") > _LONGEST_ETAG or not _value(record.etag or b""):
            raise UnfitError("its etag can't be sent")
        freshness = self._bounded(record.freshness, [self._longest])  # nothing is answered by it
        modified = record.last_modified
        if modified is not None and not math.isfinite(modified):
            raise UnfitError("its times are none")
        return replace(record, freshness=freshness, tags=_tags(record.tags))

    def _entry(self, record: Record, length: int) -> Record:
        """An entry under its own head, read, judged and written anew."""
        head = self._head(record, length)
        freshness = self._judged(record, head)
        fields = [line for line in head.fields if line[0] != b"content-length"]
        if head.status != 204:
            fields.append((b"content-length", b"%d" % length))
        stored = as_judged(of_fields(head.status, tuple(fields)), freshness)
        made = record_of(record.key, stored, freshness, record.kind)
        made.no_cache |= record.no_cache
        made.must_revalidate |= record.must_revalidate
        made.total, made.slice_bytes = length, record.slice_bytes
        made.tags = _tags(record.tags)
        return made

    def _head(self, record: Record, length: int) -> ResponseHead:
        data = record.head + b"\r\n"
        if len(data) > self._most_head:
            raise UnfitError(f"its head has {len(data)} bytes, {self._most_head} are allowed")
        if data.find(b"\r\n\r\n") != len(data) - 4:
            raise UnfitError("its head goes on behind its end")
        head = self._parse(data)
        if head.status != record.status or head.status < 200 or head.status in _NOT_STORED:
            raise UnfitError(f"status {head.status} isn't stored, or isn't its own")
        if head.status == 204 and (length or head.get(b"content-length") is not None):
            raise UnfitError("204 has no body")
        if head.get(b"content-length") not in (None, b"%d" % length):
            raise UnfitError("its Content-Length isn't that of its body")
        visible = [line for line in head.fields if line[0] != hidden.LINE]
        concealed = [line for line in hidden.reveal(head.fields) if line[0] != hidden.LINE][len(visible) :]
        lines = [*(line for line in visible if line[0] != b"content-length"), *concealed]
        if len(_PASSING.kept(lines)) != len(lines):
            raise UnfitError("it has fields of one connection, or such as can't be sent")
        return ResponseHead(head.status, head.fields, length)

    def _judged(self, record: Record, head: ResponseHead) -> Freshness:
        """Its times, no longer than the laxest of the rules would give them."""
        fields = tuple(line for line in hidden.reveal(head.fields) if line[0] != hidden.LINE)
        whole = ResponseHead(head.status, fields, head.length)
        born = min(_time(record.freshness.born), self._now)
        given: list[Freshness] = []
        for rules in self._rules:
            judged = judge_response(_QUESTION, whole, request_time=born, response_time=born, rules=rules)
            left_out = judged.unstored | (judged.dropped - rules.hidden)
            if judged.share is Share.STORE and not whole.has_any(left_out):
                given.append(judged.freshness)
        if not given:
            raise UnfitError("no route stores such an answer")
        return self._bounded(record.freshness, given)

    def _bounded(self, freshness: Freshness, most: Collection[Freshness]) -> Freshness:
        return Freshness(
            min(_time(freshness.born), self._now),
            min(_time(freshness.lifetime), max(each.lifetime for each in most)),
            min(_time(freshness.grace), max(each.grace for each in most)),
            min(_time(freshness.keep), max(each.keep for each in most)),
            min(_time(freshness.error_grace), max(each.error_grace for each in most)),
        )


def _time(value: float) -> float:
    if not math.isfinite(value) or value < 0.0:
        raise UnfitError("its times are none")
    return value


def _tags(tags: bytes) -> bytes:
    if not tags:
        return b""
    each = tags.split(b"\n")
    if (
        len(each) > MAX_TAGS
        or len(tags) > MAX_BYTES + MAX_TAGS
        or not all(len(t) <= LONGEST and _tag(t) for t in each)
    ):
        raise UnfitError("its tags are none")
    return b"\n".join(sorted(set(each)))
