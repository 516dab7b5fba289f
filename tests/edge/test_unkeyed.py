"""Parts of a request outside of the cache key reach no origin and no other client: poisoning needs one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shield.config.settings import Settings
from shield.errors import RequestError
from shield.rules.key import KeyRules, canonical_path
from tests.client import Client, request
from tests.depth import tries
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.ledger import Received
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Bytes, Head, Step
from tests.node import FakeClock, Shield, settings_of

MARK = "d41d8cd98f00b204"
NOTHING_NEGATIVE = {"negative_lifetime": "0s"}
FIELDS = [
    *[(name, f"/{MARK}") for name in ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Path")],
    *[
        (name, f"{MARK}.example")
        for name in ("X-Forwarded-Host", "X-Host", "X-Forwarded-Server", "X-HTTP-Host-Override")
    ],
    ("Forwarded", f"host={MARK}.example"),
    ("X-Forwarded-For", MARK),
    ("X-Forwarded-Proto", MARK),
    ("X-HTTP-Method-Override", MARK),
    ("X-Amz-Security-Token", MARK),
    ("X-Amz-Meta-A", MARK),
    ("X-Goog-Encryption-Key", MARK),
    ("Connection", f"X-{MARK}"),
    (f"X-{MARK}", MARK),
    ("Cookie", f"a={MARK}"),
    ("Authorization", f"Bearer {MARK}"),
    ("Proxy-Authorization", f"Bearer {MARK}"),
    ("Via", f"1.1 {MARK}"),
    ("User-Agent", MARK),
    ("Referer", f"https://{MARK}.example/"),
    ("Origin", f"https://{MARK}.example"),
    ("Accept", f"text/{MARK}"),
    ("Accept-Encoding", MARK),
    ("Accept-Language", MARK),
    ("Cache-Control", f'x="{MARK}"'),
    ("Pragma", MARK),
    ("If-None-Match", f'"{MARK}"'),
    ("TE", MARK),
    ("Trailer", MARK),
]


def _received(client: Client, raw: bytes) -> bytes:
    """All that comes back, to the end of the connection."""
    client.send(raw)
    answer = b""
    while data := client.socket.recv(65536):
        answer += data
    return answer


@pytest.mark.parametrize("target", ["/a", "/absent"])
def test_what_a_request_says_is_in_no_request_to_an_origin_and_in_no_stored_entry(
    shield: Shield, origin: FaultyOrigin, target: str
) -> None:
    origin.serves("/a", b"a", fields={"cache-control": "public, max-age=60"})
    raw = request(f"{target}?{MARK}={MARK}", [*FIELDS, ("Connection", "close")], host=f"{MARK}.example")

    with shield.client() as client:
        miss = _received(client, raw)
    hit = shield.get(target)

    assert miss.startswith((b"HTTP/1.1 200", b"HTTP/1.1 404"))
    assert hit.hit
    assert MARK not in str(hit)
    assert MARK.encode() not in miss
    assert len(origin.requests) == 1
    assert MARK not in str(origin.requests)


@pytest.mark.parametrize(
    "raw",
    [
        request(f"/{MARK}%zz", FIELDS),
        request(f"/{MARK}" + "x" * 2000, FIELDS),
        request(f"//{MARK}.example\\..", FIELDS, host=f"{MARK}@x"),
        request("/a", FIELDS, method=MARK),
        request("/a", [*FIELDS, ("Expect", MARK)]),
        request("/a", [*FIELDS, ("Content-Length", "5")]),
        request("/a", [*FIELDS, (MARK, "x" * 40_000)]),
        request("/a", FIELDS, version=f"1.1{MARK}"),
        request(f"http://{MARK}.example/", FIELDS),
        request("/a", [*FIELDS, (MARK + " ", "x")]),
        f"{MARK}\r\n\r\n".encode(),
    ],
)
def test_what_a_request_says_is_in_no_refusal(shield: Shield, origin: FaultyOrigin, raw: bytes) -> None:
    with shield.client() as client:
        answer = _received(client, raw)

    assert answer.startswith(b"HTTP/1.1 4")
    assert MARK.encode() not in answer
    assert not origin.requests


def test_what_a_request_says_is_in_no_answer_of_ours_when_no_origin_could(
    shield: Shield, origin: FaultyOrigin
) -> None:
    origin.refuses()

    with shield.client() as client:
        answer = _received(client, request(f"/{MARK}", [*FIELDS, ("Connection", "close")], host=f"{MARK}.example"))

    assert answer.startswith(b"HTTP/1.1 503")
    assert MARK.encode() not in answer


def test_a_clients_range_and_conditions_are_not_passed_on(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"0123456789", lifetime=60)

    fields = [("Range", "bytes=2-3"), ("If-Range", '"x"'), ("If-Match", '"x"'), ("If-Unmodified-Since", "yesterday")]
    shield.get("/a", fields)
    part = shield.get("/a", [("Range", "bytes=2-3")])

    assert (part.status, part.body, part.hit) == (206, b"23", True)
    assert [name for name, _ in origin.requests[0].fields] == [
        "host",
        "accept-encoding",
        "user-agent",
        "via",
        "cdn-loop",
        "x-request-id",
    ]
    assert len(origin.requests) == 1


def test_a_range_of_what_is_not_stored_is_asked_for_in_our_words(shield: Shield, origin: FaultyOrigin) -> None:
    body = Pattern(8_000_000)
    origin.serves("/a", body, fields={"cache-control": "no-store"})

    part = shield.get("/a", [("Range", "BYTES= 0000100-0000199 ")])

    assert part.status == 206
    assert part.body == body[100:200]
    assert origin.requests[-1].get("range") == "bytes=100-199"
    assert origin.requests[-1].get("if-match") == part.get("etag")


def _signed(origin: FaultyOrigin) -> Settings:
    return settings_of(
        {},
        origins={
            "fra": {
                "provider": "minio",
                "endpoint": origin.url,
                "bucket": "images",
                "region": "eu-1",
                "access_key_id": "AK",
                "secret_key": "secret",
            }
        },
    )


def test_a_signed_request_has_only_what_we_sign_for(clock: FakeClock) -> None:
    with FaultyOrigin(clock=clock, bucket="images") as origin, Shield(_signed(origin), clock=clock) as shield:
        origin.trusts("AK", "secret", region="eu-1")
        origin.serves("/a", b"a", lifetime=60)

        answer = shield.get(f"/a?X-Amz-Signature={MARK}&versionId={MARK}", FIELDS)

        seen = origin.requests[-1]
    assert answer.body == b"a"
    assert seen.target == "/images/a"
    assert [name for name, _ in seen.fields] == [
        *("host", "accept-encoding", "user-agent"),
        *("x-amz-checksum-mode", "x-amz-content-sha256", "x-amz-date", "authorization"),
    ]
    assert MARK not in str(seen)


# Pieces in which the trouble is, so that they meet often.
PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *("/", "//", ".", "..", ";", "\\", "~", "+", ":", "@", "&", "=", "'", "(", ")", "%", "%2e", "%2E"),
                *("%2f", "%2F", "%5c", "%25", "%252f", "%C3%BC", "%c3%bc", "%20", "a", "Z"),
            ]
        ),
        st.text(
            st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="?#"), min_size=1, max_size=3
        ),
    ),
    max_size=10,
).map(lambda pieces: "/" + "".join(pieces))


@pytest.fixture(scope="module")
def reader() -> Iterator[tuple[Shield, FaultyOrigin]]:
    routes = {"default": {"duplicate_slashes": "merge", "encoded_slash": "decode"}}
    with (
        FaultyOrigin() as origin,
        Shield(settings_of({"fra": origin}, freshness=NOTHING_NEGATIVE, routes=routes)) as shield,
    ):
        yield shield, origin


@given(target=PIECES)
@settings(max_examples=tries(100))
def test_what_an_origin_is_asked_for_is_what_the_key_says_and_has_one_reading(
    reader: tuple[Shield, FaultyOrigin], target: str
) -> None:
    shield, origin = reader
    before = len(origin.requests)

    answer = shield.get(target)

    try:
        path = canonical_path(target.encode(), KeyRules(spelling="uri"))
    except RequestError as refused:
        assert answer.status == refused.status
        assert len(origin.requests) == before
        return
    if path == b"/":
        assert (answer.status, len(origin.requests)) == (404, before)
        return
    (seen,) = origin.requests[before:]
    key = shield.call(lambda: shield.node.proxy.resolve(target.encode()).key.text)
    assert seen.target.encode() == path == key.partition(b":")[2]
    assert canonical_path(path, KeyRules(spelling="uri")) == path
    # However a server goes about it: in its segments nothing is left that it could walk along.
    decoded = unquote_to_bytes(path)
    assert not {b".", b"..", b""} & set(decoded[1:].removesuffix(b"/").split(b"/"))
    assert seen.path == decoded.decode()


# what is forwarded and tells no variants apart


def denying(status: int, **fields: str) -> Callable[[Received], list[Step]]:
    """An origin that answers well, but for whoever sends it something of length."""

    def make(received: Received) -> list[Step]:
        said = received.get("x-a")
        if said is None or len(said) < 100:
            return [Head(200, {"content-length": "4", "cache-control": "max-age=60"}), Bytes(b"good")]
        told = {name: value.format(said) for name, value in fields.items()}
        return [Head(status, {"content-length": "3", **told}), Bytes(b"bad")]

    return make


@pytest.mark.parametrize("status", [400, 404, 405, 410, 414])
@pytest.mark.parametrize("control", [{}, {"cache-control": "public, max-age=60"}])
@pytest.mark.parametrize("passing", [True, False])
def test_no_client_has_a_denial_made_for_all_others(
    origin: FaultyOrigin, clock: FakeClock, status: int, control: dict[str, str], passing: bool
) -> None:
    origin.makes("/a", denying(status, **control))
    origins = {"fra": {"provider": "http", "endpoint": origin.url, "pass_errors": passing}}
    settings = settings_of({}, origins=origins, routes={"default": {"forward_request_headers": "all"}})

    with Shield(settings, clock=clock) as shield:
        denied = shield.get("/a", [("x-a", "y" * 7000)])
        good = [shield.get("/a"), shield.get("/a", [("x-a", "z")])]
        shield.get("/a", [("x-a", "y" * 7000)])
        clock.advance(100)
        revalidated = shield.get("/a", [("x-a", "y" * 7000)])
        clock.advance(-100)
        still = shield.get("/a")

    assert denied.status >= 400 and revalidated.status >= 400
    assert [(answer.status, answer.body) for answer in good] == [(200, b"good")] * 2
    assert (still.status, still.hit) == (200, True)


def test_a_denial_that_vary_tells_apart_is_stored(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.makes("/a", denying(405, vary="X-A, User-Agent", **{"cache-control": "max-age=60"}))
    long = [("x-a", "y" * 7000)]

    with Shield(settings_of({"fra": origin}, routes={"default": {"forward_request_headers": ["x-a"]}})) as shield:
        answers = [shield.get("/a", long), shield.get("/a", long), shield.get("/a")]

    assert [(answer.status, answer.hit) for answer in answers] == [(405, False), (405, True), (200, False)]


def test_what_repeats_an_unkeyed_field_is_for_nobody_else(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.makes("/a", denying(301, location="https://{}/", **{"cache-control": "max-age=60"}))

    with Shield(settings_of({"fra": origin}, routes={"default": {"forward_request_headers": ["x-a"]}})) as shield:
        moved, good = shield.get("/a", [("x-a", "y" * 200)]), shield.get("/a")

    assert (moved.status, good.status, good.body) == (301, 200, b"good")


def test_more_than_origins_take_is_refused_before_it_gets_there(origin: FaultyOrigin, clock: FakeClock) -> None:
    with Shield(settings_of({"fra": origin}, routes={"default": {"forward_request_headers": "all"}})) as shield:
        answers = [shield.get("/a", [("x-a", "y" * 9000)]), shield.get("/a", [(f"x-{n}", "y") for n in range(70)])]

    assert [answer.status for answer in answers] == [431, 431]
    assert origin.requests == []
