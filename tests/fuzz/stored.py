"""What lies on disks and in shared memory: records, segments, exports, the index, small files. All of it is what was
written there, or known not to be.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import xxhash

from shield import shared
from shield.rules.freshness import Freshness
from shield.rules.routes import cache_key
from shield.store.directory import claim, values
from shield.store.directory.change import key_of, number_of, segment_of
from shield.store.directory.files import Files
from shield.store.directory.record import (
    ALIGN,
    FORMAT,
    DamagedError,
    ForeignError,
    Record,
    RecordKind,
    Whole,
    checksums,
    decode,
    encode,
    header_length,
    lengths,
    padding,
    read_whole,
)
from shield.store.directory.segments import START, Segment, Segments
from shield.store.directory.values import IndexDamagedError
from shield.store.upkeep import moving
from shield.store.upkeep.moving import Import, NoExportError
from tests.fuzz.target import Target, parts

SEED, SALT, EPOCH = 7, 0x1122334455667788, 3
MASK = (1 << 64) - 1
PACKED: tuple[tuple[Callable[[bytes], Any], Callable[[Any], bytes]], ...] = (
    (values.unpack_found, values.pack_found),
    (values.unpack_row, values.pack_row),
    (values.unpack_counters, values.pack_counters),
    (values.unpack_removal, lambda removal: values.pack_removal(*removal)),
)


def made(name: str, body: bytes, kind: RecordKind = RecordKind.WHOLE) -> Record:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n" % len(body)
    times = Freshness(1000.0, 3600.0, 30.0, 86400.0)
    key = cache_key(b"", b"/" + name.encode(), b"")
    return Record(kind, key, times, head, etag=b'"a"', origin="fra", tags=b"x\ny", total=len(body), sequence=9)


def encoded(record: Record, body: bytes, seed: int) -> bytes:
    return encode(record, len(body), checksums([body]), seed=seed & MASK) + body


SAMPLES = [
    (made("a", b"hello"), b"hello"),
    (made("empty", b""), b""),
    (made("big", b"", RecordKind.HEAD), b""),
    (replace(made("big", b"xyz" * 40, RecordKind.SLICE), head=b"", slice=1), b"xyz" * 40),
    (replace(made("plain", b"1"), etag=None, origin=None, tags=b"", last_modified=5.0, no_cache=True), b"1"),
]


def _laid_out(beginning: bytes, salt: int) -> tuple[bytes, dict[int, bytes]]:
    """Records one after another behind a header, each for its own place; and what lies where."""
    data, known = beginning.ljust(START, b"\0"), {}
    for record, body in SAMPLES:
        known[len(data)] = encoded(record, body, salt + len(data))
        data += known[len(data)]
        data += bytes(padding(len(data)))
    return data, known


def check_record(data: bytes) -> None:
    """Of bytes as they come: a record that was written, or none."""
    try:
        header = decode(data, seed=SEED)
    except DamagedError:
        pass
    else:
        if data[: header.header_length] not in HEADERS:
            return  # forged
        length = header.header_length
        assert lengths(data) == (length, header.body_length)
        table = data[length - 8 * -(-header.body_length // (64 << 10)) : length]
        assert encode(header.record, header.body_length, table, seed=SEED) == data[:length]
        assert header.stored_head().block == header.record.head == header.head
        _is_whole(data, header.record)
    try:
        lengths(data)
        lengths(data, 1)
    except DamagedError:
        pass
    _survives(data)


def _is_whole(data: bytes, record: Record) -> None:
    try:
        whole = _in_two(data, lengths(data)[0], record)
    except (DamagedError, ForeignError):
        return
    header = decode(data, seed=SEED)
    header.check(whole.body)
    assert (bytes(whole.head), whole.no_cache) == (record.head, record.no_cache)


def _in_two(data: bytes, length: int, record: Record) -> Whole:
    """A record of which this much is its header, read as for a hit."""
    return read_whole(
        bytearray(data[:length]), bytearray(data[length:]), record.key, sequence=record.sequence, seed=SEED
    )


def _survives(data: bytes) -> None:
    """A record made of these bytes, and what is left of it when one bit is another."""
    text, head, etag, tags = parts(data, 4)
    record = replace(made("a", b""), head=head, etag=etag, tags=tags, status=zlib.crc32(data) & 0x3FF)
    record.key = cache_key(b"", text, b"")
    if max(map(len, (text, head, etag, tags))) > 0xFFFF:
        return
    good = encoded(record, data, SEED)
    header = decode(good, seed=SEED)
    assert header.record == record
    header.check(data)
    whole = _in_two(good, header.header_length, record)
    assert (bytes(whole.head), bytes(whole.body)) == (head, data)

    bit = zlib.crc32(good) % (len(good) * 8)
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    try:
        decode(bad, seed=SEED).check(bad[header.header_length :])
    except DamagedError:
        return
    raise AssertionError(f"bit {bit} doesn't count")


class Memory(Files):
    """A system with one file, of which nothing but its bytes counts."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def read(self, fd: int, parts: Sequence[bytearray | memoryview], offset: int) -> int:
        done = 0
        for part in parts:
            piece = self._data[offset + done : offset + done + len(part)]
            part[: len(piece)] = piece
            done += len(piece)
        return done

    def open(self, path: Path, *, write: bool = False, create: bool = False) -> int:
        return -1

    def size(self, path: Path) -> int:
        return len(self._data)

    def close(self, fd: int) -> None:
        pass


