"""Segment files: what is damaged is passed over, what is held stays readable."""

from __future__ import annotations

from pathlib import Path

import pytest

from shield.store.directory.files import Files
from shield.store.directory.record import ALIGN, DamagedError, checksums, encode, padding
from shield.store.directory.segments import START, Segments, SegmentWriter
from tests.store.faulty_files import FaultyFiles
from tests.store.ground import body, record


@pytest.fixture
def segments(tmp_path: Path) -> Segments:
    return Segments(Files(), tmp_path, max_open=3)


def append(writer: SegmentWriter, name: str, size: int = 1000) -> int:
    """Where the record begins."""
    offset, content = writer.end, body(name, size)
    header = encode(record(name, size), size, checksums([content]), seed=writer.segment.seed(offset))
    gap = padding(len(header) + size)
    writer.append([header, content, bytes(gap)], len(header) + size + gap)
    return offset


def names(segments: Segments, number: int, start: int = START, stop: int = 1 << 30) -> list[str]:
    segment = segments.open(number)
    return [h.record.key.text.decode()[2:] for _, h in segments.scan(segment, start, stop)]


def test_records_are_found_in_order(segments: Segments) -> None:
    writer = segments.create(1, worker=0, epoch=1)
    offsets = [append(writer, f"r{index}", 100 + 7000 * index) for index in range(60)]

    assert names(segments, 1) == [f"r{index}" for index in range(60)]
    assert all(offset % ALIGN == 0 for offset in offsets)
    assert names(segments, 1, offsets[10], offsets[12]) == ["r10", "r11"]


@pytest.mark.parametrize("damage", ["flip", "zero", "noise"])
def test_a_damaged_header_costs_its_record_alone(segments: Segments, damage: str) -> None:
    writer = segments.create(1, worker=0, epoch=1)
    offsets = [append(writer, f"r{index}", 300_000) for index in range(4)]
    bad = {"flip": b"\x00", "zero": bytes(400), "noise": b"\xf5ShR" * 100}[damage]
    Files().write(writer.segment.fd, [bad], offsets[1] + 20)

    assert names(segments, 1) == ["r0", "r2", "r3"]


def test_a_truncated_file_keeps_what_is_whole(segments: Segments) -> None:
    writer = segments.create(1, worker=0, epoch=1)
    offsets = [append(writer, f"r{index}") for index in range(3)]

    for length in range(offsets[2], writer.end, 97):
        Files().truncate(writer.segment.fd, length)
        assert names(segments, 1) == ["r0", "r1"][: 2 if length >= offsets[2] else 1]


def test_swapped_and_copied_records_are_none(segments: Segments) -> None:
    writer = segments.create(1, worker=0, epoch=1)
    first, second = append(writer, "aa"), append(writer, "bb")
    path, length = segments.path(1), second - first
    data = path.read_bytes()

    path.write_bytes(data[:first] + data[second : second + length] + data[first:second])

    assert names(segments, 1) == []


def test_a_record_inside_a_body_is_none_even_after_damage(segments: Segments) -> None:
    writer = segments.create(1, worker=0, epoch=1)
    planted = encode(record("evil", 0), 0, b"", seed=0)
    content = (planted + bytes(padding(len(planted)))) * 20
    offset = writer.end
    header = encode(record("host", 0), len(content), checksums([content]), seed=writer.segment.seed(offset))
    writer.append([header, content], len(header) + len(content))
    Files().write(writer.segment.fd, [b"\0"], offset + 9)

    assert names(segments, 1) == []


def test_a_held_segment_is_readable_after_its_unlink(segments: Segments) -> None:
    writer = segments.create(1, worker=0, epoch=1)
    append(writer, "a")
    segment = segments.open(1)
    del writer

    segments.unlink(1)

    data = bytearray(8)
    assert Files().read(segment.fd, [data], 0) == 8
    assert segments.opened(1) is None
    assert segments.numbers() == []


def test_no_more_files_than_allowed_stay_open(segments: Segments) -> None:
    for number in range(1, 10):
        segments.create(number, worker=0, epoch=1)

    for number in range(1, 10):
        segments.open(number)

    assert sum(segments.opened(number) is not None for number in range(1, 10)) <= 3


def test_files_that_others_removed_are_let_go(segments: Segments) -> None:
    segments.create(1, worker=0, epoch=1)
    segments.create(2, worker=0, epoch=1)
    segments.path(1).unlink()

    assert segments.alive() == {1, 2}
    assert segments.close_removed({1, 2}) == 1
    assert segments.alive() == {2}
    assert segments.opened(1) is None
    assert segments.opened(2) is not None


@pytest.mark.parametrize("at", range(0, 40, 3))
def test_a_file_with_another_header_is_no_segment(segments: Segments, at: int) -> None:
    segments.create(1, worker=0, epoch=1)
    segments.close()
    data = bytearray(segments.path(1).read_bytes())
    data[at] ^= 4
    segments.path(1).write_bytes(data)

    with pytest.raises(DamagedError):
        segments.open(1)


def test_a_failed_append_leaves_the_end_where_it_was(segments: Segments) -> None:
    faulty = FaultyFiles(2, error=28, only=frozenset({"write"}))
    own = Segments(faulty, segments.path(1).parent)
    writer = own.create(1, worker=0, epoch=1)
    end = writer.end

    with pytest.raises(OSError, match="space"):
        append(writer, "a")

    assert writer.end == end
    append(writer, "b")
    assert names(own, 1) == ["b"]
