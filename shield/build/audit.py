"""The buckets of an audit, made from settings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from shield.audit.bucket import ListedBucket
from shield.audit.judgement import AuditSide
from shield.build.origins import Blueprint, authorities_of, blueprints, obtained_credentials, origin_of
from shield.chance import draw
from shield.config.settings import Settings
from shield.errors import ConfigError

_FIRST_BYTE_SECONDS = 30.0
"""Timeout for a page of a listing: in a large bucket it takes longer than an object."""

_TOTAL_SECONDS = 6 * 3600.0
"""Timeout for one body: no client waits, and the time between two reads is limited anyway."""


def audited(settings: Settings, names: Sequence[str], *, by_listing: bool = True) -> tuple[str, ...]:
    """The origins of an audit, its reference first: the primary, else the first. Without names: all origins.

    `by_listing`: only S3 origins, since others list nothing.

    Raises ConfigError for names that can't be compared, or fewer than two.
    """
    known = ", ".join(settings.origins)
    problems = [
        f"--origins: there is no origin {name}; expected some of {known}"
        for name in names
        if name not in settings.origins
    ]
    if problems:
        raise ConfigError(problems)
    wanted = list(dict.fromkeys(names or settings.origins))
    listable = [name for name in wanted if settings.origins[name].profile.signed or not by_listing]
    if names and (left := [name for name in wanted if name not in listable]):
        raise ConfigError(
            [f"--origins: {name} is of provider http, which lists no objects; --paths compares it" for name in left]
        )
    if len(listable) < 2:
        kind = "S3 origins" if by_listing else "origins"
        have = f"there is only {listable[0]}" if listable else "there are none"
        raise ConfigError([f"an audit compares two {kind} at least; {have}"])
    return tuple(sorted(listable, key=lambda name: settings.origins[name].role != "primary"))


def sides_of(settings: Settings, names: Sequence[str]) -> list[AuditSide]:
    """The origins as sides of the comparison."""
    return [
        AuditSide(name, max_lag=settings.origins[name].max_lag or 0.0, is_part=settings.origins[name].holds == "part")
        for name in names
    ]


def buckets_of(
    settings: Settings,
    names: Sequence[str],
    clock: Callable[[], float],
    stack: AsyncExitStack,
    *,
    chance: Callable[[], float] = draw,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> list[ListedBucket]:
    """The origins as buckets, closed with the stack. Raises ConfigError."""
    plans = blueprints(settings, 1)
    found = []
    for name in names:
        plan = _patient(plans[name])
        origin = origin_of(plan, obtained_credentials(settings, name), authorities_of(plan))
        stack.push_async_callback(origin.pool.close)
        found.append(ListedBucket(origin, clock=clock, chance=chance, sleep=sleep))
    return found


def _patient(plan: Blueprint) -> Blueprint:
    """The same origin with longer timeouts, and with denials that never count as absence."""
    times = plan.settings.timeouts
    times = times.model_copy(
        update={
            "first_byte": max(times.first_byte, _FIRST_BYTE_SECONDS),
            "total": max(times.total, _TOTAL_SECONDS),
        }
    )
    own = plan.settings.model_copy(update={"timeouts": times, "access_denied_is_absent": False, "pass_errors": False})
    return replace(plan, settings=own, asks_checksums=False)
