"""Settings of the ledger of egress."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from shield.config.section import File, Section, Text, off_is_off
from shield.config.units import Duration, duration


class LedgerSettings(Section):
    """Bytes and requests at origins, kept on disk for `shield cost`."""

    path: Annotated[File | Literal["off"], BeforeValidator(off_is_off)] | None = Field(
        default=None,
        description="The SQLite file; off: none is kept. If omitted: ledger-NODE.sqlite in state_directory; without "
        "one none is kept.",
    )
    keep: Duration = duration(
        "400d",
        "How long days are kept: a year and a month, to compare with. Minutes are kept for two days, hours for 92.",
        least="1d",
    )
    tags: tuple[Text, ...] = Field(
        default=(),
        description="Beginnings of tags (freshness.tags) by which egress is counted, for `shield cost --by tag`, as "
        "tenant-. A worker tells 1,000 tags apart. Empty: none.",
    )
