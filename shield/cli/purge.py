"""shield purge: has the running node remove entries, or make them stale; shield purges: the log of that."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shield.cli.admin import instruct
from shield.cli.rounded import shown_duration, shown_size
from shield.rules.moments import shown
from shield.rules.purge_orders import (
    MOST_BYTES,
    MOST_PATHS,
    SHOWN_KINDS,
    OrderError,
    checked_id,
    in_words,
    read_order,
)

_SECONDS = 600.0  # soft purges of many paths take a disk's time for each
_QUICK_SECONDS = 10.0
_ROOM = MOST_BYTES // 2  # for the paths of one order, whose JSON may be longer than they are


@dataclass(frozen=True, slots=True)
class PurgeWish:
    """The options of `shield purge`. A URL `-` stands for those on standard input, one a line."""

    urls: Sequence[str] = ()
    tags: Sequence[str] = ()
    prefixes: Sequence[str] = ()
    globs: Sequence[str] = ()
    everything: bool = False
    soft: bool = False
    takedown: bool = False
    is_trial: bool = False
    id: str | None = None
    as_json: bool = False


def purge(path: Path, wish: PurgeWish) -> int:
    """Print the receipts; 0, 1 when an order is refused, 2 when no node answers, 3 when other nodes of the cluster
    lack one.
    """
    result = 0
    try:
        orders = list(_orders(wish))
        for order in orders:
            read_order(json.dumps(order).encode(), lambda: "")  # all of them, before the first is given
    except OrderError as error:
        print(error, file=sys.stderr)
        return 1
    for number, order in enumerate(orders):
        answer = instruct(path, "/purge", seconds=_SECONDS, wish=order)
        if answer is None:
            if not number:
                print("without a running node, shield store rm removes entries from its disks", file=sys.stderr)
            return 2
        done, said = answer
        if not done:
            return 1
        if said.get("missing"):
            result = 3
        if wish.as_json:
            print(json.dumps(said), flush=True)
            continue
        if len(orders) > 1:
            print(f"order {number + 1} of {len(orders)}: ", end="")
        print("\n".join(_forecast(said) if wish.is_trial else [_receipt(said)]), flush=True)
    return result


def purges(path: Path, most: int, *, as_json: bool) -> int:
    """Print the log of purges, the newest first; 0, 1 when that is refused, 2 when no node answers."""
    answer = instruct(path, f"/purges?most={most}", seconds=_QUICK_SECONDS, method="GET")
    if answer is None:
        return 2
    done, said = answer
    if not done:
        return 1
    found = said.get("purges", [])
    if as_json:
        print(json.dumps(found))
        return 0
    for each in found:
        print(_logged(each))
    if not found:
        print("no purges so far")
    return 0


def _orders(wish: PurgeWish) -> Iterator[dict[str, Any]]:
    """The order in JSON; of very many URLs several, whose ids have numbers. Raises OrderError."""
    rest: dict[str, Any] = {
        "tags": list(wish.tags),
        "prefixes": list(wish.prefixes),
        "globs": list(wish.globs),
        "all": wish.everything,
        "soft": wish.soft,
        "takedown": wish.takedown,
        "dry_run": wish.is_trial,
    }
    said = {name: value for name, value in rest.items() if value}
    batches = list(_batches([url for each in wish.urls for url in _urls(each)])) or [[]]
    if "-" in wish.urls and not batches[0] and len(said.keys() - {"soft", "takedown", "dry_run"}) == 0:
        raise OrderError("there is no URL on standard input")
    if not wish.urls and not said.keys() - {"soft", "takedown", "dry_run"}:
        raise OrderError("nothing to purge: give URLs or paths, or --tag, --prefix, --glob or --all")
    named = secrets.token_hex(8) if wish.id is None else checked_id(wish.id)
    for number, urls in enumerate(batches):
        order_id = named if number == 0 else checked_id(f"{named}.{number + 1}")
        yield {"id": order_id, **({"paths": urls} if urls else {}), **said}
        said = {name: value for name, value in said.items() if name in ("soft", "takedown", "dry_run")}


def _urls(url: str) -> Iterator[str]:
    if url != "-":
        yield url
        return
    for line in sys.stdin:
        text = line.strip()
        if text and not text.startswith("#"):
            yield text


def _batches(urls: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    room = _ROOM
    for url in urls:
        size = 6 * len(url) + 4  # at most, in JSON
        if batch and (len(batch) == MOST_PATHS or size > room):
            yield batch
            batch, room = [], _ROOM
        batch.append(url)
        room -= size
    if batch:
        yield batch


def _receipt(said: Mapping[str, Any]) -> str:
    """One line."""
    way = "taken down" if said.get("takedown") else "made stale" if said.get("soft") else "purged"
    removed = said.get("removed")
    counted = "" if removed is None else f", {removed:,} {'was' if removed == 1 else 'were'} stored"
    kept = "" if said.get("durable") else "; a restart may bring it back: there is no state_directory"
    return f"{way}: {_named(said)}{counted}; id {said.get('id')}{kept}{_where(said)}{_edges(said)}"


def _where(said: Mapping[str, Any]) -> str:
    """At which nodes, if there are several."""
    applied, missing = said.get("applied", []), said.get("missing", [])
    if missing:
        return f"; NOT YET AT {', '.join(missing)}: it holds there as soon as they can be reached"
    return f"; at all {len(applied)} nodes" if len(applied) > 1 else ""


def _edges(said: Mapping[str, Any]) -> str:
    """What becomes of it at CDNs."""
    found = said.get("edge", {})
    return "".join([f"; at {name}: {'; '.join([each['state'], *each['notes']])}" for name, each in found.items()])


def _at_edges(said: Mapping[str, Any]) -> str:
    """The same in a few words."""
    return "".join([f"; at {name}: {each['state']}" for name, each in said.get("edge", {}).items()])


def _named(said: Mapping[str, Any]) -> str:
    return in_words({kind: said[kind] for kind in SHOWN_KINDS if said.get(kind)})


def _logged(said: Mapping[str, Any]) -> str:
    way = "takedown" if said.get("takedown") else "soft" if said.get("soft") else "hard"
    examples = ", ".join(said.get("examples", []))
    missing = ", ".join(said.get("missing", []))
    state = f" (not yet at {missing})" if missing else "" if said.get("completed") else " (under way)"
    what = f"{way}  {_named(said)}: {examples}"
    return f"{shown(said['at'])}  {said.get('who')}  {what}  {said.get('id')}{state}{_at_edges(said)}"


def _forecast(said: Mapping[str, Any]) -> list[str]:
    """What an order that was tried would do."""
    disk, memory = said["disk"], said["memory_alone"]
    about = "about " if disk["estimated"] else ""
    lines = [f"would purge {about}{_entries(said)}"]
    how = f", estimated from {disk['scanned']:.1%} of the records" if disk["estimated"] else ""
    lines.append(f"  on disk: {about}{_entries(disk)}{how}")
    if memory["entries"] or memory["of_workers"] > 1:
        whose = "" if memory["of_workers"] == 1 else f", as far as one of {memory['of_workers']} workers knows"
        lines.append(f"  only in RAM: {_entries(memory)}{whose}")
    for name, origin in said["origins"].items():
        cost = "" if origin["money"] is None else f", {_money(origin['money'])} {origin['currency']}"
        took = "" if (origin["seconds"] or 0.0) < 1.0 else f", {shown_duration(origin['seconds'])} at its limit"
        size, requests = shown_size(origin["bytes"]), origin["requests"]
        asked = f"{requests:,} request{'' if requests == 1 else 's'} to {name}"
        lines.append(f"  to fetch it again: {asked}, {size}{cost}{took}")
    return [*lines, *[f"note: {each}" for each in said["advice"]]]


def _money(amount: float) -> str:
    return "less than 0.01" if 0.0 < amount < 0.01 else f"{amount:.2f}"


def _entries(said: Mapping[str, Any]) -> str:
    return f"{said['entries']:,} {'entry' if said['entries'] == 1 else 'entries'}, {shown_size(said['bytes'])}"
