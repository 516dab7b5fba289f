"""The alarms of the running node, and test alarms, which are sent from here: by the settings, without a node."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from shield.alarms.posting import Poster, PostResult
from shield.build.alarms import alarm_terms
from shield.cli.admin import instruct
from shield.config.loading import load
from shield.errors import ConfigError
from shield.rules.alarms import AlarmEvent, AlarmKind, AlarmNews, NodeAlarm
from shield.rules.webhooks import Webhook

_SECONDS = 10.0


def ls(path: Path, *, past: bool, as_json: bool) -> int:
    """Print alarms and webhooks; 0, or 1 if an alarm lasts or no node could be asked."""
    answer = instruct(path, "/alarms", method="GET", seconds=_SECONDS)
    if answer is None or not answer[0]:
        return 1
    said = answer[1]
    print(json.dumps(said, indent=2) if as_json else "\n".join(_listed(said, past=past)))
    return 1 if said["active"] else 0


def test(path: Path, name: str | None) -> int:
    """Send a test alarm to one webhook, or to all; 0, 1 if one doesn't take it, 2 for unusable settings."""
    try:
        settings = load(path, environ=os.environ).settings
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return 2
    webhooks = [each for each in alarm_terms(settings).webhooks if name in (None, each.name)]
    if not webhooks:
        missing = "alarms.webhooks: there are none" if name is None else f"alarms.webhooks: none is named {name}"
        print(f"{path}: {missing}", file=sys.stderr)
        return 2
    results = asyncio.run(_sent(webhooks, settings.node))
    for webhook, result in zip(webhooks, results, strict=True):
        print(f"{webhook.name}: {'ok' if result.problem is None else result.problem}")
    return 1 if any(result.problem is not None for result in results) else 0


async def _sent(webhooks: Sequence[Webhook], node: str) -> list[PostResult]:
    now = time.time()
    text = "This is a test: shield alarms test was run on this node."
    alarm = NodeAlarm(f"{node}/test/{int(now * 1000.0)}", AlarmKind.TEST, "", text, now, now)
    event = AlarmEvent(alarm.id, now, AlarmNews.BEGAN, alarm)
    async with Poster(node, clock=time.time) as poster:
        return list(await asyncio.gather(*[poster.post(webhook, event) for webhook in webhooks]))


def _listed(said: Mapping[str, Any], *, past: bool) -> Iterator[str]:
    if not said["active"]:
        yield "no alarm"
    for alarm in said["active"]:
        yield f"{alarm['severity']}: {_what(alarm)}, since {alarm['since']}: {alarm['text']}"
        yield f"    {alarm['remedy']} ({alarm['runbook']})"
    for alarm in said["recent"] if past else ():
        yield f"over: {_what(alarm)}, {alarm['since']} to {alarm['resolved_at']}: {alarm['text']}"
    for name, webhook in said["webhooks"].items():
        counts = ", ".join(f"{webhook[word]} {word}" for word in ("sent", "failed", "dropped", "waiting"))
        yield f"webhook {name}: {counts}"


def _what(alarm: Mapping[str, Any]) -> str:
    return " ".join(word for word in (alarm["kind"], alarm["subject"]) if word)
