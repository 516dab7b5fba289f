"""Alarms: one for a trouble that lasts, however often it comes and goes, and one word when it is over."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shield.rules.alarms import (
    KINDS,
    MOST_ACTIVE,
    AlarmCause,
    AlarmEvent,
    AlarmKind,
    AlarmNews,
    AlarmStates,
    judge,
)
from shield.rules.webhooks import AlarmBook
from tests.depth import tries

NOW = 1_750_000_000.0
REMIND = 3600.0
OUT = AlarmCause(AlarmKind.ORIGIN_DOWN, "fra", "origin fra is out: probes failed")
REFUSED = AlarmCause(AlarmKind.RELOAD, "", "refused")
WAIT, CALM = KINDS[AlarmKind.ORIGIN_DOWN].begins_after, KINDS[AlarmKind.ORIGIN_DOWN].ends_after


class Night:
    """Looks at one node, one after the other."""

    def __init__(self) -> None:
        self.states = AlarmStates()
        self.now = NOW

    def look(self, *troubles: AlarmCause, after: float = 5.0, unknown: Sequence[AlarmKind] = ()) -> list[AlarmEvent]:
        self.now += after
        self.states, events = judge(self.states, troubles, self.now, remind=REMIND, node="fra-1", unknown=unknown)
        return events


def said(events: Sequence[AlarmEvent]) -> list[tuple[AlarmNews, AlarmKind, str]]:
    return [(each.told, each.alarm.kind, each.alarm.subject) for each in events]


def test_a_trouble_is_an_alarm_once_it_has_lasted() -> None:
    night = Night()

    assert night.look(OUT) == []
    assert night.look(OUT, after=WAIT - 1.0) == []
    (event,) = night.look(OUT, after=1.0)

    assert (event.told, event.alarm.text) == (AlarmNews.BEGAN, OUT.text)
    assert event.alarm.since == NOW + 5.0
    assert night.look(OUT) == []


def test_a_short_trouble_is_none() -> None:
    night = Night()

    assert [night.look(OUT), night.look(), night.look(OUT), night.look(after=WAIT)] == [[], [], [], []]
    assert not night.states.active and not night.states.waiting


def test_a_trouble_that_comes_and_goes_is_one_alarm() -> None:
    night = Night()
    events = [event for _ in range(100) for each in ([OUT], [OUT], [OUT], [OUT], []) for event in night.look(*each)]

    assert said(events) == [(AlarmNews.BEGAN, AlarmKind.ORIGIN_DOWN, "fra")]


def test_an_alarm_is_over_once_its_trouble_is_gone_for_a_while() -> None:
    night = Night()
    night.look(OUT)
    (began,) = night.look(OUT, after=WAIT)

    assert night.look() == []
    assert night.look(after=CALM - 1.0) == []
    (over,) = night.look(after=1.0)

    assert (over.told, over.alarm.id) == (AlarmNews.RESOLVED, began.alarm.id)
    assert over.alarm.resolved == night.now
    assert night.states.recent == (over.alarm,)
    assert over.id != began.id


def test_people_are_reminded_of_an_alarm_that_lasts() -> None:
    night = Night()
    night.look(REFUSED)

    assert night.look(REFUSED, after=REMIND - 1.0) == []
    assert said(night.look(REFUSED, after=1.0)) == [(AlarmNews.LASTS, AlarmKind.RELOAD, "")]
    assert night.look(REFUSED, after=REMIND - 1.0) == []


def test_nobody_is_reminded_that_half_of_a_budget_is_spent() -> None:
    night = Night()
    half = AlarmCause(AlarmKind.BUDGET, "far 50%", "x")

    assert said(night.look(half)) == [(AlarmNews.BEGAN, AlarmKind.BUDGET, "far 50%")]
    assert night.look(half, after=10 * REMIND) == []
    assert said(night.look()) == [(AlarmNews.RESOLVED, AlarmKind.BUDGET, "far 50%")]


def test_what_isnt_known_changes_nothing() -> None:
    night = Night()
    night.look(REFUSED)

    assert night.look(after=1e6, unknown=[AlarmKind.RELOAD]) == []
    assert night.look(AlarmCause(AlarmKind.DISK, "/a", "x"), unknown=[AlarmKind.DISK], after=1e6) != []
    assert [key[0] for key in night.states.active] == []


def test_a_clock_that_is_put_back_sends_no_storm() -> None:
    night = Night()
    night.look(REFUSED)

    first = night.look(REFUSED, after=-86400.0)
    again = [event for _ in range(10) for event in night.look(REFUSED)]

    assert len(first) <= 1 and again == []


def test_more_alarms_than_people_can_read_wait() -> None:
    night = Night()
    many = [AlarmCause(AlarmKind.RAMP, f"origin-{number}", "aborted") for number in range(MOST_ACTIVE + 9)]

    events = night.look(*many)

    assert len(events) == len(night.states.active) == MOST_ACTIVE
    assert night.look(*many) == []


@pytest.mark.parametrize("kind", AlarmKind)
def test_each_kind_says_what_to_do(kind: AlarmKind) -> None:
    assert KINDS[kind].remedy.endswith(".")
    assert KINDS[kind].runbook.partition("#")[0].endswith(".md")


_TROUBLES = st.lists(
    st.builds(
        AlarmCause,
        st.sampled_from([AlarmKind.ORIGIN_DOWN, AlarmKind.RELOAD, AlarmKind.DISK, AlarmKind.WORKER_DIED]),
        st.sampled_from(["", "fra", "iad"]),
        st.sampled_from(["x", "y"]),
    ),
    max_size=4,
)
_STEPS = st.lists(st.tuples(st.sampled_from([0.0, 1.0, 5.0, 61.0, 4000.0]), _TROUBLES), max_size=40)


@given(_STEPS)
@settings(max_examples=tries(60))
def test_messages_on_an_alarm_are_in_order_and_no_two_of_them_are_the_same(
    steps: list[tuple[float, list[AlarmCause]]],
) -> None:
    night, open_alarms, seen = Night(), dict[tuple[AlarmKind, str], str](), set[str]()
    for after, troubles in steps:
        for event in night.look(*troubles, after=after):
            alarm = event.alarm
            if after:  # two looks at the same time may be told apart by nothing
                assert event.id not in seen
            seen.add(event.id)
            if event.told is AlarmNews.BEGAN:
                assert alarm.key not in open_alarms
                open_alarms[alarm.key] = alarm.id
            elif event.told is AlarmNews.LASTS:
                assert open_alarms[alarm.key] == alarm.id
            else:
                assert open_alarms.pop(alarm.key) == alarm.id
        assert {key: alarm.id for key, alarm in night.states.active.items()} == open_alarms
        assert AlarmBook.read(AlarmBook(night.states).plain()).states == night.states


@given(_STEPS)
@settings(max_examples=tries(60))
def test_every_alarm_ends_when_all_is_well(steps: list[tuple[float, list[AlarmCause]]]) -> None:
    night = Night()
    for after, troubles in steps:
        night.look(*troubles, after=after)

    lasting = len(night.states.active)
    night.look()
    events = night.look(after=3600.0)

    assert len([event for event in events if event.told is AlarmNews.RESOLVED]) <= lasting
    assert not night.states.active
