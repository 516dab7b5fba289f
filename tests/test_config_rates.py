"""Settings of rate limits: what can be written, and what is said of what can't."""

from __future__ import annotations

from pathlib import Path

import pytest

from shield.build.regime import regime_of
from shield.config.units import ExpectedError, PerTime, parse_byte_rate, parse_rate
from shield.rules.rate_limit import SECOND, RequestPace, Subject
from tests.ground import Ground

PLAIN = "origins: {fra: {provider: http, endpoint: http://127.0.0.1:1}}\n"


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/s", PerTime(100, 1.0)),
        ("6000 / min", PerTime(6000, 60.0)),
        ("5/10s", PerTime(5, 10.0)),
        ("1000000/s", PerTime(1_000_000, 1.0)),
        ("1/30d", PerTime(1, 30 * 86400.0)),
        ("1/500ms", PerTime(1, 0.5)),
    ],
)
def test_rates(text: str, rate: PerTime) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "value", ["", "100", 100, "0/s", "1/0s", "-1/s", "1.5/s", "1/", "1/x", "1/31d", "1000001/s", "1/1e3s", None, True]
)
def test_what_is_no_rate(value: object) -> None:
    with pytest.raises(ExpectedError, match="expected a rate"):
        parse_rate(value)


@pytest.mark.parametrize(
    ("value", "rate"),
    [("200MB/s", 200_000_000), ("1 MiB / 2s", 1 << 19), ("6GB/min", 10**8), (100_000, 100_000), ("5/s", 5)],
)
def test_byte_rates(value: object, rate: int) -> None:
    assert parse_byte_rate(value) == rate


@pytest.mark.parametrize(
    "value",
    ["", "200MB", "/s", "MB/s", "1MB/", "1MB/x", "0/s", "1B/2s", "2TB/s", "1MB/0s", "1MB/s/s", None, True, 0],
)
def test_what_is_no_byte_rate(value: object) -> None:
    with pytest.raises(ExpectedError, match="expected bytes in a time"):
        parse_byte_rate(value)


def test_caps(ground: Ground) -> None:
    settings = ground.settings(PLAIN.replace("1}}", "1, max_rate: 20MB/s}}") + "limits: {max_rate: 1MiB/s}\n")

    assert (settings.origins["fra"].max_rate, settings.limits.max_rate) == (20_000_000, 1 << 20)
    assert regime_of(settings, workers=4).limits.max_rate == 1 << 20  # of a connection, which one worker has
    off = ground.settings(PLAIN.replace("1}}", "1, max_rate: off}}") + "limits: {max_rate: off}\n")
    assert (off.origins["fra"].max_rate, off.limits.max_rate) == (None, None)


def test_a_cap_too_small_to_be_meant_is_a_problem(ground: Ground) -> None:
    (problem,) = ground.problems(PLAIN + "limits: {max_rate: 10KB/s}\n")

    assert "limits.max_rate" in problem and "65536" in problem


def test_a_limit_as_a_rule(ground: Ground) -> None:
    settings = ground.settings(
        PLAIN
        + "access: {allow: all, trusted_proxies: [10.0.0.0/8], trusted_field: forwarded}\n"
        + "rate_limits:\n"
        + "  one: {rate: 6000/min}\n"
        + "  two: {by: header, header: X-Api-Key, rate: 1/h, burst: 7, action: count, routes: [default]}\n"
    )

    rates = regime_of(settings, workers=2).rates

    assert rates is not None
    one, two = rates.limits
    assert (one.subject, one.pace, one.refuses) == (Subject.ADDRESS, RequestPace(SECOND // 100, 100), True)
    assert (two.subject, two.pace, two.refuses) == (Subject.HEADER, RequestPace(3600 * SECOND, 7), False)
    assert two.routes == {"default"}
    assert rates.fields == {b"forwarded", b"x-api-key"}


def test_without_limits_there_are_none(ground: Ground) -> None:
    assert regime_of(ground.settings(PLAIN), workers=2).rates is None


def test_problems(ground: Ground) -> None:
    found = ground.problems(
        PLAIN
        + "rate_limits:\n"
        + "  a: {by: header, rate: 1/s}\n"
        + "  b: {header: X-Api-Key, rate: 1/s}\n"
        + "  c: {by: signed-url-key, rate: 1/s}\n"
        + "  d: {rate: 1/s, routes: [defualt]}\n"
    )

    assert found == [
        "shield.yaml:3: rate_limits.a.header: by: header needs one; expected a field's name, as X-Api-Key",
        "shield.yaml:4: rate_limits.b.header: it has no effect with by: address; expected by: header",
        'shield.yaml:5: rate_limits.c.by: got "signed-url-key"; expected access.signed_urls, too',
        'shield.yaml:6: rate_limits.d.routes[0]: got "defualt"; expected one of default; did you mean "default"?',
    ]


def test_a_bad_rate_says_what_is_expected(ground: Ground) -> None:
    (problem,) = ground.problems(PLAIN + "rate_limits: {a: {rate: 100}}\n")

    assert problem.startswith('shield.yaml:2: rate_limits.a.rate: got "100"; expected a rate')
