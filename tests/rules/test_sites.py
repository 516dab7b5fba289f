"""Where origins were: what was noted last before a time."""

from __future__ import annotations

import pytest

from shield.rules.sites import OriginSite, SiteHistory, SiteNote

OLD, NEW = OriginSite("aws", "us-east-1", "images"), OriginSite("aws", "eu-west-1", "images")


@pytest.mark.parametrize(("at", "site"), [(0, OLD), (100, OLD), (199.9, OLD), (200, NEW), (1e12, NEW)])
def test_an_origin_was_where_the_last_note_says(at: float, site: OriginSite) -> None:
    history = SiteHistory([SiteNote("fra", 200, NEW), SiteNote("fra", 100, OLD), SiteNote("iad", 150, NEW)])

    assert history.of("fra", at) == site


def test_of_an_origin_without_notes_nothing_is_known() -> None:
    assert SiteHistory([SiteNote("fra", 100, OLD)]).of("iad", 100) is None
