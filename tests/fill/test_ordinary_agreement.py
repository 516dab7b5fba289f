"""The short way of ordinary responses and the way by all rules agree, whatever is asked, said and configured."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from shield.fill.settlement import FillTerms, Question, Settlement, settle, settle_ordinary
from shield.messages import Field, Request, ResponseHead
from shield.origin.response import Response
from shield.origin.want import Fetched, Want
from shield.rules.dates import imf_fixdate
from shield.rules.fields import FieldRules, RouteFields
from shield.rules.freshness import FreshnessRules
from shield.rules.ranges import Span
from shield.rules.routes import Resource, Route, cache_key
from shield.store.entry import OVERHEAD
from tests.fill.ground import VIA, FakeConnection

NOW = 1_750_000_000.0
KEY = cache_key(b"", b"/a", b"")
LARGEST = 10_000
SLICE = 1000
TERMS = FillTerms(VIA, slice_bytes=0, largest=LARGEST, sliced_above=1 << 30)
IN_SLICES = replace(TERMS, slice_bytes=SLICE, sliced_above=SLICE)

TAG, DATE, RANGES = (b"etag", b'"1"'), (b"date", imf_fixdate(NOW - 2)), (b"accept-ranges", b"bytes")
CONTROL = st.lists(
    st.sampled_from(
        [
            *(b"max-age=100", b"max-age=0", b"s-maxage=50", b"no-store", b"no-cache", b"private", b"public"),
            *(b"must-revalidate", b"stale-while-revalidate=9", b"stale-if-error=7", b"immutable", b'no-cache="x-a"'),
            *(
                b'private="x-a"',
                b"must-understand",
                b"proxy-revalidate",
                b"max-age=-1",
                b"max-age=a",
                b"MAX-AGE=9",
                b"",
            ),
        ]
    ),
    min_size=1,
    max_size=3,
).map(lambda said: (b"cache-control", b", ".join(said)))
UNUSUAL = st.sampled_from(
    [
        *((b"age", said) for said in (b"0", b"7", b"1000", b"x")),
        *((b"vary", said) for said in (b"*", b"accept", b"accept-encoding")),
        *((b"set-cookie", b"a=b"), (b"expires", b"0"), (b"expires", imf_fixdate(NOW + 60)), (b"pragma", b"no-cache")),
        *((b"cdn-cache-control", b"no-store"), (b"surrogate-control", b"max-age=9"), (b"cache-tag", b"a")),
        *((b"etag", b'W/"1"'), (b"etag", b"1"), (b"etag", b""), (b"date", b"x"), (b"date", imf_fixdate(NOW + 900))),
        *((b"connection", b"close"), (b"connection", b"etag"), (b"keep-alive", b"timeout=5"), (b"te", b"x")),
        *((b"content-encoding", b"gzip"), (b"content-range", b"bytes 0-4/5"), (b"content-md5", b"a")),
        *(
            (b"x-a", b"1"),
            (b"x-a", b"2"),
            (b"www-authenticate", b"Basic"),
            (b"location", b"/b"),
            (b"trailer", b"x-a"),
        ),
        *((b"digest", b"a"), (b"repr-digest", b"a"), (b"clear-site-data", b"*"), (b"no-vary-search", b"params")),
        *(
            (b"last-modified", imf_fixdate(NOW - 9)),
            (b"last-modified", b"x"),
            (b"via", b"1.0 b"),
            (b"warning", b"110"),
        ),
        *((b"cache-status", b"cdn; hit"), (b"accept-ranges", b"none"), (b"proxy-authenticate", b"a"), RANGES),
    ]
)
JUDGED = ((b"age", b"7"), (b"vary", b"*"), (b"set-cookie", b"a=b"), (b"expires", b"0"), (b"etag", b'W/"1"'))
HEADS = st.builds(
    lambda kept, control, one, more: (*kept, *control, *one, *more),
    st.sampled_from([(TAG, DATE, RANGES)] * 10 + [(TAG, DATE), (TAG, RANGES), (DATE, RANGES), ()]),
    st.just([]) | st.lists(CONTROL, max_size=1) | st.lists(CONTROL, max_size=2),
    st.sampled_from([()] * 8 + [((name, said),) for name, said in JUDGED]),
    st.just([]) | st.lists(UNUSUAL, max_size=1) | st.lists(UNUSUAL, max_size=3),
)
ASKING: st.SearchStrategy[list[Field]] = (
    st.just([])
    | st.just([])
    | st.just([])
    | st.lists(
        st.sampled_from(
            [
                *(
                    (b"authorization", b"a"),
                    (b"range", b"bytes=0-1"),
                    (b"if-none-match", b'"1"'),
                    (b"cookie", b"a=b"),
                ),
                *((b"cache-control", b"no-store"), (b"cache-control", b"no-cache"), (b"cache-control", b"max-age=0")),
                *(
                    (b"pragma", b"no-cache"),
                    (b"if-range", b'"1"'),
                    (b"if-modified-since", imf_fixdate(NOW)),
                    (b"x-a", b"1"),
                ),
                *((b"cache-control", b"only-if-cached"), (b"want-repr-digest", b"md5=1")),
            ]
        ),
        max_size=2,
    )
)
FRESHNESS = (
    st.just(FreshnessRules())
    | st.just(FreshnessRules())
    | st.builds(
        FreshnessRules,
        default_lifetime=st.sampled_from([3600.0, 0.0, None]),
        heuristic_fraction=st.sampled_from([None, 0.1]),
        max_lifetime=st.sampled_from([1e9, 20.0]),
        forced_lifetime=st.sampled_from([None, None, 40.0]),
        ignore_cache_control=st.booleans(),
        honour_field_names=st.booleans(),
        set_cookie=st.sampled_from(["refuse", "strip", "store"]),
        invalid_age=st.sampled_from(["ignore", "stale"]),
        targeted=st.sampled_from([(b"cdn-cache-control",), ()]),
        surrogate=st.sampled_from([b"", b"shield"]),
        strip_targeted=st.booleans(),
        strip_tags=st.booleans(),
    )
)
FIELDS = (
    st.just(RouteFields())
    | st.just(RouteFields())
    | st.builds(
        lambda rules, tells: RouteFields({"fra": rules}, tells_ranges=tells),
        st.builds(
            FieldRules,
            remove=st.sampled_from([(), (b"x-a",), (b"e*",), (b"via",)]),
            set=st.sampled_from([(), ((b"x-a", b"2"),), ((b"cache-control", b"no-store"),), ((b"via", b"1.1 x"),)]),
            add=st.sampled_from([(), ((b"x-b", b"2"),), ((b"vary", b"a"),)]),
            digests=st.sampled_from(["off", "asked", "always"]),
            md5_etags=st.booleans(),
            storage=st.booleans(),
        ),
        st.booleans(),
    )
)
WANTS = st.sampled_from([Want(b"GET", b"/a")] * 10 + [Want(b"HEAD", b"/a"), Want(b"GET", b"/a", span=Span(0, 2))])


def both(
    fields: tuple[Field, ...],
    route: Route,
    *,
    status: int = 200,
    length: int | None = 5,
    asking: list[Field] | None = None,
    want: Want | None = None,
    terms: FillTerms = TERMS,
    shared: bool = True,
    delay: float = 0.0,
) -> tuple[Settlement | None, Settlement]:
    """The settlement by the short way, and the one by all rules, as a fill goes about it."""

    async def run() -> tuple[Settlement | None, Settlement]:
        response = Response(FakeConnection(), 0)
        response.arrive(ResponseHead(status, fields, length))
        asked = want or Want(b"GET", b"/a")
        request = Request.of(asked.method, b"/a", asking or [])
        question = Question(Resource(KEY, b"/a", b"", route), request, asked, None, shared=shared)
        fetched = Fetched("fra", response, NOW, NOW + delay)
        quick = settle_ordinary(question, fetched, terms)
        response.head = route.fields.of("fra", by_peer=False).changed(response.head)
        return quick, settle(question, fetched, terms, known=())

    return asyncio.run(run())


@settings(max_examples=500, deadline=None)
@given(
    fields=HEADS,
    freshness=FRESHNESS,
    rules=FIELDS,
    asking=ASKING,
    want=WANTS,
    status=st.sampled_from([200] * 15 + [203, 206, 301, 404, 500]),
    length=st.sampled_from([5] * 12 + [0, None, SLICE, SLICE + 1, LARGEST - OVERHEAD, LARGEST - OVERHEAD + 1]),
    terms=st.sampled_from([TERMS, IN_SLICES]),
    shared=st.booleans(),
    delay=st.sampled_from([0.0, 0.0, 3.0, 200.0, -5.0]),
)
def test_what_is_settled_quickly_is_settled_as_by_all_rules(
    *,
    fields: tuple[Field, ...],
    freshness: FreshnessRules,
    rules: RouteFields,
    asking: list[Field],
    want: Want,
    status: int,
    length: int | None,
    terms: FillTerms,
    shared: bool,
    delay: float,
) -> None:
    route = Route("default", origins=("fra",), freshness=freshness, fields=rules)
    if status == 206 and want.span is None:
        status = 200  # refused before it is settled

    quick, full = both(
        fields, route, status=status, length=length, asking=asking, want=want, terms=terms, shared=shared, delay=delay
    )

    assert quick is None or quick == full


def test_what_nearly_all_responses_are_like_is_settled_quickly() -> None:
    """Or the test above would compare nothing."""
    route = Route("default", origins=("fra",))
    for more in ((), ((b"cache-control", b"public, max-age=100"),), ((b"x-a", b"1"), (b"connection", b"keep-alive"))):
        quick, full = both((TAG, DATE, RANGES, *more), route)

        assert quick is not None
        assert quick == full
