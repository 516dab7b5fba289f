"""What is said of an engine that can't be used."""

from __future__ import annotations

import pytest

from shield.bus.reasons import reason


class MasterNotFoundError(Exception):
    """As redis-py has it: with the settings of clients in its text."""


@pytest.mark.parametrize(
    ("error", "is_tls", "is_known", "said"),
    [
        (TimeoutError(), False, False, "no answer in time"),
        (OSError("Connection closed by server."), False, True, "Connection closed by server"),
        (OSError("Connection closed by server."), False, False, "rediss:// in place of redis://"),
        (OSError("Timeout connecting to server"), True, False, "redis:// in place of rediss://"),
        (MasterNotFoundError("<Redis(password=secret)>"), False, True, "no sentinel names a primary"),
        (ValueError("DB index is out of range"), False, True, "DB index is out of range"),
    ],
)
def test_the_remedy_stands_behind_the_error(error: Exception, is_tls: bool, is_known: bool, said: str) -> None:
    found = reason(error, is_tls=is_tls, is_known=is_known)

    assert said in found and found.count("place of") == said.count("place of") and "secret" not in found
