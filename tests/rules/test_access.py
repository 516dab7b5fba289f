"""Access rules: addresses and those that proxies state, secrets, hosts, certificates, and combinations of rules."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import RequestError
from shield.rules.access import (
    AcceptedSecrets,
    AccessRules,
    ClientIdentity,
    Hosts,
    RequestFacts,
    Rule,
    certificate_names,
    requirement_of,
)
from shield.rules.addresses import Networks, network_of, peer_of, stated_clients
from shield.rules.signed_urls import Links

PROXIES = Networks(["10.0.0.0/8", "fd00::/8"])
SECRET = b"0123456789abcdef"


def told(peer: str, *, forwarded: str | None = None, xff: str | None = None) -> list[str]:
    """The clients behind a peer, as text; "unknown" for who can't be told."""
    fields = [None if value is None else value.encode("latin-1") for value in (forwarded, xff)]
    found = stated_clients(peer_of(peer), fields[0], fields[1], PROXIES)
    return ["unknown" if each is None else str(each) for each in found]


# addresses


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.1%eth0", "192.0.2.1"),
        ("unix", "unix"),
        ("", "None"),
        ("localhost", "None"),
        ("192.0.2.01", "None"),
    ],
)
def test_a_peer_is_an_address_without_disguise(text: str, peer: str) -> None:
    assert str(peer_of(text)) == peer


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
        ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
        ("::/0", "2001:db8::1", "203.0.113.9"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
        ("::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"),
        ("fe80::/10", "fe80::1%eth0", "fec0::1"),
        ("unix", "unix", "127.0.0.1"),
        ("0.0.0.0/0", "127.0.0.1", "unix"),
        ("::/0", "::1", ""),
    ],
)
def test_a_network_has_its_addresses_and_no_others(network: str, inside: str, outside: str) -> None:
    networks = Networks([network])

    assert peer_of(inside) in networks
    assert peer_of(outside) not in networks
    assert networks and not Networks()


