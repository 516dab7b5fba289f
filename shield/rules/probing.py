"""Regular probes of an origin: which object is fetched when, and the meaning of its bytes. Pure.

A canary is an object that is fetched from an origin again and again. The digest of its first bytes is bound to its
ETag at that origin: a new ETag is learned anew, and an absent object is dropped. Other bytes under the same ETag,
twice in a row, make the origin corrupt, until its canaries have been clean several times. What came from it since the
canary that tells was last clean may be wrong as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from shield.rules.conditional import is_strong

SMALL_BYTES = 4096
"""Bytes of an ordinary probe: enough for the time to the first byte, and cheap."""

LARGE_BYTES = 256 * 1024
"""Bytes of one probe in `LARGE_EVERY`: they show how fast bodies arrive."""

LARGE_EVERY = 7

MOST_LEARNED = 4
"""Learned canaries of an origin at a time."""

LEARNED_SECONDS = 600.0
"""A learned canary makes room for another after this time: objects that nobody fetches any more become cold."""

ABSENT_SECONDS = 60.0
"""After an object that another origin gave was absent here, the next one is tried so much later: perhaps this origin
has none of them."""

WRONG = 2
"""Deviations in a row that make an origin corrupt: one may be an object that was overwritten a moment ago."""

AGAIN_SECONDS = 1.0
"""After the first of them, the next probe isn't put off."""

CLEAN = 3
"""Probes in a row without a deviation after which a corrupt origin is clean."""

DOUBT_SECONDS = 900.0
"""Bytes of a corrupt origin are doubtful for so long before, if its canary hasn't been clean before."""

LONGEST_PATH = 400


class ProbeFinding(Enum):
    """The result of a probe."""

    CLEAN = "clean"  # the bytes that are known
    LEARNED = "learned"  # it is new, or has a new ETag
    UNPROVEN = "unproven"  # it has no strong ETag, so that its bytes may change at any time
    ABSENT = "absent"
    WRONG = "wrong"  # other bytes under the same ETag
    FAILED = "failed"  # no response, or an error


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """The response to a probe. `length` is the whole object's, `digest` that of the first `asked` bytes of it.

    `problem`: why there is none; then nothing else counts. An absent object has neither digest nor problem.
    """

    asked: int
    seconds: float  # until the first byte
    etag: bytes | None = None
    length: int | None = None
    digest: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class KnownCanary:
    """An object, and its bytes as far as they are known: digests by the number of bytes.

    `since` is in epoch seconds; None: it was configured, and stays. `wrong` is the number of deviations in a row, all
    of them of the first `doubted` bytes. `is_proven`: its bytes came more than once under this ETag. `small_at` and
    `large_at`: when `small` and `large` came last, epoch seconds.
    """

    path: bytes
    query: bytes = b""
    since: float | None = None
    etag: bytes | None = None
    length: int | None = None
    small: str | None = None
    large: str | None = None
    wrong: int = 0
    doubted: int = 0
    is_proven: bool = False
    small_at: float = 0.0
    large_at: float = 0.0

    def digest(self, asked: int) -> str | None:
        return self.small if asked == SMALL_BYTES else self.large

    def clean_at(self, asked: int) -> float:
        """When so many bytes were right last, as far as that is certain: the first ones to come may have been damaged
        already. Epoch seconds; 0.0: never."""
        if not self.is_proven:
            return 0.0
        return self.small_at if asked == SMALL_BYTES else self.large_at


@dataclass(frozen=True, slots=True)
class LastProbe:
    """The last probe of an origin: epoch seconds, and its result."""

    at: float
    finding: ProbeFinding
    seconds: float  # until the first byte


@dataclass(frozen=True, slots=True)
class ProbeRecord:
    """All that is known of an origin by its probes. `count` of them have been sent; `clean` in a row were clean.

    `pardoned`: the time of an operator's last order to forget that it is corrupt. `corrupt_at` and `doubtful_since`:
    when it was last found to be, and since when it may have been, epoch seconds; 0.0: that isn't known.
    """

    canaries: tuple[KnownCanary, ...] = ()
    count: int = 0
    clean: int = 0
    is_corrupt: bool = False
    pardoned: float = 0.0
    absent: tuple[bytes, bytes] | None = None  # the last canary that was absent, and when
    absent_at: float = 0.0
    last: LastProbe | None = None
    corrupt_at: float = 0.0
    doubtful_since: float = 0.0


def digest_of(data: bytes) -> str:
    """SHA-256, in hexadecimal; half of it, which is enough to tell damage."""
    return hashlib.sha256(data).hexdigest()[:32]


def next_probe(record: ProbeRecord) -> tuple[KnownCanary, int] | None:
    """The canary to fetch next, and the number of its bytes; None if there is none.

    One that deviated is fetched again in the same way, until it is clean.
    """
    doubtful = next((canary for canary in record.canaries if canary.wrong), None)
    if doubtful is not None:
        return doubtful, doubtful.doubted
    if not record.canaries:
        return None
    is_large = record.count % LARGE_EVERY == LARGE_EVERY - 1
    return record.canaries[record.count % len(record.canaries)], LARGE_BYTES if is_large else SMALL_BYTES


def pause(record: ProbeRecord, interval: float, chance: float) -> float:
    """Seconds until the next probe; `chance` (0 to 1) spreads those of several nodes."""
    if not record.is_corrupt and any(canary.wrong for canary in record.canaries):
        return min(AGAIN_SECONDS, interval)
    if record.is_corrupt and record.clean:
        interval /= 2.0  # it is back soon
    return interval * (0.8 + 0.4 * chance)


