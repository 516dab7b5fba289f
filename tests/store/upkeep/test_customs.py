"""What an import may bring: what this node's own rules would have stored of an origin's answer, and nothing else."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from shield.cli.store.move import _head
from shield.messages import Field
from shield.rules import hidden
from shield.rules.freshness import Freshness, FreshnessRules
from shield.rules.heads import of_fields
from shield.rules.key import key_of_text
from shield.store.directory.log import Draft
from shield.store.directory.record import Record, RecordKind, record_of
from shield.store.upkeep.customs import Customs, UnfitError
from shield.store.variants import Variants
from tests.store.ground import draft, in_slices, key, record

NOW = 2000.0
YEAR = 366 * 86400.0
TYPE: Field = (b"content-type", b"image/webp")


def customs(*rules: FreshnessRules, most_head: int = 1 << 16) -> Customs:
    return Customs(_head, rules or (FreshnessRules(),), {"fra"}, most_head=most_head, now=NOW)


def entry(*fields: Field, status: int = 200, body: bytes = b"xx", **times: float) -> Draft:
    head = of_fields(status, (*fields, (b"content-length", b"%d" % len(body))))
    freshness = replace(Freshness(1000.0, 60.0, 0.0, 0.0), **times)
    made = record_of(key("a"), head, freshness)
    made.total = len(body)
    return Draft(made, [body])


def with_head(block: bytes, body: bytes = b"xx", **changes: object) -> Draft:
    made: Record = replace(record("a", len(body)), head=block, **changes)  # type: ignore[arg-type]  # of any field
    return Draft(made, [body])


def refused(draft: Draft, *rules: FreshnessRules) -> str:
    with pytest.raises(UnfitError) as raised:
        customs(*rules).cleared(draft)
    return str(raised.value)


def test_what_a_node_stored_itself_passes_as_it_is() -> None:
    for each in [draft("a", 100), draft("empty", 0), *in_slices("big", 3)]:
        cleared = customs().cleared(each)
        assert cleared == replace(each, record=replace(each.record, since=cleared.record.since))


def test_what_was_made_before_a_purge_here_falls_under_it_with_a_minute_for_clocks_that_differ() -> None:
    assert customs().cleared(draft("a", 100)).record.since == 940 * 1_000_000


LINE = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"junk\r\n",
        b"HTTP/1.1 200 OK",
        LINE + b"x: 1\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n",  # a second answer behind the first
        LINE + b"content-length: 2\r\n\r\n",
        LINE + b"x: a\rset-cookie: b\r\n",
        LINE + b"x: a\nset-cookie: b\r\n",
        LINE + b"x: a\x00b\r\n",
        LINE + b"x y: 1\r\n",
        LINE + b" folded: 1\r\n",
        LINE + b": none\r\n",
        b"HTTP/1.1 200 O\x00K\r\n",
        b"HTTP/2.0 200 OK\r\n",
        b"HTTP/1.1 999 OK\r\n",
        LINE + b"content-length: 3\r\n",
        LINE + b"content-length: 2\r\ncontent-length: 3\r\n",
        LINE + b"content-length: +2\r\n",
        LINE + b"transfer-encoding: chunked\r\n",
        LINE + b"connection: close\r\n",
        LINE + b"keep-alive: timeout=5\r\n",
        LINE + b"upgrade: h2c\r\n",
        LINE + b"proxy-authenticate: Basic\r\n",
        LINE + b"age: 5\r\n",
        LINE + b"server: x\r\n",
        LINE + b"x: " + b"a" * (1 << 16) + b"\r\n",
        LINE + b"x: 1\r\n" * 500,
    ],
)
def test_a_head_that_no_origin_may_send_is_refused(block: bytes) -> None:
    assert refused(with_head(block))


@pytest.mark.parametrize("status", [100, 101, 103, 206, 304, 401, 500, 503])
def test_a_status_that_is_never_stored_is_refused(status: int) -> None:
    assert refused(with_head(b"HTTP/1.1 %d X\r\n" % status, status=status))


def test_a_status_that_isnt_its_heads_is_refused() -> None:
    assert "isn't its own" in refused(with_head(LINE + b"content-length: 2\r\n", status=404))


def test_the_head_that_is_sent_is_written_anew() -> None:
    made = customs().cleared(with_head(b"HTTP/1.1 200 Surely\r\nX-One:  1\r\n folded\r\nContent-Length: 2\r\n"))

    assert made.record.head == b"HTTP/1.1 200 OK\r\nx-one: 1 folded\r\ncontent-length: 2\r\n"


def test_a_body_without_a_stated_length_gets_its_own() -> None:
    assert customs().cleared(with_head(LINE)).record.head == LINE + b"content-length: 2\r\n"


def test_validators_are_those_of_the_head_whatever_the_record_says() -> None:
    made = customs().cleared(
        with_head(LINE + b'etag: "v"\r\n', etag=b'"v"\r\nX-Smuggled: 1', last_modified=math.inf, total=9)
    )

    assert (made.record.etag, made.record.last_modified, made.record.total) == (b'"v"', None, 2)


@pytest.mark.parametrize("lines", [b"content-length: 7", b"connection: x", b"x: a\nb", b"x: a\rb", b"x y: 1"])
def test_hidden_fields_are_held_to_the_same(lines: bytes) -> None:
    assert refused(entry((hidden.LINE, hidden.dictionary({"fields": lines}))))


def test_hidden_fields_stay_hidden() -> None:
    rules = FreshnessRules(targeted=(b"shield-cache-control",))
    fields = hidden.hide((TYPE, (b"shield-cache-control", b"max-age=5")), rules.hidden)

    made = customs(rules).cleared(entry(*fields))

    assert hidden.reveal(made.record.stored_head().fields)[-1] == (b"shield-cache-control", b"max-age=5")
    assert made.record.freshness.lifetime == 5.0  # by which it is judged


@pytest.mark.parametrize("value", [b"no-store", b"private", b"max-age=60, private", b'private="content-type"'])
def test_what_isnt_for_all_is_refused(value: bytes) -> None:
    assert refused(entry((b"cache-control", value))) == "no route stores such an answer"


def test_cookies_and_answers_that_vary_by_everything_are_refused_but_where_a_route_stores_them() -> None:
    cookie = entry((b"set-cookie", b"session=1"))

    assert refused(cookie) == "no route stores such an answer"
    assert refused(cookie, FreshnessRules(set_cookie="strip")) == "no route stores such an answer"
    assert refused(entry((b"vary", b"*"))) == "no route stores such an answer"
    assert customs(FreshnessRules(), FreshnessRules(set_cookie="store")).cleared(cookie)


def test_times_are_no_longer_than_the_laxest_route_gives_them() -> None:
    strict, lax = FreshnessRules(60.0, keep=5.0), FreshnessRules(90.0, grace=7.0, keep=5.0)

    made = customs(strict, lax).cleared(entry((b"etag", b'"v"'), lifetime=1e9, grace=1e9, keep=1e9, error_grace=1e9))

    assert made.record.freshness == Freshness(1000.0, 90.0, 30.0, 86400.0, 86400.0)


def test_what_the_head_states_bounds_its_lifetime() -> None:
    stated = (b"cache-control", b"max-age=300")

    made = customs().cleared(entry(stated, lifetime=1e9))

    assert made.record.freshness.lifetime == 300.0
    made = customs(FreshnessRules(max_lifetime=100.0)).cleared(
        entry((b"cache-control", b"max-age=300"), lifetime=1e9)
    )
    assert made.record.freshness.lifetime == 100.0
    assert (
        customs().cleared(entry((b"cache-control", b"max-age=300"), lifetime=20.0)).record.freshness.lifetime == 20.0
    )


def test_an_absence_is_believed_no_longer_than_one_of_our_own() -> None:
    made = customs().cleared(entry(status=404, lifetime=1e9, grace=1e9))

    assert (made.record.freshness.lifetime, made.record.freshness.grace) == (10.0, 0.0)


def test_nothing_was_born_tomorrow() -> None:
    made = customs().cleared(Draft(replace(entry(born=1e12).record, stored_at=1e12), [b"xx"]))

    assert (made.record.freshness.born, made.record.stored_at) == (NOW, NOW)


@pytest.mark.parametrize("name", ["born", "lifetime", "grace", "keep", "error_grace"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
def test_times_that_are_none_are_refused(name: str, value: float) -> None:
    odd = replace(Freshness(1000.0, 60.0, 0.0, 0.0), **{name: value})

    assert refused(Draft(replace(record("a", 2), freshness=odd), [b"xx"])) == "its times are none"


@pytest.mark.parametrize(
    "text", [b"", b"a", b":", b"/a", b":/a b", b":/a\r\nx: 1", b":/\xff", b":/a\0", b":/" + b"a" * (1 << 16)]
)
def test_a_key_that_no_target_has_is_refused(text: bytes) -> None:
    assert refused(Draft(replace(record("a", 2), key=key_of_text(text)), [b"xx"])) == "its key is none"


@pytest.mark.parametrize(
    "tags", [b"a\nb\r", b"\n", b"a\n\nb", b"x" * 1025, b"\n".join([b"%d" % n for n in range(1025)])]
)
def test_tags_that_no_field_gives_are_refused(tags: bytes) -> None:
    assert refused(Draft(replace(record("a", 2), tags=tags), [b"xx"])) == "its tags are none"


def test_tags_and_origins_that_mean_something_here_stay() -> None:
    made = customs().cleared(Draft(replace(record("a", 2), tags=b"one\ntwo"), [b"xx"])).record

    assert (made.tags, made.origin) == (b"one\ntwo", "fra")
    other = customs().cleared(Draft(replace(record("a", 2), origin="x\r\ny"), [b"xx"])).record
    assert other.origin is None


def test_what_answers_vary_by_is_taken_and_nothing_else_under_that_status() -> None:
    made = Variants().learn(key("a"), (b"accept", b"origin"), 1000.0)
    marker = record_of(made.key, made.head, made.freshness)

    assert customs().cleared(Draft(marker)).record == replace(marker, stored_at=0.0, since=940_000_000)
    kept = customs().cleared(Draft(replace(marker, freshness=Freshness(9e9, 1e9, 1e9, 1e9, 1e9)))).record
    assert kept.freshness == Freshness(NOW, YEAR, 0.0, 0.0, 0.0)
    assert refused(Draft(replace(marker, head=marker.head + b"\r\nx")))
    assert refused(Draft(replace(marker, head=b"12 " + b" ".join([b"x"] * 100))))
    assert refused(Draft(marker, [b"body"]))


@pytest.mark.parametrize(
    "changes",
    [
        {"slice_bytes": 0},
        {"slice": 3},
        {"slice": 1 << 31},
        {"total": 2500, "slice": 2},
        {"total": 0},
        {"head": b"x"},
        {"etag": b'"v"\r\nx: 1'},
        {"etag": b"v" * 9000},
        {"last_modified": math.nan},
    ],
)
def test_a_slice_that_is_none_is_refused(changes: dict[str, object]) -> None:
    _, _, _, last = in_slices("big", 3)

    assert refused(Draft(replace(last.record, **changes), last.body))  # type: ignore[arg-type]  # of any field


@pytest.mark.parametrize(
    "changes",
    [{"slice_bytes": 0}, {"total": 0}, {"total": 1 << 63}, {"total": 4000}, {"slice_bytes": 1, "total": 1 << 40}],
)
def test_a_head_of_no_slices_is_refused(changes: dict[str, int]) -> None:
    head = in_slices("big", 3)[0]

    assert refused(Draft(replace(head.record, **changes)))  # type: ignore[arg-type]  # of any field


def test_removals_arent_taken() -> None:
    assert refused(Draft(replace(record("a", 0), kind=RecordKind.REMOVED)))