@pytest.mark.parametrize(
    "text", ["", "192.0.2.1/24", "192.0.2.0/33", "2001:db8::1/32", "fe80::1%eth0", "example.net", "10.0.0.0/8 "]
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        network_of(text)


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@st.composite
def some_networks(draw: st.DrawFn) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Some around addresses that are drawn, so that others lie in them now and then."""
    found = []
    for address in draw(st.lists(st.sampled_from(NEAR), max_size=8)):
        length = draw(st.integers(0, address.max_prefixlen))
        found.append(ipaddress.ip_network((address, length), strict=False))
    return found


NEAR = [ipaddress.ip_address(text) for text in ("10.0.0.1", "10.0.0.2", "10.1.0.0", "2001:db8::1", "2001:db8:1::")]


@given(given_networks=some_networks(), address=st.one_of(st.sampled_from(NEAR), ADDRESSES))
def test_networks_agree_with_the_standard_library(
    given_networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network],
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    peer = peer_of(str(address))
    networks = Networks(map(str, given_networks))

    expected = any(peer in network for network in given_networks if not _mapped(network))
    assert (peer in networks) is expected


def _mapped(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    return network.version == 6 and network.subnet_of(ipaddress.IPv6Network("::ffff:0:0/96"))


@given(ADDRESSES)
def test_an_address_is_told_alike_in_every_spelling(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    plain = str(peer_of(str(address)))
    wrapped = str(address) if address.version == 4 else f"[{address}]"
    spellings = [plain, str(address), address.exploded, wrapped, f"{wrapped}:443", f'"{wrapped}:443"']

    for spelling in spellings:
        assert told("10.0.0.1", forwarded=f"for={spelling}") == [plain]
        assert told("10.0.0.1", xff=spelling.strip('"')) == [plain]


# what proxies say


@pytest.mark.parametrize(
    ("peer", "xff", "client"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", "192.0.2.1", "203.0.113.9"),  # nobody's word but the proxies' counts
        ("203.0.113.9", "garbage", "203.0.113.9"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("::ffff:10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.1, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.1,192.0.2.1 , 10.0.0.2, 10.0.0.3", "192.0.2.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "garbage, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1, garbage", "unknown"),
        ("10.0.0.1", "192.0.2.1, garbage, 10.0.0.2", "unknown"),
        ("10.0.0.1", "192.0.2.1, unix:", "unknown"),
        ("10.0.0.1", "192.0.2.1, unix", "unknown"),
        ("10.0.0.1", "192.0.2.1, ,", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1%eth0", "2001:db8::1"),
        ("10.0.0.1", "192.0.2.1 10.0.0.2", "unknown"),
        ("10.0.0.1", "192.0.2.1\xe9", "unknown"),
        ("10.0.0.1", "," * 4087 + "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "," * 4088 + "192.0.2.1", "unknown"),
        ("10.0.0.1", "2001:db8::1%" + "x" * 200, "unknown"),
        ("unix", "192.0.2.1", "unix"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_not_trusted(peer: str, xff: str | None, client: str) -> None:
    assert told(peer, xff=xff) == [client]


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("for=192.0.2.1", "192.0.2.1"),
        ("For=192.0.2.1;proto=https;by=203.0.113.43", "192.0.2.1"),
        ('proto=http; for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ('for="192.0.2.1:_port"', "192.0.2.1"),
        ("for=198.51.100.1, for=192.0.2.1, for=10.0.0.2", "192.0.2.1"),
        ('for=198.51.100.1;by="a, for=198.51.100.2", for=192.0.2.1', "192.0.2.1"),
        (r'for="19\2.0.2.1"', "192.0.2.1"),
        ("for=10.0.0.2, for=10.0.0.3", "10.0.0.2"),
        ("for=192.0.2.1, proto=https", "unknown"),
        ("for=192.0.2.1, for=unknown", "unknown"),
        ("for=192.0.2.1, for=_hidden", "unknown"),
        ("for=192.0.2.1, for=", "unknown"),
        ("for=192.0.2.1;for=192.0.2.2", "unknown"),
        ('for=", for=192.0.2.1', "unknown"),  # a quote that a client left open
        ('for="192.0.2.1', "unknown"),
        ("192.0.2.1", "unknown"),
        ("for = 192.0.2.1", "unknown"),
        ("for=192.0.2.1;;proto=http,", "192.0.2.1"),
        ("for=192.0.2.1;x=" + "y" * 4096, "unknown"),
        ("", "10.0.0.1"),
    ],
)
def test_forwarded_is_read_as_its_rfc_has_it(forwarded: str, client: str) -> None:
    assert told("10.0.0.1", forwarded=forwarded) == [client]


def test_each_field_that_is_there_has_a_say() -> None:
    both = told("10.0.0.1", forwarded="for=192.0.2.1", xff="198.51.100.1")

    assert both == ["192.0.2.1", "198.51.100.1"]


def test_unix_sockets_can_be_trusted() -> None:
    found = stated_clients(peer_of("unix"), None, b"192.0.2.1", Networks(["unix"]))

    assert list(map(str, found)) == ["192.0.2.1"]


@given(st.text(max_size=60), st.ip_addresses(v=4))
def test_what_a_client_sends_never_hides_what_the_proxy_added(
    sent: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    sent = sent.encode("latin-1", "ignore").decode("latin-1")
    true = str(address)

    from_xff = told("fd00::1", xff=f"{sent}, {true}")
    from_forwarded = told("fd00::1", forwarded=f"{sent}, for={true}")

    if peer_of(true) not in PROXIES:
        assert from_xff == [true]
        assert from_forwarded in ([true], ["unknown"])


@given(st.text(alphabet='for=by;, "\\[]:.0123456789abcdef%_\t', max_size=80))
def test_any_text_is_read_without_a_fault(text: str) -> None:
    known = {*told("10.0.0.1", forwarded=text), *told("10.0.0.1", xff=text)}

    assert all(each == "unknown" or peer_of(each) is not None for each in known)


# secrets


def test_any_of_the_secrets_will_do_and_nothing_else() -> None:
    secrets = AcceptedSecrets([b"first secret", b"second secret"])

    assert secrets.has(b"first secret") and secrets.has(b"second secret")
    for wrong in (b"", b"first", b"first secret ", b"First secret", b"first secret, first secret"):
        assert not secrets.has(wrong)
    assert not AcceptedSecrets([]).has(b"")


@pytest.mark.parametrize("given_secret", [b"a" * 16, b"c" * 16, b"wrong", b""])
def test_all_secrets_are_compared_whichever_it_is(monkeypatch: pytest.MonkeyPatch, given_secret: bytes) -> None:
    secrets = AcceptedSecrets([b"a" * 16, b"b" * 16, b"c" * 16])
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    secrets.has(given_secret)

    assert len(compared) == 3
    assert {len(side) for pair in compared for side in pair} == {32}  # nor does a length tell


def test_secrets_are_not_shown() -> None:
    assert "0123" not in repr(vars(AcceptedSecrets([SECRET])))


# hosts


@pytest.mark.parametrize(
    ("authority", "known"),
    [
        ("images.example.net", True),
        ("IMAGES.example.net:8443", True),
        ("images.example.net.", True),
        ("images.example.net:", True),
        ("a.cdn.example", True),
        ("a.b.cdn.example:80", True),
        ("[2001:db8::1]:80", True),
        ("cdn.example", False),
        (".cdn.example", False),
        ("xcdn.example", False),
        ("images.example.net.evil.example", False),
        ("evil.example/images.example.net", False),
        ("user@images.example.net", False),
        ("images.example.net, images.example.net", False),
        ("images.example.net:80:80", False),
        ("images.example.net\n", False),
        ("[2001:db8::2]", False),
        ("", False),
    ],
)
def test_hosts_are_known_by_name_whatever_the_port(authority: str, known: bool) -> None:
    hosts = Hosts(["images.example.net", "*.cdn.example", "[2001:DB8::1]"])

    assert hosts.has(authority.encode()) is known


# certificates

CERTIFICATE = {
    "subject": ((("organizationName", "CDN"),), (("commonName", "Edge.CDN.example"),)),
    "subjectAltName": (("DNS", "a.cdn.example"), ("IP Address", "192.0.2.1"), ("email", "b.cdn.example")),
}


def test_names_of_a_certificate_are_dns_names_and_common_names() -> None:
    assert certificate_names(CERTIFICATE) == {"edge.cdn.example", "a.cdn.example"}
    assert certificate_names({}) == frozenset()


@pytest.mark.parametrize(
    ("names", "certificate", "why"),
    [
        (None, CERTIFICATE, None),
        (frozenset({"a.cdn.example"}), CERTIFICATE, None),
        (frozenset({"x", "edge.cdn.example"}), CERTIFICATE, None),
        (frozenset({"192.0.2.1"}), CERTIFICATE, "another name"),
        (None, None, "missing"),
        (None, {}, "missing"),  # what ssl has for one that was not verified
    ],
)
def test_a_certificate_is_one_that_was_verified_and_has_the_name(
    names: frozenset[str] | None, certificate: Mapping[str, Any] | None, why: str | None
) -> None:
    rules = AccessRules(require=requirement_of(["client_certificate"]), names=names)

    assert rules.identify("192.0.2.1", certificate).settled[Rule.CLIENT_CERTIFICATE] == why


# rules together


def asked(host: str | None = None, now: float = 0.0, **client_fields: str) -> RequestFacts:
    fields = {name.replace("_", "-").encode(): value.encode() for name, value in client_fields.items()}
    return RequestFacts(None if host is None else host.encode(), fields, None, None, now)


def verdict(rules: AccessRules, request: RequestFacts, *, peer: str = "192.0.2.1") -> str:
    """`in`, or the status and why."""
    denied = rules.judge(rules.identify(peer, None), request, rules.require)
    return "in" if denied is None else f"{denied.status} {denied.why}"


def rules_of(*require: str, **others: Any) -> AccessRules:
    return AccessRules(
        require=requirement_of(require),
        **{
            "addresses": Networks(["192.0.2.0/24"]),
            "trusted": PROXIES,
            "hosts": Hosts(["images.example.net"]),
            "header": b"x-secret",
            "secrets": AcceptedSecrets([SECRET]),
            "links": Links({b"k": b"s"}),
            **others,
        },
    )


GOOD = SECRET.decode()


@pytest.mark.parametrize(
    ("require", "request_", "peer", "expected"),
    [
        ([], asked(), "203.0.113.9", "in"),
        (["header"], asked(x_secret=GOOD), "203.0.113.9", "in"),
        (["header"], asked(), "192.0.2.1", "403 header: missing"),
        (["header"], asked(x_secret="wrong"), "192.0.2.1", "403 header: wrong"),
        (["hosts"], asked("images.example.net"), "203.0.113.9", "in"),
        (["hosts"], asked("other.example"), "192.0.2.1", "421 hosts: other.example"),
        (["hosts"], asked(), "192.0.2.1", "421 hosts: missing"),
        (["addresses"], asked(), "192.0.2.1", "in"),
        (["addresses"], asked(), "203.0.113.9", "403 addresses: 203.0.113.9"),
        (["addresses"], asked(), "", "403 addresses: unknown"),
        (["addresses"], asked(x_forwarded_for="192.0.2.1"), "203.0.113.9", "403 addresses: 203.0.113.9"),
        (["addresses"], asked(x_forwarded_for="192.0.2.1"), "10.0.0.1", "in"),
        (["addresses"], asked(x_forwarded_for="192.0.2.1, 1"), "10.0.0.1", "403 addresses: unknown"),
        (
            ["addresses"],
            asked(forwarded="for=192.0.2.1", x_forwarded_for="203.0.113.9"),
            "10.0.0.1",
            "403 addresses: 203.0.113.9",
        ),
        (["addresses"], asked(forwarded="for=192.0.2.1", x_forwarded_for="192.0.2.2"), "10.0.0.1", "in"),
        (["client_certificate"], asked(), "192.0.2.1", "403 client_certificate: missing"),
        (["signed_urls"], asked(), "192.0.2.1", "403 signed_urls: not signed"),
        (["header", "addresses"], asked(x_secret=GOOD), "203.0.113.9", "403 addresses: 203.0.113.9"),
        (["header", "addresses"], asked(x_secret=GOOD), "192.0.2.1", "in"),
        (["header or addresses"], asked(x_secret=GOOD), "203.0.113.9", "in"),
        (["header or addresses"], asked(), "192.0.2.1", "in"),
        (["header or addresses"], asked(), "203.0.113.9", "403 addresses: 203.0.113.9, header: missing"),
        (["hosts or header"], asked("other.example"), "192.0.2.1", "403 hosts: other.example, header: missing"),
        (["header", "hosts"], asked("other.example"), "192.0.2.1", "421 hosts: other.example"),
    ],
)
def test_what_is_required_must_hold(require: list[str], request_: RequestFacts, peer: str, expected: str) -> None:
    assert verdict(rules_of(*require), request_, peer=peer) == expected


def test_one_of_the_fields_may_be_the_one_that_counts() -> None:
    rules = rules_of("addresses", client_fields=frozenset({b"x-forwarded-for"}))
    lying = asked(forwarded="for=203.0.113.9", x_forwarded_for="192.0.2.1")

    assert verdict(rules, lying, peer="10.0.0.1") == "in"
    assert verdict(rules, asked(forwarded="for=192.0.2.1"), peer="10.0.0.1") == "403 addresses: 10.0.0.1"


def test_who_is_denied_is_told_nothing() -> None:
    rules = rules_of("header")

    denied = rules.judge(rules.identify("192.0.2.1", None), asked(x_secret="wrong"), rules.require)

    assert isinstance(denied, RequestError)
    assert denied.reason == "forbidden"


def test_a_host_in_a_log_is_short() -> None:
    assert verdict(rules_of("hosts"), asked("x" * 500)) == "421 hosts: " + "x" * 100


def test_a_visitor_is_welcome_when_its_requests_need_no_look() -> None:
    plain = {"header": None, "links": None, "hosts": None}
    door = rules_of("addresses", **plain)

    assert door.admits_all_of(door.identify("192.0.2.1", None))
    assert not door.admits_all_of(door.identify("203.0.113.9", None))
    assert not door.admits_all_of(door.identify("10.0.0.1", None))  # a proxy: who its client is, requests tell
    assert rules_of(**plain).admits_all_of(door.identify("203.0.113.9", None))
    assert not rules_of("addresses").admits_all_of(door.identify("192.0.2.1", None))  # the header must be taken off
    stricter = rules_of("addresses", routes={"a": requirement_of(["client_certificate"])}, **plain)
    assert not stricter.admits_all_of(stricter.identify("192.0.2.1", None))


def test_fields_that_are_looked_at_are_those_that_rules_need() -> None:
    assert rules_of().fields == {b"x-secret", b"forwarded", b"x-forwarded-for"}
    assert rules_of(trusted=Networks()).fields == {b"x-secret"}
    assert rules_of(trusted=Networks(), header=None).fields == frozenset()


def test_a_certificate_is_needed_when_nothing_else_will_do() -> None:
    route = {"a": requirement_of(["client_certificate", "header"])}

    assert rules_of("client_certificate", routes=route).always(Rule.CLIENT_CERTIFICATE)
    assert not rules_of("client_certificate or header").always(Rule.CLIENT_CERTIFICATE)
    assert not rules_of("client_certificate", routes={"a": ()}).always(Rule.CLIENT_CERTIFICATE)
    assert not rules_of("header", routes=route).always(Rule.CLIENT_CERTIFICATE)


def test_the_cheapest_rules_are_looked_at_first() -> None:
    assert requirement_of(["signed_urls or header", "header", "hosts", "addresses"]) == (
        (Rule.ADDRESSES,),
        (Rule.HOSTS,),
        (Rule.HEADER,),
        (Rule.HEADER, Rule.SIGNED_URLS),
    )


@given(st.lists(st.lists(st.sampled_from(Rule), min_size=1, unique=True), max_size=4), st.sets(st.sampled_from(Rule)))
def test_of_each_group_one_rule_must_hold(groups: list[list[Rule]], holding: set[Rule]) -> None:
    requirement = requirement_of([" or ".join(rule.value for rule in group) for group in groups])
    settled: dict[Rule, str | None] = {rule: None if rule in holding else "no" for rule in Rule}

    denied = AccessRules(require=requirement).judge(ClientIdentity("unix", settled), asked(), requirement)

    assert (denied is None) is all(holding.intersection(group) for group in groups)
