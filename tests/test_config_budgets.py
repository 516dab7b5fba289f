"""Budgets in settings: amounts, the origins that are meant, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from shield.build.usage import budget_terms
from shield.cli.check import check
from shield.config.loading import load
from shield.errors import ConfigError
from shield.rules.budgets import BudgetAct, Period, Spendable

ORIGINS: dict[str, Any] = {
    "fra": {"provider": "http", "endpoint": "http://127.0.0.1:1", "price": {"egress": 0.1, "currency": "EUR"}},
    "iad": {"provider": "http", "endpoint": "http://127.0.0.1:2", "labels": {"team": "web"}},
}


def write(tmp_path: Path, **budget: Any) -> Path:
    path = tmp_path / "shield.yaml"
    path.write_text(yaml.safe_dump({"labels": {"env": "prod"}, "origins": ORIGINS, "budgets": {"b": budget}}))
    return path


@pytest.mark.parametrize(
    ("which", "names"),
    [
        ({}, ("fra", "iad")),
        ({"origins": ["iad"]}, ("iad",)),
        ({"providers": ["http"]}, ("fra", "iad")),
        ({"labels": {"team": "web"}}, ("iad",)),
        ({"labels": {"env": "prod"}}, ("fra", "iad")),
    ],
)
def test_a_budget_is_for_the_origins_that_its_keys_name(
    tmp_path: Path, which: dict[str, Any], names: tuple[str, ...]
) -> None:
    [budget] = budget_terms(load(write(tmp_path, per="day", amount="5GB", **which), environ={}).settings).budgets

    assert (budget.origins, budget.per, budget.amount) == (names, Period.DAY, Spendable(5e9))
    assert BudgetAct.REFUSE not in budget.acts


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"amount": "many"}, 'budgets.b.amount: got "many"; expected money, as 500 EUR, or bytes, as 20TB'),
        ({"amount": "0 EUR"}, "expected an amount above 0"),
        ({"origins": ["fra"], "amount": "5 USD"}, "the price of origin fra is in EUR; expected an amount in EUR"),
        ({"amount": "5 EUR"}, "origin iad has no price; expected origins.iad.price, or an amount in bytes"),
        ({"amount": "5GB", "burst": "1 EUR"}, "expected burst and amount both in bytes, or in the same currency"),
        (
            {"amount": "5GB", "origins": ["fra"], "providers": ["http"]},
            "expected one of origins, providers and labels",
        ),
        ({"amount": "5GB", "providers": ["aws"]}, "budgets.b.providers: no origin is meant"),
        ({"amount": "5GB", "labels": {"team": "x"}}, "budgets.b.labels: no origin is meant"),
        ({"amount": "5GB", "origins": ["fre"]}, 'got "fre"; expected one of fra iad'),
        ({"amount": "5GB", "then": {"refuse": "50%"}}, "expected shares that rise: dearer, pause, stale, refuse"),
        ({"amount": "5GB", "alarms": ["80%", "50%"]}, "expected shares above 0, each once, in their order"),
    ],
)
def test_what_cant_be_a_budget_is_refused_with_its_place(tmp_path: Path, budget: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, per="day", **budget), environ={})

    assert said in str(error.value), error.value
    assert "shield.yaml:" in str(error.value)


def test_a_budget_without_a_ledger_is_noted(tmp_path: Path) -> None:
    path = write(tmp_path, per="day", amount="5GB")

    assert any("begin at 0 after a restart" in note for note in load(path, environ={}).notes)
    path.write_text(f"state_directory: {tmp_path}\n{path.read_text()}")
    assert not any("begin at 0" in note for note in load(path, environ={}).notes)


def test_check_says_what_a_budget_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, origins=["fra"], per="month", amount="500 EUR", then={"refuse": "100%"})

    assert check(path, online=False, canary=None, as_json=False) == 0
    said = "budget   b: 500 EUR a month from fra; dearer from 80%, pause from 90%, stale from 100%, refuse from 100%"
    assert said in capsys.readouterr().out


def test_off_switches_an_act_off(tmp_path: Path) -> None:
    then = {"dearer": "off", "pause": False, "refuse": "100%"}
    [budget] = budget_terms(load(write(tmp_path, per="month", amount="1TB", then=then), environ={}).settings).budgets

    assert budget.acts == {BudgetAct.STALE: 1.0, BudgetAct.REFUSE: 1.0}
