"""The shortcut for ordinary responses gives the results of the individual rules, or none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shield.messages import Field, Request, ResponseHead
from shield.rules.dates import imf_fixdate
from shield.rules.fields import FieldRules, stored_head
from shield.rules.freshness import FreshnessRules
from shield.rules.heads import StoredHead, as_judged
from shield.rules.locations import PathMapping
from shield.rules.ordinary import Ordinary
from shield.rules.tags import labels
from shield.rules.verdict import Disposition, judge_response
from tests.depth import tries

T = 1_750_000_000.0
VIA = b"1.1 node"
REQUEST = Request.of(b"GET", b"/a")

S3 = FieldRules(
    set=((b"x-content-type-options", b"nosniff"),),
    digests="asked",
    md5_etags=True,
    storage=True,
    keep=(b"x-amz-meta-*",),
)
OF_S3: tuple[Field, ...] = (
    (b"x-amz-id-2", b"abc="),
    (b"x-amz-request-id", b"0123"),
    (b"date", imf_fixdate(T - 1)),
    (b"last-modified", imf_fixdate(T - 3600)),
    (b"etag", b'"0123456789abcdef0123456789abcdef"'),
    (b"x-amz-server-side-encryption", b"AES256"),
    (b"accept-ranges", b"bytes"),
    (b"content-type", b"image/webp"),
    (b"server", b"AmazonS3"),
    (b"content-length", b"5"),
)


def shown(ordinary: Ordinary | None, fields: tuple[Field, ...], *, asked: float = T, came: float = T) -> object:
    """The disposition and all of the stored head; None if it isn't ordinary."""
    head = ResponseHead(200, fields, 5)
    judged = None if ordinary is None else ordinary.judge(head, asked, came)
    if ordinary is None or judged is None:
        return None
    return results(judged, ordinary.head(head, 5, judged.freshness, VIA))


def in_full(
    freshness: FreshnessRules, rules: FieldRules, fields: tuple[Field, ...], *, asked: float = T, came: float = T
) -> object:
    """The same by the rules, one by one."""
    head = rules.changed(ResponseHead(200, fields, 5))
    judged = judge_response(REQUEST, head, request_time=asked, response_time=came, rules=freshness)
    assert labels(head, freshness.tags) == b""
    kept = replace(head, fields=tuple(line for line in head.fields if line[0] not in judged.dropped))
    return results(
        judged, as_judged(stored_head(kept, via=VIA, date=imf_fixdate(came), length=5, rules=rules), judged.freshness)
    )


def results(judged: Disposition, made: StoredHead) -> object:
    return (
        judged,
        made.block,
        made.shown,
        made.fields,
        made.etag,
        made.last_modified,
        made.no_cache,
        made.must_revalidate,
    )


@pytest.mark.parametrize("control", [(), ((b"cache-control", b"public, max-age=600, stale-while-revalidate=5"),)])
def test_an_object_of_s3_is_ordinary(control: tuple[Field, ...]) -> None:
    freshness = FreshnessRules()
    ordinary = Ordinary.of(freshness, S3)

    for fields in (OF_S3 + control, OF_S3 + control):  # found out, and remembered
        assert shown(ordinary, fields) is not None
        assert shown(ordinary, fields) == in_full(freshness, S3, fields)


@pytest.mark.parametrize(
    "line",
    [
        *(
            (name, b"1")
            for name in (b"age", b"expires", b"set-cookie", b"vary", b"cdn-cache-control", b"surrogate-key")
        ),
        *((b"cache-control", said) for said in (b"no-store", b"private", b"no-cache", b"max-age=0", b"max-age=1")),
        (b"content-encoding", b"aws-chunked"),
        (b"x-amz-checksum-sha256", b"abc="),
        (b"connection", b"close, x-amz-id-2"),
        (b"server", b"another line"),
    ],
)
def test_what_a_rule_has_to_look_at_is_not_ordinary(line: Field) -> None:
    assert shown(Ordinary.of(FreshnessRules(), S3), (*OF_S3, line)) is None


@pytest.mark.parametrize("missing", [b"date", b"etag", b"accept-ranges"])
def test_what_lacks_what_every_object_has_is_not_ordinary(missing: bytes) -> None:
    fields = tuple(line for line in OF_S3 if line[0] != missing)

    assert shown(Ordinary.of(FreshnessRules(), S3), fields) is None


@pytest.mark.parametrize(
    ("freshness", "rules"),
    [
        (FreshnessRules(default_lifetime=None, heuristic_fraction=0.1), S3),
        (FreshnessRules(), FieldRules(set=((b"cache-control", b"no-store"),))),
        (FreshnessRules(), FieldRules(remove=(b"cache-*",))),
        (FreshnessRules(), FieldRules(add=((b"vary", b"accept"),))),
    ],
)
def test_where_rules_change_what_is_judged_nothing_is_ordinary(freshness: FreshnessRules, rules: FieldRules) -> None:
    assert Ordinary.of(freshness, rules) is None


