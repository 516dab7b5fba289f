"""shield audit, against an S3 server that isn't ours and checks signatures."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shield.cli.audit import AuditWish, audit
from tests.audit.storage import Put, Storage, storage

pytestmark = pytest.mark.slow

ODD = [
    "a b",
    "a+b",
    "a%2Bb",
    "a%",
    "/lead",
    "//lead",
    "ä/ü",
    "e\u0301",
    "日本/a.webp",
    "🙂",
    "\uffee",
    "a&b=c;d",
    "a<b>\"c'",
    "a\\b",
    "tab\there",
    "~._-",
    "images/",
    "images//a",
]
MANY = [f"images/{number:05d}.webp" for number in range(2_300)]


@pytest.fixture(scope="module")
def moto() -> Iterator[Storage]:
    with storage() as running:
        yield running


class Ground:
    """Two buckets, and settings that name them."""

    def __init__(self, moto: Storage, path: Path) -> None:
        self.moto = moto
        self.path = path
        self.one: list[Put] = []
        self.two: list[Put] = []
        self.more: dict[str, dict[str, Any]] = {"iad": {}, "fra": {}}

    def settings(self) -> Path:
        self.moto.fill("one", self.one)
        self.moto.fill("two", self.two)
        origins = {
            "iad": {**self.moto.origin("two"), **self.more["iad"]},
            "fra": {**self.moto.origin("one"), "role": "primary", **self.more["fra"]},
        }
        self.path.write_text(yaml.safe_dump({"origins": origins}, allow_unicode=True))
        return self.path

    def audit(self, **wish: Any) -> int:
        return audit(self.settings(), AuditWish(**wish))


@pytest.fixture
def ground(moto: Storage, tmp_path: Path) -> Ground:
    return Ground(moto, tmp_path / "shield.yaml")


def lines_of(capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Findings and summary of JSON lines."""
    *findings, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return findings, last


