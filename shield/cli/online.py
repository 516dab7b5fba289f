"""shield check --online: each origin is asked for a listing and an object, all at once, and judged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from shield.build.origins import authorities_of, blueprints, obtained_credentials, origin_of
from shield.config.settings import Settings
from shield.origin.canary import Canary
from shield.origin.origin import Origin
from shield.rules.canaries import About, CanaryEvidence, Findings, Grade, judge
from shield.rules.routes import Resource
from shield.rules.written import target_of


@dataclass(frozen=True, slots=True)
class Examined:
    """The findings on one origin, and their duration."""

    name: str
    evidence: CanaryEvidence
    findings: Findings
    seconds: float

    def as_json(self) -> dict[str, object]:
        found, offset = self.findings, self.evidence.offset
        return {
            "verdict": found.grade.value,
            **{name: getattr(found, name) for name in _FACTS},
            "canary": self.evidence.canary,
            "clock_offset_seconds": None if offset is None else round(offset, 1),
            "seconds": round(self.seconds, 3),
            "problems": found.problems,
        }


def examine(settings: Settings, canary: str | None, *, timeout: float) -> list[Examined]:
    """Ask all origins, for `timeout` seconds at most. `canary` is a URL or path of a client.

    Raises RequestError for one that names nothing, ConfigError for settings that can't be used.
    """
    resource = None if canary is None else settings.route_table().resolve(target_of(canary))
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_examine_all(settings, resource, timeout))
    finally:
        loop.close()  # `asyncio.run` would wait for a resolver that hangs


async def _examine_all(settings: Settings, resource: Resource | None, timeout: float) -> list[Examined]:
    origins = [
        origin_of(plan, obtained_credentials(settings, name), authorities_of(plan))
        for name, plan in blueprints(settings, 1).items()
    ]
    try:
        return await asyncio.gather(*[_examine(origin, settings, resource, timeout) for origin in origins])
    finally:
        for origin in origins:
            await origin.pool.close()


async def _examine(origin: Origin, settings: Settings, resource: Resource | None, timeout: float) -> Examined:
    loop = asyncio.get_running_loop()
    began = loop.time()
    path, query = None, b""
    if resource is not None and origin.name in resource.route.origins:
        path, query = resource.path, resource.query
    asking = Canary(origin, path, query, deadline=began + timeout, clock=time.time)
    evidence = await asking.examine()
    findings = judge(_about(origin.name, settings), evidence)
    return Examined(origin.name, evidence, findings, loop.time() - began)


def _about(name: str, settings: Settings) -> About:
    origin = settings.origins[name]
    where = origin.location()
    return About(
        name,
        where.object_url(b"/"),
        bucket=origin.bucket or "",
        region=where.region.decode(),
        signed=origin.profile.signed,
        denied_is_absent=origin.access_denied_is_absent,
    )


def failed(examined: Sequence[Examined]) -> bool:
    """Whether any origin can't serve."""
    return any(each.findings.grade is Grade.FAILED for each in examined)


_FACTS: Mapping[str, str] = {
    "reached": "reached",
    "credentials": "credentials",
    "bucket": "bucket",
    "lists": "lists",
    "holds": "object",
    "ranges": "ranges",
}
"""The facts that are shown, with the headings of their columns."""

_SHOWN = {True: "yes", False: "no", None: "-"}


def table(examined: Sequence[Examined]) -> Iterator[str]:
    """Lines: a row for each origin, then its problems."""
    rows = [("origin", "verdict", *_FACTS.values(), "clock", "took")]
    for each in examined:
        found, offset = each.findings, each.evidence.offset
        facts = [_SHOWN[getattr(found, name)] for name in _FACTS]
        clock = "-" if offset is None else f"{offset:+.0f} s"
        rows.append((each.name, found.grade.value, *facts, clock, f"{each.seconds * 1000:.0f} ms"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for each in examined:
        if each.evidence.got is not None:
            yield f"{each.name}: asked for a byte of {each.evidence.canary}"
        for problem in each.findings.problems:
            yield f"{each.name}: {each.findings.grade.value}: {problem}"
