"""All fuzz targets by name: one for each parser."""

from __future__ import annotations

from collections.abc import Mapping

from tests.fuzz import (
    alarms,
    announced,
    caching,
    given,
    listings,
    logs,
    marks,
    naming,
    purges,
    replayed,
    reported,
    stored,
    syntax,
    warmed,
    wire,
)
from tests.fuzz.target import Target

TARGETS: Mapping[str, Target] = {
    **syntax.TARGETS,
    **caching.TARGETS,
    **naming.TARGETS,
    **wire.TARGETS,
    **stored.TARGETS,
    **given.TARGETS,
    **listings.TARGETS,
    **announced.TARGETS,
    **alarms.TARGETS,
    **marks.TARGETS,
    **logs.TARGETS,
    **purges.TARGETS,
    **warmed.TARGETS,
    **replayed.TARGETS,
    **reported.TARGETS,
}
