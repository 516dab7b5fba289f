"""Hints that nodes of a cluster give each other: of origins that have just become bad or good, of their times, of
objects in quarantine, of ramps. Pure.

A hint is no order: it may be lost, late or wrong, and nobody answers for it. So it expires, there are only so many of
each node, and each kind has an effect that a wrong one can't turn into harm:

- BAD, GOOD, CORRUPT: the origin is looked at now instead of later, by this node's own probes
- LATENCY: an origin that this node hasn't measured yet is ranked by the measurements of nodes in the same region
- QUARANTINE: one object isn't fetched from one origin while another one can serve
- RAMP: nodes that ramp an origin do so in step, and one that has never used it joins them

Clocks of different nodes aren't compared: a hint says for how long it holds, counted from its arrival. Its id tells
a new hint from a repeated one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from shield.rules.distance import UNKNOWN, Timing
from shield.rules.ramp import LEAST_COMPARED, LEAST_FETCHES, STEPS
from shield.rules.ranking import SIZE_CLASSES
from shield.rules.spikes import median_of

MOST_HINTS = 200
"""Of one node."""

MOST_QUARANTINES = 64
"""Of these, objects in quarantine; the newest."""

LONGEST_TEXT = 1024
"""Of one, in characters."""

MOST_BYTES = 16 << 10
"""Of a message, about: each node gets one of all others every few seconds."""

LOOK_SECONDS = 30.0
"""Between two probes of an origin because of hints, however many come."""

PROVED = max(LEAST_FETCHES, LEAST_COMPARED)
"""Counts as all that a step of a ramp takes."""

LONGEST_FIRST_BYTE = 10.0
"""Seconds: others' times to the first byte count as this at most."""


class HintKind(Enum):
    """What a hint is of; the value is the word in messages."""

    BAD = "bad"  # the origin isn't in its normal position since a moment ago
    GOOD = "good"  # it is again
    CORRUPT = "corrupt"  # it sent other bytes under an unchanged ETag
    # numbers: for each size class the median first byte in seconds, and bytes a second; text: `PROBED`, or nothing
    LATENCY = "latency"
    QUARANTINE = "quarantine"  # text: the path at the origin whose bytes there are wrong; about: the entry's key
    RAMP = "ramp"  # text: its state; numbers: its step, and the fetches in that step


LIFETIMES = {
    HintKind.BAD: 30.0,
    HintKind.GOOD: 30.0,
    HintKind.CORRUPT: 120.0,
    HintKind.LATENCY: 120.0,
    HintKind.QUARANTINE: 6 * 3600.0,
    HintKind.RAMP: 120.0,
}
"""Seconds after its arrival for which a hint holds at most, whatever it says itself."""

LOOKS = (HintKind.BAD, HintKind.GOOD, HintKind.CORRUPT)
"""Kinds that are a reason to look at an origin."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A hint on an origin, which holds for `left` seconds. `id` is the same as long as the same is meant."""

    kind: HintKind
    origin: str
    id: str
    left: float
    text: str = ""
    about: str = ""
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class HintMessage:
    """All hints of a node at one time. `serial` differs each time: an id of the node's process, a hyphen, and a
    number that rises. `region` is the node's.
    """

    serial: str
    region: str = ""
    hints: Sequence[Hint] = ()

    def plain(self) -> dict[str, object]:
        """For JSON; of too many hints only so many."""
        return {
            "serial": self.serial,
            "region": self.region,
            "said": [_of_hint(each) for each in _bounded(self.hints)],
        }

    @classmethod
    def read(cls, said: object) -> HintMessage | None:
        """Another node's message, without hints that are malformed, of unknown kinds, or too many. None: it is no
        message.
        """
        if not isinstance(said, dict):
            return None
        serial, region, hints = said.get("serial"), said.get("region"), said.get("said")
        if not isinstance(serial, str) or not isinstance(region, str) or not isinstance(hints, list):
            return None
        read = [hint for each in hints[:MOST_HINTS] if (hint := _hint(each)) is not None]
        return cls(serial[:64], region[:64], tuple(_bounded(read)))


@dataclass(slots=True)
class _Said:
    """What one node said last. `until` is by kind, origin and id: when each of its hints expires."""

    serial: str
    region: str
    at: float
    hints: Sequence[Hint]
    until: dict[tuple[HintKind, str, str], float] = field(default_factory=dict)


