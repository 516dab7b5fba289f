"""No response is served to a request that it doesn't match (RFC 9111 §4.1), in whichever order answers come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shield.messages import Field
from shield.rules.freshness import FreshnessRules, Unkeyed
from shield.rules.routes import Route
from shield.rules.vary import Forwarding
from tests.depth import tries
from tests.fill.ground import FakeClient, Fetch, Ground, on_ground, turns

NAMES = (b"foo", b"bar")
STORABLE = (b"cache-control", b"max-age=60")
UNSTORABLE: tuple[Field, ...] = (
    (b"cache-control", b"no-store"),
    (b"cache-control", b"private"),
    (b"set-cookie", b"s=1"),
    (b"vary", b"*"),
)

Asking = Mapping[bytes, bytes]


def forwarding(**rules: Any) -> Route:
    """A route that forwards Foo and Bar."""
    freshness = FreshnessRules(**rules)
    return Route(
        "default", origins=("fra",), forwarding=Forwarding(frozenset(NAMES)), max_variants=4, freshness=freshness
    )


# the cases that made the rule


@pytest.mark.parametrize("before", UNSTORABLE)
def test_a_variant_is_stored_as_one_though_the_key_is_known_for_what_cannot_be_shared(before: Field) -> None:
    async def scenario(ground: Ground) -> list[bytes]:
        first = await ground.asked(fields={b"foo": b"1"})
        ground.source.last.answers(before, body=b"for nobody else")
        await turns()
        assert first.clean

        second = await ground.asked(fields={b"foo": b"1"})
        ground.source.last.answers(STORABLE, (b"vary", b"Foo"), body=b"of 1")
        await turns()
        other = await ground.asked(fields={b"foo": b"2"})
        ground.source.last.answers(STORABLE, (b"vary", b"Foo"), body=b"of 2")
        await turns()
        again = await ground.asked(fields={b"foo": b"1"})
        return [second.body, other.body, again.body]

    assert on_ground(scenario, route=forwarding()) == [b"of 1", b"of 2", b"of 1"]


def test_what_does_not_vary_does_not_take_the_place_of_what_says_that_others_do() -> None:
    """Two fetches for themselves; the first to be answered is the last to end."""

    async def scenario(ground: Ground) -> list[bytes]:
        client = await ground.asked()
        ground.source.last.answers(UNSTORABLE[0], body=b"x")
        await turns()
        assert client.clean
        plain, varying = [await ground.asked(fields={b"foo": name}) for name in (b"1", b"2")]
        one, two = ground.source.fetches[-2:]
        one.answers(STORABLE, length=4)
        await turns()
        two.answers(STORABLE, (b"vary", b"foo"), body=b"of 2")
        await turns()
        one.sends(b"of 1", ends=True)
        await turns()
        ground.store.variants.clear()  # as another worker, or a later run, which knows what is stored
        again = await ground.asked(fields={b"foo": b"2"})
        return [plain.body, varying.body, again.body]

    assert on_ground(scenario, route=forwarding()) == [b"of 1", b"of 2", b"of 2"]


@pytest.mark.parametrize("unkeyed", ["refuse", "store"])
def test_what_is_not_there_for_one_variant_is_there_for_another(unkeyed: Unkeyed) -> None:
    async def scenario(ground: Ground) -> list[tuple[int | None, bool]]:
        for answers in ("none", "some"):
            client = await ground.asked(fields={b"foo": answers.encode()})
            if answers == "none":
                ground.source.last.is_absent(vary=(b"foo",))
            else:
                ground.source.last.answers(STORABLE, (b"vary", b"foo"), body=b"some")
            await turns()
            assert client.clean
        ground.store.variants.clear()
        later = [await ground.asked(fields={b"foo": foo}) for foo in (b"none", b"some", b"none")]
        other = await ground.asked(fields={b"foo": b"other"})
        ground.source.last.answers(STORABLE, (b"vary", b"foo"), body=b"other")
        await turns()
        return [(each.status, b"hit" in each.head) for each in [*later, other]]

    assert on_ground(scenario, route=forwarding(unkeyed=unkeyed)) == [
        (404, True),
        (200, True),
        (404, True),
        (200, False),
    ]


def test_those_who_wait_for_what_is_not_there_for_another_ask_for_themselves() -> None:
    async def scenario(ground: Ground) -> list[int | None]:
        clients = [ground.asks(fields={b"foo": foo}) for foo in (b"none", b"some", b"none")]
        await turns()
        ground.source.last.is_absent(vary=(b"foo",))
        await turns()
        ground.source.last.answers(STORABLE, (b"vary", b"foo"), body=b"some")
        await turns()
        assert len(ground.source.fetches) == 2
        return [client.status for client in clients]

    assert on_ground(scenario, route=forwarding()) == [404, 200, 404]


@pytest.mark.parametrize("fields", [{}, {b"foo": b"1"}])
def test_an_absence_that_varies_by_everything_is_for_one_request(fields: Mapping[bytes, bytes]) -> None:
    async def scenario(ground: Ground) -> int:
        clients = [ground.asks(fields=fields) for _ in range(3)]
        await turns()
        ground.source.last.is_absent(vary=None)
        await turns()
        for fetch in ground.source.fetches[1:]:
            fetch.is_absent(vary=None)
        await turns()
        assert [(client.status, b"\r\nvary: *\r\n" in client.head) for client in clients] == [(404, True)] * 3
        await ground.asked(fields=fields)
        ground.source.last.is_absent(vary=None)
        await turns()
        return len(ground.source.fetches)

    assert on_ground(scenario, route=forwarding()) == 4


def test_no_client_sets_variants_aside_by_asking_for_what_is_not_there() -> None:
    async def scenario(ground: Ground) -> bool:
        await ground.asked(fields={b"foo": b"1"})
        ground.source.last.answers(STORABLE, (b"vary", b"foo"), body=b"of 1")
        await turns()
        await ground.asked(fields={b"foo": b"2", b"bar": b"junk"})
        ground.source.last.is_absent(vary=(b"bar", b"foo"))
        await turns()
        again = await ground.asked(fields={b"foo": b"1"})
        return again.body == b"of 1" and len(ground.source.fetches) == 2

    assert on_ground(scenario, route=forwarding())


# any sequence


@dataclass(frozen=True)
class Said:
    """What an origin says next: of a lifetime, by what it varies, and whether what is asked about still holds."""

    line: Field
    vary: tuple[bytes, ...] | None
    etag: bool
    holds: bool
    piecemeal: bool  # its body ends only after the next request
    absent: bool  # there is no such object for this request; of `vary` None: it depends on who knows what

    def fields(self, number: int) -> tuple[Field, ...]:
        tag = ((b"etag", b'"%d"' % number),) if self.etag else ()
        vary = ((b"vary", b", ".join(self.vary)),) if self.vary else ()
        return (self.line, *vary, *tag)


@dataclass(frozen=True)
class Step:
    """Requests that come together, and how the fetches that they cause are answered."""

    asking: tuple[tuple[bytes, tuple[tuple[bytes, bytes], ...]], ...]
    said: Said
    wait: float
    forgets: bool  # the worker forgets by what keys vary: what is stored says it


@dataclass
class Response:
    """What the model knows of one response: the requests that it was for, in the origin's own words."""

    asked: list[Asking]
    vary: tuple[bytes, ...]
    for_many: bool
    served: int = 0


