"""Takedowns on disk: the last word on a key counts, whatever a crash did to the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import StoreError
from shield.rules.routes import cache_key
from shield.store.takedowns import FILE, record, recorded

A, B = cache_key(b"", b"/a", b""), cache_key(b"s1", b"/b", b"w=1")


def test_the_last_word_on_a_key_counts(tmp_path: Path) -> None:
    record(tmp_path, [A, B], 100.0)
    record(tmp_path, [A], 101.0, lifted=True)

    assert recorded(tmp_path) == [B.digest]
    assert b"s1:/b?w=1" in (tmp_path / FILE).read_bytes()  # for people
    record(tmp_path, [A], 102.0)
    assert set(recorded(tmp_path)) == {A.digest, B.digest}


def test_it_is_an_error_if_it_cant_be_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"takedowns: can't be written: No such file.*until the node restarts"):
        record(tmp_path / "gone", [A], 100.0)
    assert recorded(tmp_path / "gone") == []


def test_a_file_that_cant_be_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).mkdir()

    assert recorded(tmp_path) == []
    assert "objects that were taken down may come back" in caplog.text


@given(cut=st.integers(0, 120), junk=st.binary(max_size=30))
def test_a_torn_line_costs_only_itself(tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes) -> None:
    place = tmp_path_factory.mktemp("torn")
    record(place, [A], 100.0)
    whole = (place / FILE).read_bytes()
    record(place, [B], 101.0)
    (place / FILE).write_bytes((place / FILE).read_bytes()[: len(whole) + cut] + b"\n" + junk)

    record(place, [B], 102.0)

    assert set(recorded(place)) == {A.digest, B.digest}
