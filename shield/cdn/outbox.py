"""Calls of CDNs' APIs that are still to be made, on disk: all workers of a node add to it, one of them sends."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from shield.rules.edge_purge import EdgeCall, EdgePlan
from shield.sqlite import SqliteFile

MOST_WAITING = 100_000
"""Calls that wait for one CDN. Beyond that its API has been away for long, and orders aren't passed on."""

KEPT_SECONDS = 7 * 86400.0
"""How long an order's state is known, and how long its calls are tried."""

_VERSION = 1
_PATIENCE_SECONDS = 2.0
_ROUNDS = (1, 2)

_SCHEMA = """
CREATE TABLE passed (
    id TEXT NOT NULL, edge TEXT NOT NULL, at REAL NOT NULL, held REAL NOT NULL, notes TEXT NOT NULL,
    calls INTEGER NOT NULL, failed INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (id, edge)
);
CREATE TABLE calls (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, edge TEXT NOT NULL, round INTEGER NOT NULL,
    due REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, call TEXT NOT NULL
);
CREATE INDEX calls_by_edge ON calls (edge, due);
CREATE INDEX calls_by_id ON calls (id, edge);
"""


@dataclass(frozen=True, slots=True)
class EdgeStatus:
    """What became of an order at a CDN. `state`: `queued`; `sent`, and sent again later; `done`; `failed`, in part at
    least; `refused`, since the CDN can do nothing of it; `lost`, since it couldn't be queued.
    """

    state: str
    notes: tuple[str, ...] = ()

    def shown(self) -> dict[str, object]:
        """As JSON has it."""
        return {"state": self.state, "notes": list(self.notes)}


@dataclass(frozen=True, slots=True)
class EdgeWish:
    """An order for a CDN: a plan for each time that it is sent, and when that is `due`, until `release` says
    otherwise."""

    edge: str
    plans: tuple[EdgePlan, ...]
    due: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class QueuedCall:
    """A call of an order; `attempts` have failed."""

    number: int
    id: str
    edge: str
    attempts: int
    call: EdgeCall


@dataclass(frozen=True, slots=True)
class HandedCall:
    """A call that another node is to make, or makes for another one: the first or second `round` of an order, `due`
    then, epoch seconds. `notes` are those on its order.
    """

    number: int
    id: str
    edge: str
    round: int
    due: float
    notes: tuple[str, ...]
    call: EdgeCall


