"""Fetches of slices that break off, and continue within a slice, at whichever origin has the same bytes."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from shield.rules.identity import OVERLAP
from tests.client import request
from tests.disks import MIB, settled, with_disk
from tests.doubles.faults import at_body, preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Reset, Stall, Wait
from tests.node import FakeClock, Shield, settings_of

LENGTH = 4 * MIB
SLICE = MIB
BODY, OTHER = Pattern(LENGTH), Pattern(LENGTH, seed=1)
BROKEN_AT = 2 * MIB + 700_000
MISSING = LENGTH - BROKEN_AT
ONE, TWO = {"etag": '"one"'}, {"etag": '"two-2"'}
HEADS = 4096


def digest_of(body: Pattern) -> dict[str, str]:
    return {"repr-digest": f"sha-256=:{base64.b64encode(bytes.fromhex(body.sha256())).decode()}:"}


def node_of(origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, path: Path | None) -> Shield:
    """With a disk at `path`, or with none, where the object is too large to be kept."""
    settings = settings_of(
        {"fra": origin, "iad": replica}, cache={"memory": {"capacity": "8MiB", "max_entry": "1MiB"}}
    )
    if path is not None:
        cache = with_disk(origin, path, slice_bytes=SLICE).cache
        settings = settings.model_copy(update={"cache": cache})
    return Shield(settings, clock=clock)


def breaks_off(origin: FaultyOrigin) -> None:
    origin.spoils("/big", at_body(BROKEN_AT, Reset()), times=1)
    origin.fails("/big", "InternalError")


def sent(origin: FaultyOrigin) -> int:
    return sum(seen.sent for seen in origin.requests)


def fills(shield: Shield) -> Any:
    return shield.state()["fills"]


def test_a_slice_continues_at_its_own_origin(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    origin.serves("/big", BODY, lifetime=600, fields=ONE)
    origin.spoils("/big", at_body(BROKEN_AT, Reset()), times=1)

    with Shield(with_disk(origin, tmp_path, slice_bytes=SLICE), clock=clock) as shield:
        first = shield.get("/big")
        settled(shield)
        second = shield.get("/big")

    assert (first.clean, first.body == BODY[:], second.hit, second.body == BODY[:]) == (True, True, True, True)
    assert [seen.get("range") for seen in origin.requests] == [None, f"bytes={BROKEN_AT}-{LENGTH - 1}"]


@pytest.mark.parametrize("has_disk", [True, False], ids=["on disk", "without a disk"])
def test_a_slice_continues_at_an_origin_with_the_same_checksum(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, tmp_path: Path, has_disk: bool
) -> None:
    origin.serves("/big", BODY, lifetime=600, fields=ONE | digest_of(BODY))
    replica.serves("/big", BODY, lifetime=600, fields=TWO | digest_of(BODY))
    breaks_off(origin)

    with node_of(origin, replica, clock, tmp_path if has_disk else None) as shield:
        first = shield.get("/big")
        continued = fills(shield)["continued"]
        cost = sent(replica)
        if has_disk:
            settled(shield)
        second = shield.get("/big")

    assert (first.clean, first.body == BODY[:], first.get("etag")) == (True, True, '"one"')
    assert continued == {"iad": 1}
    assert cost <= MISSING + HEADS
    if has_disk:
        assert (second.hit, second.body == BODY[:], second.get("etag")) == (True, True, '"one"')
    assert [(seen.method, seen.get("if-match")) for seen in replica.requests[:3]] == [
        ("GET", '"one"'),
        ("HEAD", None),
        ("GET", '"two-2"'),
    ]


@pytest.mark.parametrize("at", [BROKEN_AT, 2 * SLICE + 1000], ids=["within a slice", "at its beginning"])
def test_without_a_proof_the_last_bytes_are_compared_and_no_slice_of_it_is_stored(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, tmp_path: Path, at: int
) -> None:
    origin.serves("/big", BODY, lifetime=600, fields=ONE)
    replica.serves("/big", BODY, lifetime=600, fields=TWO)
    gate = origin.gate()
    origin.spoils("/big", at_body(at, Wait(gate), Reset()), times=1)
    origin.fails("/big", "InternalError")

    with node_of(origin, replica, clock, tmp_path) as shield, ThreadPoolExecutor(1) as pool:
        coming = pool.submit(shield.get, "/big")
        gate.reached()
        backlog: Any = lambda: shield.node.state()["disk"]  # noqa: E731
        shield.wait_for(lambda: not any(v["backlog_bytes"] for t in backlog()["tiers"] for v in t["volumes"]))
        gate.open()  # all slices before are on disk
        first = coming.result()
        cost = sent(replica)
        settled(shield)
        origin.recovers()
        before = len(origin.requests)
        second = shield.get("/big")

    assert (first.clean, first.body == BODY[:]) == (True, True)
    assert cost <= LENGTH - at + OVERLAP + HEADS
    assert (second.clean, second.body == BODY[:]) == (True, True)
    [again] = origin.requests[before:]
    assert again.get("range") == f"bytes={2 * SLICE}-{LENGTH - 1}"  # all that has come from the replica, too


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("here", "there", "body"),
    [({}, {}, OTHER), (digest_of(BODY), digest_of(OTHER), OTHER), ({}, {}, None), ({}, {}, Pattern(LENGTH + 1))],
    ids=["other bytes", "another digest", "absent", "another length"],
)
def test_without_the_same_bytes_it_ends_visibly_broken(
    origin: FaultyOrigin,
    replica: FaultyOrigin,
    clock: FakeClock,
    tmp_path: Path,
    here: dict[str, str],
    there: dict[str, str],
    body: Pattern | None,
) -> None:
    origin.serves("/big", BODY, lifetime=600, fields=ONE | here)
    if body is not None:
        replica.serves("/big", body, lifetime=600, fields=TWO | there)
    origin.spoils("/big", at_body(BROKEN_AT, Reset()), times=1)
    origin.fails("/big", "InternalError")  # which may pass: both are asked again for a while

    with node_of(origin, replica, clock, tmp_path) as shield:
        first = shield.get("/big")
        cost = sent(replica)
        settled(shield)
        origin.recovers()
        second = shield.get("/big")

    assert (first.clean, BODY.check(first.body)) == (False, True)
    assert cost <= OVERLAP + 4 * HEADS
    assert (second.clean, second.body == BODY[:]) == (True, True)


def test_ranges_of_a_stored_object_come_from_a_copy_while_their_origin_is_down(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    fields = {"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="} | digest_of(BODY)
    origin.serves("/big", BODY, lifetime=600, fields=ONE | fields)
    replica.serves("/big", BODY, lifetime=600, fields=TWO | fields)
    with node_of(origin, replica, clock, tmp_path) as shield:
        shield.get("/big", [("range", f"bytes=0-{SLICE - 1}")])
        settled(shield)
        origin.stops()
        answer = shield.get("/big", [("range", f"bytes={3 * MIB}-{LENGTH - 1}")])
        origin.returns()

    assert (answer.status, answer.clean) == (206, True)
    assert answer.body == BODY[3 * MIB :]


def test_all_readers_of_a_large_object_outlast_its_origin(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    origin.serves("/big", BODY, lifetime=600, fields=ONE | digest_of(BODY))
    replica.serves("/big", BODY, lifetime=600, fields=TWO | digest_of(BODY))
    gate = origin.gate()
    origin.spoils("/big", at_body(BROKEN_AT, Wait(gate)), times=1)

    with node_of(origin, replica, clock, tmp_path) as shield:
        clients = [shield.client() for _ in range(6)]
        for client in clients:
            client.send(request("/big"))
        heads = [client.read_head() for client in clients]
        clients[0].close()  # the leader
        shield.wait_for(lambda: origin.requests[0].sent > BROKEN_AT - MIB)
        origin.stops()
        for client, head in zip(clients[1:], heads[1:], strict=True):
            client.read_body(head)
            client.close()
        settled(shield)
        origin.returns()

    assert all(head.clean and head.body == BODY[:] for head in heads[1:])
    assert sum(sent(each) for each in (origin, replica)) <= LENGTH * 1.1 + 2 * SLICE


def test_a_slice_that_stalls_goes_on_elsewhere(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    origin.serves("/big", BODY, lifetime=600, fields=ONE | digest_of(BODY))
    replica.serves("/big", BODY, lifetime=600, fields=TWO | digest_of(BODY))
    origin.spoils("/big", at_body(BROKEN_AT, Stall()), times=1)

    with node_of(origin, replica, clock, tmp_path) as shield, ThreadPoolExecutor(1) as pool:
        fills = shield.node.fills
        coming = pool.submit(shield.get, "/big")
        shield.wait_for(lambda: [body.place for body in fills.bodies()] == [BROKEN_AT])
        shield.call(lambda: fills.look(1000.0, lambda name: 0.5))
        shield.call(lambda: fills.look(1001.0, lambda name: 0.5))
        first = coming.result()
        settled(shield)
        second = shield.get("/big")

    assert (first.clean, first.body == BODY[:]) == (True, True)
    assert (second.hit, second.body == BODY[:]) == (True, True)
    assert sent(replica) <= MISSING + HEADS


def test_a_slice_that_stalls_without_a_proof_elsewhere_is_waited_for(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    origin.serves("/big", BODY, lifetime=600, fields=ONE)
    replica.serves("/big", BODY, lifetime=600, fields=TWO)
    gate = origin.gate()
    origin.spoils("/big", at_body(BROKEN_AT, Wait(gate)), times=1)

    with node_of(origin, replica, clock, tmp_path) as shield, ThreadPoolExecutor(1) as pool:
        fills = shield.node.fills
        coming = pool.submit(shield.get, "/big")
        shield.wait_for(lambda: [body.place for body in fills.bodies()] == [BROKEN_AT])
        shield.call(lambda: fills.look(1000.0, lambda name: 0.5))
        shield.call(lambda: fills.look(1001.0, lambda name: 0.5))
        shield.wait_for(lambda: not any(body.is_held for body in fills.bodies()))
        gate.open()
        answer = coming.result()

    assert (answer.clean, answer.body == BODY[:]) == (True, True)
    assert [seen.method for seen in replica.requests] == ["GET", "HEAD"]


def test_a_slice_that_breaks_off_while_others_are_asked_continues_all_the_same(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    origin.serves("/big", BODY, lifetime=600, fields=ONE)
    replica.serves("/big", BODY, lifetime=600, fields=TWO)
    gate, held = origin.gate(), replica.gate()
    origin.spoils("/big", at_body(BROKEN_AT, Wait(gate), Reset()), times=1)
    origin.fails("/big", "InternalError")
    replica.spoils("/big", preceded_by(Wait(held)), times=1)

    with node_of(origin, replica, clock, tmp_path) as shield, ThreadPoolExecutor(1) as pool:
        fills = shield.node.fills
        coming = pool.submit(shield.get, "/big")
        shield.wait_for(lambda: [body.place for body in fills.bodies()] == [BROKEN_AT])
        shield.call(lambda: fills.look(1000.0, lambda name: 0.5))
        shield.call(lambda: fills.look(1001.0, lambda name: 0.5))
        held.reached()
        gate.open()
        origin.wait_for(lambda: origin.requests[0].ended)
        held.open()
        answer = coming.result()

    assert (answer.clean, answer.body == BODY[:]) == (True, True)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(("said", "is_whole"), [("aws:kms", False), ("AES256", True)])
def test_an_equal_etag_proves_nothing_where_it_is_no_digest(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, tmp_path: Path, said: str, is_whole: bool
) -> None:
    encryption = {"x-amz-server-side-encryption": said, "x-amz-storage-class": "STANDARD_IA"}
    origin.serves("/big", BODY, lifetime=600, fields=ONE | encryption)
    replica.serves("/big", BODY if is_whole else OTHER, lifetime=600, fields=ONE | encryption)
    breaks_off(origin)

    with node_of(origin, replica, clock, tmp_path) as shield:
        answer = shield.get("/big")

    assert answer.clean is is_whole
    assert BODY.check(answer.body)
