"""Which origin a route tries first: its settings, and what a node makes of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from shield.cli.check import check, old_prices
from shield.cli.explain import explain
from shield.config.loading import load
from shield.config.settings import Settings
from shield.errors import ConfigError
from shield.rules.prices import GIB, PRESETS, STALE_DAYS, Price
from shield.rules.ranking import MOST_RANKED, Strategy
from shield.rules.zones import PACIFIC
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of

PATHS = [f"/images/{number}.webp" for number in range(40)]


def with_origins(**origins: Any) -> dict[str, Any]:
    base = {"provider": "http", "endpoint": "http://127.0.0.1:1"}
    return {name: {**base, **more} for name, more in origins.items()}


def problems(tmp_path: Path, choose: str, **origins: Any) -> list[str]:
    path = tmp_path / "shield.yaml"
    given = {"origins": with_origins(**origins), "routes": {"default": {"match": "/", "choose": choose}}}
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    try:
        load(path, environ={})
    except ConfigError as error:
        return error.problems
    return []


def choosing(choose: str, first: FaultyOrigin, second: FaultyOrigin, *settings: dict[str, Any]) -> Settings:
    made = settings_of({"one": first, "two": second}, routes={"default": {"match": "/", "choose": choose}})
    given = {
        name: {"provider": "http", "endpoint": origin.url, **more}
        for name, origin, more in zip(("one", "two"), (first, second), settings, strict=True)
    }
    return Settings.model_validate(
        {
            **made.model_dump(include={"node"}),
            "origins": given,
            "routes": {"default": {"match": "/", "choose": choose}},
        }
    )


@pytest.mark.parametrize(
    ("choose", "one", "two", "first"),
    [
        ("ordered", {}, {"role": "primary"}, 0),
        ("primary-first", {}, {"role": "primary"}, 1),
        ("cheapest", {"price": "aws-eu-central-1"}, {"price": "r2"}, 1),
        ("cheapest", {"price": {"egress": 0.01}}, {"price": {"egress": 0.01}}, 0),
        ("weighted", {"weight": 0}, {"weight": 1}, 1),
    ],
)
def test_the_chosen_origin_is_asked_and_the_other_one_when_it_fails(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, choose: str, one: Any, two: Any, first: int
) -> None:
    for each in (origin, replica):
        each.serves("/a", b"x", lifetime=60)
        each.serves("/b", b"x", lifetime=60)
    chosen, other = (origin, replica) if first == 0 else (replica, origin)

    with Shield(choosing(choose, origin, replica, one, two), clock=clock) as shield:
        assert shield.get("/a").body == b"x"
        assert (chosen.fetches("/a"), other.fetches("/a")) == (1, 0)
        chosen.fails("/b", "InternalError")
        assert shield.get("/b").body == b"x"

    assert other.fetches("/b") == 1


def test_weights_spread_keys_and_a_key_stays_with_its_origin(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    for path in PATHS:
        origin.serves(path, b"x", lifetime=1)
        replica.serves(path, b"x", lifetime=1)

    with Shield(choosing("weighted", origin, replica, {}, {}), clock=clock) as shield:
        for _ in range(2):
            for path in PATHS:
                assert shield.get(path).status == 200
            clock.advance(7 * 86400.0)

    asked = [(origin.fetches(path), replica.fetches(path)) for path in PATHS]
    assert set(asked) == {(2, 0), (0, 2)}


@pytest.mark.parametrize(
    ("choose", "one", "two", "said"),
    [
        ("primary-first", {}, {}, 'routes.default.choose: got "primary-first"; none of its origins is primary'),
        ("weighted", {"weight": 0}, {"weight": 0}, "all of its origins have weight 0"),
        ("cheapest", {"price": "r2"}, {}, "two has no price"),
        ("cheapest", {"price": "r2"}, {"price": "hetzner"}, "prices are in EUR and USD"),
        ("primary", {}, {}, "expected one of ordered nearest primary-first weighted cheapest"),
        ("ordered", {"price": "aws-eu-west"}, {}, "expected a mapping, as {egress: 0.05}, or one of aws-us-east-1"),
        ("ordered", {"price": {"currency": "EUR"}}, {}, "expected egress, the price of a GB"),
        ("ordered", {"price": {"egres": 1}}, {}, 'origins.one.price.egres: unknown key; did you mean "egress"?'),
        ("ordered", {"price": {"egress": -1}}, {}, 'origins.one.price.egress: got "-1"; expected'),
        ("ordered", {"price": {"egress": 1, "currency": "euro"}}, {}, "expected a currency, as USD or EUR"),
        ("ordered", {"price": {"egress": 1, "unit": "MB"}}, {}, "expected one of GB GiB"),
        ("ordered", {"price": {"egress": 1, "stored": "1TB"}}, {}, "with a preset that goes by it: b2 or wasabi"),
        (
            "ordered",
            {"price": {"preset": "b2", "to": "region"}},
            {},
            "knows it (aws-us-east-1, aws-eu-central-1, gcs-us-",
        ),
        (
            "ordered",
            {"price": {"preset": "aws-us-east-1", "tiers": [{"beyond": "50GB", "egress": 0.01}]}},
            {},
            "expected free to be less than the first tier's beyond",
        ),
        (
            "ordered",
            {"price": {"egress": 1, "account": "acme"}},
            {"price": {"egress": 1, "account": "acme", "currency": "EUR"}},
            "origin one of the same account is billed in USD, by months of UTC; expected the same currency and zone",
        ),
        ("ordered", {"price": 0.09}, {}, "expected a mapping, as {egress: 0.05}, or one of"),
        ("ordered", {"price": {"egres": 1}}, {}, "egress"),
        ("ordered", {"weight": -1}, {}, 'origins.one.weight: got "-1"; expected at least 0'),
        ("ordered", {"holds": "some"}, {}, "expected one of all part"),
    ],
)
def test_settings_that_can_not_choose_say_why(tmp_path: Path, choose: str, one: Any, two: Any, said: str) -> None:
    found = problems(tmp_path, choose, one=one, two=two)

    assert len(found) == 1 and said in found[0], found


@pytest.mark.parametrize(
    ("given", "price"),
    [
        ("aws-eu-central-1", PRESETS["aws-eu-central-1"].price),
        ({"egress": 0.05}, Price(0.05)),
        ({"egress": 0.05, "requests": 0.001, "currency": "EUR"}, Price(0.05, 0.001, "EUR")),
        ({"preset": "aws-eu-central-1", "egress": 0.0}, Price(0.0, 0.00043, unit=GIB)),
        ({"preset": "gcs-us-central1", "egress": 0.1}, Price(0.1, 0.0004, zone=PACIFIC, unit=GIB)),
        ({"preset": "gcs-us-central1", "zone": "UTC"}, replace(PRESETS["gcs-us-central1"].price, zone="UTC")),
        ({"egress": 0.05, "zone": "Asia/Shanghai"}, Price(0.05, zone="Asia/Shanghai")),
        ({"egress": 0.05, "unit": "GiB", "free_requests": 7}, Price(0.05, unit=GIB, free_requests=7.0)),
        (
            {"egress": 0.05, "surcharges": {"retrieval": 0.01, "nat": 0.045}, "account": "acme"},
            Price(0.05, surcharges=(("nat", 0.045), ("retrieval", 0.01)), account="acme"),
        ),
        ({"preset": "b2", "stored": "10TB"}, replace(PRESETS["b2"].price, free=3e13)),
        ({"preset": "b2", "to": "partner"}, Price(0.0)),
        ({"preset": "aws-us-east-1", "to": "region"}, Price(0.0, 0.0004, unit=GIB)),
        ({"preset": "wasabi", "stored": "10TB"}, Price(0.0, limit=1e13)),
    ],
)
def test_a_price_is_a_list_price_or_ones_own_over_it(given: Any, price: Price) -> None:
    settings = Settings.model_validate({"origins": with_origins(one={"price": given})})

    found = settings.origins["one"].price
    assert found is not None and found.price == price


ACME = Price(0.05, 0.00043, free=1e12, tiers=((1e13, 0.04),), unit=GIB)


@pytest.mark.parametrize(
    ("given", "price"),
    [
        ("acme", ACME),
        ({"preset": "acme"}, ACME),
        ({"preset": "acme", "egress": 0.06}, Price(0.06, 0.00043, unit=GIB)),
        ({"preset": "acme", "zone": PACIFIC}, replace(ACME, zone=PACIFIC)),
        ("other", PRESETS["r2"].price),
        ("aws-us-east-1", Price(0.01, 0.0004, unit=GIB)),  # in place of the listed one
        ("aws-eu-central-1", PRESETS["aws-eu-central-1"].price),
    ],
)
def test_a_price_may_be_one_of_ones_own_list(given: Any, price: Price) -> None:
    own = {
        "acme": {
            "preset": "aws-eu-central-1",
            "egress": 0.05,
            "free": "1TB",
            "tiers": [{"beyond": "10TB", "egress": 0.04}],
            "read": "2026-11-01",
            "source": "contract 4711",
        },
        "other": "r2",
        "aws-us-east-1": {"preset": "aws-us-east-1", "egress": 0.01},
    }
    settings = Settings.model_validate({"origins": with_origins(one={"price": given}), "price_list": own})

    found = settings.origins["one"].price
    assert found is not None and found.price == price


def test_the_price_between_regions_may_be_one_of_ones_own_list(tmp_path: Path) -> None:
    cluster = {"nodes": {"n1": "127.0.0.1:7071", "n2": "127.0.0.1:7171"}, "secret": "x" * 32, "price": "acme"}
    settings = Settings.model_validate(
        {"origins": with_origins(one={}), "cluster": cluster, "price_list": {"acme": {"egress": 0.02}}}
    )

    assert settings.cluster is not None and settings.cluster.price is not None
    assert settings.cluster.price.price == Price(0.02)


def test_ones_own_prices_may_be_in_a_file_and_grow_old_like_others(tmp_path: Path) -> None:
    path, prices = tmp_path / "shield.yaml", tmp_path / "prices.yaml"
    path.write_text(
        yaml.safe_dump({"origins": with_origins(one={"price": "acme"}), "price_list_file": "prices.yaml"})
    )
    prices.write_text("acme: {egress: 0.05, read: 2026-11-01, source: contract 4711}")

    settings = load(path, environ={}).settings
    assert settings.origins["one"].price is not None and settings.origins["one"].price.price == Price(0.05)
    assert list(old_prices(settings, date(2027, 4, 30))) == []
    (said,) = old_prices(settings, date(2027, 5, 1))
    assert said == "origins.one.price: a list price of 2026-11-01, which may have changed: contract 4711"

    for content, expected in (
        ("acme: {egress: dear}", "price_list.acme.egress"),
        ("acme: {egress: 1, read: soon}", 'price_list.acme.read: got "soon"; expected a day, as 2026-11-01'),
        ("other: {egress: 1}", "origins.one.price: expected a mapping, as {egress: 0.05}, or one of aws-us-east-1"),
    ):
        prices.write_text(content)
        with pytest.raises(ConfigError) as caught:
            load(path, environ={})
        (said,) = str(caught.value).splitlines()
        assert expected in said
    prices.unlink()
    with pytest.raises(ConfigError, match=r"price_list_file: the file can't be read"):
        load(path, environ={})


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("PST", "expected a time zone by its IANA name, as UTC or America/Los_Angeles"),
        ("Asia/Kolkata", "expected a time zone at whole hours from UTC, since egress is counted by hours of UTC"),
    ],
)
def test_a_zone_that_cant_be_is_named_with_what_was_expected(tmp_path: Path, zone: str, said: str) -> None:
    path = tmp_path / "shield.yaml"
    path.write_text(yaml.safe_dump({"origins": with_origins(one={"price": {"egress": 1, "zone": zone}})}))

    with pytest.raises(ConfigError, match=r"origins\.one\.price\.zone") as caught:
        load(path, environ={})

    assert said in str(caught.value)


def test_a_price_at_google_without_a_zone_is_noted(tmp_path: Path) -> None:
    google = {"provider": "gcs", "bucket": "images", "access_key_id": "a", "secret_key": "s"}

    def notes(price: Any) -> list[str]:
        path = tmp_path / "shield.yaml"
        path.write_text(yaml.safe_dump({"origins": with_origins(one={**google, "price": price})}))
        return [note for note in load(path, environ={}).notes if "Google bills" in note]

    (said,) = notes({"egress": 1})
    assert "origins.one.price: Google bills days and months of America/Los_Angeles" in said
    assert notes("gcs-us-central1") == notes({"egress": 1, "zone": "UTC"}) == []


def test_a_price_can_be_given_by_a_variable(tmp_path: Path) -> None:
    path = tmp_path / "shield.yaml"
    path.write_text(yaml.safe_dump({"origins": with_origins(one={})}))

    for given in ("r2", "{egress: 0.05}"):
        settings = load(path, environ={"SHIELD_ORIGINS__ONE__PRICE": given}).settings
        assert settings.origins["one"].price is not None


def test_explain_gives_the_reason_for_each_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "shield.yaml"
    origins = with_origins(one={"price": "aws-us-east-1"}, two={"price": "r2"})
    path.write_text(
        yaml.safe_dump(
            {"origins": origins, "routes": {"default": {"match": "/", "choose": "cheapest"}}}, sort_keys=False
        )
    )

    assert explain("/a", path) == 0
    said = capsys.readouterr().out
    assert "origins    two, one\n           two: by price (0 USD per GB, 0.00036 per 1,000 requests)\n" in said

    assert check(path) == 0
    said = capsys.readouterr().out
    assert "0.09 USD per GiB, 0.0004 per 1,000 requests (aws-us-east-1, read 2026-09-20; 100 GiB a month" in said
    assert "/ from one, two, cheapest" in said


@pytest.mark.parametrize(
    ("route", "one", "two", "said"),
    [
        ({}, {"price": "aws-us-east-1"}, {}, "from one, two, nearest by default"),
        (
            {},
            {"price": "aws-us-east-1"},
            {},
            "by measured times alone, since two has no price; 1 GB costs 0.08382 USD",
        ),
        (
            {},
            {"price": "r2"},
            {"price": "b2"},
            "by measured times and prices, at 1000 s per USD; 1 GB costs 0 USD from",
        ),
        ({}, {"price": "r2"}, {"price": "hetzner"}, "since its origins' prices are in EUR and USD; 1 GB costs"),
        ({"exchange": "0s"}, {"price": "r2"}, {"price": "b2"}, "by measured times alone, since exchange is 0s; 1 GB"),
        (
            {"choose": "nearest"},
            {},
            {},
            "from one, two, nearest\n           by measured times alone, since one has no",
        ),
        ({"choose": "ordered"}, {"price": "r2"}, {"price": "b2"}, "from one, two\n"),
        ({}, {"max_lag": "15min"}, {}, "from one, two, nearest by default"),
        ({}, {}, {}, "from one, two\n"),
        ({"origins": ["one"]}, {"price": "r2"}, {}, "from one; keys one:\n"),
    ],
)
def test_check_says_which_order_a_route_has_and_what_it_may_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], route: Any, one: Any, two: Any, said: str
) -> None:
    path = tmp_path / "shield.yaml"
    given = {"origins": with_origins(one=one, two=two), "routes": {"default": {"match": "/", **route}}}
    path.write_text(yaml.safe_dump(given, sort_keys=False))

    assert check(path) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("one", "two", "exchange"),
    [
        ({"price": "r2"}, {"price": "b2"}, 1000.0),
        ({"price": "r2"}, {}, 0.0),
        ({"price": "r2"}, {"price": "hetzner"}, 0.0),
    ],
)
def test_prices_count_only_if_they_can_be_compared(one: Any, two: Any, exchange: float) -> None:
    settings = Settings.model_validate({"origins": with_origins(one=one, two=two)})

    (route,) = settings.route_table()
    assert (route.choose, route.exchange) == (Strategy.NEAREST, exchange)


def test_more_origins_than_an_order_has_room_for_are_refused(tmp_path: Path) -> None:
    many: dict[str, Any] = {f"o{at}": {} for at in range(MOST_RANKED + 1)}

    assert f"it has {len(many)} origins; expected {MOST_RANKED} at most" in problems(tmp_path, "nearest", **many)[0]
    assert problems(tmp_path, "ordered", **many) == []


def test_explain_gives_the_listed_order_of_a_route_by_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shield.yaml"
    path.write_text(yaml.safe_dump({"origins": with_origins(one={"price": "r2"}, two={})}, sort_keys=False))

    assert explain("/a", path) == 0
    assert "origins    one, two\n           one: not measured yet\n" in capsys.readouterr().out


def test_list_prices_that_were_read_long_ago_are_noted() -> None:
    settings = Settings.model_validate(
        {"origins": with_origins(one={"price": "r2"}, two={"price": {"egress": 1}}, three={})}
    )
    read = PRESETS["r2"].read

    assert list(old_prices(settings, read + timedelta(days=STALE_DAYS))) == []
    (said,) = old_prices(settings, date(2028, 1, 1))
    assert said.startswith(f"origins.one.price: a list price of {read}") and PRESETS["r2"].source in said
