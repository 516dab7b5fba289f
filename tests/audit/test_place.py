"""The file that keeps an audit's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from shield.audit.judgement import Tally
from shield.audit.place import AuditPlace, AuditPlaceError, AuditPlaceFile

AUDIT = {"prefix": "images/", "origins": {"fra": "http://a/b/"}, "deep": False, "sample": 1}
PLACE = AuditPlace(
    "ä/\n+%".encode() + b"\xff", {"fra": Tally(objects=3, bytes=10), "iad": Tally(missing=1, oldest_lag=2.5)}
)


def test_a_place_comes_back_as_it_was(tmp_path: Path) -> None:
    AuditPlaceFile(tmp_path / "place", AUDIT).write(PLACE)

    assert AuditPlaceFile(tmp_path / "place", AUDIT).read() == PLACE
    assert [each.name for each in tmp_path.iterdir()] == ["place"]


def test_without_a_file_it_begins_anew_and_at_the_end_none_is_left(tmp_path: Path) -> None:
    file = AuditPlaceFile(tmp_path / "place", AUDIT)

    assert file.read() is None
    file.write(PLACE)
    file.remove()
    file.remove()
    assert file.read() is None


def test_the_place_of_another_audit_is_refused(tmp_path: Path) -> None:
    AuditPlaceFile(tmp_path / "place", AUDIT).write(PLACE)

    with pytest.raises(AuditPlaceError, match=r"another audit.*images/"):
        AuditPlaceFile(tmp_path / "place", {**AUDIT, "prefix": "videos/"}).read()


@pytest.mark.parametrize("text", ["", "{}", "[]", '"x"', '{"format": 1}', "\xff"])
def test_what_holds_no_place_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "place").write_bytes(text.encode("latin-1"))

    with pytest.raises(AuditPlaceError, match="place: holds"):
        AuditPlaceFile(tmp_path / "place", AUDIT).read()


def test_a_damaged_place_says_what_to_do(tmp_path: Path) -> None:
    file = AuditPlaceFile(tmp_path / "place", AUDIT)
    file.write(PLACE)
    text = (tmp_path / "place").read_text()
    (tmp_path / "place").write_text(text.replace('"missing"', '"mislaid"'))

    with pytest.raises(AuditPlaceError, match="delete it"):
        file.read()


def test_a_file_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(AuditPlaceError, match=r"nowhere/place: can't be written"):
        AuditPlaceFile(tmp_path / "nowhere" / "place", AUDIT).write(PLACE)
