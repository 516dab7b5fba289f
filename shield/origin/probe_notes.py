"""The records of probes as bytes in shared memory: the next conductor continues with them, all workers show them."""

from __future__ import annotations

import json
from dataclasses import replace

from shield.canary_notes import CANARY_BYTES
from shield.records import Seen
from shield.rules.probing import KnownCanary, LastProbe, ProbeFinding, ProbeRecord


def keep(seen: Seen, record: ProbeRecord) -> None:
    """Keep it for all workers; without some canaries, if their paths are unusually long."""
    data = packed(record)
    while len(data) > CANARY_BYTES:
        record = replace(record, canaries=record.canaries[:-1])
        data = packed(record)
    seen.notes.keep(data)


def kept(seen: Seen) -> ProbeRecord | None:
    """The record of an origin; None if there is none, or it is being written."""
    return unpacked(seen.notes.kept)


def as_shown(record: ProbeRecord) -> dict[str, object]:
    """The record for operators; `last_at` is in epoch seconds."""
    last = record.last
    return {
        "canaries": [
            {
                "path": _text(each.path),
                "etag": None if each.etag is None else _text(each.etag),
                "sha256": each.small,
                "wrong": each.wrong,
            }
            for each in record.canaries
        ],
        "last": None if last is None else last.finding.value,
        "last_at": None if last is None else round(last.at, 1),
        "first_byte_ms": None if last is None else round(last.seconds * 1000.0, 1),
    }


def packed(record: ProbeRecord) -> bytes:
    last, absent = record.last, record.absent
    return json.dumps(
        {
            "canaries": [_fields(canary) for canary in record.canaries],
            "count": record.count,
            "clean": record.clean,
            "is_corrupt": record.is_corrupt,
            "pardoned": record.pardoned,
            "absent": None if absent is None else [_text(absent[0]), _text(absent[1])],
            "absent_at": record.absent_at,
            "last": None if last is None else [last.at, last.finding.value, last.seconds],
            "corrupt_at": record.corrupt_at,
            "doubtful_since": record.doubtful_since,
        }
    ).encode()


def unpacked(data: bytes) -> ProbeRecord | None:
    """The record in these bytes; None if there is none."""
    try:
        found = json.loads(data)
        last, absent = found["last"], found["absent"]
        return ProbeRecord(
            tuple([_canary(*fields) for fields in found["canaries"]]),
            count=found["count"],
            clean=found["clean"],
            is_corrupt=found["is_corrupt"],
            pardoned=found["pardoned"],
            absent=None if absent is None else (_bytes(absent[0]), _bytes(absent[1])),
            absent_at=found["absent_at"],
            last=None if last is None else LastProbe(last[0], ProbeFinding(last[1]), last[2]),
            corrupt_at=float(found.get("corrupt_at", 0.0)),
            doubtful_since=float(found.get("doubtful_since", 0.0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None


def _fields(canary: KnownCanary) -> list[object]:
    etag = None if canary.etag is None else _text(canary.etag)
    return [
        *(_text(canary.path), _text(canary.query), etag),
        *(canary.since, canary.length, canary.small, canary.large, canary.wrong, canary.doubted, canary.is_proven),
        *(round(canary.small_at, 1), round(canary.large_at, 1)),
    ]


def _canary(
    path: str, query: str, etag: str | None, since: float | None, length: int | None, *rest: str
) -> KnownCanary:
    small, large, wrong, doubted, is_proven, small_at, large_at = (*rest, "0", "0")[:7]
    return KnownCanary(
        _bytes(path),
        _bytes(query),
        since,
        None if etag is None else _bytes(etag),
        length,
        small,
        large,
        int(wrong),
        int(doubted),
        bool(is_proven),
        float(small_at),
        float(large_at),
    )


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _bytes(value: str) -> bytes:
    return value.encode("latin-1")
