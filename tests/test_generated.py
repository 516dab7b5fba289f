"""Methods of dataclasses are compiled once, and are the same as without that."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from shield.generated import kept_methods


def _made(fields: str = "size") -> type[Any]:
    return dataclasses.make_dataclass("Made", fields.split(), frozen=True, slots=True)


@pytest.fixture(autouse=True)
def _writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "kept.methods"


def _refuses(*words: object) -> None:
    raise AssertionError(words)


def test_methods_that_are_kept_are_not_compiled_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kept_methods(path):
        _made()

    monkeypatch.setattr("shield.generated.compile", _refuses, raising=False)
    with kept_methods(path):
        made = _made()

    plain = _made()
    assert repr(made(1)) == repr(plain(1)) and made(1) == made(1) and hash(made(1)) == hash(plain(1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        made(1).size = 2
    assert made.__init__.__code__.co_code == plain.__init__.__code__.co_code
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_class_that_has_changed_gets_its_own_methods(path: Path) -> None:
    with kept_methods(path):
        _made("size")
    before = path.read_bytes()

    with kept_methods(path):
        made = _made("size age")

    assert made(1, 2).age == 2
    with kept_methods(path):
        pass
    assert len(path.read_bytes()) > len(before), "both are kept"


@pytest.mark.parametrize("damage", [b"", b"other bytes", None])
def test_a_file_that_is_damaged_is_replaced(path: Path, damage: bytes | None) -> None:
    with kept_methods(path):
        _made()
    whole = path.read_bytes()
    path.write_bytes(damage if damage is not None else whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])

    with kept_methods(path):
        assert _made()(1).size == 1

    assert path.read_bytes() == whole


def test_a_place_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with kept_methods(tmp_path / "file" / "kept"):
        assert _made()(1).size == 1


def test_nothing_is_written_where_byte_code_isnt_wanted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    with kept_methods(path):
        _made()

    assert not path.exists()


def test_classes_made_afterwards_are_compiled_as_ever(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), kept_methods(path):
        _made()
        _ = 1 / 0

    assert "exec" not in vars(dataclasses)
