"""Settings of the admin API: addresses, tokens, and what isn't said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from shield.build.tokens import admin_tokens
from shield.config.admin import UnixAddress
from shield.config.loading import load, load_again
from shield.config.shape import is_secret
from shield.errors import ConfigError
from shield.rules.tokens import Caller, Role
from tests.ground import PLAIN, Ground

ONE = "hunter2-0123456789abcdef"
OTHER = "hunter2-fedcba9876543210"
HERE = "shield.yaml"


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def caller(ground: Ground, text: str, secret: str, **environ: str) -> Caller | None:
    admin = ground.settings(PLAIN + text, **environ).admin
    return admin_tokens(admin).judge(f"Bearer {secret}", Role.READ)[0]


# tokens, from wherever they come


def test_tokens_come_with_their_roles(ground: Ground) -> None:
    one, other = f"prometheus: {{role: read, secret: {ONE}}}", f"oncall: {{role: operate, secret: {OTHER}}}"
    text = f"admin: {{tokens: {{{one}, {other}}}}}\n"

    assert caller(ground, text, ONE) == Caller("prometheus", Role.READ)
    assert caller(ground, text, OTHER) == Caller("oncall", Role.OPERATE)
    assert caller(ground, text, "x" * 16) is None


def test_a_secret_comes_from_a_file_relative_to_the_settings(ground: Ground, tmp_path: Path) -> None:
    (tmp_path / "oncall.token").write_text(f"{ONE}\n")

    assert caller(ground, "admin: {tokens: {oncall: {role: operate, secret_file: oncall.token}}}\n", ONE)


def test_a_secret_comes_from_a_variable_or_a_secret_file(ground: Ground) -> None:
    text = "admin: {tokens: {on-call: {role: operate}}}\n"

    assert caller(ground, text, ONE, SHIELD_ADMIN__TOKENS__ON_CALL__SECRET=ONE)
    ground.secret("shield_admin__tokens__on_call__secret", OTHER)
    assert caller(ground, text, OTHER, SHIELD_ADMIN__TOKENS__ON_CALL__SECRET=ONE)


def test_the_files_of_tokens_are_followed(ground: Ground, tmp_path: Path) -> None:
    file = tmp_path / "oncall.token"
    file.write_text(ONE)
    config = tmp_path / HERE
    config.write_text(PLAIN + "admin: {tokens: {oncall: {role: operate, secret_file: oncall.token}}}\n")

    loaded = load(config, environ={})

    assert loaded.files == {("admin",): (file,)}
    assert loaded.secrets == {("admin", "tokens", "oncall", "secret"): str(file)}


def test_the_variables_for_commands_are_no_settings(ground: Ground, tmp_path: Path) -> None:
    (tmp_path / HERE).write_text(PLAIN)

    loaded = load(tmp_path / HERE, environ={"SHIELD_ADMIN_TOKEN": ONE, "SHIELD_CONFIG": HERE})

    assert loaded.notes == () and ONE not in str(loaded.source.environ)


def test_a_secret_that_everyone_may_read_is_noted(tmp_path: Path) -> None:
    (tmp_path / "oncall.token").write_text(ONE)
    (tmp_path / "oncall.token").chmod(0o644)
    (tmp_path / HERE).write_text(PLAIN + "admin: {tokens: {oncall: {role: operate, secret_file: oncall.token}}}\n")

    assert any("every user of this machine may read" in note for note in load(tmp_path / HERE, environ={}).notes)


# what can't be meant, and what is said of it

TOKEN = "{role: operate, secret: " + ONE + "}"
NAMED = (
    "admin.tokens: got a mapping; expected a name (lower case letters, digits, hyphens) and "
    "{role: ..., secret_file: ...} each"
)
CASES = {
    "open to others": (
        "admin: {listen: ':9180'}",
        "admin.listen: 0.0.0.0:9180 can be reached from elsewhere; expected admin.tokens, too: who may do what",
    ),
    "no secret": (
        "admin: {tokens: {on-call: {role: read}}}",
        "admin.tokens.on-call.secret: there is none; expected secret or secret_file here, the variable "
        "SHIELD_ADMIN__TOKENS__ON_CALL__SECRET, or a secret file shield_admin__tokens__on-call__secret",
    ),
    "the same secret": (
        f"admin: {{tokens: {{a: {TOKEN}, b: {TOKEN}}}}}",
        "admin.tokens.b.secret: a has the same; expected one of its own, which tells them apart",
    ),
    "short": (
        "admin: {tokens: {a: {role: read, secret: hunter2-short}}}",
        "admin.tokens.a.secret: expected 16 characters at least; openssl rand -hex 32 makes good ones",
    ),
    "no role": (
        f"admin: {{tokens: {{a: {{secret: {ONE}}}}}}}",
        "admin.tokens.a.role: missing; expected one of read purge operate",
    ),
    "another role": (
        "admin: {tokens: {a: {role: root, secret_file: /dev/null}}}",
        'admin.tokens.a.role: got "root"; expected one of read purge operate',
    ),
    "a secret alone": (
        f"admin: {{tokens: {{a: {ONE}}}}}",
        NAMED,
    ),
    "a secret as a name": (
        f"admin: {{tokens: {{{ONE}: }}}}",
        NAMED,
    ),
    "no file": (
        f"admin: {{tokens: {{a: {{role: read, secret_file: {ONE}}}}}}}",
        "admin.tokens.a.secret_file: the file can't be read: No such file or directory",
    ),
    "a relative socket": (
        "admin: {listen: 'unix:admin.sock'}",
        'admin.listen: got "unix:admin.sock"; expected unix: and an absolute path, as unix:/run/shield/admin.sock',
    ),
    "a long socket": (
        f"admin: {{listen: 'unix:/{'x' * 120}'}}",
        "expected a path of at most 107 bytes: the system takes no longer one",
    ),
    "no mode": (
        "admin: {socket_mode: rw}",
        'admin.socket_mode: got "rw"; expected permissions in octal digits, as "0660"',
    ),
    "a mode that isn't octal": (
        "admin: {socket_mode: 0680}",
        'admin.socket_mode: got "0680"; expected permissions in octal digits, as "0660"',
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_named_without_a_secret(ground: Ground, case: str) -> None:
    text, expected = CASES[case]

    said = "\n".join(ground.problems(f"{PLAIN}{text}\n"))

    assert expected in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        (("admin", "tokens", "a", "secret"), True),
        (("admin", "tokens", "a", "secret_file"), True),
        (("admin", "tokens", "a", "role"), False),
        (("admin", "listen"), False),
    ],
)
def test_what_holds_secrets_is_known(path: tuple[str | int, ...], secret: bool) -> None:
    assert is_secret(path) is secret


def test_settings_do_not_show_tokens(ground: Ground) -> None:
    settings = ground.settings(f"{PLAIN}admin: {{tokens: {{a: {TOKEN}}}}}\n")

    assert "hunter2" not in repr(settings) + settings.model_dump_json()


# addresses


def test_a_unix_socket_needs_no_token(ground: Ground) -> None:
    admin = ground.settings(f"{PLAIN}admin: {{listen: 'unix:/run/shield/admin.sock', socket_mode: 0600}}\n").admin

    assert admin.listen == UnixAddress("/run/shield/admin.sock")
    assert str(admin.listen) == "unix:/run/shield/admin.sock"
    assert admin.socket_mode == 0o600
    assert ground.settings(PLAIN).admin.socket_mode == 0o660


def test_tokens_change_while_the_node_runs_and_addresses_dont(tmp_path: Path) -> None:
    config = tmp_path / HERE
    config.write_text(f"{PLAIN}admin: {{listen: ':9180', tokens: {{a: {TOKEN}}}}}\n")
    running = load(config, environ={})
    config.write_text(f"{PLAIN}admin: {{listen: ':9180', tokens: {{b: {TOKEN}}}, socket_mode: 0600}}\n")

    again, waiting = load_again(running)

    assert list(again.settings.admin.tokens) == ["b"] and again.settings.admin.socket_mode == 0o660
    assert waiting == ("admin.socket_mode",)
    config.write_text(PLAIN)  # loopback without tokens is fine, but not until the restart
    with pytest.raises(ConfigError, match=r"expected admin.tokens, too.*\(until the node is restarted\)"):
        load_again(running)
