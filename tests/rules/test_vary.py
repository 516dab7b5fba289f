"""The request fields that are forwarded, their normal form, and the fields that distinguish variants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import RequestError
from shield.messages import Request
from shield.rules import vary
from shield.rules.vary import Forwarding, choosing, names_in, reflects, unkeyed, variant

PLATFORM = (b"image/avif", b"image/webp", b"image/jpeg")
CHROME = b"image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
SAFARI = b"image/webp,image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5"


def asked(*fields: tuple[bytes, bytes]) -> Request:
    return Request.of(b"GET", b"/a", fields)


@pytest.mark.parametrize(
    ("accept", "best"),
    [
        (CHROME, b"image/avif"),
        (SAFARI, b"image/webp"),
        (b"*/*", b"image/jpeg"),
        (b"", b"image/jpeg"),
        (b"image/avif;q=0, image/webp", b"image/webp"),
        (b"IMAGE/WEBP ; q=0.1", b"image/webp"),
        (b"image/webp;q=0.000,*/*", b"image/jpeg"),
        (b"garbage;;;,=,", b"image/jpeg"),
    ],
)
def test_accept_becomes_the_best_type_that_is_named(accept: bytes, best: bytes) -> None:
    rules = Forwarding(frozenset({b"accept"}), types=PLATFORM)

    assert rules.fields(asked((b"accept", accept))) == ((b"accept", best),)


@pytest.mark.parametrize("name", [b"accept", b"accept-encoding", b"accept-charset"])
@pytest.mark.parametrize(
    ("said", "forwarded"),
    [
        (b"en, de", b"de, en"),
        (b"de,en", b"de, en"),
        (b"eN , De", b"de, en"),
        (b"fr;q=0.5, de", b"de, fr;q=0.5"),
        (b"fr ; q = 0.5,a;q=1.0,b;q=0.50", b"a;q=1.0, b;q=0.50, fr;q=0.5"),
        (b"application/vnd.x; Profile=Full", b"application/vnd.x;profile=Full"),  # its value has a case
        (b"", b""),
        (b'text/x;p="A, b", a', b'text/x;p="A, b", a'),  # quotes may hide what these would change
    ],
)
def test_the_order_of_preferences_means_nothing_but_their_weights_do(
    name: bytes, said: bytes, forwarded: bytes
) -> None:
    assert Forwarding(None).fields(asked((name, said))) == ((name, forwarded),)


@pytest.mark.parametrize(
    ("said", "forwarded"), [(b"en, de", b"en, de"), (b"dE;Q=0.5 ,en,fr;q=0.5", b"en, de;q=0.5, fr;q=0.5")]
)
def test_of_equal_languages_the_first_stays_the_first(said: bytes, forwarded: bytes) -> None:
    language = b"accept-language"

    assert Forwarding(None).fields(asked((language, said))) == ((language, forwarded),)


@pytest.mark.parametrize(
    ("name", "lines", "forwarded"),
    [
        (b"x-list", [b"b,A"], b"b, A"),
        (b"x-list", [b"b ,,A", b"c"], b"b, , A, c"),
        (b"x-list", [b'"b,A"'], b'"b,A"'),
        (b"cookie", [b"a=b,,c", b"d=e"], b"a=b,,c; d=e"),
        (b"cookie", [b"a=b", b"", b" "], b"a=b"),
        (b"authorization", [b"Digest a=b,c=d"], b"Digest a=b,c=d"),
    ],
)
def test_other_fields_keep_what_may_mean_something(name: bytes, lines: list[bytes], forwarded: bytes) -> None:
    assert Forwarding(None).fields(asked(*[(name, line) for line in lines])) == ((name, forwarded),)


def test_an_absent_accept_is_forwarded_as_what_everybody_takes() -> None:
    assert Forwarding(frozenset({b"accept"}), types=PLATFORM).fields(asked()) == ((b"accept", b"image/jpeg"),)


@pytest.mark.parametrize(
    ("accept", "codings"),
    [
        (b"gzip, deflate, br", b"br, gzip"),
        (b"br;q=0.9,gzip;q=0", b"br"),
        (b"*", b"br, gzip"),
        (b"*;q=0", b"identity"),
        (b"", b"identity"),
        (b"GZIP", b"gzip"),
    ],
)
def test_accept_encoding_becomes_what_the_platform_has_of_it(accept: bytes, codings: bytes) -> None:
    rules = Forwarding(frozenset({b"accept-encoding"}), codings=(b"br", b"gzip"))

    assert rules.fields(asked((b"accept-encoding", accept))) == ((b"accept-encoding", codings),)


def test_only_what_is_listed_is_forwarded_each_once_and_sorted() -> None:
    rules = Forwarding(frozenset({b"x-a", b"x-b"}))
    request = asked((b"x-b", b"1"), (b"cookie", b"c"), (b"x-a", b"2 ,3"), (b"x-b", b" 4"))

    assert rules.fields(request) == ((b"x-a", b"2, 3"), (b"x-b", b"1, 4"))


@pytest.mark.parametrize(
    "name",
    [
        *(
            b"host",
            b"range",
            b"if-none-match",
            b"te",
            b"x-forwarded-host",
            b"x-original-url",
            b"x-amz-date",
            b"expect",
        ),
        *(b"forwarded", b"x-forwarded-for", b"x-real-ip", b"true-client-ip", b"cf-connecting-ip", b"x-client-ip"),
        *(b"fastly-client-ip", b"x-cluster-client-ip", b"x-forwarded-proto", b"x-forwarded-port", b"remote-user"),
        *(b"x-forwarded-client-cert", b"client-cert", b"ssl-client-verify", b"x_real_ip", b"true_client-ip"),
        *(b"x_original_url", b"x-forwarded_host", b"x_amz_date"),  # many servers take these for the same
    ],
)
def test_what_must_not_be_forwarded_is_not_whatever_the_rules_say(name: bytes) -> None:
    assert Forwarding(None).fields(asked((name, b"x"))) == ()
    assert Forwarding(frozenset({name})).fields(asked((name, b"x"))) == ()


def test_what_connection_names_stays_here() -> None:
    request = asked((b"connection", b"close, X-Mine"), (b"x-mine", b"1"), (b"x-other", b"2"))

    assert Forwarding(None).fields(request) == ((b"x-other", b"2"),)


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([], ()),
        ([b"Accept"], (b"accept",)),
        ([b"b, A", b"a"], (b"a", b"b")),
        ([b" , ,"], ()),
        ([b"a, *"], None),
    ],
)
def test_the_names_in_vary(lines: list[bytes], names: tuple[bytes, ...] | None) -> None:
    assert names_in(lines) == names


def test_a_name_that_is_not_forwarded_chooses_nothing() -> None:
    assert choosing((b"accept", b"cookie"), Forwarding(frozenset({b"accept"}))) == (b"accept",)
    assert choosing((b"accept", b"host", b"cookie"), Forwarding(None)) == (b"accept", b"cookie")
    assert choosing((b"accept",), Forwarding()) == ()


def test_requests_that_match_are_of_one_variant_and_others_are_not() -> None:
    names, rules = (b"foo",), Forwarding(None)

    def of(*fields: tuple[bytes, bytes]) -> bytes:
        return variant(names, rules.fields(asked(*fields)))

    assert of((b"foo", b"1, 2")) == of((b"foo", b"1,2")) == of((b"foo", b"1"), (b"foo", b" 2 "))
    assert len({of(), of((b"foo", b"")), of((b"foo", b"1")), of((b"foo", b"2, 1"))}) == 4


@given(value=st.binary(max_size=60), types=st.sampled_from([PLATFORM, ()]))
def test_any_value_has_one_spelling_that_stays(value: bytes, types: tuple[bytes, ...]) -> None:
    rules = Forwarding(None, types=types, codings=(b"br",))

    once = rules.fields(asked((b"accept", value), (b"x", value)))

    assert rules.fields(asked(*once)) == once
    assert all(b"\n" not in v for n, v in once if n == b"accept" and types)


def test_what_a_storage_answers_by_chooses_though_its_vary_is_silent() -> None:
    bucket = Forwarding(frozenset({b"accept", b"origin", b"access-control-request-method"}), storage=True)

    assert choosing((), bucket) == (b"access-control-request-method", b"origin")
    assert choosing((b"accept",), bucket) == (b"accept", b"access-control-request-method", b"origin")
    assert choosing((b"origin",), bucket) == choosing((), bucket)
    assert choosing((), Forwarding(frozenset({b"accept"}), storage=True)) == ()
    assert choosing((), Forwarding(frozenset({b"origin"}))) == ()


def test_no_more_is_forwarded_than_origins_take() -> None:
    bounded = Forwarding(None, max_bytes=100, max_fields=3)

    assert bounded.fields(asked((b"a", b"x" * 95))) == ((b"a", b"x" * 95),)
    for fields, reason in (
        ([(b"a", b"x" * 96)], "fields-too-long"),
        ([(b"a", b"x" * 46), (b"b", b"x" * 45)], "fields-too-long"),
        ([(b"a", b"")] * 21, "fields-too-long"),
        ([(name, b"") for name in (b"a", b"b", b"c", b"d")], "too-many-fields"),
    ):
        with pytest.raises(RequestError, match=reason) as refused:
            bounded.fields(asked(*fields))
        assert refused.value.status == 431
    assert Forwarding(frozenset({b"b"}), max_bytes=100).fields(asked((b"a", b"x" * 200), (b"b", b""))) == (
        (b"b", b""),
    )


def test_what_a_client_says_and_nothing_tells_apart_is_unkeyed() -> None:
    forwarded = ((b"accept", b"image/webp"), (b"cookie", b"a=b"), (b"origin", b"https://a.example"))

    assert unkeyed((), forwarded, Forwarding(None)) == forwarded
    assert unkeyed((b"cookie", b"x"), forwarded, Forwarding(None)) == (forwarded[0], forwarded[2])
    assert unkeyed((), forwarded, Forwarding(None, types=PLATFORM)) == forwarded[1:]
    names = frozenset({b"accept", b"cookie", b"origin"})
    assert unkeyed((), forwarded, Forwarding(names, storage=True)) == forwarded[:2]


@pytest.mark.parametrize(
    ("answered", "found"),
    [
        ((b"access-control-allow-origin", b"https://a.example"), True),
        ((b"location", b"/login?from=https://a.example&x"), True),
        ((b"origin", b"https://a.example"), False),
        ((b"location", b"https://b.example"), False),
        ((b"content-type", b"image/webp"), False),
        ((b"x", b"de"), False),
    ],
)
def test_an_answer_that_repeats_a_field_is_known(answered: tuple[bytes, bytes], found: bool) -> None:
    said = ((b"accept", b"image/webp"), (b"lang", b"de"), (b"origin", b"https://a.example"))

    assert reflects(((b"etag", b"x"), answered), said) is found


@given(
    st.sampled_from([b"accept", b"accept-language", b"accept-encoding", b"accept-charset"]),
    st.integers(1, 4000),
    st.sampled_from([b"a;q=0.1", b"de", b""]),
)
def test_of_preferences_no_more_is_read_than_honest_clients_have(name: bytes, count: int, member: bytes) -> None:
    request = asked((name, b",".join([member] * count)))
    weighed: list[bytes] = []

    weight = vary._weight

    def weigh(text: bytes) -> float:
        weighed.append(text)
        return weight(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vary, "_weight", weigh)
        there = Forwarding(None, max_bytes=1 << 20).fields(request)
        chosen = Forwarding(None, types=(b"a", b"b"), codings=(b"a", b"b"), max_bytes=1 << 20).fields(request)

    assert len(weighed) <= 3 * 64  # each of two readings, and what of its own it sorts by
    assert bool(there) is (count <= 64)
    assert (b"accept", b"b" if count > 64 or member != b"a;q=0.1" or name != b"accept" else b"a") in chosen


@given(st.integers(0, 2000))
def test_a_connection_that_names_more_than_any_honest_one_names_everything(count: int) -> None:
    request = asked((b"connection", b",".join([b"x-%d" % n for n in range(count)])), (b"x-0", b"a"), (b"y", b"b"))

    expected = [] if count > 64 else [name for name in (b"x-0", b"y") if name != b"x-0" or not count]
    assert [name for name, _ in Forwarding(None).fields(request)] == expected


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        (b"de", b"de"),
        (b"DE-at", b"de"),
        (b"de-AT-x-long, en;q=0.9", b"de"),
        (b"en;q=0.5, de;q=0.9", b"de"),
        (b"en, de", b"en"),
        (b"pt", b"pt-br"),
        (b"pt-BR", b"pt-br"),
        (b"pt-PT", b"en"),
        (b"fr, *;q=0.1", b"en"),
        (b"en;q=0, *", b"de"),
        (b"de-AT, de;q=0", b"en"),
        (b"*", b"en"),
        (b"x-junk-1", b"en"),
        (b"", b"en"),
        (b"en;q=0, de;q=0, pt;q=0", b"en"),
        (b",;=,;;q=1.5,de;q=nonsense", b"de"),
    ],
)
def test_accept_language_becomes_the_language_that_is_preferred(accept: bytes, language: bytes) -> None:
    rules = Forwarding(frozenset({b"accept-language"}), languages=(b"en", b"de", b"pt-br"))

    assert rules.fields(Request.of(b"GET", b"/a", [(b"accept-language", accept)])) == (
        (b"accept-language", language),
    )
    assert unkeyed((), ((b"accept-language", language),), rules) == ()


@given(st.binary(max_size=60))
def test_whatever_is_said_of_languages_becomes_one_of_few(accept: bytes) -> None:
    rules = Forwarding(None, languages=(b"en", b"de", b"pt-br"))

    (line,) = rules.fields(Request.of(b"GET", b"/a", [(b"accept-language", accept)]))

    assert line[1] in rules.languages
