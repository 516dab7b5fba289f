"""The journal of a node: orders that were given to it and to others, in SQLite.

An order is in it before anything is done, and stays so that nodes which were away can be told of it. All workers of
the node have it open. Each method is one transaction, on the disk once it returns; all of them block, and raise
StoreError if the file can't be used.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from shield.rules.spreading import MOST_ANSWERED, SpreadKind, SpreadMessage, SpreadOrder, advanced, within
from shield.sqlite import SqliteFile

KEEP_SECONDS = 30 * 86400.0
"""For which orders are remembered: entries are older than that only in nodes that were away for as long."""

MOST_KEPT = 100_000
"""Orders that are remembered; of more, the oldest are dropped."""

_VERSION = 1
_SKEW_SECONDS = 60.0  # by which clocks may differ: nodes refuse each other before that
_TICK_SECONDS = 1e-6
_COLUMNS = "node, sequence, before, id, at, who, kind, text"
_SCHEMA = """
CREATE TABLE orders (
    node TEXT NOT NULL, sequence INTEGER NOT NULL, before INTEGER NOT NULL, id TEXT NOT NULL, at REAL NOT NULL,
    who TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL, done INTEGER NOT NULL, holds INTEGER NOT NULL,
    PRIMARY KEY (node, sequence)
);
CREATE INDEX orders_by_id ON orders (id);
CREATE INDEX orders_undone ON orders (done) WHERE done = 0;
CREATE TABLE places (node TEXT PRIMARY KEY, position INTEGER NOT NULL, floor INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE acknowledged (node TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, said TEXT NOT NULL) WITHOUT ROWID;
"""
_PLACE = """
INSERT INTO places (node, position, floor) VALUES (:node, :position, :floor) ON CONFLICT (node) DO UPDATE SET
position = MAX(position, excluded.position), floor = MAX(floor, excluded.floor)
"""


@dataclass(frozen=True, slots=True)
class OrderWish:
    """An order that is to be given to the node. `holds`: it isn't forgotten by its age, as takedowns aren't."""

    id: str
    kind: SpreadKind
    text: str
    who: str
    holds: bool = False


@dataclass(frozen=True, slots=True)
class JournalState:
    """Positions and floors by node, and which positions others have acknowledged among this node's own orders."""

    positions: Mapping[str, int] = field(default_factory=dict)
    floors: Mapping[str, int] = field(default_factory=dict)
    acknowledged: Mapping[str, int] = field(default_factory=dict)
    newest: int = 0  # the sequence of the last of its own
    undone: int = 0  # orders that are known and not carried out


class OrderJournal:
    """The file at `path`, of the node with this name. `is_kept`: it is still there after a restart."""

    def __init__(self, path: Path, node: str, *, clock: Callable[[], float], is_kept: bool = True) -> None:
        self._file = SqliteFile(path, "journal of orders", _SCHEMA, _VERSION)
        self.node = node
        self.is_kept = is_kept
        self._clock = clock

    # orders of this node

    def append(self, wishes: Sequence[OrderWish]) -> list[SpreadOrder]:
        """Give these orders to the node, one after the other; returns them with their places.

        If there are orders of its own under the ids already, these are returned.
        """
        with self._file.transaction() as file:
            known = [self._find(file, wish.id) for wish in wishes]
            if known and all(order is not None for order in known):
                return [order for order in known if order is not None]
            now, before = self._moment(file), self._newest(file)
            made = []
            for wish in wishes:
                sequence = max(before + 1, int(now * 1_000_000))
                order = SpreadOrder(self.node, sequence, before, wish.id, now, wish.who, wish.kind, wish.text)
                self._insert(file, order, holds=wish.holds)
                made.append(order)
                before = sequence
            return made

    def own_since(self, sequence: int) -> list[SpreadOrder]:
        """The orders of this node after a sequence, as many as a message holds."""
        with self._file.transaction(writing=False) as file:
            query = f"SELECT {_COLUMNS} FROM orders WHERE node = ? AND sequence > ? ORDER BY sequence"
            return within(map(_read, file.execute(query, (self.node, sequence))))

    def newest_of(self, ids: Sequence[str]) -> dict[str, int]:
        """The sequences of this node's orders with these ids; of one that was given in parts, that of the last."""
        found = {}
        with self._file.transaction(writing=False) as file:
            query = "SELECT MAX(sequence) FROM orders WHERE node = ? AND (id = ? OR id GLOB ?)"
            for each in ids:
                (sequence,) = file.execute(query, (self.node, each, f"{each}@[0-9]*")).fetchone()
                if sequence is not None:
                    found[each] = sequence
        return found

    def acknowledge(self, node: str, position: int) -> None:
        """Another node has carried out the orders of this one up to there."""
        with self._file.transaction() as file:
            self._acknowledge(file, node, position)

    # orders of all nodes

    def add(self, orders: Sequence[SpreadOrder], *, holding: Collection[tuple[str, int]] = ()) -> list[SpreadOrder]:
        """Take orders from elsewhere; returns those that are to be carried out. `holding` are those that aren't
        forgotten by their age.
        """
        if not orders:
            return []
        with self._file.transaction() as file:
            for order in orders:
                if order.sequence > self._place(file, order.node)[1]:
                    self._insert(file, order, holds=order.place in holding)
            found = [self._is_undone(file, order) for order in orders]
            return [order for order, is_undone in zip(orders, found, strict=True) if is_undone]

    def complete(self, orders: Sequence[SpreadOrder], facts: Mapping[str, str] | None = None) -> None:
        """These orders were carried out; facts are noted with that."""
        if not orders and not facts:
            return
        with self._file.transaction() as file:
            _note(file, facts or {})
            places = [order.place for order in orders]
            file.executemany("UPDATE orders SET done = 1 WHERE node = ? AND sequence = ?", places)
            for node in {order.node for order in orders}:
                self._advance(file, node)

    def undone(self, most: int = 1000) -> list[SpreadOrder]:
        """Orders that are known and weren't carried out, the oldest first."""
        with self._file.transaction(writing=False) as file:
            return self._select(file, "WHERE done = 0 ORDER BY at, node, sequence LIMIT ?", (most,))

    def wanted(self, orders: Sequence[SpreadOrder]) -> list[SpreadOrder]:
        """Those of these that are known and weren't carried out."""
        if not orders:
            return []
        with self._file.transaction(writing=False) as file:
            return [order for order in orders if self._is_undone(file, order)]

    def later(self, order: SpreadOrder, kinds: Sequence[SpreadKind]) -> list[SpreadOrder]:
        """Orders of these kinds that are later than this one, by their moments."""
        marks = ", ".join("?" * len(kinds))
        with self._file.transaction(writing=False) as file:
            found = self._select(
                file, f"WHERE at >= ? AND kind IN ({marks})", (order.at, *[kind.value for kind in kinds])
            )
        return [each for each in found if each.moment > order.moment]

    def release(self, places: Sequence[tuple[str, int]]) -> None:
        """These orders may be forgotten by their age."""
        with self._file.transaction() as file:
            file.executemany("UPDATE orders SET holds = 0 WHERE node = ? AND sequence = ?", places)

    def holding(self) -> list[SpreadOrder]:
        """Orders that aren't forgotten by their age."""
        with self._file.transaction(writing=False) as file:
            return self._select(file, "WHERE holds = 1 ORDER BY at", ())

    # exchange

    def state(self) -> JournalState:
        with self._file.transaction(writing=False) as file:
            return self._state(file)

    def digests(self) -> tuple[bytes, bytes]:
        """Of the orders that were carried out here, and of all that are known here: equal at nodes with the same."""
        with self._file.transaction(writing=False) as file:
            places = [place for place in self._positions(file) if place[1]]
            query = "SELECT sequence, done FROM orders WHERE node = ? AND sequence > ? ORDER BY sequence"
            ahead = [
                (node, sequence, done)
                for node, position in self._positions(file)
                for sequence, done in file.execute(query, (node, position))
            ]
        done = repr((places, [row[:2] for row in ahead if row[2]])).encode()
        known = repr((places, [row[:2] for row in ahead])).encode()
        return xxhash.xxh3_64_hexdigest(done).encode(), xxhash.xxh3_64_hexdigest(known).encode()

    def since(self, positions: Mapping[str, int], most: int = MOST_ANSWERED) -> list[SpreadOrder]:
        """Orders that a node with these positions lacks, as many as a message holds."""
        with self._file.transaction(writing=False) as file:
            return self._since(file, positions, most)

    def message(self, positions: Mapping[str, int] | None = None) -> SpreadMessage:
        """What this node says to one with these positions; None: they aren't known."""
        with self._file.transaction(writing=False) as file:
            state = self._state(file)
            orders = [] if positions is None else self._since(file, positions, MOST_ANSWERED)
            return SpreadMessage(self.node, state.positions, state.floors, orders)

    def skip(self, places: Mapping[str, int]) -> None:
        """Orders up to there are lost: go on behind them."""
        with self._file.transaction() as file:
            for node, position in places.items():
                file.execute(_PLACE, {"node": node, "position": position, "floor": position})
                self._advance(file, node)

    def gaps(self) -> dict[str, int]:
        """Of which nodes something is missing before an order that is known, and up to where."""
        found = {}
        with self._file.transaction(writing=False) as file:
            for node, position in self._positions(file):
                query = "SELECT before FROM orders WHERE node = ? AND sequence > ? ORDER BY sequence LIMIT 1"
                first = file.execute(query, (node, position)).fetchone()
                if first is not None and first[0] > position:
                    found[node] = first[0]
        return found

    # facts

    def fact(self, name: str) -> str:
        """What was noted under a name; nothing if there is nothing."""
        with self._file.transaction(writing=False) as file:
            return _fact(file, name)

    def facts(self, names: Sequence[str]) -> list[str]:
        """Several of them."""
        with self._file.transaction(writing=False) as file:
            return [_fact(file, name) for name in names]

    def note(self, facts: Mapping[str, str]) -> None:
        with self._file.transaction() as file:
            _note(file, facts)

    def trim(self) -> None:
        """Forget what needn't be remembered. To be called once an hour or so."""
        old = self._clock() - KEEP_SECONDS
        with self._file.transaction() as file:
            (count,) = file.execute("SELECT COUNT(*) FROM orders").fetchone()
            if count > MOST_KEPT:
                (at,) = file.execute(
                    "SELECT at FROM orders ORDER BY at LIMIT 1 OFFSET ?", (count - MOST_KEPT,)
                ).fetchone()
                old = max(old, at)
            gone = "at < ? AND done = 1 AND holds = 0"
            for node, newest in file.execute(
                f"SELECT node, MAX(sequence) FROM orders WHERE {gone} GROUP BY node", (old,)
            ).fetchall():
                position = self._place(file, node)[0]
                floor = min(newest, position)
                file.execute(_PLACE, {"node": node, "position": position, "floor": floor})
                file.execute(f"DELETE FROM orders WHERE node = ? AND sequence <= ? AND {gone}", (node, floor, old))
                # What stays of them can be told of, though what was before it can't any more; the floor says that.
                file.execute("UPDATE orders SET before = 0 WHERE node = ? AND sequence <= ?", (node, floor))

    # within a transaction

    def _find(self, file: sqlite3.Connection, order_id: str) -> SpreadOrder | None:
        found = self._select(file, "WHERE id = ? AND node = ? ORDER BY sequence DESC LIMIT 1", (order_id, self.node))
        return found[0] if found else None

    def _newest(self, file: sqlite3.Connection) -> int:
        query = "SELECT MAX(sequence) FROM orders WHERE node = ?"
        return max(file.execute(query, (self.node,)).fetchone()[0] or 0, *self._place(file, self.node))

    def _moment(self, file: sqlite3.Connection) -> float:
        """The time of a new order, epoch seconds: later than those of all that are known here, though clocks differ,
        so that of contrary orders the one holds that was given knowing the other.
        """
        now, query = self._clock(), "SELECT at FROM orders WHERE node = ? ORDER BY sequence DESC LIMIT 1"
        newest = [file.execute(query, (node,)).fetchone() for node, _ in self._positions(file)]
        known: list[float] = [found[0] for found in newest if found is not None and found[0] <= now + _SKEW_SECONDS]
        return max([now, *[at + _TICK_SECONDS for at in known]])

    def _positions(self, file: sqlite3.Connection) -> list[tuple[str, int]]:
        return file.execute("SELECT node, position FROM places ORDER BY node").fetchall()

    def _place(self, file: sqlite3.Connection, node: str) -> tuple[int, int]:
        """Position and floor."""
        found = file.execute("SELECT position, floor FROM places WHERE node = ?", (node,)).fetchone()
        return (0, 0) if found is None else (found[0], found[1])

    def _insert(self, file: sqlite3.Connection, order: SpreadOrder, *, holds: bool) -> None:
        row = (*order.place, order.before, order.id, order.at, order.who, order.kind.value, order.text, int(holds))
        file.execute(f"INSERT OR IGNORE INTO orders ({_COLUMNS}, done, holds) VALUES (?,?,?,?,?,?,?,?,0,?)", row)
        file.execute(_PLACE, {"node": order.node, "position": 0, "floor": 0})

    def _is_undone(self, file: sqlite3.Connection, order: SpreadOrder) -> bool:
        found = file.execute("SELECT done FROM orders WHERE node = ? AND sequence = ?", order.place).fetchone()
        return found is not None and not found[0]

    def _advance(self, file: sqlite3.Connection, node: str) -> None:
        """Let the position follow what was carried out."""
        position = self._place(file, node)[0]
        rows = file.execute(
            "SELECT sequence, before, done FROM orders WHERE node = ? AND sequence > ? ORDER BY sequence",
            (node, position),
        )
        ready = []
        for sequence, before, done in rows:
            if not done:
                break
            ready.append((sequence, before))
        file.execute(_PLACE, {"node": node, "position": advanced(position, ready), "floor": 0})

    def _acknowledge(self, file: sqlite3.Connection, node: str, position: int) -> None:
        file.execute(
            "INSERT INTO acknowledged (node, position) VALUES (?, ?)"
            " ON CONFLICT (node) DO UPDATE SET position = MAX(position, excluded.position)",
            (node, position),
        )

    def _state(self, file: sqlite3.Connection) -> JournalState:
        places = file.execute("SELECT node, position, floor FROM places").fetchall()
        return JournalState(
            {node: position for node, position, _ in places if position},
            {node: floor for node, _, floor in places if floor},
            dict(file.execute("SELECT node, position FROM acknowledged").fetchall()),
            self._newest(file),
            file.execute("SELECT COUNT(*) FROM orders WHERE done = 0").fetchone()[0],
        )

    def _since(self, file: sqlite3.Connection, positions: Mapping[str, int], most: int) -> list[SpreadOrder]:
        def lacking() -> Iterator[SpreadOrder]:
            for node, _ in self._positions(file):
                rows = file.execute(
                    f"SELECT {_COLUMNS} FROM orders WHERE node = ? AND sequence > ? ORDER BY sequence",
                    (node, positions.get(node, 0)),
                )
                yield from map(_read, rows)

        return within(lacking(), most)

    def _select(self, file: sqlite3.Connection, rest: str, values: Sequence[object]) -> list[SpreadOrder]:
        return [_read(row) for row in file.execute(f"SELECT {_COLUMNS} FROM orders {rest}", values)]


def _read(row: Sequence[object]) -> SpreadOrder:
    node, sequence, before, order_id, at, who, kind, text = row
    assert isinstance(sequence, int) and isinstance(before, int) and isinstance(at, float)
    return SpreadOrder(str(node), sequence, before, str(order_id), at, str(who), SpreadKind(str(kind)), str(text))


def _fact(file: sqlite3.Connection, name: str) -> str:
    found = file.execute("SELECT said FROM facts WHERE name = ?", (name,)).fetchone()
    return "" if found is None else str(found[0])


def _note(file: sqlite3.Connection, facts: Mapping[str, str]) -> None:
    file.executemany("INSERT OR REPLACE INTO facts (name, said) VALUES (?, ?)", list(facts.items()))
