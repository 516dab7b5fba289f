"""Replies, and what is told of requests, by the settings: the access log, identifiers, prices."""

from __future__ import annotations

import os

from shield.config.settings import Settings
from shield.errors import ConfigError
from shield.observe.access import AccessLog, LogTerms
from shield.observe.accounting import Accounting
from shield.observe.output import opened
from shield.observe.request_ids import RequestIds
from shield.reply import Replies
from shield.rules.headers import via
from shield.rules.log_lines import BEHIND_COMBINED, USUAL
from shield.rules.prices import Price


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
    said = settings.access_log
    if said.format == "off":
        access.use(LogTerms())
        accounting.remove(access.write)
        return
    names = said.fields or (BEHIND_COMBINED if said.format == "combined" else USUAL)
    access.use(LogTerms(said.format, names, said.hits, said.file, said.memory // workers))
    accounting.add(access.write, hits=said.hits)


def try_log_file(settings: Settings) -> None:
    """Make sure that the access log's file can be written. Raises ConfigError."""
    path = settings.access_log.file
    if path is None or settings.access_log.format == "off":
        return
    try:
        os.close(opened(path))
    except OSError as error:
        remedy = "its directory must exist, and the node's user must be allowed to write there"
        raise ConfigError([f"access_log.file: {path}: {error.strerror}; {remedy}"]) from None


def request_ids(settings: Settings, ids: RequestIds) -> RequestIds:
    """The same identifiers of requests, taken from the fields and stated in the field that the settings name."""
    said = settings.request_id
    ids.use([name.encode() for name in said.fields], answer=(said.answer or "").encode())
    return ids


def prices_of(settings: Settings) -> dict[str, Price]:
    """The prices of reads, of the origins that have one."""
    return {name: origin.price.price for name, origin in settings.origins.items() if origin.price is not None}