@cache
def _segment() -> tuple[bytes, dict[int, bytes]]:
    header = struct.pack("<8sHHIQQ", b"ShSegmnt", FORMAT, 0, 1, SALT, EPOCH)
    return _laid_out(header + xxhash.xxh3_64_digest(header), SALT)


def check_segment(data: bytes) -> None:
    """A scan finds what is whole, all of it, and nothing else."""
    good, known = _segment()
    if _has_forged(data, good):
        return
    files = Memory(data)
    there = Segments(files, Path("/nowhere"))
    try:
        opened = there.open(1)
        assert data[:40] != good[:40] or (opened.salt, opened.epoch) == (SALT, EPOCH)
    except DamagedError:
        assert data[:40] != good[:40]

    found = there.scan(Segment(files, 1, -1, SALT, EPOCH), START, len(data))
    places = {offset: header.header_length + header.body_length for offset, header in found}
    intact = {}
    for offset, whole in known.items():
        length = lengths(whole)[0]
        if data[offset : offset + length] == whole[:length] and offset + len(whole) <= len(data):
            intact[offset] = len(whole)
    assert places == intact


def _has_forged(data: bytes, good: bytes) -> bool:
    """Whether there are right checksums on something else than was written: libFuzzer makes them, seeing what is
    compared.
    """
    for offset in range(START, len(data) - 32, ALIGN):
        checksum, length = struct.unpack_from("<Q8xI", data, offset)
        as_record = xxhash.xxh3_64_intdigest(data[offset + 8 : offset + length], seed=(SALT + offset) & MASK)
        as_end = xxhash.xxh3_64_digest(data[offset : offset + 24], seed=SALT)
        if as_record == checksum and data[offset : offset + length] != good[offset : offset + length]:
            return True
        if as_end == data[offset + 24 : offset + 32] and data[offset : offset + 32] != good[offset : offset + 32]:
            return True
    return False


@cache
def _export() -> tuple[bytes, dict[int, bytes]]:
    header = struct.pack("<8sHHIQ", b"ShExport", moving.VERSION, FORMAT, 0, SALT)
    data, known = _laid_out(header + xxhash.xxh3_64_digest(header), SALT)
    end = struct.pack("<8sQQ", b"ShExpEnd", len(known), len(data))
    return data + (end + xxhash.xxh3_64_digest(end, seed=SALT)).ljust(ALIGN, b"\0"), known


def check_export(data: bytes) -> None:
    """What comes out of a file is what is whole in it, and it is complete if its end is there."""
    good, known = _export()
    try:
        source = Import(io.BytesIO(data))
    except NoExportError:
        assert data[:32] != good[:32]
        return
    if data[:32] != good[:32] or _has_forged(data, good):
        return

    drafts = list(source.drafts(1 << 20))
    taken = [(draft.record, b"".join(map(bytes, draft.body))) for draft in drafts]
    intact = [
        sample
        for sample, (offset, whole) in zip(SAMPLES, known.items(), strict=True)
        if data[offset : offset + len(whole)] == whole
    ]
    assert taken == intact
    end = good[-ALIGN:].rstrip(b"\0")
    assert source.complete == (len(data) >= len(good) and data[len(good) - ALIGN :].startswith(end))
    assert source.read_bytes <= len(data)
    assert source.too_large == 0
    assert 0 <= source.damaged <= 1 + len(data) // ALIGN
    assert bool(source.damaged) or not source.complete or len(taken) == len(SAMPLES)


