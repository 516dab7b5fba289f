"""The admin API's `POST /announce`: objects that are new, changed or deleted at the primary."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shield.admin.removal import BODY_SECONDS, WishError, body_of, is_json, refused
from shield.announce import Announced
from shield.errors import RequestError, StoreError
from shield.rules.announcements import Announcement, AnnouncementError, parse

log = logging.getLogger("shield.admin")

Announce = Callable[[Announcement], Awaitable[Announced]]


def announcing(announce: Announce, *, body_seconds: float = BODY_SECONDS) -> Route:
    """`{"changed": ["/a", ...], "new": [...], "deleted": [...], "prefetch": true}`, or events as storages send them,
    is answered with `{"announced": 2, "removed": 1, "prefetched": 0, "ignored": 0}`.

    The URL that confirms a subscription at SNS is returned and logged, never followed.
    """

    async def handle(request: Request) -> Response:
        # SNS says text/plain. A page in a browser can't send this field without a preflight.
        if not is_json(request) and "x-amz-sns-message-type" not in request.headers:
            return refused(415, "expected application/json")
        try:
            announcement = parse(await body_of(request, body_seconds))
            result = await announce(announcement)
        except WishError as error:
            return refused(error.status, str(error))
        except AnnouncementError as error:
            return refused(400, str(error))
        except RequestError as error:
            return refused(400, f"a path would be rejected in a request: {error}")
        except StoreError as error:
            return refused(500, str(error))
        if result.unknown and not result.keys:
            return refused(400, f"no origin has the bucket {', '.join(result.unknown)}: see origins.NAME.bucket")
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

    return Route("/announce", handle, methods=["POST"])
