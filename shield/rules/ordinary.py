"""The ordinary response: 200 to a plain GET, with those fields that every object has and no other that a rule judges.

Nearly all responses of a storage are so, and differ in nothing by which they are judged but their age. So it is found
out once for each route and origin which fields don't matter, and once for each Cache-Control how it is judged. The
results are just those of `verdict`, `fields` and `selection`; tests compare them.
"""

from __future__ import annotations

from shield.messages import Field, Request, ResponseHead
from shield.rules import digests, locations
from shield.rules.conditional import is_tag
from shield.rules.dates import parse as parse_date
from shield.rules.fields import FieldRules
from shield.rules.freshness import Freshness, FreshnessRules
from shield.rules.headers import NameSet
from shield.rules.selection import StoredHead, as_judged, of_fields
from shield.rules.verdict import Disposition, Share, judge_response

_JUDGED = frozenset({b"age", b"expires", b"set-cookie", b"vary"})
_LOOKED_AT = frozenset({b"accept-ranges", b"cache-control", b"connection", b"date", b"etag", b"last-modified"})

_PLAIN = Request(b"GET", b"/", [], {})
_REMEMBERED = 512  # values of Cache-Control, and names of fields: origins repeat the same few
_LONGEST = 512  # bytes of a remembered one


class Ordinary:
    """Judges the ordinary responses of one origin under one route's rules, and makes stored heads of them."""

    __slots__ = ("_added", "_by_control", "_fates", "_fields", "_freshness", "_removed", "_unusual")

    def __init__(self, freshness: FreshnessRules, fields: FieldRules) -> None:
        self._freshness = freshness
        self._fields = fields
        unusual = {*_JUDGED, *freshness.targeted, *freshness.tags, *freshness.dropped}
        unusual.update(digests.WORDS if fields.digests != "off" else ())
        unusual.update((b"content-encoding",) if fields.storage else ())
        unusual.update(locations.NAMES if fields.mapping is not None else ())
        self._unusual = frozenset(unusual)
        self._removed = NameSet((*fields.remove, *(name for name, _ in fields.set)))
        self._added = fields.kept((*fields.set, *fields.add))
        self._fates: dict[bytes, bool] = {}  # whether a field of a name is passed on
        self._by_control: dict[bytes, Disposition | None] = {}  # at age 0; None: it isn't ordinary

    @classmethod
    def of(cls, freshness: FreshnessRules, fields: FieldRules) -> Ordinary | None:
        """None if there is none: the rules judge by a response's dates, or change fields by which it is judged."""
        made = cls(freshness, fields)
        read = made._unusual | _LOOKED_AT | digests.BESIDE_ETAGS
        changed = {name for name, _ in (*fields.set, *fields.add)}
        if not changed.isdisjoint(read) or any(name in made._removed for name in read):
            return None
        return None if freshness.default_lifetime is None and freshness.heuristic_fraction is not None else made

    def judge(self, head: ResponseHead, request_time: float, response_time: float) -> Disposition | None:
        """What `judge_response` says of a response to a plain GET; None if it isn't ordinary."""
        named = head.named
        if head.status != 200 or len(named) != len(head.fields) or not self._unusual.isdisjoint(named):
            return None
        made, control = parse_date(named.get(b"date", b"")), named.get(b"cache-control", b"")
        if made is None or not is_tag(named.get(b"etag", b"")):
            return None
        is_known = control in self._by_control and self._fates.keys() >= named.keys()
        if not is_known and not self._learn(control, named):
            return None
        known = self._by_control[control]
        if known is None or named.get(b"connection", b"keep-alive") != b"keep-alive":
            return None
        if self._fields.storage and b"accept-ranges" not in named:
            return None
        fresh, born = known.freshness, float(min(made, request_time, response_time))
        if response_time - born >= fresh.lifetime:
            return None
        freshness = Freshness(born, fresh.lifetime, fresh.grace, fresh.keep, fresh.error_grace)
        return Disposition(Share.STORE, freshness, known.reason, known.dropped)

    def head(self, head: ResponseHead, length: int, freshness: Freshness, via: bytes) -> StoredHead:
        """The stored form of a head that `judge` found to be ordinary, for a body of this length."""
        fates = self._fates
        kept = [line for line in head.fields if fates[line[0]]]
        kept += (*self._added, (b"content-length", b"%d" % length), (b"via", via))
        if self._fields.md5_etags:
            kept += self._fields.digest_lines(head)
        return as_judged(of_fields(200, tuple(kept)), freshness)

    def _learn(self, control: bytes, named: dict[bytes, bytes]) -> bool:
        """Find out how a response with this Cache-Control is judged, and which of these fields are passed on; False
        if that would be too much to remember.
        """
        if len(self._fates) + len(named) > _REMEMBERED or max(map(len, named)) > _LONGEST or len(control) > _LONGEST:
            return False
        for name in named:
            self._fates[name] = name not in self._removed and bool(self._fields.kept(((name, b""),)))
        if len(self._by_control) == _REMEMBERED:
            self._by_control.clear()
        fields: tuple[Field, ...] = ((b"etag", b'""'), (b"cache-control", control))
        judged = judge_response(
            _PLAIN,
            ResponseHead(200, fields if control else fields[:1], 1),
            request_time=0.0,
            response_time=0.0,
            rules=self._freshness,
        )
        is_plain = judged.share is Share.STORE and judged.freshness.lifetime > 0.0
        is_whole = judged.dropped == self._freshness.dropped and not judged.unstored
        self._by_control[control] = judged if is_plain and is_whole else None
        return True