def check_removals(data: bytes) -> None:
    """Texts that workers tell each other of, and frames that may be anything."""
    texts = shared._texts(data)
    if texts is not None:
        assert _framed(texts) == data

    told = data.split(b"\n")
    frames = _framed(told)
    assert shared._texts(frames) == told
    cut = shared._texts(frames[: zlib.crc32(data) % (len(frames) + 1)])
    assert cut is None or cut == told[: len(cut)]
    log = shared.Shared(slots=2, log_bytes=64)
    log.publish([b"before"])
    before, after = log.publish(told)
    assert log.removed_since(before, after) == (told if len(frames) <= 64 else None)


def _framed(texts: Sequence[bytes]) -> bytes:
    return b"".join([struct.pack("<II", len(text), xxhash.xxh32_intdigest(text)) + text for text in texts])


def check_values(data: bytes) -> None:
    """What the index holds: as it was packed, or damaged. Sealed anew, any bytes of the right length are a value."""
    for value in (data, xxhash.xxh3_64_digest(data)[::-1] + data):
        for unpack, pack in PACKED:
            try:
                found = unpack(value)
            except IndexDamagedError:
                continue
            assert pack(found) == value
            _is_damaged(unpack, bytes([value[0] ^ 1]) + value[1:])
            _is_damaged(unpack, value[:-1] + bytes([value[-1] ^ 0x80]))
    for read in (number_of, segment_of):
        try:
            number = read(data)
        except IndexDamagedError:
            continue
        assert -1 <= number < 1 << 32
        assert len(data) == 4 or key_of(data[:16], None if number < 0 else number) == data


def _is_damaged(unpack: Callable[[bytes], object], value: bytes) -> None:
    try:
        unpack(value)
    except IndexDamagedError:
        return
    raise AssertionError("it is taken for good")


def check_state(data: bytes) -> None:
    """A small file in JSON that may be garbage."""
    fields = claim._fields(data)

    assert all(isinstance(name, str) for name in fields)


def _damaged(data: bytes) -> tuple[bytes, ...]:
    """The same with something done to it."""
    flipped = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in (20, 70, 200, len(data) - 70)]
    return (data, *flipped, data[:300], data[:-8], data[:128] + data[192:], data[:64] + bytes(64) + data[64:])


HEADERS = {encoded(record, body, SEED)[: header_length(record, len(body))] for record, body in SAMPLES}
RECORDS = tuple(encoded(record, body, SEED) for record, body in SAMPLES)
VALUES = (
    values.pack_found(
        values.Found(0, 200, 1, 2, 300, 5, 9, 1 << 63, 5, 7, 1.0, 2.0, 3.0, 4.0, 5.0, b"HTTP/1.1 200 OK")
    ),
    values.pack_row(values.Row(1, 2, 3, 4)),
    values.pack_counters(values.IndexCounters(epoch=1, sequence=2)),
    values.pack_removal(3, b"0123456789abcdef"),
)

TARGETS = {
    "record": Target(
        check_record,
        (
            *itertools.chain(*[(record, record[:-1], record + b"x") for record in RECORDS]),
            b"text\nhead\netag\ntags\nbody",
        ),
        (b"\n", b"\xf5ShR", b"\0" * 8, b"\xff" * 4),
    ),
    "segment": Target(check_segment, _damaged(_segment()[0]), (b"\xf5ShR", b"\0" * 64, b"ShSegmnt", RECORDS[0])),
    "export": Target(check_export, _damaged(_export()[0]), (b"\xf5ShR", b"\0" * 64, b"ShExpEnd", RECORDS[0])),
    "removals": Target(
        check_removals,
        (_framed([b":/a", b"", b"s:/b?c=d"]), _framed([b":/a"])[:-1], b":/a\n:/b\n\n", b"", b"x" * 57),
        (b"\n", b"\0" * 8, b"\xff\xff\xff\xff", _framed([b":/a"])),
    ),
    "values": Target(
        check_values, (*VALUES, *[value[8:] for value in VALUES], bytes(20), bytes(4)), (b"\0" * 8, b"\xff")
    ),
    "state": Target(
        check_state,
        (
            b'{"format": 2, "boot": "b1", "clean": true, "epoch": 7, "shared": false}',
            b'{"boot": "b1", "count": 1e999, "epoch": NaN}',
            b"[1, 2]",
            b'{"a": "\\ud800"}',
            b"\xff\xfe{\x00}\x00",
            b"1" * 4096,
            b"[" * 4096,
        ),
        (b"{", b"}", b'"', b":", b",", b"[", b"null", b"1e5", b"\\u0000", b"\xef\xbb\xbf"),
    ),
}
