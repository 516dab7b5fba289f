"""Suspects: who makes origins give far more than clients get, and who only seems to."""

from __future__ import annotations

import json

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.suspects import (
    LEAST_MISSED,
    KeyTally,
    NameTally,
    Suspect,
    SuspectKind,
    Tallies,
    find_suspects,
    together,
)

MB = 10**6


def named(differing: int, times: int = 1, *, others: float = 0.0) -> NameTally:
    tally = NameTally(missed=differing * times, bytes=differing * times * 1e5, others=others)
    for number in range(differing):
        for _ in range(times):
            tally.mark(xxhash.xxh3_64_intdigest(b"%d" % number))
    return tally


def found(tallies: Tallies) -> list[tuple[SuspectKind, str]]:
    return [(each.kind, each.name) for each in find_suspects(tallies)]


def test_ranges_for_which_far_more_is_fetched_are_suspect() -> None:
    keys = {
        "/small-ranges": KeyTally(asked=800 * MB, fetches=100, money=0.07, requests=100, sent=100, ranges=100),
        "/video": KeyTally(asked=800 * MB, fetches=100, requests=900, sent=780 * MB, ranges=900),
        "/little": KeyTally(asked=MB, fetches=1, requests=1, sent=1, ranges=1),
    }

    [suspect] = find_suspects(Tallies(keys=keys))

    assert (suspect.kind, suspect.name) == (SuspectKind.RANGES, "/small-ranges")
    assert suspect.text == "800 MB asked of origins for 100 B sent, in 100 requests for ranges"
    assert suspect.hourly == 0.07 * 12.0


def test_an_object_that_is_fetched_again_and_again_is_suspect() -> None:
    keys = {"/big.zip": KeyTally(asked=500 * MB, fetches=50, requests=50, sent=500 * MB, bypassed=50)}

    [suspect] = find_suspects(Tallies(keys=keys))

    assert suspect.kind is SuspectKind.NOT_KEPT
    assert suspect.text == "fetched 50 times, 500 MB, since it can't be shared or stored"


def test_many_queries_of_one_path_are_suspect_and_few_that_are_asked_for_often_arent() -> None:
    assert found(Tallies(paths={"/a": named(300), "/b": named(4, 100)})) == [(SuspectKind.QUERIES, "/a")]


def test_a_client_that_misses_object_after_object_is_suspect_and_a_cdn_isnt() -> None:
    clients = {"crawler": named(LEAST_MISSED), "cdn": named(LEAST_MISSED, others=9000.0), "reloader": named(3, 200)}

    assert found(Tallies(clients=clients)) == [(SuspectKind.CRAWLER, "crawler")]


def test_a_short_time_is_judged_by_its_rate() -> None:
    keys = {"/a": KeyTally(asked=5 * MB, fetches=5, requests=5, sent=5, ranges=5)}

    assert found(Tallies(300.0, keys=keys)) == []
    assert found(Tallies(30.0, keys=keys)) == found(Tallies(60.0, keys=keys)) == [(SuspectKind.RANGES, "/a")]


def test_workers_together_see_what_none_of_them_sees_alone() -> None:
    half = Tallies(paths={"/a": named(60)}, flavours={"missed": 60.0, "heads": 6.0})
    other = Tallies.read(json.loads(json.dumps(Tallies(paths={"/a": named(60)}).plain())))
    other.paths["/a"].bits <<= 512  # other queries

    assert found(half) == found(other) == []
    both = together([half, other])
    assert found(both) == [(SuspectKind.QUERIES, "/a")]
    assert both.share("heads") == 0.1


@given(st.integers(1, 3000), st.integers(1, 4))
def test_the_share_of_differing_ones_is_about_right(differing: int, times: int) -> None:
    tally = named(differing, times)

    assert abs(tally.differing - 1.0 / times) <= 0.2 or tally.seen < differing * times


def test_a_flood_stays_one_however_long_it_lasts_and_however_many_workers_see_it() -> None:
    flood = named(100_000)
    all_workers = together([Tallies(paths={"/a": flood}) for _ in range(8)])

    assert flood.differing > 0.9
    assert found(all_workers) == [(SuspectKind.QUERIES, "/a")]


def test_what_another_version_says_is_refused() -> None:
    for plain in ({}, {"seconds": 1, "keys": [], "paths": {}, "clients": {}, "flavours": {}}):
        try:
            Tallies.read(plain)
        except ValueError:
            continue
        raise AssertionError(plain)


def test_each_kind_has_a_remedy() -> None:
    assert all(Suspect(kind, "", "", 0.0, 0.0).remedy for kind in SuspectKind)
