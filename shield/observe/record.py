"""An exchange as a record: its fields by name, from which lines of logs are made and queries answered."""

from __future__ import annotations

from shield.outcome import End, Exchange, Outcome
from shield.rules.log_lines import LogValue

_LONGEST = 1024  # characters of a text: the rest of it is only counted
_NONE = Outcome()
OF_REQUEST = {b"host": "host", b"range": "range", b"referer": "referer", b"user-agent": "user_agent"}


def record_of(exchange: Exchange) -> dict[str, LogValue]:
    """All fields that apply, by the names in `rules.log_lines.FIELDS`."""
    outcome, began, answered = exchange.outcome or _NONE, exchange.began, exchange.answered
    record: dict[str, LogValue] = {
        "time": round(exchange.ended, 3),
        "client": exchange.client,
        "method": cut(exchange.method.decode("ascii", "replace")),
        "target": cut(exchange.target.decode("ascii", "replace")),
        "status": exchange.status,
        "bytes": exchange.sent,
        "seconds": round(exchange.ended - began, 6),
    }
    if answered is not None:
        record["first_byte"] = round(answered - began, 6)
    record.update(outcome.log_fields())
    if outcome.detail is not None:
        record["detail"] = cut(outcome.detail)
    if exchange.route is not None:
        record["route"] = exchange.route
    if exchange.protocol is not None:
        record["protocol"] = exchange.protocol
    if exchange.end is not End.WHOLE:
        record["broken"] = True
    if exchange.request_id is not None:
        record["request_id"] = exchange.request_id.decode("ascii", "replace")
    if exchange.key is not None:
        record["key"] = cut(exchange.key.partition(b" ")[0].decode("ascii", "replace"))
    for field, text in exchange.fields:
        if field in OF_REQUEST:
            record[OF_REQUEST[field]] = cut(text.decode("utf-8", "replace"))
    return record


def cut(text: str) -> str:
    """The text, or its beginning and how much there was. No target has a blank, so that one that is cut shows."""
    more = len(text) - _LONGEST
    return text if more <= 0 else f"{text[:_LONGEST]} [{more} more]"
