"""Settings of access: their meaning, their errors and notes; and no secret is ever printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from shield.build.regime import access_rules
from shield.cli.check import check
from shield.config.loading import load
from shield.config.settings import Settings
from shield.config.shape import is_secret
from shield.rules.access import AccessRules, Rule
from shield.rules.addresses import peer_of
from shield.serving import serve
from tests.ground import PLAIN, Ground

EXAMPLE = Path(__file__).parents[1] / "config" / "shield.yaml"
HERE = "shield.yaml"
TOKEN = "hunter2-hunter2-hunter2"
OTHER = "swordfish-swordfish-swordfish"
KEY = "0123456789abcdef0123456789abcdef"
HEADER = f"access: {{header: {{secrets: [{TOKEN}]}}}}\n"
LINKS = f"access: {{signed_urls: {{keys: {{k1: {KEY}}}}}}}\n"


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def rules_of(settings: Settings) -> AccessRules:
    rules = access_rules(settings)
    assert rules is not None
    return rules


def has(rules: AccessRules, secret: str) -> bool:
    return rules.secrets.has(secret.encode())


# what they mean


def test_without_the_section_there_are_no_rules(ground: Ground) -> None:
    assert access_rules(ground.settings(PLAIN)) is None
    assert access_rules(ground.settings(PLAIN + "access:\n")) is None


def test_everything_that_is_there_is_required(ground: Ground) -> None:
    text = f"access: {{header: {{secrets: [{TOKEN}]}}, addresses: [192.0.2.0/24]}}\n"

    rules = rules_of(ground.settings(PLAIN + text))

    assert rules.require == ((Rule.ADDRESSES,), (Rule.HEADER,))
    assert (rules.header, rules.routes, rules.links, rules.hosts) == (b"x-shield-secret", {}, None, None)
    assert has(rules, TOKEN) and not has(rules, OTHER)
    assert peer_of("192.0.2.9") in rules.addresses


def test_what_is_required_can_be_said(ground: Ground) -> None:
    text = (
        f"access:\n  require: [hosts, header or addresses]\n  header: {{name: X-Own, secrets: [{TOKEN}]}}\n"
        "  addresses: [192.0.2.1, unix]\n  hosts: [a.example, '*.b.example']\n"
        "  trusted_proxies: [10.0.0.0/8]\n  trusted_field: x-forwarded-for\n"
    )

    rules = rules_of(ground.settings(PLAIN + text))

    assert rules.require == ((Rule.HOSTS,), (Rule.ADDRESSES, Rule.HEADER))
    assert rules.fields == {b"x-own", b"x-forwarded-for"}
    assert peer_of("unix") in rules.addresses and peer_of("unix") not in rules.trusted


@pytest.mark.parametrize(("value", "requirement"), [("off", ()), ("header", ((Rule.HEADER,),)), ("[]", ())])
def test_a_route_may_require_something_else(
    ground: Ground, value: str, requirement: tuple[tuple[Rule, ...], ...]
) -> None:
    text = f"{PLAIN}access: {{allow: all, header: {{secrets: [{TOKEN}]}}}}\nroutes: {{a: {{access: {value}}}}}\n"

    rules = rules_of(ground.settings(text))

    assert (rules.require, rules.routes) == ((), {"a": requirement})


def test_a_certificate_is_asked_for_by_name(ground: Ground, tmp_path: Path) -> None:
    for name in ("ca.pem", "tls.pem", "tls.key"):
        (tmp_path / name).touch()
    text = (
        "tls: {certificate_file: tls.pem, key_file: tls.key}\n"
        "access: {client_certificate: {ca_file: ca.pem, names: [Edge.CDN.example]}}\n"
    )

    settings = ground.settings(PLAIN + text)

    assert rules_of(settings).names == frozenset({"edge.cdn.example"})
    assert settings.access is not None and settings.access.client_certificate is not None
    assert settings.access.client_certificate.ca_file == tmp_path / "ca.pem"  # relative to where it is named


def test_the_example_is_accepted_without_its_comment_signs(ground: Ground, tmp_path: Path) -> None:
    lines = EXAMPLE.read_text().split("# access:\n")[1].split("\n\n")[0].splitlines()
    text = "access:\n" + "\n".join(line.removeprefix("#") for line in lines if "secrets_file" not in line)
    text = "\n".join(line for line in text.splitlines() if "keys_file" not in line)
    for name in ("ca.pem", "tls.pem", "tls.key"):
        (tmp_path / name).touch()
    text = text.replace("/etc/shield/cdn-ca.pem", str(tmp_path / "ca.pem"))
    tls = f"tls: {{certificate_file: {tmp_path}/tls.pem, key_file: {tmp_path}/tls.key}}\n"

    rules = rules_of(ground.settings(PLAIN + tls + text))

    assert rules.require == ((Rule.ADDRESSES,), (Rule.HEADER,))
    assert rules.links is not None and list(rules.links.keys) == [b"2025-06"]


# secrets, from wherever they come


def test_secrets_come_from_a_file_one_a_line(ground: Ground, tmp_path: Path) -> None:
    (tmp_path / "cdn.secrets").write_text(f"{TOKEN}\n{OTHER}\n\n")

    rules = rules_of(ground.settings(PLAIN + "access: {header: {secrets_file: cdn.secrets}}\n"))

    assert has(rules, TOKEN) and has(rules, OTHER) and not has(rules, "")


def test_keys_come_from_a_file(ground: Ground, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"k1: {KEY}\nk2: {KEY}2\n")

    rules = rules_of(ground.settings(PLAIN + "access: {signed_urls: {keys_file: keys}}\n"))

    assert rules.links is not None
    assert rules.links.keys == {b"k1": KEY.encode(), b"k2": f"{KEY}2".encode()}


@pytest.mark.parametrize("value", [TOKEN, f"[{OTHER}, {TOKEN}]", f"{OTHER}\n{TOKEN}"])
def test_secrets_come_from_a_variable(ground: Ground, value: str) -> None:
    rules = rules_of(ground.settings(PLAIN, SHIELD_ACCESS__HEADER__SECRETS=value))

    assert has(rules, TOKEN)
    assert has(rules, OTHER) is (OTHER in value)


def test_secrets_come_from_secret_files(ground: Ground) -> None:
    ground.secret("shield_access__header__secrets", f"{TOKEN}\n{OTHER}\n")
    ground.secret("shield_access__signed_urls__keys__k2", KEY)

    rules = rules_of(ground.settings(PLAIN + LINKS))

    assert has(rules, TOKEN) and has(rules, OTHER)
    assert rules.links is not None and set(rules.links.keys) == {b"k1", b"k2"}


def test_a_file_that_is_named_may_lie_among_the_secret_files(ground: Ground) -> None:
    file = ground.secret("shield_cdn", TOKEN, own=True)

    assert has(rules_of(ground.settings(PLAIN + f"access: {{header: {{secrets_file: {file}}}}}\n")), TOKEN)


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        (("access", "header", "secrets"), True),
        (("access", "header", "secrets", 0), True),
        (("access", "header", "secrets_file"), True),
        (("access", "signed_urls", "keys"), True),
        (("access", "signed_urls", "keys", "k1"), True),
        (("access", "signed_urls", "keys_file"), True),
        (("access", "header", "name"), False),
        (("access", "signed_urls", "parameters", "key"), False),
        (("access", "addresses"), False),
        (("origins", "fra", "secret_key_file"), True),
        (("origins",), False),
    ],
)
def test_what_holds_secrets_is_known(path: tuple[str | int, ...], secret: bool) -> None:
    assert is_secret(path) is secret


def test_settings_do_not_show_secrets(ground: Ground) -> None:
    settings = ground.settings(PLAIN + HEADER)

    assert TOKEN not in repr(settings) and TOKEN not in settings.model_dump_json()


LEAKS = {
    "short": f"access: {{header: {{secrets: [{TOKEN[:9]}]}}}}\n",
    "with a blank": f"access: {{header: {{secrets: ['{TOKEN[:9]} x']}}}}\n",
    "a mapping": f"access: {{header: {{secrets: {{{TOKEN}: {TOKEN}}}}}}}\n",
    "a mapping in the list": f"access: {{header: {{secrets: [{TOKEN}: {TOKEN}]}}}}\n",
    "as the section": f"access: {{header: {TOKEN}}}\n",
    "as the file's name": f"access: {{header: {{secrets_file: {TOKEN}}}}}\n",
    "as its own key": f"access: {{header: {{secrets: [{OTHER}], {TOKEN}}}}}\n",
    "twice": f"access: {{header: {{secrets: {{{TOKEN}: 1, {TOKEN}: 2}}}}}}\n",
    "no key id": f"access: {{signed_urls: {{keys: {{{TOKEN[:8]}, {TOKEN[9:17]}: {KEY}}}}}}}\n",
    "keys as text": f"access: {{signed_urls: {{keys: {TOKEN}}}}}\n",
    "keys as a list": f"access: {{signed_urls: {{keys: [{TOKEN}]}}}}\n",
    "a bad key id": f"access: {{signed_urls: {{keys: {{{TOKEN.upper()[:18]}: {KEY}}}}}}}\n",
    "a key id twice": f"access: {{signed_urls: {{keys: {{{TOKEN}: {KEY}, {TOKEN}: {KEY}}}}}}}\n",
    "a short key": f"access: {{signed_urls: {{keys: {{k1: {TOKEN}}}}}}}\n",
    "a key in parts": f"access: {{signed_urls: {{keys: {{k1: [{TOKEN}]}}}}}}\n",
    "keys in their file's place": f"access: {{signed_urls: {{keys_file: {TOKEN}}}}}\n",
    "the header's name": f"access: {{header: {{name: 'X: {TOKEN}', secrets: {TOKEN}}}}}\n",
}


@pytest.mark.parametrize("case", LEAKS)
def test_no_problem_says_a_secret(ground: Ground, case: str) -> None:
    said = "\n".join(ground.problems(PLAIN + LEAKS[case])).lower()

    if case != "the header's name":  # which is no place for one
        assert "hunter2" not in said
    assert KEY not in said and OTHER not in said


@pytest.mark.parametrize(
    "value", [TOKEN[:9], f"[{TOKEN[:9]}]", f"{{{TOKEN}: x}}", f"[{TOKEN[:9]}", f"[{{{TOKEN}: 1, {TOKEN}: 2}}]"]
)
def test_no_problem_says_a_secret_of_a_variable(ground: Ground, value: str) -> None:
    said = "\n".join(ground.problems(PLAIN, SHIELD_ACCESS__HEADER__SECRETS=value))

    assert "hunter2" not in said


def test_no_problem_says_a_secret_of_a_file(ground: Ground) -> None:
    ground.secret("shield_access__signed_urls__keys", TOKEN)
    ground.secret("shield_access__header__secrets", f"{TOKEN} {TOKEN}")

    assert "hunter2" not in "\n".join(ground.problems(PLAIN))


# what can't be meant

CASES = {
    "no rule": (
        "access: {}\n",
        [":5: access: no rule; expected one of addresses client_certificate hosts header signed_urls, or allow: all"],
    ),
    "all and more": (
        "access: {allow: all, require: [addresses], addresses: [192.0.2.1]}\n",
        [":5: access.require: allow: all lets everyone in; expected one of the two"],
    ),
    "a rule that isn't there": (
        "access: {addresses: [192.0.2.1], require: [addresses or header]}\nroutes: {a: {access: [hosts]}}\n",
        [
            ":5: access.require[0]: there is no such rule; expected access.header",
            ":6: routes.a.access[0]: there is no such rule; expected access.hosts",
        ],
    ),
    "a route alone": (
        "routes: {a: {access: [header]}}\n",
        [":5: routes.a.access: there is no `access` section; expected its rules there"],
    ),
    "everyone from everywhere, without a word": (
        "listen: [127.0.0.1:1, ':2']\naccess:\n",
        [":5: listen: 0.0.0.0:2 can be reached from elsewhere; expected access, too: the rules for clients, or off"],
    ),
    "another word": ("access: nobody\n", [":5: access: expected a mapping of keys to values, or off"]),
    "no rule of ours": (
        "access: {addresses: [192.0.2.1], require: [adresses, header or, header and hosts]}\n",
        [
            f':5: access.require[{at}]: got "{got}"; expected one of addresses client_certificate hosts header '
            "signed_urls, or several with `or` between them"
            for at, got in enumerate(["adresses", "header or", "header and hosts"])
        ],
    ),
    "no networks": (
        "access: {addresses: [192.0.2.1/24], trusted_proxies: [here]}\n",
        [
            f':5: access.{key}[0]: got "{got}"; expected a network or address, as 192.0.2.0/24 or 2001:db8::1, or '
            "unix"
            for key, got in (("addresses", "192.0.2.1/24"), ("trusted_proxies", "here"))
        ],
    ),
    "no hosts": (
        "access: {hosts: ['images.example.net:80', '*', 'a.*.example', 'http://a']}\n",
        [
            f':5: access.hosts[{at}]: got "{got}"; expected a host without a port, as images.example.net or '
            "*.cdn.example"
            for at, got in enumerate(["images.example.net:80", "*", "a.*.example", "http://a"])
        ],
    ),
    "no field": (
        f"access: {{header: {{name: Range, secrets: [{TOKEN}]}}}}\n",
        [':5: access.header.name: got "Range"; expected a field that has no other meaning, as X-Shield-Secret'],
    ),
    "no secrets": (
        "access: {header: {name: X-Own}, signed_urls: {keys: {}}}\n",
        [
            ":5: access.header.secrets: there are none; expected secrets or secrets_file here, the variable "
            "SHIELD_ACCESS__HEADER__SECRETS, or a secret file shield_access__header__secrets",
            ":5: access.signed_urls.keys: there are none; expected keys or keys_file here, the variable "
            "SHIELD_ACCESS__SIGNED_URLS__KEYS, or a secret file shield_access__signed_urls__keys",
        ],
    ),
    "short secrets": (
        "access: {header: {secrets: [short]}, signed_urls: {keys: {k1: 0123456789abcdef}}}\n",
        [
            ":5: access.header.secrets[0]: expected 16 characters at least; openssl rand -hex 32 makes good ones",
            ":5: access.signed_urls.keys.k1: expected 32 characters at least; openssl rand -hex 32 makes good ones",
        ],
    ),
    "both": (
        f"access: {{header: {{secrets: [{TOKEN}], secrets_file: x}}}}\n",
        [":5: access.header.secrets_file: secrets is given too; expected one of the two"],
    ),
    "no TLS": (
        "access: {client_certificate: {ca_file: shield.yaml}}\n",
        [":5: access.client_certificate: clients can't show one without TLS; expected tls, too"],
    ),
    "no authorities": (
        "access: {client_certificate: {ca_file: none.pem}, addresses: [192.0.2.1]}\n"
        "tls: {certificate_file: shield.yaml, key_file: shield.yaml}\n",
        [':5: access.client_certificate.ca_file: got "none.pem"; expected a file that can be read'],
    ),
    "parameters": (
        f"access: {{signed_urls: {{keys: {{k1: {KEY}}}, parameters: {{key: signature}}}}}}\n"
        "routes: {a: {query: {allow: [w, signature]}}}\n",
        [
            ':5: access.signed_urls.parameters.signature: "signature" is the name of key; expected another',
            ":6: routes.a.query.allow: signature: storage APIs honour it, it can't be passed on",
            ':6: routes.a.query.allow[1]: "signature" is a part of signed URLs: access.signed_urls.parameters may '
            "call it otherwise",
        ],
    ),
    "a parameter that a route keeps": (
        LINKS + "routes: {a: {query: {allow: [key]}}}\n",
        [
            ':6: routes.a.query.allow[0]: "key" is a part of signed URLs: access.signed_urls.parameters may call it '
            "otherwise"
        ],
    ),
}


def test_a_route_that_keeps_all_parameters_names_none(ground: Ground) -> None:
    access = f"access: {{signed_urls: {{keys: {{k1: {KEY}}}, parameters: {{key: a, signature: l}}}}}}\n"

    assert ground.load(PLAIN + access + "routes: {a: {query: {allow: all}}}\n").notes == ()


@pytest.mark.parametrize("case", CASES)
def test_a_problem_names_file_line_key_and_what_was_expected(ground: Ground, case: str) -> None:
    text, expected = CASES[case]

    found = ground.problems(PLAIN + text)

    assert found == [HERE + line for line in expected]


# what is warned of

OPEN = "listen: ':8080'\n"
KEPT_OUT = "NO CLIENT IS REJECTED"


def notes(ground: Ground, text: str) -> list[str]:
    return [note.replace(f"{ground.file.parent}/", "") for note in ground.load(PLAIN + text).notes]


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (OPEN + "access: off\n", True),
        (OPEN + "access: 'Off'\n", True),
        ("listen: [127.0.0.1:1, ':2']\naccess: {allow: all}\n", True),
        (OPEN + "access: {hosts: [a.example]}\n", True),  # clients name the host they like
        (OPEN + "access: {hosts: [a.example], addresses: [192.0.2.1], require: [hosts or addresses]}\n", True),
        (OPEN + "access: {hosts: [a.example], addresses: [192.0.2.1]}\n", False),
        (OPEN + HEADER, False),
        ("", False),
        ("access: off\n", False),
        ("listen: '[::1]:8080'\n", False),
    ],
)
def test_check_and_serve_say_loudly_that_nobody_is_kept_out(
    ground: Ground,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    warned: bool,
) -> None:
    monkeypatch.setattr("shield.serving.configure", lambda level, style: None)
    monkeypatch.setattr("shield.supervisor.supervise", lambda *words, **more: 0)
    ground.file.write_text(PLAIN + text)

    assert check(ground.file) == serve(ground.file) == 0

    assert (KEPT_OUT in capsys.readouterr().out) is warned
    assert (KEPT_OUT in "\n".join(r.getMessage() for r in caplog.records if r.levelname == "WARNING")) is warned


def test_a_listener_behind_tls_and_rules_is_no_news(ground: Ground, tmp_path: Path) -> None:
    for name in ("tls.pem", "tls.key"):
        (tmp_path / name).touch()
    tls = "tls: {certificate_file: tls.pem, key_file: tls.key}\n"

    assert notes(ground, OPEN + tls + HEADER) == []
    off = "access: off\n"
    assert [note.split("; ")[1].split(":")[0] for note in notes(ground, OPEN + tls + off)] == [KEPT_OUT]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (
            HEADER.replace("access: {", "access: {allow: all, "),
            "shield.yaml:5: access.header: has no effect: nothing requires it",
        ),
        (
            "access: {require: [addresses], addresses: [192.0.2.1], hosts: [a.example]}\n",
            "shield.yaml:5: access.hosts: has no effect: nothing requires it",
        ),
        (
            HEADER.replace("access: {", "access: {trusted_proxies: [192.0.2.1], "),
            "shield.yaml:5: access.trusted_proxies: has no effect without access.addresses",
        ),
        (
            "access: {addresses: [192.0.2.0/24], trusted_proxies: [0.0.0.0/0]}\n",
            "shield.yaml:5: access.trusted_proxies[0]: 0.0.0.0/0 is everyone: any client can claim any address",
        ),
    ],
)
def test_what_had_better_be_known_is_noted(ground: Ground, text: str, note: str) -> None:
    assert notes(ground, text) == [note]


def test_a_rule_that_a_route_requires_has_an_effect(ground: Ground) -> None:
    text = HEADER.replace("access: {", "access: {allow: all, ") + "routes: {a: {access: header}}\n"

    assert notes(ground, text) == []


def test_secrets_in_the_clear_are_noted(ground: Ground) -> None:
    found = notes(ground, OPEN + HEADER)

    assert found[1] == "shield.yaml:6: access.header: secrets arrive in plain HTTP, readable on the way"


@pytest.mark.parametrize("text", [HEADER, LINKS])
def test_secrets_that_all_may_read_are_noted(ground: Ground, text: str) -> None:
    ground.file.write_text(PLAIN + text)
    ground.file.chmod(0o644)

    found = load(ground.file, environ={}, secret_directories=[]).notes

    assert [note.removeprefix(str(ground.file)) for note in found] == [
        ":5: a secret in a file that every user of this machine may read; chmod 600 it"
    ]


def test_what_is_required_is_summed_up(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.file.write_text(PLAIN + HEADER + "routes: {a: {}, health: {match: /health, access: off}}\n")

    check(ground.file)

    lines = capsys.readouterr().out.splitlines()
    assert "access   header" in lines
    assert "route    a: / from fra" in lines
    assert "route    health: /health from fra; access off" in lines
