"""Hints of other nodes: how long they hold, how many there may be, and how little a wrong one can do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from shield.rules.distance import Timing
from shield.rules.hints import (
    LIFETIMES,
    LONGEST_FIRST_BYTE,
    LOOK_SECONDS,
    MOST_BYTES,
    MOST_HINTS,
    MOST_QUARANTINES,
    OPEN_RAMP,
    PROBED,
    PROVED,
    TROUBLED_RAMP,
    HeardHints,
    Hint,
    HintKind,
    HintMessage,
    latency_numbers,
    prior,
    ramps_elsewhere,
)
from shield.rules.ramp import STEPS

NOW = 1000.0
BAD = Hint(HintKind.BAD, "fra", "1", 25.0)


def message(*hints: Hint, serial: str = "1", region: str = "") -> HintMessage:
    return HintMessage(serial, region, hints)


def arrived(said: HintMessage) -> HintMessage:
    read = HintMessage.read(json.loads(json.dumps(said.plain())))
    assert read is not None
    return read


def latency(origin: str = "fra", seconds: float = 0.05, text: str = "") -> Hint:
    timings = (Timing(seconds, goodput=1e7), Timing(seconds * 2), Timing(), Timing())
    return Hint(HintKind.LATENCY, origin, "", 120.0, text, numbers=latency_numbers(timings))


def ramp(step: int, done: int = 0, text: str = OPEN_RAMP) -> Hint:
    return Hint(HintKind.RAMP, "new", f"{step}", 120.0, text, numbers=(float(step), float(done)))


def test_a_message_arrives_as_it_was_said() -> None:
    quarantine = Hint(HintKind.QUARANTINE, "fra", "/a%20b", 3600.0, "/a%20b", "default\n/a%20b")
    said = message(BAD, latency(), quarantine, ramp(2, 40), serial="x-1", region="eu")

    assert arrived(said) == said


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {},
        {"serial": 1, "region": "", "said": []},
        {"serial": "1", "region": None, "said": []},
        {"serial": "1", "region": "", "said": "x"},
    ],
)
def test_what_is_no_message_says_nothing(said: Any) -> None:
    assert HintMessage.read(said) is None


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "of a later version"},
        {"kind": None},
        {"origin": 5},
        {"id": None},
        {"left": "soon"},
        {"left": -1.0},
        {"left": float("inf")},
        {"left": float("nan")},
        {"numbers": [1.0]},
        {"numbers": "12345678"},
        {"text": "x" * 2000},
    ],
)
def test_hints_that_arent_understood_are_left_out_and_the_others_hold(change: dict[str, Any]) -> None:
    plain: dict[str, Any] = message(BAD).plain()
    good = plain["said"][0]
    plain["said"] = [{**good, **change}, "x", good]

    read = HintMessage.read(plain)

    assert read is not None and read.hints == (BAD,)


@pytest.mark.parametrize("number", [-1.0, float("nan"), float("inf"), 1e300])
def test_numbers_that_cant_be_are_left_out(number: float) -> None:
    plain = message(replace(latency(), numbers=(number,) * 8)).plain()

    assert HintMessage.read(plain) == message()


def test_there_are_only_so_many_and_the_newest_quarantines_stay() -> None:
    many = [Hint(HintKind.QUARANTINE, "fra", f"/{each}", 60.0, f"/{each}") for each in range(1000)]
    said = HintMessage("1", "", [*many, BAD])

    kept = arrived(said).hints

    assert list(kept) == [*many[-MOST_QUARANTINES:], BAD]
    for hints in (many * 2, [latency(f"origin-{each}") for each in range(1000)]):
        plain = HintMessage("1", "", hints).plain()
        assert len(json.dumps(plain)) < 2 * MOST_BYTES and len(plain["said"]) <= MOST_HINTS  # type: ignore[arg-type]


def test_a_hint_holds_as_long_as_it_says_and_no_longer_than_its_kind_may() -> None:
    heard = HeardHints()
    heard.take("b", message(replace(BAD, left=5.0), replace(latency(), left=9e9)), NOW)

    assert heard.of(HintKind.BAD, NOW + 4.9) and not heard.of(HintKind.BAD, NOW + 5.0)
    longest = LIFETIMES[HintKind.LATENCY]
    assert heard.of(HintKind.LATENCY, NOW + longest - 0.1) and not heard.of(HintKind.LATENCY, NOW + longest)
    assert heard.held(NOW) == 2 and heard.held(NOW + longest) == 0


def test_what_is_said_again_isnt_new_and_a_moment_passes_all_the_same() -> None:
    heard = HeardHints()

    assert heard.take("b", message(BAD), NOW) == [BAD]
    assert heard.take("b", message(BAD), NOW + 1.0) == []  # the same message, read twice from the bus
    assert heard.take("b", message(BAD, serial="2"), NOW + 20.0) == []  # and its clock stands still
    assert not heard.of(HintKind.BAD, NOW + 26.0)
    assert heard.take("b", message(replace(BAD, id="2"), serial="3"), NOW + 30.0)
    assert heard.counts[HintKind.BAD] == 2


def test_a_message_that_was_overtaken_on_another_way_says_nothing() -> None:
    heard = HeardHints()
    heard.take("b", message(BAD, serial="p-10"), NOW)

    assert heard.knows("b", message(serial="p-9").plain()) and heard.take("b", message(serial="p-9"), NOW) == []
    assert heard.of(HintKind.BAD, NOW)
    assert not heard.knows("b", message(serial="p-11").plain())
    assert not heard.knows("b", message(serial="after-a-restart-1").plain())


def test_what_a_node_says_no_longer_is_over_and_members_that_left_are_forgotten() -> None:
    heard = HeardHints()
    heard.take("b", message(ramp(1)), NOW)
    heard.take("c", message(BAD), NOW)
    heard.take("b", message(serial="2"), NOW + 1.0)
    heard.keep(["b"], NOW + 2.0)

    assert heard.of(HintKind.RAMP, NOW + 2.0) == heard.of(HintKind.BAD, NOW + 2.0) == {}
    assert set(heard.shown(NOW + 2.0)) == {"b"}


def test_however_many_hints_come_an_origin_is_looked_at_once_in_a_while() -> None:
    heard = HeardHints()
    looks = [at for at in range(120) if heard.may_look("fra", NOW + at)]

    assert looks == [0, LOOK_SECONDS, 2 * LOOK_SECONDS, 3 * LOOK_SECONDS]
    assert heard.may_look("iad", NOW)


def test_a_prior_is_the_median_of_nodes_so_that_one_that_lies_counts_little() -> None:
    found = prior([latency(seconds=0.05), latency(seconds=0.06), latency(seconds=900.0)])
    assert found is not None

    assert found[0] == Timing(0.06, False, goodput=1e7)
    assert found[1].first_byte == 0.12 and found[2] == Timing()
    alone = prior([latency(seconds=900.0, text=PROBED)])
    assert alone is not None and alone[0].first_byte == LONGEST_FIRST_BYTE and alone[0].is_probed
    assert prior([]) is None


def test_nodes_ramp_in_step_and_what_they_have_done_counts_together() -> None:
    elsewhere = ramps_elsewhere("new", {"b": [ramp(1, 200)], "c": [ramp(2, 10)]}, {})

    assert elsewhere.behind(1) == [] and elsewhere.behind(2) == ["b"]
    assert elsewhere.proved(1) == 200 + PROVED and elsewhere.proved(2) == 10
    assert ramps_elsewhere("other", {"b": [ramp(1)]}, {}).steps == {}


def test_a_step_that_cant_be_isnt_joined() -> None:
    assert ramps_elsewhere("new", {"b": [ramp(99)]}, {}).to_join == len(STEPS) - 1


def test_a_node_joins_the_lowest_step_unless_somebody_uses_the_origin_as_any_other() -> None:
    ramps = {"b": [ramp(3)], "c": [ramp(2)]}

    assert ramps_elsewhere("new", ramps, {}).to_join == 2
    assert ramps_elsewhere("new", ramps, {"b": [latency("new")], "d": [latency("new", text=PROBED)]}).to_join == 2
    assert ramps_elsewhere("new", ramps, {"d": [latency("new")]}).to_join is None
    assert ramps_elsewhere("new", {"b": [ramp(2, text=TROUBLED_RAMP)]}, {}).to_join is None
    assert ramps_elsewhere("new", {"b": [ramp(2, text=TROUBLED_RAMP)]}, {}).troubled == ("b",)
