"""Replies and the access log, by the settings."""

from __future__ import annotations

from shield.config.settings import Settings
from shield.observe.access import AccessLog
from shield.reply import Replies
from shield.rules.headers import via


def replies_of(settings: Settings) -> Replies:
    """The factory of replies, with the node's name and fields."""
    return Replies(
        node=settings.node,
        via=via(b"1.1", settings.node),
        retry_after_seconds=settings.failover.retry_after,
        server=None if settings.server is None else settings.server.encode(),
        cache_status=settings.cache_status,
    )


def noted(settings: Settings, access: AccessLog, *, workers: int) -> AccessLog | None:
    """The access log of one of `workers` workers, adjusted to the settings; None if nothing is logged."""
    access.misses_only = settings.log.access == "misses"
    access.max_bytes = settings.log.access_memory // workers
    return None if settings.log.access == "off" else access
