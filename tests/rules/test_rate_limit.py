"""GCRA, and which budgets a request is taken from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.addresses import Networks, peer_of
from shield.rules.rate_limit import (
    SECOND,
    RateFacts,
    RateLimit,
    RateLimitedError,
    RateLimits,
    RequestPace,
    Subject,
    bounded,
    budgets_of,
    spent,
    wait_of,
)

paces = st.builds(RequestPace, interval=st.integers(1, 10 * SECOND), burst=st.integers(1, 50))
gaps = st.lists(st.integers(0, 30 * SECOND), min_size=1, max_size=80)


def admitted(pace: RequestPace, gaps: list[int], *, start: int = SECOND) -> list[int]:
    """The times of those requests that are admitted."""
    due, now, found = 0, start, []
    for gap in gaps:
        now += gap
        due = bounded(due, now, pace)
        if not wait_of(due, now, pace):
            due = spent(due, now, pace)
            found.append(now)
    return found


@given(paces, gaps)
def test_never_more_than_a_burst_and_the_rate(pace: RequestPace, gaps: list[int]) -> None:
    times = admitted(pace, gaps)

    for first in range(len(times)):
        for last in range(first, len(times)):
            passed = times[last] - times[first]
            assert last - first + 1 <= pace.burst + passed // pace.interval


@given(paces, gaps)
def test_the_wait_is_exact(pace: RequestPace, gaps: list[int]) -> None:
    due, now = 0, SECOND
    for gap in gaps:
        now += gap
        wait = wait_of(due, now, pace)
        if not wait:
            due = spent(due, now, pace)
            continue
        assert wait <= pace.interval
        assert not wait_of(due, now + wait, pace)
        assert wait_of(due, now + wait - 1, pace)


@given(paces, st.integers(1, 60))
def test_a_steady_client_at_the_rate_is_never_refused(pace: RequestPace, count: int) -> None:
    assert len(admitted(pace, [pace.interval] * count)) == count


@given(paces)
def test_a_burst_is_admitted_at_once_and_no_more(pace: RequestPace) -> None:
    assert len(admitted(pace, [0] * (pace.burst + 3))) == pace.burst


@given(paces, st.integers(0, 10**6))
def test_a_clock_that_was_set_back_costs_no_more_than_one_interval(pace: RequestPace, seconds: int) -> None:
    due = spent(0, SECOND + seconds * SECOND, pace)

    assert wait_of(bounded(due, SECOND, pace), SECOND, pace) <= pace.interval


@pytest.mark.parametrize(
    ("requests", "seconds", "interval"), [(100, 1.0, 10_000_000), (3, 1.0, 333_333_334), (6000, 60.0, 10_000_000)]
)
def test_a_rate_is_never_rounded_up(requests: int, seconds: float, interval: int) -> None:
    assert RequestPace.of(requests, seconds, 5) == RequestPace(interval, 5)


CLIENT, OTHER = peer_of("192.0.2.1"), peer_of("192.0.2.2")


def limit(subject: Subject = Subject.ADDRESS, **changes: object) -> RateLimit:
    return RateLimit(**{"name": "some", "subject": subject, "pace": RequestPace(SECOND, 5), **changes})  # type: ignore[arg-type]


def budgets(limit: RateLimit, facts: RateFacts) -> set[int]:
    return {budget for _, budget in budgets_of(RateLimits(limits=(limit,)), facts)}


def test_each_address_has_its_budget_and_each_network_of_ipv6() -> None:
    of = {
        text: budgets(limit(), RateFacts([peer_of(text)])) for text in ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2")
    }
    assert of["192.0.2.1"] == of["::ffff:192.0.2.1"] != of["192.0.2.2"]

    first, second, third = (
        budgets(limit(), RateFacts([peer_of(text)])) for text in ("2001:db8::1", "2001:db8::2:3", "2001:db8:0:1::1")
    )
    assert first == second != third


def test_a_client_without_an_address_has_no_budget() -> None:
    assert budgets(limit(), RateFacts(["unix"])) == budgets(limit(), RateFacts([None])) == set()


def test_each_limit_has_budgets_of_its_own() -> None:
    assert budgets(limit(), RateFacts([CLIENT])) != budgets(limit(name="other"), RateFacts([CLIENT]))
    assert budgets(limit(), RateFacts([CLIENT])) != budgets(limit(Subject.HEADER), RateFacts([CLIENT]))


def test_a_route_has_one_budget_for_all_clients() -> None:
    by_route = limit(Subject.ROUTE)

    assert budgets(by_route, RateFacts([CLIENT], "a")) == budgets(by_route, RateFacts([OTHER], "a"))
    assert budgets(by_route, RateFacts([CLIENT], "a")) != budgets(by_route, RateFacts([CLIENT], "b"))
    assert budgets(by_route, RateFacts([CLIENT])) == set()


@pytest.mark.parametrize("subject", [Subject.SIGNED_URL_KEY, Subject.HEADER])
def test_a_request_without_a_key_or_field_counts_for_its_address(subject: Subject) -> None:
    by_key = limit(subject, header=b"x-api-key")
    of = {
        name: budgets(by_key, RateFacts([client], None, {} if name is None else {b"x-api-key": name}, name))
        for client in (CLIENT, OTHER)
        for name in (b"k1", b"k2", None)
    }

    assert len(of[b"k1"] | of[b"k2"]) == 2
    assert of[None] == budgets(by_key, RateFacts([OTHER]))
    assert budgets(by_key, RateFacts([CLIENT])) != budgets(by_key, RateFacts([OTHER]))


def test_a_value_is_no_address() -> None:
    """Else a client could spend the budget of another by naming its address."""
    by_key = limit(Subject.HEADER, header=b"x-api-key")

    assert budgets(by_key, RateFacts([OTHER], None, {b"x-api-key": b"\xc0\0\2\1"})) != budgets(
        by_key, RateFacts([CLIENT])
    )


def test_only_its_routes_count_and_exempt_clients_do_not() -> None:
    some = limit(routes=frozenset({"a"}), exempt=Networks(["192.0.2.2"]))

    assert budgets(some, RateFacts([CLIENT], "a"))
    assert not budgets(some, RateFacts([CLIENT], "b"))
    assert not budgets(some, RateFacts([OTHER], "a"))


def test_a_client_that_forges_an_exempt_address_in_the_other_field_is_not_exempt() -> None:
    some = limit(exempt=Networks(["192.0.2.2"]))
    limits = RateLimits(limits=(some,), trusted=Networks(["10.0.0.0/8"]))
    fields = {b"x-forwarded-for": b"192.0.2.1", b"forwarded": b"for=192.0.2.2"}
    clients = limits.clients(peer_of("10.0.0.1"), fields)

    assert set(clients) == {CLIENT, OTHER}
    assert budgets(some, RateFacts([CLIENT])) < budgets(some, RateFacts(clients))


def test_only_the_field_that_the_proxy_writes_names_the_client() -> None:
    trusted = Networks(["10.0.0.0/8"])
    limits = RateLimits(limits=(limit(),), trusted=trusted, client_fields=frozenset({b"x-forwarded-for"}))
    fields = {b"x-forwarded-for": b"192.0.2.1", b"forwarded": b"for=192.0.2.2"}

    assert limits.clients(peer_of("10.0.0.1"), fields) == [CLIENT]


def test_no_field_matters_unless_a_proxy_is_trusted_or_a_limit_reads_it() -> None:
    assert RateLimits(limits=(limit(),)).fields == frozenset()
    assert RateLimits(limits=(limit(Subject.HEADER, header=b"x-api-key"),)).fields == {b"x-api-key"}


def test_behind_a_trusted_proxy_the_client_is_the_one_that_it_names() -> None:
    limits = RateLimits(limits=(limit(),), trusted=Networks(["10.0.0.0/8"]))
    proxy = peer_of("10.0.0.1")

    assert limits.fields == {b"forwarded", b"x-forwarded-for"}
    assert limits.clients(proxy, {b"x-forwarded-for": b"203.0.113.9, 192.0.2.1"}) == [CLIENT]
    assert limits.clients(proxy, {b"x-forwarded-for": b"192.0.2.1", b"forwarded": b"for=192.0.2.1"}) == [CLIENT]
    assert limits.clients(OTHER, {b"x-forwarded-for": b"192.0.2.1"}) == [OTHER]


@pytest.mark.parametrize(("wait", "seconds"), [(1, 1), (SECOND, 1), (SECOND + 1, 2)])
def test_the_response_says_when_the_client_may_come_back(wait: int, seconds: int) -> None:
    error = RateLimitedError(limit(name="per-client"), wait)

    assert error.status == 429 and error.detail == "rate-limited: per-client"
    assert dict(error.fields) == {
        b"retry-after": b"%d" % seconds,
        b"ratelimit-policy": b'"per-client";q=5;w=5',
        b"ratelimit": b'"per-client";r=0;t=%d' % seconds,
    }