def test_the_same_objects_under_odd_names_are_the_same(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.one = [Put(key, key) for key in [*MANY, *ODD]]
    ground.two = list(reversed(ground.one))

    assert ground.audit(as_json=True) == 0

    findings, last = lines_of(capsys)
    assert findings == [] and last["reference"] == "fra"
    assert last["summary"]["iad"]["same"] == last["summary"]["fra"]["objects"] == len(MANY) + len(ODD)


def test_differences_are_told_with_place_and_age(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.one = [Put(key) for key in [*MANY, *ODD]] + [Put("new", age=60.0), Put("other", "1"), Put("longer", "1")]
    ground.two = [Put(key) for key in MANY if key != MANY[1500]]
    ground.two += [Put(key) for key in ODD if key != "a+b"] + [Put("other", "2"), Put("longer", "12"), Put("own")]
    ground.more["iad"]["max_lag"] = "15min"

    assert ground.audit(as_json=True) == 1

    findings, last = lines_of(capsys)
    assert {(each["kind"], each["key"]) for each in findings} == {
        ("missing", MANY[1500]),
        ("missing", "a+b"),
        ("lagging", "new"),
        ("different", "other"),
        ("different", "longer"),
        ("extra", "own"),
    }
    by_key = {each["key"]: each for each in findings}
    assert 86000 < by_key["a+b"]["lag_seconds"] < 90000 and 50 < by_key["new"]["lag_seconds"] < 800
    assert {each["origin"] for each in findings} == {"iad"}
    summary = last["summary"]["iad"]
    assert (summary["missing"], summary["different"], summary["extra"], summary["lagging"]) == (2, 2, 1, 1)


def test_the_table_has_a_row_for_each_origin(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.one = [Put("images/a"), Put("images/b\n"), Put("videos/c")]
    ground.two = [Put("images/a")]

    assert ground.audit(prefix="images/") == 1

    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("missing    iad        4B  images/b\\n  written 1d ago")
    assert [line.split()[:2] for line in said[1:4]] == [["origin", "objects"], ["fra", "2"], ["iad", "1"]]


def test_bytes_are_read_only_when_that_is_agreed_to(
    ground: Ground, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.one = [Put(key, "right") for key in ODD]
    ground.two = [Put(key, "right") for key in ODD[1:]] + [Put(ODD[0], "wrong")]
    ground.more["iad"]["price"] = {"egress": 0.05, "requests": 1000.0, "currency": "EUR"}

    assert ground.audit(deep=True) == 2
    said = capsys.readouterr()
    egress = f"({len(ODD) * 10} bytes of egress, about {len(ODD)}.00 EUR)"
    assert f"{egress}; add --yes" in said.err and said.out == ""

    assert ground.audit(deep=True, assents=True) == 1
    said = capsys.readouterr()
    assert said.out.startswith("different  iad        5B  a b  written 1d ago  (SHA-256 ")
    assert egress in said.out


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 2), ("", 2)])
def test_on_a_terminal_it_asks_before_reading(
    ground: Ground, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, typed: str, code: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    ground.one = ground.two = [Put("a", "right")]
    monkeypatch.setattr("sys.stdin", Terminal(typed))

    assert ground.audit(deep=True) == code
    said = capsys.readouterr()
    assert "(10 bytes of egress). Go on? [y/N] " in said.err
    assert ("nothing was read" in said.err) == (code == 2) == (said.out == "")


def test_encrypted_objects_count_by_size_alone(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.one = [Put("a", "right")]
    ground.two = [Put("a", "wrong", encryption="aws:kms")]

    assert ground.audit(as_json=True) == 0
    assert lines_of(capsys)[1]["summary"]["iad"]["same_size"] == 1
    assert ground.audit(as_json=True, deep=True, assents=True) == 1


def test_a_part_needs_no_more_than_it_has(ground: Ground) -> None:
    ground.one, ground.two = [Put("a"), Put("b")], [Put("b")]
    ground.more["iad"]["holds"] = "part"

    assert ground.audit() == 0


def test_it_goes_on_from_its_place(ground: Ground, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ground.one = [Put(key) for key in MANY]
    ground.two = [Put(key) for key in MANY if key not in (MANY[10], MANY[2200])]
    place = tmp_path / "place"
    assert ground.audit(as_json=True, resume=place) == 1
    assert not place.exists()
    whole, summary = lines_of(capsys)

    kept: list[bytes] = []
    settings = ground.settings()
    with pytest.MonkeyPatch.context() as patch:
        from shield.audit.place import AuditPlaceFile

        write = AuditPlaceFile.write

        def write_and_stop(self: AuditPlaceFile, value: Any) -> None:
            write(self, value)
            kept.append(value.after)
            raise KeyboardInterrupt

        patch.setattr(AuditPlaceFile, "write", write_and_stop)
        assert audit(settings, AuditWish(as_json=True, resume=place)) == 2
    stopped = capsys.readouterr()
    assert kept == [MANY[999].encode()] and "goes on from here" in stopped.err

    assert audit(settings, AuditWish(as_json=True, resume=place)) == 1
    rest, last = lines_of(capsys)
    assert [json.loads(line)["key"] for line in stopped.out.splitlines()] == [MANY[10]]
    assert [each["key"] for each in rest] == [MANY[2200]]
    assert [each["key"] for each in whole] == [MANY[10], MANY[2200]]
    for name in ("fra", "iad"):
        there, here = summary["summary"][name], last["summary"][name]
        assert {**there, "oldest_lag": 0} == {**here, "oldest_lag": 0}


def test_without_the_right_to_list_it_says_which_right_is_needed(
    ground: Ground, capsys: pytest.CaptureFixture[str], moto: Storage
) -> None:
    ground.more["iad"] = moto.said["reader"]

    assert ground.audit() == 2
    said = capsys.readouterr().err
    assert "origin iad: " in said and "right to list two (s3:ListBucket; deploy/iam has policies)" in said


def test_a_bucket_that_is_not_there_is_no_empty_one(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.more["iad"]["bucket"] = "nowhere"

    assert ground.audit() == 2
    assert "NoSuchBucket" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("fra", "sgp"), "there is no origin sgp; expected some of fra, iad"),
        (("fra",), "there is only fra"),
        (("fra", "fra"), "there is only fra"),
    ],
)
def test_origins_that_can_not_be_compared_are_named(
    ground: Ground, capsys: pytest.CaptureFixture[str], names: tuple[str, ...], said: str
) -> None:
    assert ground.audit(origins=names) == 2
    assert said in capsys.readouterr().err


def test_a_prefix_that_looks_like_a_path_gets_a_hint(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.one = ground.two = [Put("images/a")]

    assert ground.audit(prefix="/images/") == 0
    assert "keys of objects seldom begin with a slash" in capsys.readouterr().out
