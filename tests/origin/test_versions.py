"""A part of one version, asked of several origins: which of their answers prove that the object has changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from shield.errors import Fault, OriginError
from shield.origin.want import Failed, Fetched, Want, settled
from shield.rules.ranges import Span
from tests import disks
from tests.disks import MIB, SLICE
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.node import FakeClock, Shield, settings_of

BODY = Pattern(2 * MIB)
ANOTHER, SERVER, DIFFERS = Fault.VALIDATOR, Fault.SERVER, Fault.DIFFERS


def a_part(*, version_of: str | None) -> Want:
    return Want(b"GET", b"/a", span=Span(0, 10), etag=b'"one"', version_of=version_of)


@pytest.mark.parametrize(
    ("version_of", "failed", "absent", "expected"),
    [
        ("a", {"a": ANOTHER, "b": SERVER}, "", [ANOTHER, SERVER]),
        ("a", {"a": SERVER, "b": ANOTHER}, "", [SERVER, DIFFERS]),
        ("a", {"a": ANOTHER, "b": ANOTHER}, "", [ANOTHER, ANOTHER]),
        ("a", {"b": ANOTHER, "c": SERVER}, "a", [ANOTHER, SERVER]),  # where it was it is gone
        ("a", {"b": ANOTHER}, "a", [ANOTHER]),
        ("c", {"a": ANOTHER, "b": SERVER}, "", [DIFFERS, SERVER]),
        (None, {"a": ANOTHER, "b": SERVER}, "", [DIFFERS, SERVER]),
        (None, {"a": ANOTHER}, "b", [ANOTHER]),
        (None, {"a": ANOTHER}, "", [ANOTHER]),
        (None, {"a": SERVER}, "", [SERVER]),
    ],
)
def test_what_proves_a_change(
    version_of: str | None, failed: Mapping[str, Fault], absent: str, expected: list[Fault]
) -> None:
    errors = {name: OriginError(name, fault, "", status=412) for name, fault in failed.items()}

    told = settled(errors, set(absent), a_part(version_of=version_of), asked_all=True)

    assert [error.fault for error in told] == expected
    assert [error.origin for error in told] == list(failed)


def test_while_an_origin_has_not_been_asked_only_the_version_s_own_proves_it() -> None:
    errors = {"a": OriginError("a", ANOTHER, "")}

    assert settled(errors, (), a_part(version_of=None), asked_all=False)[0].fault is DIFFERS
    assert settled(errors, (), a_part(version_of="a"), asked_all=False)[0].fault is ANOTHER


def test_a_whole_object_has_no_version_to_differ_from() -> None:
    errors = {"a": OriginError("a", ANOTHER, ""), "b": OriginError("b", SERVER, "")}

    assert [error.fault for error in settled(errors, (), Want(b"GET", b"/a"), asked_all=True)] == [ANOTHER, SERVER]


def test_an_origin_that_has_the_version_gives_it_though_the_first_has_another(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.serves("/a", BODY, fields={"etag": '"two"'})
    replica.serves("/a", BODY, fields={"etag": '"one"'})

    assert isinstance(fetch(pair, a_part(version_of="fra")), Fetched)


def test_a_copy_under_another_validator_proves_nothing_while_the_original_stumbles(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.fails("/a", "InternalError")
    replica.serves("/a", BODY, fields={"etag": '"two"'})

    failed = fetch(pair, a_part(version_of="fra"))

    assert isinstance(failed, Failed)
    assert {error.origin: error.fault for error in failed.failures} == {"fra": SERVER, "iad": DIFFERS}


def fetch(shield: Shield, want: Want) -> object:
    async def work() -> object:
        result = await shield.node.origins.fetch(("fra", "iad"), want)
        if isinstance(result, Fetched):
            result.response.close()
        return result

    return shield.run(work())


def test_slices_are_kept_while_the_origin_they_are_from_stumbles(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    origin.serves("/big", BODY, lifetime=600, fields={"etag": '"one"'})
    replica.serves("/big", BODY, lifetime=600, fields={"etag": '"two-2"'})
    cache = disks.with_disk(origin, tmp_path / "nvme").cache
    settings = settings_of({"fra": origin, "iad": replica}).model_copy(update={"cache": cache})
    first, last = [("range", f"bytes=0-{SLICE - 1}")], [("range", f"bytes={2 * MIB - SLICE}-")]

    with Shield(settings, clock=clock) as shield:
        shield.get("/big", first)
        disks.settled(shield)
        origin.fails("/big", "AccessDenied")
        in_trouble = shield.get("/big", last)
        kept = shield.get("/big", first)
        origin.recovers()
        recovered = shield.get("/big", last)

    assert in_trouble.status == 503
    assert (kept.hit, kept.body == BODY[:SLICE]) == (True, True)
    assert (recovered.status, recovered.body == BODY[2 * MIB - SLICE :]) == (206, True)
    assert [(seen.method, seen.get("if-match")) for seen in replica.requests] == [("GET", '"one"'), ("HEAD", None)]


def test_a_part_of_a_body_that_is_not_kept_is_read_from_the_whole_of_another_copy(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    body = Pattern(3 * MIB)
    origin.serves("/a", body, fields={"etag": '"one"'})
    replica.serves("/a", body, fields={"etag": '"two-2"'})
    origin.fails("/a", "InternalError")
    memory = {"memory": {"capacity": "8MiB", "max_entry": "1MiB"}}
    settings = settings_of({"fra": origin, "iad": replica}, cache=memory, failover={"retry_budget": 0})
    replica.changes("/a", body, after=1, fields={"etag": '"three"'})

    with Shield(settings, clock=clock) as shield:
        answer = shield.get("/a", [("range", "bytes=5-9")])

    assert (answer.status, answer.body == body[5:10]) == (206, True)
    assert [seen.get("if-match") for seen in replica.requests] == [None, '"two-2"', None]
