from __future__ import annotations

import pytest


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits before a failed fetch is repeated are a hundredth of what they are."""
    for rules in ("attempts", "persistence"):
        monkeypatch.setattr(f"shield.rules.{rules}.TRANSIENT_SECONDS", 0.0005)
        monkeypatch.setattr(f"shield.rules.{rules}.THROTTLED_SECONDS", 0.01)
