"""Families of metrics of clients: their requests, the times of these, and their connections."""

from __future__ import annotations

from collections.abc import Mapping

from shield.edge.door import DoorStatistics
from shield.edge.http2.traffic import Http2Statistics
from shield.observe.counters import Counters
from shield.observe.metrics import Family, Sample, labelled, number, timed
from shield.outcome import Forward


def words(counters: Counters) -> dict[str, int]:
    """Requests by result, plain hits included in the other hits."""
    return {**counters.requests, "hit": counters.requests.get("hit", 0) + counters.hits}


def request_families(counters: Counters, denied: Mapping[str, int]) -> list[Family]:
    """Of clients' requests; `denied` are those by the rule that wasn't met."""
    requests: dict[tuple[str, str, str, str], int] = {}
    for each, count in counters.by_class():
        place = each.route, each.method, each.status, each.cache
        requests[place] = requests.get(place, 0) + count
    names = ("route", "method", "status", "cache")
    times = counters.times.items()
    return [
        Family(
            "requests",
            "Requests by route, method, class of status, and result",
            [Sample(count, dict(zip(names, place, strict=True))) for place, count in requests.items()],
        ),
        Family(
            "requests_cut_short",
            "Responses that weren't sent whole: broken by us, or abandoned by the client",
            [Sample(n, {"route": route, "end": end}) for (route, end), n in counters.cut_short.items()],
        ),
        labelled(
            "requests_forwarded",
            "Requests that took an origin, by the reason",
            "reason",
            {reason.value: counters.forwarded.get(reason, 0) for reason in Forward},
        ),
        labelled("denied", "Denied requests, by the rule that wasn't met", "rule", denied),
        labelled("sent_bytes", "Body bytes sent to clients, by the result", "cache", counters.sent_by_word()),
        timed(
            "request_first_byte_seconds",
            "Time until the head of a response was written",
            [({"cache": word}, each.first_byte) for word, each in times],
        ),
        timed(
            "request_duration_seconds",
            "Time until a response was written, however slowly the client reads",
            [({"cache": word}, each.total) for word, each in times],
        ),
    ]


def connection_families(open_now: int, door: DoorStatistics, http2: Http2Statistics) -> list[Family]:
    """Of clients' connections."""
    return [
        number("connections", "Open client connections", open_now, gauge=True),
        number(
            "connections_turned_away", "Client connections closed at once, since too many were open", door.turned_away
        ),
        number("connections_gave_way", "Idle client connections closed to make room for others", door.gave_way),
        number("http2_connections", "Client connections that spoke HTTP/2", http2.connections),
        number("http2_requests", "Requests over HTTP/2", http2.requests),
        number("http2_taken_back", "Requests over HTTP/2 that clients reset before their end", http2.taken_back),
        number("http2_refused", "Requests over HTTP/2 refused unseen, so that clients repeat them", http2.refused),
        labelled("http2_cut_off", "HTTP/2 connections ended for abuse", "reason", http2.cut_off),
    ]
