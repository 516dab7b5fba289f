"""The order of origins."""

from __future__ import annotations

from shield.rules.routing import Candidate, rank


def test_origins_are_tried_in_configured_order() -> None:
    assert rank([Candidate("iad", "replica"), Candidate("fra", "primary")]) == ("iad", "fra")
