"""The admin API's `POST /announce`: objects that are new, changed or deleted at the primary."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shield.admin.operations import JSON, Operation
from shield.admin.problems import ProblemError
from shield.admin.schemas import ANY_OBJECT, COUNT, FLAG, TEXT, TEXTS, array, either, noted, record
from shield.announce import Announced
from shield.rules.announcements import Announcement, AnnouncementError, parse
from shield.rules.tokens import Role

log = logging.getLogger("shield.admin")

MAX_BYTES = 16 << 20
"""Limit of a request's JSON."""

Announce = Callable[[Announcement], Awaitable[Announced]]

_OWN = record(optional={"new": TEXTS, "changed": TEXTS, "deleted": TEXTS, "prefetch": FLAG})
_EVENTS = noted(
    either(ANY_OBJECT, array(ANY_OBJECT)), "Events of a bucket, as S3, SNS, EventBridge, MinIO or R2 send"
)


def announcing(announce: Announce) -> Operation:
    """`{"changed": ["/a", ...], "new": [...], "deleted": [...], "prefetch": true}`, or events as storages send them.

    The URL that confirms a subscription at SNS is returned and logged, never followed.
    """

    async def handle(request: Request) -> Response:
        # SNS says text/plain. A page in a browser can't send this field without a preflight.
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON and "x-amz-sns-message-type" not in request.headers:
            raise ProblemError(415, f"expected {JSON}")
        try:
            announcement = parse(request.state.body)
        except AnnouncementError as error:
            raise ProblemError(400, str(error)) from None
        result = await announce(announcement)
        if result.unknown and not result.keys:
            unknown = ", ".join(result.unknown)
            raise ProblemError(400, f"no origin has the bucket {unknown}: see origins.NAME.bucket")
        said: dict[str, object] = {
            "announced": result.keys,
            "removed": result.removed,
            "prefetched": result.prefetched,
            "ignored": result.ignored,
        }
        if announcement.confirm is not None:
            log.warning("announcements: SNS wants this subscription confirmed: open %s", announcement.confirm)
            said["confirm"] = announcement.confirm
        return JSONResponse(said)

    return Operation(
        method="POST",
        path="/announce",
        role=Role.PURGE,
        summary="Announce objects that are new, changed or deleted at the primary",
        handler=handle,
        body=either(_OWN, _EVENTS),
        kinds=(JSON, "text/plain"),
        most_bytes=MAX_BYTES,
        answer=record(announced=COUNT, removed=COUNT, prefetched=COUNT, ignored=COUNT, optional={"confirm": TEXT}),
        refusals={500: "It can't be written to a disk"},
    )