class HeardHints:
    """All that the other nodes said. Times are on one clock of this node, which only goes forward."""

    def __init__(self) -> None:
        self._heard: dict[str, _Said] = {}
        self._looked: dict[str, float] = {}  # by origin: when a hint was last a reason to look
        self.counts: dict[HintKind, int] = dict.fromkeys(HintKind, 0)
        """Of those that came, each once."""

    def knows(self, node: str, said: object) -> bool:
        """Whether it is the node's last message, or an earlier one: messages arrive by several ways."""
        heard = self._heard.get(node)
        serial = said.get("serial") if isinstance(said, dict) else None
        return heard is not None and isinstance(serial, str) and not _is_later(serial, heard.serial)

    def take(self, node: str, message: HintMessage, now: float) -> list[Hint]:
        """Take in a message of this node; returns the hints that are new. A repeated message has none."""
        before = self._heard.get(node)
        if before is not None and not _is_later(message.serial, before.serial):
            return []
        known = {} if before is None else before.until
        heard = _Said(message.serial, message.region, now, message.hints)
        new = []
        for hint in message.hints:
            place = hint.kind, hint.origin, hint.id
            until = now + min(hint.left, LIFETIMES[hint.kind])
            if hint.kind in LOOKS:
                until = min(until, known.get(place, until))  # it is about a moment, which passes
            heard.until[place] = until
            if place not in known:
                new.append(hint)
                self.counts[hint.kind] += 1
        self._heard[node] = heard
        return new

    def keep(self, nodes: Iterable[str], now: float) -> None:
        """Forget nodes that aren't members, and those that haven't said anything for as long as hints may hold."""
        members, longest = set(nodes), max(LIFETIMES.values())
        for node in [node for node, each in self._heard.items() if node not in members or now - each.at > longest]:
            del self._heard[node]

    def of(self, kind: HintKind, now: float, *, region: str | None = None) -> dict[str, list[Hint]]:
        """Those of a kind that hold, by node; with a region, of nodes that say they are in it."""
        found: dict[str, list[Hint]] = {}
        for node, heard in self._heard.items():
            if region is not None and heard.region != region:
                continue
            hints = [h for h in heard.hints if h.kind is kind and heard.until[h.kind, h.origin, h.id] > now]
            if hints:
                found[node] = hints
        return found

    def may_look(self, origin: str, now: float) -> bool:
        """Whether a hint is a reason to look at an origin now: once in `LOOK_SECONDS`."""
        last = self._looked.get(origin)
        if last is not None and now - last < LOOK_SECONDS:
            return False
        self._looked[origin] = now
        return True

    def shown(self, now: float) -> dict[str, object]:
        """What holds, by node, for operators."""
        return {
            node: {
                "seconds_ago": round(now - heard.at, 1),
                "region": heard.region or None,
                "hints": [
                    _shown(hint, until - now)
                    for hint in heard.hints
                    if (until := heard.until[hint.kind, hint.origin, hint.id]) > now
                ],
            }
            for node, heard in sorted(self._heard.items())
        }

    def held(self, now: float) -> int:
        """The number of those that hold."""
        return sum(until > now for heard in self._heard.values() for until in heard.until.values())


def _is_later(serial: str, before: str) -> bool:
    """Whether a message was said after another one: of the same process by its number; else it is taken to be."""
    (process, _, number), (former, _, known) = serial.rpartition("-"), before.rpartition("-")
    if process != former or not (number.isdecimal() and known.isdecimal()):
        return serial != before
    return int(number) > int(known)


# latency


def latency_numbers(timings: Sequence[Timing]) -> tuple[float, ...]:
    """What a node says of an origin that it has measured."""
    return tuple([number for each in timings for number in (round(each.first_byte, 4), round(each.goodput))])


def prior(hints: Sequence[Hint]) -> tuple[Timing, ...] | None:
    """Timings of an origin by other nodes' measurements: their median for each size class; None without any."""
    found = []
    for each in range(SIZE_CLASSES):
        is_probed = all(hint.text == PROBED for hint in hints)
        first = [hint.numbers[2 * each] for hint in hints if hint.numbers[2 * each]]
        goodput = [hint.numbers[2 * each + 1] for hint in hints if hint.numbers[2 * each + 1]]
        value = UNKNOWN
        if first:
            value = value._replace(first_byte=min(LONGEST_FIRST_BYTE, median_of(first)), is_probed=is_probed)
        if goodput:
            value = value._replace(goodput=median_of(goodput))
        found.append(value)
    return tuple(found) if any(each.first_byte for each in found) else None


# ramps


