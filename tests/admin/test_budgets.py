"""`/budgets` of the admin API."""

from __future__ import annotations

from tests.admin.calls import ask
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of


def test_budgets_are_listed_with_what_is_spent_and_what_they_do(origin: FaultyOrigin, clock: FakeClock) -> None:
    budgets = {
        "all": {"per": "day", "amount": "10KB", "then": {"refuse": "100%"}},
        "eu": {"per": "month", "amount": "1TB"},
    }
    origin.serves("/a", bytes(12_000))
    with Shield(settings_of({"fra": origin}, budgets=budgets), clock=clock) as shield:
        shield.get("/a")
        shield.call(lambda: shield.node.origins.thrift.spend(True))

        one, other = ask(shield, "GET", "/budgets").json()["budgets"]

    assert (one["name"], one["origins"], one["unit"], one["per"]) == ("all", ["fra"], "bytes", "day")
    assert (
        one["share"] > 1.2 and one["acts"] == ["dearer", "pause", "stale", "refuse"] and one["until"] == one["ends"]
    )
    assert (other["name"], other["acts"], other["until"]) == ("eu", [], None)