class EdgeOutbox:
    """One file, made for the first order. Each method opens it anew, blocks, and raises StoreError."""

    def __init__(self, place: Callable[[], Path], *, is_kept: bool = True) -> None:
        """`place` says where, once it is needed. `is_kept`: it is still there after a restart."""
        self._place = place
        self.is_kept = is_kept

    @cached_property
    def _file(self) -> SqliteFile:
        return SqliteFile(self._place(), "purges for CDNs", _SCHEMA, _VERSION, patience=_PATIENCE_SECONDS)

    def add(self, order_id: str, wishes: Sequence[EdgeWish], at: float) -> tuple[bool, list[str]]:
        """Queue an order's calls for CDNs, in one go; whether it is new at any of them, and those that don't get it,
        since too many calls wait for them.
        """
        is_new, full = False, list[str]()
        with self._file.transaction() as file:
            for wish in wishes:
                edge, first = wish.edge, wish.plans[0]
                (waiting,) = file.execute("SELECT COUNT(*) FROM calls WHERE edge = ?", (edge,)).fetchone()
                if waiting + len(first.calls) > MOST_WAITING:
                    full.append(edge)
                    continue
                row = (order_id, edge, at, wish.due[0], json.dumps(first.notes), len(first.calls))
                found = file.execute(
                    "INSERT OR IGNORE INTO passed (id, edge, at, held, notes, calls) VALUES (?,?,?,?,?,?)", row
                )
                if not found.rowcount:
                    continue
                is_new = True
                for each, plan, when in zip(_ROUNDS, wish.plans, wish.due, strict=False):
                    file.executemany(
                        "INSERT INTO calls (id, edge, round, due, call) VALUES (?,?,?,?,?)",
                        [(order_id, edge, each, when, call.plain()) for call in plan.calls],
                    )
        return is_new, full

    def release(self, order_id: str, now: float) -> None:
        """An order was carried out: it is due now, and once more as long after as was said."""
        with self._file.transaction() as file:
            file.execute(
                "UPDATE calls SET due = ? + due - (SELECT held FROM passed WHERE passed.id = calls.id"
                " AND passed.edge = calls.edge) WHERE id = ?",
                (now, order_id),
            )

    def withdraw(self, order_id: str) -> None:
        """Forget an order, which was refused."""
        with self._file.transaction() as file:
            file.execute("DELETE FROM calls WHERE id = ?", (order_id,))
            file.execute("DELETE FROM passed WHERE id = ?", (order_id,))

    def due(self, edge: str, now: float, most: int) -> list[QueuedCall]:
        """Calls to be made, in the order in which they were queued."""
        if not self._file.path.exists():
            return []
        with self._file.transaction(writing=False) as file:
            rows = file.execute(
                "SELECT number, id, edge, attempts, call FROM calls"
                " WHERE edge = ? AND due <= ? ORDER BY number LIMIT ?",
                (edge, now, most),
            ).fetchall()
        return [QueuedCall(number, id_, name, attempts, EdgeCall.read(c)) for number, id_, name, attempts, c in rows]

    def made(self, calls: Sequence[QueuedCall]) -> None:
        """The CDN took them."""
        with self._file.transaction() as file:
            file.executemany("DELETE FROM calls WHERE number = ?", [(call.number,) for call in calls])

    def delayed(self, calls: Sequence[QueuedCall]) -> None:
        """An attempt failed."""
        with self._file.transaction() as file:
            numbers = [(call.number,) for call in calls]
            file.executemany("UPDATE calls SET attempts = attempts + 1 WHERE number = ?", numbers)

    def given_up(self, calls: Sequence[QueuedCall]) -> None:
        """They aren't tried again."""
        with self._file.transaction() as file:
            for call in calls:
                file.execute("DELETE FROM calls WHERE number = ?", (call.number,))
                file.execute("UPDATE passed SET failed = failed + 1 WHERE id = ? AND edge = ?", (call.id, call.edge))

    def waiting(self) -> Mapping[str, int]:
        """The calls that wait, by CDN."""
        if not self._file.path.exists():
            return {}
        with self._file.transaction(writing=False) as file:
            return dict(file.execute("SELECT edge, COUNT(*) FROM calls GROUP BY edge").fetchall())

    def remaining(self) -> list[HandedCall]:
        """All calls that wait, those of an order together."""
        if not self._file.path.exists():
            return []
        with self._file.transaction(writing=False) as file:
            rows = file.execute(
                "SELECT number, calls.id, calls.edge, round, due, notes, call FROM calls"
                " JOIN passed ON passed.id = calls.id AND passed.edge = calls.edge ORDER BY calls.id, number"
            ).fetchall()
        return [
            HandedCall(number, id_, edge, round_, due, tuple(json.loads(notes)), EdgeCall.read(call))
            for number, id_, edge, round_, due, notes, call in rows
        ]

    def handed(self, calls: Sequence[HandedCall], note: str) -> None:
        """Another node makes these from now on."""
        with self._file.transaction() as file:
            file.executemany("DELETE FROM calls WHERE number = ?", [(call.number,) for call in calls])
            places = {(call.id, call.edge): json.dumps([*call.notes, note]) for call in calls}
            file.executemany(
                "UPDATE passed SET notes = ? WHERE id = ? AND edge = ?",
                [(notes, *place) for place, notes in places.items()],
            )

    def take(self, calls: Sequence[HandedCall], at: float) -> int:
        """Queue another node's calls: all of them, or none if too many wait; how many."""
        with self._file.transaction() as file:
            (waiting,) = file.execute("SELECT COUNT(*) FROM calls").fetchone()
            if waiting + len(calls) > MOST_WAITING:
                return 0
            counts: dict[tuple[str, str, str], int] = {}
            for call in calls:
                place = call.id, call.edge, json.dumps(call.notes)
                counts[place] = counts.get(place, 0) + 1
            file.executemany(
                "INSERT OR IGNORE INTO passed (id, edge, at, held, notes, calls) VALUES (?,?,?,?,?,?)",
                [(id_, edge, at, at, notes, count) for (id_, edge, notes), count in counts.items()],
            )
            file.executemany(
                "INSERT INTO calls (id, edge, round, due, call) VALUES (?,?,?,?,?)",
                [(call.id, call.edge, call.round, call.due, call.call.plain()) for call in calls],
            )
        return len(calls)

    def prune(self, now: float) -> int:
        """Forget orders that are older than `KEPT_SECONDS`; the number of their calls that were never made."""
        if not self._file.path.exists():
            return 0
        with self._file.transaction() as file:
            old = now - KEPT_SECONDS
            late = file.execute(
                "DELETE FROM calls WHERE EXISTS"
                " (SELECT 1 FROM passed WHERE passed.id = calls.id AND passed.edge = calls.edge AND at < ?)",
                (old,),
            )
            file.execute("DELETE FROM passed WHERE at < ?", (old,))
            return late.rowcount

    def statuses(self, order_ids: Sequence[str]) -> Mapping[str, Mapping[str, EdgeStatus]]:
        """Of these orders, by id and CDN; those that aren't known are left out."""
        found: dict[str, dict[str, EdgeStatus]] = {}
        if not self._file.path.exists():
            return found
        with self._file.transaction(writing=False) as file:
            for order_id in order_ids:
                rows = file.execute(
                    "SELECT edge, notes, calls, failed, (SELECT MIN(round) FROM calls WHERE calls.id = passed.id"
                    " AND calls.edge = passed.edge) FROM passed WHERE id = ?",
                    (order_id,),
                )
                for edge, notes, calls, failed, first in rows:
                    state = "refused" if not calls else "queued" if first == 1 else "failed" if failed else "done"
                    state = "sent" if first == 2 and not failed else state
                    found.setdefault(order_id, {})[edge] = EdgeStatus(state, tuple(json.loads(notes)))
        return found
