"""Replies and the access log, by the settings."""

from __future__ import annotations

from shield.config.settings import Settings
from shield.observe.access import AccessLog
from shield.observe.accounting import Accounting
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


def log_requests(settings: Settings, access: AccessLog, accounting: Accounting, *, workers: int) -> None:
    """Have the access log of one of `workers` workers record what the settings say."""
    access.max_bytes = settings.log.access_memory // workers
    if settings.log.access == "off":
        accounting.remove(access.write)
        return
    access.hits = 1.0 if settings.log.access == "all" else 0.0
    accounting.add(access.write, hits=access.hits)