@dataclass(frozen=True, slots=True)
class RampsElsewhere:
    """One origin's ramps at other nodes: the step of each open ramp, with the fetches in that step, by node; nodes at
    which trouble ended one; and nodes that fetch from the origin without a ramp.
    """

    steps: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    troubled: tuple[str, ...] = ()
    unramped: tuple[str, ...] = ()

    def behind(self, step: int) -> list[str]:
        """The nodes for which a ramp at this step waits before it goes on to the next one."""
        return [node for node, (its, _) in sorted(self.steps.items()) if its < step]

    def proved(self, step: int) -> int:
        """The fetches of all of them in this step; a node beyond it counts as done with it."""
        return sum([done if its == step else PROVED for its, done in self.steps.values() if its >= step])

    @property
    def to_join(self) -> int | None:
        """The step at which a node that has never used the origin joins its ramp; None: it doesn't. One node that
        uses the origin as any other is enough to prove that it is no newcomer.
        """
        return min([step for step, _ in self.steps.values()]) if self.steps and not self.unramped else None


OPEN_RAMP, TROUBLED_RAMP = "open", "troubled"
"""States of ramps in hints."""

PROBED = "probed"
"""The text of latencies that were measured by probes alone: no client is served by that origin."""


def ramps_elsewhere(
    origin: str, ramps: Mapping[str, Sequence[Hint]], latencies: Mapping[str, Sequence[Hint]]
) -> RampsElsewhere:
    """From the hints of nodes."""
    steps: dict[str, tuple[int, int]] = {}
    troubled = []
    for node, hints in ramps.items():
        for hint in hints:
            if hint.origin != origin:
                continue
            if hint.text == OPEN_RAMP:
                steps[node] = min(int(hint.numbers[0]), len(STEPS) - 1), int(hint.numbers[1])
            elif hint.text == TROUBLED_RAMP:
                troubled.append(node)
    users = [node for node, hints in latencies.items() if any(h.origin == origin and h.text != PROBED for h in hints)]
    unramped = [node for node in users if node not in steps and node not in troubled]
    return RampsElsewhere(steps, tuple(sorted(troubled)), tuple(sorted(unramped)))


# messages


def _bounded(hints: Sequence[Hint]) -> list[Hint]:
    """At most so many: of quarantines the last ones, as they are the newest."""
    kept: set[int] = set()
    size = quarantines = 0
    newest_first = range(len(hints) - 1, -1, -1)
    for at in sorted(newest_first, key=lambda at: hints[at].kind is HintKind.QUARANTINE):
        hint = hints[at]
        size += 80 + len(hint.origin) + len(hint.id) + len(hint.text) + len(hint.about) + 8 * len(hint.numbers)
        quarantines += hint.kind is HintKind.QUARANTINE
        if size > MOST_BYTES or len(kept) == MOST_HINTS or quarantines > MOST_QUARANTINES:
            break
        kept.add(at)
    return [hint for at, hint in enumerate(hints) if at in kept]


def _of_hint(hint: Hint) -> dict[str, object]:
    said: dict[str, object] = {
        "kind": hint.kind.value,
        "origin": hint.origin,
        "id": hint.id,
        "left": round(hint.left, 1),
    }
    said |= {"text": hint.text} if hint.text else {}
    said |= {"about": hint.about} if hint.about else {}
    return said | ({"numbers": list(hint.numbers)} if hint.numbers else {})


def _hint(said: Any) -> Hint | None:
    """A hint from JSON; None if it is malformed, or of a later version's kind."""
    try:
        kind = HintKind(said["kind"])
        texts = [said["origin"], said["id"], said.get("text", ""), said.get("about", "")]
        numbers = tuple(map(float, said.get("numbers", ())))
        left = float(said["left"])
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        return None
    if not all(isinstance(each, str) and len(each) <= LONGEST_TEXT for each in texts):
        return None
    if not 0.0 < left < math.inf or not all(0.0 <= each < 1e15 for each in numbers):
        return None
    if len(numbers) != {HintKind.LATENCY: 2 * SIZE_CLASSES, HintKind.RAMP: 2}.get(kind, 0):
        return None
    origin, hint_id, text, about = texts
    return Hint(kind, origin, hint_id, left, text, about, numbers)


def _shown(hint: Hint, left: float) -> dict[str, object]:
    said: dict[str, object] = {"kind": hint.kind.value, "origin": hint.origin, "left_seconds": round(left, 1)}
    said |= {"text": hint.text} if hint.text else {}
    return said | ({"numbers": list(hint.numbers)} if hint.numbers else {})


def text_of(raw: bytes) -> str:
    """Bytes in a hint."""
    return raw.decode("latin-1")


def raw_of(text: str) -> bytes | None:
    """The bytes of a text in a hint; None: there are none of it."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return None
