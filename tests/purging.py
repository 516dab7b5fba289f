"""Orders to purge, given to a node of the test's process as operators give them."""

from __future__ import annotations

import json
from typing import Any

from tests.admin.calls import ask
from tests.client import Answer
from tests.node import Shield


def order(shield: Shield, **said: Any) -> dict[str, Any]:
    """The answer to an order that is carried out."""
    answer = ask(shield, "POST", "/purge", json=said)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refusal(shield: Shield, status: int, **said: Any) -> str:
    """The reason why an order isn't carried out."""
    answer = ask(shield, "POST", "/purge", json=said)
    assert answer.status_code == status, answer.text
    return str(answer.json()["detail"])


def said(answer: Answer) -> Any:
    return json.loads(answer.body)
