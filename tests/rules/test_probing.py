"""Which canaries an origin has, and what their bytes say of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shield.rules.probing import (
    ABSENT_SECONDS,
    CLEAN,
    DOUBT_SECONDS,
    LARGE_BYTES,
    LARGE_EVERY,
    LEARNED_SECONDS,
    LONGEST_PATH,
    MOST_LEARNED,
    SMALL_BYTES,
    WRONG,
    KnownCanary,
    LastProbe,
    ProbeAnswer,
    ProbeFinding,
    ProbeRecord,
    after_probe,
    learned,
    next_probe,
    pardon,
    pause,
)

NOW = 1_750_000_000.0
A, B, C = (b"/a", b""), (b"/b", b"v=1"), (b"/c", b"")


def answer(
    digest: str | None = "one", *, etag: bytes | None = b'"1"', asked: int = SMALL_BYTES, **more: int
) -> ProbeAnswer:
    return ProbeAnswer(asked, 0.02, etag, more.get("length", 300_000), digest)


FAILURE = ProbeAnswer(SMALL_BYTES, 1.0, problem="reset")
RECORD = ProbeRecord((KnownCanary(b"/a", since=NOW), KnownCanary(b"/b", b"v=1", since=NOW)))


def told(
    record: ProbeRecord, *answers: ProbeAnswer, of: tuple[bytes, bytes] = A, now: float = NOW
) -> tuple[ProbeRecord, list[str]]:
    findings = []
    for each in answers:
        record, finding = after_probe(record, *of, each, now)
        findings.append(finding.value)
    return record, findings


def test_bytes_are_learned_once_and_clean_from_then_on() -> None:
    record, findings = told(
        RECORD, answer(), answer(), answer("many", asked=LARGE_BYTES), answer("many", asked=LARGE_BYTES)
    )

    assert findings == ["learned", "clean", "learned", "clean"]
    assert record.canaries[0] == KnownCanary(
        b"/a", b"", NOW, b'"1"', 300_000, "one", "many", is_proven=True, small_at=NOW, large_at=NOW
    )
    assert (record.count, record.is_corrupt) == (4, False)
    assert record.last == LastProbe(NOW, ProbeFinding.CLEAN, 0.02)


@pytest.mark.parametrize(
    "deviation",
    [answer("two"), answer(length=299_999), answer("two", asked=LARGE_BYTES)],
    ids=["bytes", "length", "large"],
)
def test_other_bytes_under_the_same_etag_twice_make_it_corrupt(deviation: ProbeAnswer) -> None:
    record, _ = told(RECORD, answer(), answer("one", asked=LARGE_BYTES))
    once, first = told(record, deviation)
    twice, second = told(once, deviation)

    assert (first, second) == (["wrong"], ["wrong"])
    assert (once.is_corrupt, twice.is_corrupt) == (False, True)
    assert next_probe(once) == (once.canaries[0], deviation.asked)  # the same again
    assert pause(once, 10.0, 0.5) == 1.0
    assert WRONG == 2


def test_a_deviation_that_doesn_t_repeat_is_forgotten_but_not_by_other_bytes() -> None:
    record, _ = told(RECORD, answer(), answer("large", asked=LARGE_BYTES))
    other, findings = told(record, answer("two", asked=LARGE_BYTES), answer())
    again, _ = told(other, answer("large", asked=LARGE_BYTES))

    assert findings == ["wrong", "clean"]
    assert other.canaries[0].wrong == 1
    assert again.canaries[0].wrong == 0 and not again.is_corrupt


def test_a_new_etag_is_learned_anew() -> None:
    record, findings = told(RECORD, answer(), answer("two", etag=b'"2"'), answer("two", etag=b'"2"'))
    back, more = told(record, answer("one"))

    assert findings == ["learned", "learned", "clean"]
    assert record.canaries[0].large is None
    assert (more, back.is_corrupt) == (["learned"], False)


@pytest.mark.parametrize("etag", [None, b'W/"1"'])
def test_without_a_strong_etag_bytes_prove_nothing(etag: bytes | None) -> None:
    record, findings = told(RECORD, *[answer(str(number), etag=etag) for number in range(5)])

    assert set(findings) == {"unproven"}
    assert not record.is_corrupt and record.canaries[0].etag is None


def test_an_absent_object_is_dropped_unless_it_was_configured() -> None:
    record, findings = told(RECORD, answer(), answer(None))
    configured = learned(ProbeRecord(), [A], None, [], NOW)
    kept, _ = told(configured, answer(), answer(None))

    assert findings == ["learned", "absent"]
    assert [canary.path for canary in record.canaries] == [b"/b"]
    assert kept.canaries == (KnownCanary(b"/a"),)


def test_a_failure_says_nothing_of_bytes() -> None:
    record, findings = told(RECORD, answer(), FAILURE, answer())

    assert findings == ["learned", "failed", "clean"]
    assert told(record, answer("two"), FAILURE, answer("two"))[0].is_corrupt


def test_its_bytes_are_doubtful_since_the_canary_that_tells_was_clean_at_this_length() -> None:
    record, _ = told(RECORD, answer(), answer("many", asked=LARGE_BYTES), now=NOW + 10.0)
    record, _ = told(record, answer(), now=NOW + 20.0)
    record, _ = told(record, answer(), of=B, now=NOW + 30.0)
    small, _ = told(record, answer("two"), answer("two"), now=NOW + 40.0)
    large, _ = told(record, *[answer("two", asked=LARGE_BYTES)] * 2, now=NOW + 40.0)

    assert (small.corrupt_at, small.doubtful_since) == (NOW + 40.0, NOW + 20.0)
    assert (large.corrupt_at, large.doubtful_since) == (NOW + 40.0, NOW + 10.0)
    still, _ = told(small, answer("two"), now=NOW + 50.0)
    assert (still.corrupt_at, still.doubtful_since) == (NOW + 40.0, NOW + 20.0)


def test_of_bytes_that_came_only_once_it_isnt_known_which_were_right() -> None:
    record, _ = told(RECORD, answer(), now=NOW + 10.0)
    corrupt, _ = told(record, answer("two"), answer("two"), now=NOW + 40.0)

    assert corrupt.doubtful_since == NOW + 40.0 - DOUBT_SECONDS


def test_it_is_corrupt_until_all_is_clean_several_times_in_a_row() -> None:
    corrupt, _ = told(RECORD, answer(), answer("two"), answer("two"))
    corrupt, _ = told(corrupt, answer(), of=B)

    states = [told(corrupt, *[answer()] * number)[0].is_corrupt for number in range(CLEAN + 1)]
    interrupted, _ = told(corrupt, answer(), answer(), answer("two"), answer(), answer())
    only_another, _ = told(corrupt, *[answer()] * 5, of=B)

    assert states == [True, True, True, False]
    assert interrupted.is_corrupt
    assert only_another.is_corrupt


def test_bytes_learned_during_the_damage_dont_keep_it_corrupt_for_ever() -> None:
    record, _ = told(RECORD, answer(), answer())
    record, _ = told(record, answer("damaged"), of=B)  # learned just now: it takes damaged bytes for right
    record, findings = told(record, answer("damaged"), answer("damaged"))
    assert findings == ["wrong", "wrong"] and record.is_corrupt
    assert record.canaries[1].small is None

    record, _ = told(record, answer())
    record, findings = told(record, answer(), answer(), of=B)
    assert findings == ["learned", "clean"]
    record, _ = told(record, answer())
    assert not record.is_corrupt


def test_an_operator_s_word_has_everything_learned_anew() -> None:
    corrupt, _ = told(RECORD, answer(), answer("two"), answer("two"))
    pardoned = pardon(corrupt, NOW + 1.0)
    after, findings = told(pardoned, answer("two"), answer("two"))

    assert (pardoned.is_corrupt, pardoned.pardoned) == (False, NOW + 1.0)
    assert (after.is_corrupt, findings) == (False, ["learned", "clean"])


def test_an_object_that_is_no_canary_any_more_changes_no_verdict() -> None:
    record, findings = told(RECORD, answer("x"), answer("y"), answer("z"), of=C)

    assert findings == ["learned"] * 3
    assert replace(record, count=0, last=None) == RECORD


# which


def test_canaries_take_turns_and_now_and_then_one_is_fetched_at_length() -> None:
    chosen = [next_probe(replace(RECORD, count=number)) for number in range(4 * LARGE_EVERY)]

    assert next_probe(ProbeRecord()) is None
    assert [each[1] for each in chosen if each].count(LARGE_BYTES) == 4
    for size in (SMALL_BYTES, LARGE_BYTES):
        assert {each[0].path for each in chosen if each and each[1] == size} == {b"/a", b"/b"}


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 8.0), (0.5, 10.0), (1.0, 12.0)])
def test_pauses_are_spread(chance: float, seconds: float) -> None:
    assert pause(RECORD, 10.0, chance) == pytest.approx(seconds)


def test_a_corrupt_origin_that_was_clean_once_is_probed_twice_as_often() -> None:
    corrupt = replace(RECORD, is_corrupt=True)

    assert pause(corrupt, 10.0, 0.5) == pytest.approx(10.0)
    assert pause(replace(corrupt, clean=1), 10.0, 0.5) == pytest.approx(5.0)


def test_configured_ones_replace_all_others_and_keep_what_is_known() -> None:
    known, _ = told(RECORD, answer())
    record = learned(known, [A, C], B, [], NOW)

    assert record.canaries == (replace(known.canaries[0], since=None), KnownCanary(b"/c"))
    assert learned(record, [A, C], B, [], NOW) is record
    assert learned(record, [], B, [], NOW).canaries == (KnownCanary(*B, since=NOW),)


def test_objects_of_lately_become_canaries_and_old_ones_make_room() -> None:
    record = ProbeRecord()
    for number in range(MOST_LEARNED + 1):
        record = learned(record, [], (b"/%d" % number, b""), [], NOW + number)
    assert [canary.path for canary in record.canaries] == [b"/0", b"/1", b"/2", b"/3"]

    later = learned(record, [], (b"/4", b""), [], NOW + LEARNED_SECONDS)
    assert [canary.path for canary in later.canaries] == [b"/1", b"/2", b"/3", b"/4"]
    assert learned(later, [], (b"/4", b""), [], NOW + LEARNED_SECONDS) is later
    assert learned(later, [], (b"/" + b"x" * LONGEST_PATH, b""), [], NOW + 9e9) is later


def test_one_that_gave_nothing_yet_is_probed_with_objects_of_others_but_not_for_each_of_them() -> None:
    record = learned(ProbeRecord(), [], None, [A, B], NOW)
    assert [canary.path for canary in record.canaries] == [b"/a"]
    assert learned(record, [], None, [B], NOW) is record

    absent, _ = told(record, answer(None))
    assert learned(absent, [], None, [B], NOW + ABSENT_SECONDS - 1.0) is absent
    assert learned(absent, [], A, [], NOW) is absent  # it is gone
    assert learned(absent, [], B, [], NOW).canaries[0].path == b"/b"
    assert learned(absent, [], None, [B], NOW + ABSENT_SECONDS).canaries[0].path == b"/b"


def test_nothing_changes_while_bytes_are_in_doubt() -> None:
    once, _ = told(RECORD, answer(), answer("two"))
    corrupt, _ = told(once, answer("two"))

    assert learned(once, [C], C, [], NOW + 9e9) is once
    assert learned(corrupt, [C], C, [], NOW + 9e9) is corrupt


class Origin(RuleBasedStateMachine):
    """An origin whose object has versions, probed by turns."""

    def __init__(self) -> None:
        super().__init__()
        self.record = learned(ProbeRecord(), [], A, [], NOW)
        self.version, self.is_damaged, self.ever_damaged = 1, False, False

    @rule()
    def overwrite(self) -> None:
        self.version += 1

    @rule(is_damaged=st.booleans())
    def damage(self, is_damaged: bool) -> None:
        self.is_damaged = is_damaged
        self.ever_damaged |= is_damaged

    @rule()
    def fail(self) -> None:
        self.record, _ = after_probe(self.record, *A, FAILURE, NOW)

    @rule(times=st.integers(1, 12))
    def probe(self, times: int) -> None:
        for _ in range(times):
            chosen = next_probe(self.record)
            assert chosen is not None
            canary, asked = chosen
            digest = f"{self.version} {asked}" + (" damaged" if self.is_damaged else "")
            reply = answer(digest, etag=b'"%d"' % self.version, asked=asked)
            self.record, _ = after_probe(self.record, canary.path, canary.query, reply, NOW)

    @invariant()
    def an_origin_that_was_never_damaged_is_never_corrupt(self) -> None:
        assert self.ever_damaged or not self.record.is_corrupt


TestOrigin = Origin.TestCase
