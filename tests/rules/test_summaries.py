"""Summaries of bodies, for the audit log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shield.rules.summaries import MOST, MOST_READ, summary_of


@pytest.mark.parametrize(
    ("body", "summary"),
    [
        (b"", None),
        (b" \n", None),
        (b'{"until": 5.5, "x": null, "y": true}', {"until": 5.5, "x": None, "y": True}),
        (b'{"paths": ["1", "2", "3", "4", "5", "6", "7"]}', {"paths": [*"12345", "... (7)"]}),
        (b'{"a": {"b": {"c": {"d": 1}}}}', {"a": {"b": {"c": "..."}}}),
        (b'{"secret": "hunter2", "Api-Key": 1, "SubscribeURL": "x"}', dict.fromkeys(
            ["secret", "Api-Key", "SubscribeURL"], "***")),
        (b'["https://me:hunter2@x/a", "/a?w=1&signature=hunter2&key=hunter2#x"]',
         ["https://***@x/a", "/a?w=1&signature=***&key=***#x"]),
        (b'"a\\nb"', "a\\nb"),
        (b"not json \xff", "not json \ufffd"),
        (b"1" * 100, "a large number"),
        (b"NaN", "nan"),
    ],
)  # fmt: skip
def test_a_body_is_summed_up_without_its_secrets(body: bytes, summary: Any) -> None:
    assert summary_of(body) == summary


def test_a_summary_is_short_whatever_the_body_is() -> None:
    long = summary_of(json.dumps({"a": "x" * 1000, **{str(n): "y" * 90 for n in range(50)}}).encode())
    large = summary_of(b'{"paths": ["' + b"x" * MOST_READ + b'"]}')

    assert len(json.dumps(long)) < 2 * MOST
    assert large["bytes"] == MOST_READ + 15 and large["begins"].startswith('{"paths": ["xxx')
    assert len(json.dumps(large)) < MOST
