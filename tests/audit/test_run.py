"""Audits of origins on real sockets that stumble, lie and change meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from urllib.parse import parse_qs, quote_plus

import pytest

from shield.audit.bucket import ATTEMPTS, LONGEST_WAIT, wait_before
from shield.audit.judgement import AuditFinding, Likeness
from shield.audit.listing import ListingError
from shield.audit.run import OPAQUE_AFTER, STEP, Audit, ReadingDepth
from shield.build.audit import buckets_of, sides_of
from shield.errors import Fault, OriginError
from tests.audit.test_listing import contents, page
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.ledger import Received
from tests.doubles.steps import Bytes, Head, Reset, Step
from tests.node import FakeClock, settings_of
from tests.origin.test_origins import KEY, SECRET, s3

ONE, OTHER = "a" * 32, "b" * 32
NAMES = ("a", "b")


class Holding:
    """The bucket `images` at an origin: lists what it has, in pages that may be small."""

    def __init__(self, origin: FaultyOrigin) -> None:
        self.origin = origin
        self.page = 1000
        self.goes_on_by_token = True
        self.listed: dict[str, tuple[int, str]] = {}
        self.meanwhile: Callable[[], None] | None = None
        origin.trusts(KEY, SECRET, region="eu-central-1")
        origin.makes("/images/", self._answer)

    def has(self, key: str, body: bytes = b"body", etag: str = ONE, **fields: str) -> None:
        self.listed[key] = len(body), etag
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        self.origin.serves(f"/images/{key}", body, fields={"etag": f'"{etag}"', **named})

    def loses(self, key: str) -> None:
        del self.listed[key]
        self.origin.absent(f"/images/{key}")

    def stumbles(self, code: str, times: int) -> None:
        """So many pages are errors."""
        self.origin.fails("/images/", code, times=times)
        self.origin.makes("/images/", self._answer)

    @property
    def listings(self) -> list[dict[str, str]]:
        """The queries of all pages that were asked for."""
        return [_query(seen) for seen in self.origin.requests if seen.path == "/images/"]

    def _answer(self, request: Received) -> list[Step]:
        asked = _query(request)
        after = asked.get("continuation-token", asked.get("start-after", ""))
        keys = sorted(key for key in self.listed if key > after and key.startswith(asked.get("prefix", "")))
        count = min(int(asked["max-keys"]), self.page)
        objects = [
            contents(quote_plus(key), size=str(size), etag=etag)
            for key in keys[:count]
            for size, etag in [self.listed[key]]
        ]
        is_more = len(keys) > count
        token = keys[count - 1] if is_more and self.goes_on_by_token else None
        if self.meanwhile is not None:
            self.meanwhile()
        return _document(page(*objects, truncated=is_more, token=token))


def _query(request: Received) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.target.partition("?")[2]).items()}


def _document(body: bytes) -> list[Step]:
    return [Head(200, {"content-length": str(len(body)), "content-type": "application/xml"}), Bytes(body)]


@pytest.fixture
def fra(origin: FaultyOrigin) -> Holding:
    return Holding(origin)


@pytest.fixture
def iad(replica: FaultyOrigin) -> Holding:
    return Holding(replica)


class Auditor:
    """Audits a pair of origins; waits between attempts are recorded, and take no time."""

    def __init__(self, *origins: FaultyOrigin) -> None:
        self.settings = settings_of({}, origins=s3(*origins))
        self.waits: list[float] = []
        self.read_bytes = 0
        self.opaque: list[str] = []

    def __call__(self, *, after: bytes | None = None, depth: ReadingDepth | None = None) -> list[AuditFinding]:
        return asyncio.run(self._found(after, depth or ReadingDepth()))

    def estimate(self, depth: ReadingDepth) -> int:
        async def asked() -> int:
            async with AsyncExitStack() as stack:
                return sum(each.bytes for each in await self._audit(stack, depth).estimate())

        return asyncio.run(asked())

    async def _found(self, after: bytes | None, depth: ReadingDepth) -> list[AuditFinding]:
        found: list[AuditFinding] = []
        async with AsyncExitStack() as stack:
            audit = self._audit(stack, depth)
            async for step in audit.steps(after):
                found += step.findings
            self.opaque = audit.opaque
            self.read_bytes = sum(bucket.read_bytes for bucket in self._buckets)
        return found

    def _audit(self, stack: AsyncExitStack, depth: ReadingDepth) -> Audit:
        async def wait(seconds: float) -> None:
            self.waits.append(seconds)

        clock = FakeClock()
        self._buckets = buckets_of(self.settings, NAMES, clock, stack, chance=lambda: 0.5, sleep=wait)
        return Audit(self._buckets, sides_of(self.settings, NAMES), prefix=b"", depth=depth, clock=clock)


@pytest.fixture
def audit(origin: FaultyOrigin, replica: FaultyOrigin) -> Iterator[Auditor]:
    yield Auditor(origin, replica)


def kinds(found: list[AuditFinding]) -> dict[str, Likeness]:
    return {finding.key.decode(): finding.kind for finding in found}


@pytest.mark.parametrize("by_token", [True, False])
def test_listings_in_pages_of_different_sizes_are_read_to_their_ends(
    fra: Holding, iad: Holding, audit: Auditor, by_token: bool
) -> None:
    for number in range(20):
        fra.has(f"k{number:02d}")
        iad.has(f"k{number:02d}")
    iad.loses("k07")
    fra.loses("k19")
    fra.page, iad.page = 3, 7
    fra.goes_on_by_token = iad.goes_on_by_token = by_token

    found = audit()

    assert [finding.key.decode() for finding in found] == [f"k{number:02d}" for number in range(20)]
    assert {key: kind for key, kind in kinds(found).items() if kind is not Likeness.SAME} == {
        "k07": Likeness.MISSING,
        "k19": Likeness.EXTRA,
    }
    assert len(fra.listings) == 7 and len(iad.listings) == 3


def test_it_goes_on_after_a_key(fra: Holding, iad: Holding, audit: Auditor) -> None:
    for key in "abc":
        fra.has(key)

    assert kinds(audit(after=b"a")) == {"b": Likeness.MISSING, "c": Likeness.MISSING}
    assert fra.listings[0]["start-after"] == iad.listings[0]["start-after"] == "a"


def test_many_rows_come_in_steps(fra: Holding, iad: Holding, audit: Auditor) -> None:
    for number in range(STEP + 5):
        fra.listed[f"{number:05d}"] = iad.listed[f"{number:05d}"] = (4, ONE)

    assert len(audit()) == STEP + 5


@pytest.mark.parametrize("code", ["SlowDown", "InternalError"])
def test_a_page_is_asked_for_again_after_a_fault_that_passes(
    fra: Holding, iad: Holding, audit: Auditor, code: str
) -> None:
    fra.has("a")
    fra.stumbles(code, times=2)

    assert kinds(audit()) == {"a": Likeness.MISSING}
    assert audit.waits == [0.5, 1.0]


def test_a_fault_that_lasts_ends_the_audit(fra: Holding, iad: Holding, audit: Auditor) -> None:
    iad.origin.fails("/images/", "SlowDown", times=None)

    with pytest.raises(OriginError) as caught:
        audit()

    assert (caught.value.origin, caught.value.fault) == ("b", Fault.THROTTLED)
    assert len(audit.waits) == ATTEMPTS - 1


def test_a_refusal_ends_it_at_once_whatever_is_read_as_absence(
    fra: Holding, iad: Holding, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    audit = Auditor(origin, replica)
    audit.settings = settings_of({}, origins=s3(origin, replica, access_denied_is_absent=True))
    iad.origin.fails("/images/", "AccessDenied", status=403, times=None)

    with pytest.raises(OriginError) as caught:
        audit()

    assert (caught.value.origin, caught.value.status, audit.waits) == ("b", 403, [])


def test_a_listing_out_of_order_names_its_origin(fra: Holding, iad: Holding, audit: Auditor) -> None:
    iad.origin.makes("/images/", lambda request: _document(page(contents("b"), contents("a"))))

    with pytest.raises(ListingError, match=r"origin b: .*order"):
        audit()


def test_a_listing_that_does_not_go_on_is_no_endless_loop(fra: Holding, iad: Holding, audit: Auditor) -> None:
    iad.origin.makes("/images/", lambda request: _document(page(truncated=True, token="again")))

    with pytest.raises(ListingError, match=r"origin b: .*doesn't go on"):
        audit()


def test_other_etags_are_looked_at_by_head(fra: Holding, iad: Holding, audit: Auditor) -> None:
    for key in ("plain", "kms", "customer", "multipart"):
        fra.has(key)
    iad.has("plain", etag=OTHER, x_amz_server_side_encryption="AES256")
    iad.has("kms", etag=OTHER, x_amz_server_side_encryption="aws:kms")
    iad.has("customer", etag=OTHER, x_amz_server_side_encryption_customer_algorithm="AES256")
    iad.has("multipart", etag=f"{OTHER}-3")

    assert kinds(audit()) == {
        "plain": Likeness.DIFFERENT,
        "kms": Likeness.SIZED,
        "customer": Likeness.SIZED,
        "multipart": Likeness.SIZED,
    }
    assert fra.origin.fetches("/images/multipart") == 0


def test_an_origin_without_md5s_is_not_asked_for_every_object(fra: Holding, iad: Holding, audit: Auditor) -> None:
    for number in range(OPAQUE_AFTER + 200):
        fra.listed[f"k{number:04d}"] = 4, ONE
        iad.has(f"k{number:04d}", etag=OTHER, x_amz_server_side_encryption="aws:kms")
    fra.has("last")
    iad.has("last", etag=OTHER)

    found = kinds(audit())

    assert set(found.values()) == {Likeness.SIZED} and audit.opaque == ["b"]
    heads = sum(seen.method == "HEAD" for seen in iad.origin.requests)
    assert OPAQUE_AFTER <= heads < OPAQUE_AFTER + 20
    assert not any(seen.method == "HEAD" for seen in fra.origin.requests)


def test_some_objects_without_md5s_are_no_reason_to_stop_asking(fra: Holding, iad: Holding, audit: Auditor) -> None:
    for number in range(OPAQUE_AFTER + 50):
        fra.has(f"k{number:04d}")
        encryption = "AES256" if number % 50 == 49 else "aws:kms"
        iad.has(f"k{number:04d}", etag=OTHER, x_amz_server_side_encryption=encryption)

    found = list(kinds(audit()).values())

    assert found.count(Likeness.DIFFERENT) == (OPAQUE_AFTER + 50) // 50 and audit.opaque == []


def test_a_body_that_can_not_be_read_is_no_difference(fra: Holding, iad: Holding, audit: Auditor) -> None:
    fra.has("a")
    iad.has("a", etag=OTHER)
    iad.origin.fails("/images/a", "InternalError", times=None)

    (found,) = audit()

    assert found.kind is Likeness.UNREAD and "InternalError" in found.why


def test_bytes_are_compared_whatever_etags_say(fra: Holding, iad: Holding, audit: Auditor) -> None:
    for key, here, there in [("rot", b"right", b"wrong"), ("kms", b"same", b"same"), ("longer", b"a", b"ab")]:
        fra.has(key, here)
        iad.has(key, there, etag=OTHER if key == "kms" else ONE)
    deep = ReadingDepth(reads=True)

    found = audit(depth=deep)

    assert kinds(found) == {"rot": Likeness.DIFFERENT, "kms": Likeness.SAME, "longer": Likeness.DIFFERENT}
    assert audit.read_bytes == audit.estimate(deep) == 2 * len(b"right") + 2 * len(b"same")


def test_a_body_that_breaks_off_is_read_again(fra: Holding, iad: Holding, audit: Auditor) -> None:
    fra.has("a", b"x" * 1000)
    iad.has("a", b"x" * 1000)
    iad.origin.spoils("/images/a", at_body(500, Reset()), times=1)

    assert kinds(audit(depth=ReadingDepth(reads=True))) == {"a": Likeness.SAME}
    assert len(audit.waits) == 1


def test_a_sample_is_always_the_same_keys_and_about_so_many() -> None:
    sample = ReadingDepth(reads=True, one_in=10)
    keys = [b"images/%d" % number for number in range(10_000)]

    read = [key for key in keys if sample.covers(key)]

    assert 800 < len(read) < 1200
    assert read == [key for key in keys if ReadingDepth(reads=True, one_in=10).covers(key)]
    assert not ReadingDepth(one_in=1).covers(b"a") and all(map(ReadingDepth(reads=True).covers, keys))


def test_an_object_deleted_meanwhile_is_no_difference(fra: Holding, iad: Holding, audit: Auditor) -> None:
    fra.has("a")
    iad.has("a", etag=OTHER)
    iad.origin.absent("/images/a")
    iad.meanwhile = iad.listed.clear  # after the first page

    (found,) = audit()

    assert (found.kind, found.why) == (Likeness.LAGGING, "changed at b meanwhile")


@pytest.mark.parametrize("depth", [ReadingDepth(), ReadingDepth(reads=True)])
def test_an_object_that_is_listed_and_can_not_be_had_is_a_difference(
    fra: Holding, iad: Holding, audit: Auditor, depth: ReadingDepth
) -> None:
    fra.has("a")
    iad.has("a", etag=OTHER)
    iad.origin.absent("/images/a")

    (found,) = audit(depth=depth)

    assert (found.kind, found.why) == (Likeness.DIFFERENT, "b: it is listed, and absent when asked for")


def test_an_object_of_another_length_than_it_is_listed_with_is_a_difference(
    fra: Holding, iad: Holding, audit: Auditor
) -> None:
    fra.has("a")
    iad.has("a")
    iad.origin.serves("/images/a", b"bodies")

    (found,) = audit(depth=ReadingDepth(reads=True))

    assert (found.kind, found.why) == (Likeness.DIFFERENT, "b: it is listed with 4 bytes, and 6 came")


def test_waits_grow_and_heed_the_origin_within_bounds() -> None:
    assert [wait_before(attempt, 1.0, None) for attempt in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert wait_before(1, 0.0, 7.0) == 7.0
    assert wait_before(1, 1.0, 3600.0) == LONGEST_WAIT