def test_no_more_names_and_values_are_remembered_than_origins_repeat() -> None:
    ordinary = Ordinary.of(FreshnessRules(), S3)

    assert ordinary is not None
    for number in range(1100):
        control, name = b"max-age=%d" % (60 + number), b"x-%d" % number
        assert shown(ordinary, (*OF_S3, (b"cache-control", control), (name, b"1"))) is not None
        assert len(ordinary._kept) <= 512 and len(ordinary._by_control) <= 512
    assert shown(ordinary, (*OF_S3, (b"x" * 3000, b"1"))) is None
    assert shown(ordinary, (*OF_S3, (b"x-0", b"1"))) is not None


CONTROLS = st.lists(
    st.sampled_from(
        [
            *(b"max-age=100", b"max-age=3", b"s-maxage=50", b"no-store", b"no-cache", b"private", b"public"),
            *(b"must-revalidate", b"stale-while-revalidate=9", b"stale-if-error=7", b"immutable", b'no-cache="x-a"'),
            *(b'private="etag"', b"must-understand", b"proxy-revalidate", b"max-age=99999999999", b"x=y"),
        ]
    ),
    max_size=2,
).map(b", ".join)
LINES = st.sampled_from(
    [
        *OF_S3,
        (b"x-a", b"1"),
        (b"age", b"1000"),
        (b"vary", b"accept"),
        (b"x-content-type-options", b"other"),
        (b"x-amz-meta-a", b"kept"),
        (b"etag", b'W/"1"'),
        (b"etag", b"unquoted"),
        (b"date", b"never"),
        (b"connection", b"keep-alive"),
        (b"connection", b"x-a"),
        (b"proxy-a", b"1"),
        (b"via", b"1.1 before"),
        (b"location", b"http://origin.example/a"),
        (b"content-encoding", b"gzip"),
        (b"content-md5", b"1B2M2Y8AsgTpgAmY7PhCfg=="),
        (b"expires", imf_fixdate(T + 60)),
        (b"warning", b"110"),
        (b"shield-hidden", b"a=:YQ==:"),
        (b"X y", b"malformed"),
    ]
)
FRESHNESS = st.builds(
    FreshnessRules,
    default_lifetime=st.sampled_from([3600.0, 3600.0, 0.0, None]),
    max_lifetime=st.sampled_from([1e9, 20.0]),
    forced_lifetime=st.sampled_from([None, None, 40.0]),
    ignore_cache_control=st.sampled_from([False, False, True]),
    honour_field_names=st.booleans(),
    set_cookie=st.sampled_from(["refuse", "strip", "store"]),
    strip_tags=st.booleans(),
    grace=st.sampled_from([0.0, 30.0]),
    error_grace=st.sampled_from([0.0, 86400.0]),
)
CHANGES = st.lists(
    st.sampled_from([(b"x-a", b"2"), (b"x-content-type-options", b"nosniff"), (b"vary", b"a")]), max_size=1
)
RULES = st.builds(
    FieldRules,
    prefixes=st.sampled_from([(), S3.prefixes]),
    keep=st.sampled_from([(), (b"x-amz-meta-*",)]),
    remove=st.sampled_from([(), (), (b"x-a",), (b"x-content-*", b"content-type"), (b"e*",)]),
    set=CHANGES.map(tuple),
    add=CHANGES.map(tuple),
    digests=st.sampled_from(["off", "asked", "always"]),
    md5_etags=st.booleans(),
    storage=st.booleans(),
    mapping=st.sampled_from([None, None, PathMapping(b"origin.example", tls=False)]),
)


@settings(max_examples=tries(200))
@given(
    freshness=FRESHNESS,
    rules=RULES,
    controls=st.lists(CONTROLS, min_size=2, max_size=4),
    lines=st.lists(LINES, max_size=2),
    left_out=st.sampled_from([None, None, b"accept-ranges", b"last-modified"]),
    late=st.sampled_from([0.0, 0.5, 30.0]),
    skew=st.sampled_from([-90.0, 0.0, 0.0, 90.0]),
)
def test_it_is_what_all_rules_come_to(
    freshness: FreshnessRules,
    rules: FieldRules,
    controls: list[bytes],
    lines: list[Field],
    left_out: bytes | None,
    late: float,
    skew: float,
) -> None:
    ordinary = Ordinary.of(freshness, rules)
    for control in controls:
        said = {**dict(OF_S3), **dict(lines), b"date": imf_fixdate(T + skew)}
        said.pop(left_out or b"", None)
        fields = (*said.items(), *(((b"cache-control", control),) if control else ()))
        quick = shown(ordinary, fields, asked=T, came=T + late)

        assert quick is None or quick == in_full(freshness, rules, fields, asked=T, came=T + late)