@dataclass
class Model:
    """All responses by the number in their bodies. Knows nothing of keys, variants or fills."""

    responses: dict[int, Response] = field(default_factory=dict)
    absences: list[Response] = field(default_factory=list)

    def deny(self, fetch: Fetch, said: Said) -> tuple[bytes, ...] | None:
        """That it isn't there, and by which fields of the request."""
        vary = tuple(sorted(said.vary)) if said.line not in UNSTORABLE and said.vary is not None else None
        asking = {name: value for name, value in fetch.want.forwarded if name in NAMES}
        self.absences.append(Response([asking], NAMES if vary is None else vary, vary is not None))
        return vary

    def answer(self, fetch: Fetch, said: Said) -> bytes | None:
        """The body to send, or None for 304."""
        asking = {name: value for name, value in fetch.want.forwarded if name in NAMES}
        asked_about = fetch.fields.get(b"if-none-match")
        if said.holds and asked_about is not None:
            response = self.responses[int(asked_about.strip(b'"'))]
            response.asked.append(asking)
            response.vary = response.vary if said.vary is None else said.vary
            return None
        number = len(self.responses)
        for_many = said.line not in UNSTORABLE
        self.responses[number] = Response([asking], said.vary or (), for_many)
        return b"%d" % number

    def check(self, client: FakeClient, asking: Asking) -> None:
        """Whether it may have what it got."""
        if client.status == 404:
            said = [each for each in self.absences if _matches(asking, each) and (each.for_many or not each.served)]
            assert said, f"it is there for {asking}, as far as anybody said"
            min(said, key=lambda each: not each.for_many).served += 1
            return
        if client.clean is not True or client.status != 200 or not client.body:
            return
        response = self.responses[int(client.body)]
        assert _matches(asking, response), f"{asking} got {response}"
        response.served += 1
        assert response.for_many or response.served <= len(response.asked), "what is one client's went to others"


