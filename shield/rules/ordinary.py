"""A shortcut for ordinary responses: 200 to a plain GET, with no field that affects a rule beyond the usual ones.

Nearly all responses of a storage are like that, and only their age differs in the eyes of the rules. So for each
route and origin the irrelevant fields are determined once, and so is the decision for each Cache-Control. The
results equal those of `verdict`, `fields` and `selection`; tests compare them.
"""

from __future__ import annotations

from itertools import compress

from shield.messages import Field, Request, ResponseHead
from shield.rules import digests, hidden, locations
from shield.rules.conditional import is_tag
from shield.rules.dates import LONGEST, epoch_of
from shield.rules.fields import FieldRules
from shield.rules.freshness import Freshness, FreshnessRules
from shield.rules.headers import NameSet
from shield.rules.heads import VALID_NAMES, StoredHead, of_fields, of_valid
from shield.rules.verdict import Disposition, Share, judge_response

_JUDGED = frozenset({b"age", b"expires", b"set-cookie", b"vary"})
_LOOKED_AT = frozenset({b"accept-ranges", b"cache-control", b"connection", b"date", b"etag", b"last-modified"})

_PLAIN = Request(b"GET", b"/", [], {})
_REMEMBERED = 512  # cached values of Cache-Control, and cached lists of names: origins use the same few
_LONGEST = 512  # bytes of a cached value
_LONGEST_NAMES = 2048  # bytes of the names of a head


class Ordinary:
    """Judges ordinary responses of one origin under the rules of one route, and makes their stored heads."""

    __slots__ = ("_added", "_by_control", "_fields", "_freshness", "_kept", "_removed", "_unusual")

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
        self._kept: dict[tuple[bytes, ...], tuple[bool, ...]] = {}  # by the fields' names: which are forwarded
        self._by_control: dict[bytes, Disposition | None] = {}  # by Cache-Control, at age 0; None: not ordinary

    @classmethod
    def of(cls, freshness: FreshnessRules, fields: FieldRules) -> Ordinary | None:
        """The shortcut for these rules; None if there is none, since they depend on a response's dates, or change
        fields that affect decisions.
        """
        made = cls(freshness, fields)
        read = made._unusual | _LOOKED_AT | digests.BESIDE_ETAGS
        changed = {name for name, _ in (*fields.set, *fields.add)}
        if not changed.isdisjoint(read) or any(name in made._removed for name in read):
            return None
        return None if freshness.default_lifetime is None and freshness.heuristic_fraction is not None else made

    def judge(self, head: ResponseHead, request_time: float, response_time: float) -> Disposition | None:
        """The result of `judge_response` for a response to a plain GET; None if the response isn't ordinary."""
        named = head.named
        names = tuple(named)
        if head.status != 200 or len(names) != len(head.fields):
            return None
        is_known = names in self._kept or self._learn_names(names)
        dated, control = named.get(b"date", b""), named.get(b"cache-control", b"")
        if len(dated) > LONGEST or not is_tag(named.get(b"etag", b"")):
            return None
        if not is_known or (control not in self._by_control and not self._learn(control)):
            return None
        known, made = self._by_control[control], epoch_of(dated)
        if known is None or made is None or named.get(b"connection", b"keep-alive") != b"keep-alive":
            return None
        if self._fields.storage and b"accept-ranges" not in named:
            return None
        fresh, born = known.freshness, float(made)
        if request_time < born:
            born = request_time
        if response_time < born:  # the clock was set back meanwhile
            born = response_time
        if response_time - born >= fresh.lifetime:
            return None
        freshness = Freshness(born, fresh.lifetime, fresh.grace, fresh.keep, fresh.error_grace)
        return Disposition(Share.STORE, freshness, known.reason, known.dropped)

    def head(self, head: ResponseHead, length: int, freshness: Freshness, via: bytes) -> StoredHead:
        """The stored form of a head that `judge` has accepted, for a body of this length."""
        kept = list(compress(head.fields, self._kept[tuple(head.named)]))
        kept += (*self._added, (b"content-length", b"%d" % length), (b"via", via))
        if self._fields.md5_etags:
            kept += self._fields.digest_lines(head)
            made = of_fields(200, tuple(kept))
        else:
            made = of_valid(200, tuple(kept), head.named.get(b"etag"), head.named.get(b"last-modified", b""))
        made.must_revalidate = freshness.grace <= 0.0 and freshness.error_grace <= 0.0  # as `as_judged`
        return made

    def _learn_names(self, names: tuple[bytes, ...]) -> bool:
        """Cache which of these fields are forwarded; False if they aren't ordinary, or take too much memory."""
        if not self._unusual.isdisjoint(names) or sum(map(len, names)) > _LONGEST_NAMES:
            return False
        if not all(VALID_NAMES[name] for name in names) or hidden.LINE in names:
            return False
        kept = self._fields.kept
        if len(self._kept) >= _REMEMBERED:
            self._kept.clear()
        self._kept[names] = tuple([name not in self._removed and bool(kept(((name, b""),))) for name in names])
        return True

    def _learn(self, control: bytes) -> bool:
        """Cache the decision for this Cache-Control; False if that takes too much memory."""
        if len(control) > _LONGEST:
            return False
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
