"""Reports of drills in their file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.drill import history as module
from shield.drill.history import DrillHistory


@pytest.fixture
def history(tmp_path: Path) -> DrillHistory:
    return DrillHistory(tmp_path / "drills.jsonl")


def entry(number: int, origin: str = "fra", **more: object) -> dict[str, object]:
    return {"origin": origin, "began_at": float(number), **more}


def test_entries_are_read_as_they_were_added(history: DrillHistory) -> None:
    assert history.read() == []

    for number in range(3):
        history.append(entry(number))

    assert history.read() == [entry(number) for number in range(3)]


@pytest.mark.parametrize(
    "torn", [b'{"origin": "fra", "beg', b"\xff\xfe\n", b"[]\n", b'{"origin": 1, "began_at": 2}\n', b"[" * 100_000]
)
def test_a_line_that_is_no_entry_is_left_out_and_spoils_no_other(history: DrillHistory, torn: bytes) -> None:
    history.append(entry(1))
    with history.path.open("ab") as file:
        file.write(torn)

    history.append(entry(2))

    assert history.read() == [entry(1), entry(2)]


def test_the_file_is_bounded_and_keeps_the_newest_and_the_last_proofs(
    history: DrillHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 4096)
    history.append(entry(0, "iad", is_first=True))
    history.append(entry(1, "iad", proved=True))
    for number in range(2, 500):
        history.append(entry(number, proved=number < 10))
        assert history.path.stat().st_size <= 4096 + 200

    entries = history.read()

    assert entries[:3] == [entry(0, "iad", is_first=True), entry(1, "iad", proved=True), entry(9, proved=True)]
    assert entries[-1] == entry(499, proved=False)
    numbers = [each["began_at"] for each in entries]
    assert numbers == sorted(numbers)


@given(st.integers(0, 400))
def test_whatever_part_of_it_is_left_the_rest_is_read(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    history = DrillHistory(tmp_path_factory.mktemp("drills") / "drills.jsonl")
    for number in range(8):
        history.append(entry(number, text="x" * 20))
    whole = history.path.read_bytes()
    history.path.write_bytes(whole[:size])

    entries = history.read()

    assert entries == [entry(number, text="x" * 20) for number in range(len(entries))]
    assert len(entries) >= whole[:size].count(b"\n")
    history.append(entry(99))
    assert history.read()[-1] == entry(99)
