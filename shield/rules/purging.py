"""Purges by tag, by prefix, by pattern and of everything, as marks: an entry falls under one, or it doesn't. Pure.

A mark is a sentence about all entries from before it, so that it costs the same whatever their number: each entry
carries the sequence up to which it is known to fall under no mark, and is compared with later ones when it is looked
up. PurgeMarks are kept until all places have been swept of the entries that fall under them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import takewhile
from typing import Protocol

import xxhash

from shield.errors import ShieldError
from shield.rules.vary import MARK as OF_VARIANT

SHARES = 32
"""Parts of all keys, by their hash: about as many keys in each."""

MOST_GLOBS = 64
"""Patterns alive at a time: an entry is compared with each of them."""


class MarkKind(IntEnum):
    """The meaning of a mark's text."""

    TAG = 1  # a tag, as entries have them
    PREFIX = 2  # the beginning of keys: with their space, or, beginning with a slash, in any space
    GLOB = 3  # likewise of whole keys, with * for any characters
    ALL = 4  # nothing: it is about all entries
    ORIGIN = 5  # the name of an origin whose bytes turned out to be wrong, or may be
    KEY = 6  # the text of a key: of its entry, with all variants
    SHARE = 7  # one of the `SHARES` parts of all keys, as `share_of` says


class Provenance(Protocol):
    """Where the bytes of an entry or a slice came from, and when. An `origin` of None isn't known, and may be any.

    `stored_at` is in epoch seconds: all of the bytes had come by then. 0.0: they came from no origin, or before this
    was kept.
    """

    @property
    def origin(self) -> str | None: ...
    @property
    def stored_at(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Filled:
    """A `Provenance`."""

    origin: str | None = None
    stored_at: float = 0.0


class TooManyGlobsError(ShieldError):
    """Another pattern would make lookups slow."""


@dataclass(frozen=True, slots=True)
class PurgeMark:
    """One purge of many entries: of those whose own sequence is smaller.

    `soft`: they are stale since `at`, epoch seconds, with their grace; else they are gone. One about an origin is
    only about what was stored at `after` or later, epoch seconds.
    """

    sequence: int
    kind: MarkKind
    text: bytes = b""
    soft: bool = False
    at: float = 0.0
    after: float = 0.0

    def is_about(self, text: bytes, tags: bytes | None, origin: str | None = None) -> bool:
        """Whether what is being stored falls under it by its key's text, its tags, one a line, and its origin; None:
        these aren't known, so that it may."""
        kind = self.kind
        if kind is MarkKind.ORIGIN:
            return origin is None or self.text == origin.encode()
        if kind is MarkKind.TAG:
            return tags is None or self.text in tags.split(b"\n")
        if kind is MarkKind.PREFIX:
            return text.startswith(self.text, _start(text, self.text))
        if kind is MarkKind.SHARE:
            return share_of(text) == self.text
        if kind is MarkKind.KEY:
            return text.partition(OF_VARIANT)[0] == self.text
        return kind is MarkKind.ALL or _matches(_parts(self.text), text)


def share_of(text: bytes) -> bytes:
    """The number of the part that a key is in, with all its variants, as the text of a mark."""
    return b"%d" % (xxhash.xxh3_64_intdigest(text.partition(OF_VARIANT)[0]) % SHARES)


_Pair = tuple[PurgeMark | None, PurgeMark | None]  # the newest hard one and the newest soft one about the same
_Table = dict[bytes, _Pair]
_Lengths = tuple[tuple[int, _Table], ...]
_NOTHING: _Pair = (None, None)


class PurgeMarks:
    """All marks that are alive. One thread changes them; any thread asks, and may miss what is being added.

    `newest` is the sequence of the newest one that was ever added: what is stored from now on falls under none up to
    it. `alive` is that of the newest one that still matters, 0 if none does: entries of at least that sequence
    needn't be asked about. Those up to `forgotten` may be gone.
    """

    def __init__(self) -> None:
        self.newest = 0
        self.alive = 0
        self.forgotten = 0
        self._tables = _MarkTables()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[PurgeMark]:
        for pair in self._tables.pairs():
            yield from [mark for mark in pair if mark is not None]

    def __contains__(self, mark: object) -> bool:
        return any(each == mark for each in self)  # compiled, `in` doesn't go by `__iter__`

    @property
    def globs(self) -> frozenset[bytes]:
        """The patterns that are alive."""
        return frozenset([b"*".join(parts) for parts, _ in self._tables.globs])

    def check_globs(self, texts: Iterable[bytes]) -> None:
        """Raise TooManyGlobsError if these patterns would be too many."""
        alive = self.globs
        if len(alive | set(texts)) > MOST_GLOBS:
            raise TooManyGlobsError(
                f"{MOST_GLOBS} patterns can be in force at a time, and {len(alive)} are: each of them is"
                " compared with every entry that is older. Wait until the disks are swept (shield_purge_marks falls),"
                " or purge by prefix or by tag"
            )

    def verdict(self, text: bytes, tags: bytes, since: int, filled: Provenance) -> PurgeMark | None:
        """The mark that an entry with this key and these tags falls under, if it is of this sequence: a hard one
        before any soft one, of these the newest. None: it may be served. `filled` is looked at only while there are
        marks about origins.
        """
        if since >= self.alive:
            return None
        found: PurgeMark | None = None
        for hard, soft in self._tables.about(text, tags, filled):
            if hard is not None and hard.sequence > since:
                return hard
            if soft is not None and soft.sequence > since and (found is None or soft.sequence > found.sequence):
                found = soft
        return found

    # changing: what other threads see is whole at any time, and `newest` the last to rise

    def add(self, *marks: PurgeMark) -> None:
        """From now on older entries fall under these, too."""
        newest = max([mark.sequence for mark in marks], default=0)
        for mark in marks:
            self._tables.add(mark)
        self.alive = max(self.alive, newest)
        self.newest = max(self.newest, newest)

    def forget(self, until: int) -> None:
        """Drop the marks up to this sequence: no entry is older than they are and falls under one."""
        self.forgotten = max(self.forgotten, until)  # first: who misses one of them finds this
        self._become([mark for mark in self if mark.sequence > until])

    def distrust(self, until: int) -> None:
        """Some marks up to this sequence aren't known: until they are `restored`, all older entries count as gone."""
        self._tables.add(PurgeMark(until, MarkKind.ALL))
        self.alive = max(self.alive, until)

    def restore(self, marks: Iterable[PurgeMark], newest: int) -> None:
        """Take these, of which the newest that was published is `newest`, in place of all that are known up to it."""
        self._become([*marks, *[mark for mark in self if mark.sequence > newest]])
        self.newest = max(self.newest, self.alive, newest)

    def _become(self, marks: Sequence[PurgeMark]) -> None:
        tables = _MarkTables()
        for mark in marks:
            tables.add(mark)
        self._tables = tables
        self.alive = max([mark.sequence for mark in marks], default=0)


class _MarkTables:
    """Marks by their targets. Only added to."""

    __slots__ = ("all", "globs", "keys", "named", "origins", "paths", "shares", "tags")

    def __init__(self) -> None:
        self.all: _Pair = _NOTHING
        self.tags: _Table = {}
        self.named: _Table = {}  # whole keys
        self.shares: _Table = {}
        self.paths: _Lengths = ()  # prefixes in any space, by their length
        self.keys: _Lengths = ()  # prefixes with their space
        self.globs: tuple[tuple[tuple[bytes, ...], _Pair], ...] = ()
        self.origins: dict[bytes, tuple[PurgeMark, ...]] = {}

    def about(self, text: bytes, tags: bytes, filled: Provenance) -> list[_Pair]:
        """Those that an entry may fall under."""
        pairs = [self.all]
        if self.paths:
            path = text[text.find(b":") + 1 :]
            pairs += _beginning(self.paths, path)
        if self.keys:
            pairs += _beginning(self.keys, text)
        if self.named and (of_key := self.named.get(text.partition(OF_VARIANT)[0])) is not None:
            pairs.append(of_key)
        if self.shares and (of_share := self.shares.get(share_of(text))) is not None:
            pairs.append(of_share)
        if tags and self.tags:
            table = self.tags
            pairs += [pair for tag in tags.split(b"\n") if (pair := table.get(tag)) is not None]
        if self.globs:
            pairs += [pair for parts, pair in self.globs if _matches(parts, text)]
        if self.origins and filled.stored_at:
            pairs += [_with(_NOTHING, mark) for mark in self._of(filled.origin) if filled.stored_at >= mark.after]
        return pairs

    def _of(self, origin: str | None) -> Iterable[PurgeMark]:
        if origin is not None:
            return self.origins.get(origin.encode(), ())
        return [mark for marks in list(self.origins.values()) for mark in marks]

    def add(self, mark: PurgeMark) -> None:
        kind, text = mark.kind, mark.text
        if kind is MarkKind.ALL:
            self.all = _with(self.all, mark)
        elif kind is MarkKind.TAG:
            self.tags[text] = _with(self.tags.get(text, _NOTHING), mark)
        elif kind is MarkKind.KEY:
            self.named[text] = _with(self.named.get(text, _NOTHING), mark)
        elif kind is MarkKind.SHARE:
            self.shares[text] = _with(self.shares.get(text, _NOTHING), mark)
        elif kind is MarkKind.GLOB:
            globs, parts = dict(self.globs), _parts(text)
            globs[parts] = _with(globs.get(parts, _NOTHING), mark)
            self.globs = tuple(globs.items())
        elif kind is MarkKind.ORIGIN:
            self.origins[text] = _with_origin(self.origins.get(text, ()), mark)
        elif text.startswith(b"/"):
            self.paths = _with_prefix(self.paths, mark)
        else:
            self.keys = _with_prefix(self.keys, mark)

    def pairs(self) -> Iterator[_Pair]:
        yield self.all
        yield from list(self.tags.values())
        yield from list(self.named.values())
        yield from list(self.shares.values())
        for _, table in (*self.paths, *self.keys):
            yield from list(table.values())
        for _, pair in self.globs:
            yield pair
        for marks in list(self.origins.values()):
            yield from [_with(_NOTHING, mark) for mark in marks]


def _with(pair: _Pair, mark: PurgeMark) -> _Pair:
    hard, soft = pair
    if mark.soft:
        return hard, mark if soft is None or mark.sequence > soft.sequence else soft
    return mark if hard is None or mark.sequence > hard.sequence else hard, soft


def _with_origin(marks: tuple[PurgeMark, ...], mark: PurgeMark) -> tuple[PurgeMark, ...]:
    """These and another one, without any that another of them covers."""
    if any(_covers(each, mark) for each in marks):
        return marks
    return (*[each for each in marks if not _covers(mark, each)], mark)


def _covers(one: PurgeMark, other: PurgeMark) -> bool:
    """Whether all that falls under another mark about the same origin falls under this one."""
    return one.soft is other.soft and one.sequence >= other.sequence and one.after <= other.after


def _beginning(lengths: _Lengths, text: bytes) -> list[_Pair]:
    """Those whose prefix a text begins with. Longer ones cost nothing."""
    fitting = takewhile(lambda each: each[0] <= len(text), lengths)
    return [pair for length, table in fitting if (pair := table.get(text[:length])) is not None]


def _with_prefix(lengths: _Lengths, mark: PurgeMark) -> _Lengths:
    text = mark.text
    table = dict(lengths).get(len(text))
    if table is None:
        return tuple(sorted((*lengths, (len(text), {text: _with(_NOTHING, mark)})), key=lambda each: each[0]))
    table[text] = _with(table.get(text, _NOTHING), mark)
    return lengths


def _start(text: bytes, pattern: bytes) -> int:
    """Where in a key's text a pattern begins: after the space, if it names none."""
    return text.find(b":") + 1 if pattern.startswith((b"/", b"*")) else 0


def _parts(pattern: bytes) -> tuple[bytes, ...]:
    """The texts between the stars."""
    return tuple(pattern.split(b"*"))


def _matches(parts: tuple[bytes, ...], text: bytes) -> bool:
    """Whether a key's text is these parts with anything between them; of a variant, what stands before its mark."""
    text = text.partition(OF_VARIANT)[0]
    first, last, at = parts[0], parts[-1], _start(text, parts[0] or b"*")
    if not text.startswith(first, at):
        return False
    at += len(first)
    if len(parts) == 1:
        return at == len(text)
    for part in parts[1:-1]:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return text.endswith(last) and len(text) - len(last) >= at
