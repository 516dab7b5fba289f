"""What is known of keys whose answers vary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Request
from shield.rules.key import CacheKey
from shield.rules.routes import Resource, Route, cache_key
from shield.rules.vary import MARK, Forwarding
from shield.store.variants import Variants

ROUTE = Route("default", forwarding=Forwarding(frozenset({b"accept", b"x"})), max_variants=2)
KEY = cache_key(b"", b"/a", b"")


def of(variants: Variants, **fields: str) -> Resource:
    request = Request.of(b"GET", b"/a", [(name.encode(), value.encode()) for name, value in fields.items()])
    return variants.of(Resource(KEY, b"/a", b"", ROUTE), request)


def test_a_key_of_which_nothing_is_known_stands_for_all_requests() -> None:
    variants = Variants()

    resource = of(variants, accept="a")

    assert (resource.key, resource.base, resource.forwarded) == (KEY, None, ((b"accept", b"a"),))


def test_each_variant_has_a_key_of_its_own_under_the_common_one() -> None:
    variants = Variants()
    variants.learn(KEY, (b"accept",), 0.0)

    one, same, other = of(variants, accept="a", x="1"), of(variants, accept="a", x="2"), of(variants, accept="b")

    assert one.key == same.key != other.key
    assert {one.named, other.named} == {KEY}
    assert one.key.text.startswith(KEY.text + b" ")


def test_a_marker_teaches_another_worker_the_same() -> None:
    variants, other = Variants(), Variants()

    other.learn_from(variants.learn(KEY, (b"accept", b"x"), 0.0))

    assert of(other, accept="a", x="1").key == of(variants, accept="a", x="1").key


def test_what_is_learned_anew_has_nothing_of_before() -> None:
    variants = Variants()
    variants.learn(KEY, (b"accept",), 0.0)
    before = of(variants, accept="a").key

    variants.forget(KEY.text)
    variants.learn(KEY, (b"accept",), 0.0)

    assert of(variants, accept="a").key != before


def test_room_is_for_so_many_variants() -> None:
    variants = Variants()
    variants.learn(KEY, (b"accept",), 0.0)

    room = [variants.make_room(of(variants, accept=value), 0.0, 60.0) for value in ("a", "b", "c", "a")]

    assert room == [True, True, False, True]


# who gets a place


def wants(variants: Variants, value: str, now: float = 0.0) -> CacheKey | bool:
    """A fill that brings this variant."""
    return variants.make_room(of(variants, accept=value), now, now + 60.0)


def known() -> Variants:
    variants = Variants()
    variants.learn(KEY, (b"accept",), 0.0)
    return variants


def test_the_least_used_gives_way_to_what_is_asked_for_more() -> None:
    variants = known()
    for value in ("junk", "used"):
        wants(variants, value)
    used, junk = of(variants, accept="used"), of(variants, accept="junk")
    for _ in range(5):
        of(variants, accept="used")

    answers = [wants(variants, "real") for _ in range(4)]

    assert answers == [False, False, junk.key, True]
    assert wants(variants, "used") is True
    assert used.key.text.startswith(KEY.text + MARK)


def test_no_number_of_variants_that_are_asked_for_once_displaces_one_in_use() -> None:
    variants = known()
    for value in ("a", "b"):
        wants(variants, value)
        of(variants, accept=value)

    answers = {wants(variants, f"junk{number}") for number in range(10_000)}

    assert answers == {False}
    assert wants(variants, "a") is wants(variants, "b") is True


def test_what_was_popular_long_ago_gives_way() -> None:
    variants = known()
    for value in ("old", "used"):
        wants(variants, value)
    for _ in range(400):
        of(variants, accept="old")
    for _ in range(20_000):
        of(variants, accept="used")

    assert wants(variants, "new") == variants_key(variants, "old")


def variants_key(variants: Variants, value: str) -> CacheKey:
    return of(variants, accept=value).key


def test_places_of_what_is_over_are_free() -> None:
    variants = known()
    for value in ("a", "b"):
        wants(variants, value)
        for _ in range(100):
            of(variants, accept=value)

    assert wants(variants, "c", now=60.0) is True


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.booleans()), max_size=200))
def test_there_are_never_more_than_allowed_and_what_is_told_to_go_had_a_place(asked: list[tuple[str, bool]]) -> None:
    variants, stored = known(), set[CacheKey]()
    for value, is_fill in asked:
        key = variants_key(variants, value)
        if is_fill:
            room = wants(variants, value)
            if isinstance(room, CacheKey):
                stored.remove(room)
            if room:
                stored.add(key)
        assert len(stored) <= ROUTE.max_variants
