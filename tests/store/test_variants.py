"""What is known of keys whose answers vary."""

from __future__ import annotations

from shield.messages import Request
from shield.rules.key import cache_key
from shield.rules.routes import Resource, Route
from shield.rules.vary import Forwarding
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

    room = [variants.has_room(of(variants, accept=value), 0.0, 60.0) for value in ("a", "b", "c", "a")]

    assert room == [True, True, False, True]
