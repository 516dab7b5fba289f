"""An attempt at an origin that was sent at once, on a kept connection: it needs no task as long as all goes well."""

from __future__ import annotations

from shield.origin.asked import Asked
from shield.origin.connection import Connection
from shield.origin.note import Note
from shield.origin.response import Response
from shield.origin.want import Want


class PlainAttempt:
    """A request under way, made by `Origin.begin`. Once its asker was told, `Origin.take` has its result. If it has
    none, and at any other time, `Origin.go_on` brings it. `Origin.give_up` ends it.
    """

    __slots__ = ("asked", "connection", "note", "request_time", "response", "want")

    def __init__(
        self, want: Want, note: Note, asked: Asked, connection: Connection, response: Response, request_time: float
    ) -> None:
        self.want = want
        self.note = note
        self.asked = asked
        self.connection = connection
        self.response = response
        self.request_time = request_time
