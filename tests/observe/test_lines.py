from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from shield.messages import Fields, Request
from shield.observe.lines import JsonLines
from shield.observe.record import record_of
from shield.outcome import HEALTH, PLAIN_HIT, End, Exchange, Forward, Http2Exchange, Outcome
from shield.rules.log_lines import FIELDS, USUAL, json_line

PLAIN = [(b"host", b"img.example.com"), (b"user-agent", b"curl/8")]
ODD = [
    (b"host", b"first"),
    (b"host", b'quo"te\\'),
    (b"range", b"bytes=0-1, 5-"),
    (b"referer", "https://ü.example/\n".encode()),
    (b"user-agent", b"\xff\x00" + b"x" * 2000),
]


def exchange(
    outcome: Outcome | None,
    *,
    target: bytes = b"/a.jpg",
    status: int = 200,
    end: End = End.WHOLE,
    fields: Fields = (),
    key: bytes | None = b":/a.jpg",
    route: str | None = "all",
    kind: type[Exchange] = Exchange,
) -> Exchange:
    made = kind(b"GET", target, "192.0.2.1", 1_700_000_000.125, route=route)
    if outcome is not None:
        made.answer(status, outcome, 1_700_000_000.5)
    if fields:
        request = Request.of(b"GET", target, fields)
        request.identify(b"a-1")
        made.take_from(request)
    made.sent, made.key = 123_456, key
    made.finish(end, 1_700_000_000.87654)
    return made


EXCHANGES = {
    "miss": exchange(
        Outcome(forward=Forward.URI_MISS, forward_status=200, ttl=60, stored=True, origin="fra", attempts=1),
        fields=PLAIN,
    ),
    "stale": exchange(Outcome(hit=True, ttl=-5, tier="disk", detail="fra=connect"), key=b":/a.jpg vary=1"),
    "collapsed": exchange(Outcome(forward=Forward.URI_MISS, collapsed=True, ttl=0, detail="no-store")),
    "plain hit": exchange(PLAIN_HIT, fields=PLAIN),
    "plain hit without a tier": exchange(Outcome(hit=True, plain=True, ttl=3, detail="said all the same")),
    "refused": exchange(Outcome(refused=True, detail="no-route"), status=404, route=None, key=None),
    "health": exchange(Outcome(detail=HEALTH), target=b"/.shield/health", key=None),
    "left before a response": exchange(None, end=End.ABANDONED),
    "broken": exchange(Outcome(forward=Forward.STALE, detail='quo"te\x7f é' + "y" * 3000), end=End.BROKEN),
    "odd bytes": exchange(
        Outcome(), target=b'/\xff"\\<>' + b"z" * 5000, fields=ODD, key=b'/\xfe" k', kind=Http2Exchange
    ),
}


@pytest.mark.parametrize("name", EXCHANGES)
@pytest.mark.parametrize("names", [FIELDS, USUAL, FIELDS[::-1], ("key",), ("status", "host")], ids=len)
def test_a_line_says_what_the_record_has(name: str, names: Sequence[str]) -> None:
    line, record = JsonLines(names).of(EXCHANGES[name]), record_of(EXCHANGES[name])

    said = json.loads(line)

    assert said == json.loads(json_line(record, names))
    assert list(said) == [each for each in names if each in record]
    assert "\n" not in line and line.isascii()


def test_times_have_milliseconds_and_durations_microseconds() -> None:
    line = JsonLines(["time", "seconds", "first_byte"]).of(EXCHANGES["miss"])

    assert line == '{"time":1700000000.877,"seconds":0.751540,"first_byte":0.375000}'