def _matches(asking: Asking, response: Response) -> bool:
    return any(
        asking == asked or all(asking.get(name) == asked.get(name) for name in response.vary)
        for asked in response.asked
    )


reusable = [STORABLE, (b"cache-control", b"max-age=0"), (b"cache-control", b"no-cache")]
lines = st.one_of(st.just(STORABLE), st.just(STORABLE), st.sampled_from(reusable), st.sampled_from(UNSTORABLE))
varies = st.sampled_from([(b"foo",), (b"foo",), (b"bar",), (b"bar", b"foo"), (b"other",), None])
values = st.sampled_from([b"1", b"2", None])
askings = st.tuples(
    st.sampled_from([b"GET", b"GET", b"GET", b"HEAD"]),
    st.builds(
        lambda foo, bar: tuple((n, v) for n, v in zip(NAMES, (foo, bar), strict=True) if v is not None),
        values,
        values,
    ),
)
steps = st.builds(
    Step,
    asking=st.lists(askings, min_size=1, max_size=2).map(tuple),
    said=st.builds(
        Said, lines, varies, st.booleans(), st.booleans(), st.booleans(), st.sampled_from([False, False, True])
    ),
    wait=st.sampled_from([0.0, 0.0, 11.0, 70.0]),
    forgets=st.sampled_from([False, False, False, True]),
)


@settings(max_examples=tries(100))
@given(story=st.lists(steps, min_size=3, max_size=8), unkeyed=st.sampled_from(["refuse", "store"]))
def test_no_response_reaches_a_request_that_it_does_not_match(story: Sequence[Step], unkeyed: Unkeyed) -> None:
    async def scenario(ground: Ground) -> None:
        model, unended = Model(), list[tuple[Fetch, bytes]]()
        open_clients: list[tuple[FakeClient, Asking]] = []
        answered = 0
        for step in story:
            ground.clock.advance(step.wait)
            if step.forgets:
                ground.store.variants.clear()
            open_clients += [
                (ground.asks(fields=dict(fields), method=method), dict(fields)) for method, fields in step.asking
            ]
            await turns()
            for fetch, rest in unended:
                fetch.sends(rest, ends=True)
            unended.clear()
            await turns()
            while answered < len(ground.source.fetches):
                fetch = ground.source.fetches[answered]
                answered += 1
                if step.said.absent:
                    fetch.is_absent(vary=model.deny(fetch, step.said))
                    await turns()
                    continue
                body = model.answer(fetch, step.said)
                if body is None:
                    fetch.answers(*step.said.fields(0)[: -1 if step.said.etag else None], status=304, length=0)
                    fetch.sends(b"", ends=True)
                elif fetch.want.method == b"HEAD":
                    fetch.answers(*step.said.fields(int(body)), length=len(body))
                    fetch.sends(b"", ends=True)
                elif step.said.piecemeal:
                    fetch.answers(*step.said.fields(int(body)), length=len(body))
                    unended.append((fetch, body))
                else:
                    fetch.answers(*step.said.fields(int(body)), body=body)
                await turns()
            open_clients = _checked(model, open_clients)
        for fetch, rest in unended:
            fetch.sends(rest, ends=True)
        await turns()
        assert _checked(model, open_clients) == [], "a client was never answered"

    on_ground(scenario, route=forwarding(grace=5.0, unkeyed=unkeyed))


def _checked(model: Model, clients: list[tuple[FakeClient, Asking]]) -> list[tuple[FakeClient, Asking]]:
    """Those whose answer isn't here yet."""
    for client, asking in clients:
        if client.clean is not None:
            model.check(client, asking)
    return [(client, asking) for client, asking in clients if client.clean is None]