def judge_answer(canary: KnownCanary, answer: ProbeAnswer, now: float) -> tuple[KnownCanary | None, ProbeFinding]:
    """The canary after a probe, None if it is dropped, and the result. `now` is epoch seconds."""
    if answer.problem is not None:
        return canary, ProbeFinding.FAILED
    if answer.digest is None:
        forgotten = KnownCanary(canary.path, canary.query)
        return forgotten if canary.since is None else None, ProbeFinding.ABSENT
    if not is_strong(answer.etag):
        return KnownCanary(canary.path, canary.query, canary.since), ProbeFinding.UNPROVEN
    if answer.etag != canary.etag:
        known = KnownCanary(canary.path, canary.query, canary.since, answer.etag, answer.length)
        return _with(known, answer, now), ProbeFinding.LEARNED
    before = canary.digest(answer.asked)
    if answer.length != canary.length or before not in (None, answer.digest):
        again = canary.wrong if answer.asked == canary.doubted else 0
        return replace(canary, wrong=again + 1, doubted=answer.asked), ProbeFinding.WRONG
    if before is None:
        return _with(canary, answer, now), ProbeFinding.LEARNED
    if answer.asked == canary.doubted:
        canary = replace(canary, wrong=0, doubted=0)
    return replace(_with(canary, answer, now), is_proven=True), ProbeFinding.CLEAN


def _with(canary: KnownCanary, answer: ProbeAnswer, now: float) -> KnownCanary:
    if answer.asked == SMALL_BYTES:
        return replace(canary, small=answer.digest, small_at=now)
    return replace(canary, large=answer.digest, large_at=now)


def after_probe(
    record: ProbeRecord, path: bytes, query: bytes, answer: ProbeAnswer, now: float
) -> tuple[ProbeRecord, ProbeFinding]:
    """The record after a probe of this object, and the result. `now` is epoch seconds.

    An object that isn't a canary any more says nothing about bytes.
    """
    canary = next((each for each in record.canaries if (each.path, each.query) == (path, query)), None)
    after, finding = judge_answer(canary or KnownCanary(path, query, now), answer, now)
    record = replace(record, count=record.count + 1, last=LastProbe(now, finding, answer.seconds))
    if canary is None:
        return record, finding
    kept = [after if each is canary else each for each in record.canaries]
    record = replace(record, canaries=tuple([each for each in kept if each is not None]))
    if finding is ProbeFinding.ABSENT:
        return replace(record, absent=(path, query), absent_at=now), finding
    if finding is ProbeFinding.WRONG:
        assert after is not None
        if after.wrong >= WRONG and not record.is_corrupt:
            since = after.clean_at(answer.asked) or now - DOUBT_SECONDS
            record = replace(_distrusted(record), corrupt_at=now, doubtful_since=since)
        return replace(record, clean=0, is_corrupt=record.is_corrupt or after.wrong >= WRONG), finding
    if finding is ProbeFinding.CLEAN and record.is_corrupt:
        clean = record.clean + 1
        is_over = clean >= CLEAN and not any(each.wrong for each in record.canaries)
        return replace(record, clean=0 if is_over else clean, is_corrupt=not is_over), finding
    return record, finding


def _distrusted(record: ProbeRecord) -> ProbeRecord:
    """The record of an origin that turns out to be corrupt: bytes that came only once may have been damaged already,
    and would make it look corrupt when it is well again."""
    canaries = [
        each if each.is_proven or each.wrong else KnownCanary(each.path, each.query, each.since)
        for each in record.canaries
    ]
    return replace(record, canaries=tuple(canaries))


def learned(
    record: ProbeRecord,
    configured: Sequence[tuple[bytes, bytes]],
    own: tuple[bytes, bytes] | None,
    borrowed: Sequence[tuple[bytes, bytes]],
    now: float,
) -> ProbeRecord:
    """The record with the canaries of now, each path and query: those that are `configured`; without any, objects
    that the origin gave lately, or, while it has given none, those `borrowed` from others. `now` is epoch seconds.

    While bytes are in doubt, nothing changes.
    """
    if record.is_corrupt or any(canary.wrong for canary in record.canaries):
        return record
    by_object = {(canary.path, canary.query): canary for canary in record.canaries}
    if configured:
        wanted = tuple([replace(by_object.get(each) or KnownCanary(*each), since=None) for each in configured])
        return record if wanted == record.canaries else replace(record, canaries=wanted)
    left = [canary for canary in record.canaries if canary.since is not None]
    candidates: Sequence[tuple[bytes, bytes]] = () if own is None else (own,)
    if own is None and not left and now - record.absent_at >= ABSENT_SECONDS:
        candidates = borrowed[:1]
    for each in candidates:
        is_gone = each == record.absent and now - record.absent_at < LEARNED_SECONDS
        if each in by_object or is_gone or len(each[0]) + len(each[1]) > LONGEST_PATH:
            continue
        if len(left) >= MOST_LEARNED:
            oldest = min(left, key=lambda canary: canary.since or 0.0)
            if now - (oldest.since or 0.0) < LEARNED_SECONDS:
                continue
            left.remove(oldest)
        left.append(KnownCanary(*each, since=now))
    kept = tuple(left)
    return record if kept == record.canaries else replace(record, canaries=kept)


def pardon(record: ProbeRecord, at: float) -> ProbeRecord:
    """The record after an operator's order: the bytes that the origin sends now are right."""
    canaries = tuple([KnownCanary(each.path, each.query, each.since) for each in record.canaries])
    return replace(record, canaries=canaries, is_corrupt=False, clean=0, pardoned=at)
