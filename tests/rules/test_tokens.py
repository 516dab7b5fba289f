"""Tokens and roles of the admin API."""

from __future__ import annotations

from base64 import b64encode

import pytest

from shield.rules.tokens import LOCAL, AdminToken, AdminTokens, Caller, Role, TokenDenial

TOKENS = AdminTokens(
    [
        AdminToken.of("prometheus", Role.READ, "p" * 32),
        AdminToken.of("deployer", Role.PURGE, "d" * 32),
        AdminToken.of("oncall", Role.OPERATE, "o" * 32),
    ]
)


def basic(name: str, secret: str) -> str:
    return "Basic " + b64encode(f"{name}:{secret}".encode()).decode()


@pytest.mark.parametrize(
    ("letter", "needed", "who", "denial"),
    [
        ("p", Role.READ, "prometheus", None),
        ("p", Role.PURGE, "prometheus", TokenDenial.ROLE),
        ("p", Role.OPERATE, "prometheus", TokenDenial.ROLE),
        ("d", Role.READ, "deployer", None),
        ("d", Role.PURGE, "deployer", None),
        ("d", Role.OPERATE, "deployer", TokenDenial.ROLE),
        ("o", Role.READ, "oncall", None),
        ("o", Role.OPERATE, "oncall", None),
        ("x", Role.READ, None, TokenDenial.UNKNOWN),
    ],
)
def test_a_token_may_do_what_its_role_includes(
    letter: str, needed: Role, who: str | None, denial: TokenDenial | None
) -> None:
    caller, why = TOKENS.judge(f"Bearer {letter * 32}", needed)

    assert (None if caller is None else caller.who, why) == (who, denial)


@pytest.mark.parametrize(
    ("field", "denial"),
    [
        (None, TokenDenial.MISSING),
        ("", TokenDenial.MALFORMED),
        ("Bearer", TokenDenial.MALFORMED),
        ("Bearer ", TokenDenial.MALFORMED),
        ("Digest b25jYWxsOm8=", TokenDenial.MALFORMED),
        ("Basic b25jYWxsOm8=", TokenDenial.UNKNOWN),
        ("Basic b25jYWxs", TokenDenial.MALFORMED),
        ("Basic b25jYWxsOm8", TokenDenial.MALFORMED),
        ("Basic b25jY_WxsOm8=", TokenDenial.MALFORMED),
        (basic("oncall", "p" * 32), TokenDenial.UNKNOWN),
        (basic("prometheus:", "o" * 32), TokenDenial.UNKNOWN),
        (basic("", "o" * 32), TokenDenial.UNKNOWN),
        ("o" * 32, TokenDenial.MALFORMED),
        ("Bearer " + "o" * 31, TokenDenial.UNKNOWN),
        ("Bearer " + "o" * 33, TokenDenial.UNKNOWN),
        ("Bearer " + "o" * 32 + "\n", TokenDenial.MALFORMED),
        ("Bearer " + "o" * 16 + " " + "o" * 15, TokenDenial.MALFORMED),
    ],
)
def test_nobody_gets_in_without_a_whole_token(field: str | None, denial: TokenDenial) -> None:
    assert TOKENS.judge(field, Role.READ) == (None, denial)


def test_none_of_many_guesses_gets_in() -> None:
    for guess in range(2000):  # enough to meet a digest that begins or ends alike
        assert TOKENS.judge(f"Bearer {guess:032}", Role.READ) == (None, TokenDenial.UNKNOWN)


def test_senders_that_know_only_urls_give_name_and_secret() -> None:
    assert TOKENS.judge(basic("deployer", "d" * 32), Role.PURGE) == (Caller("deployer", Role.PURGE), None)
    assert TOKENS.judge(basic("deployer", "d" * 32), Role.OPERATE)[1] is TokenDenial.ROLE


def test_the_scheme_is_spelled_as_one_likes() -> None:
    assert TOKENS.judge("bEARER   " + "o" * 32 + " ", Role.READ) == (Caller("oncall", Role.OPERATE), None)


def test_without_tokens_everyone_on_this_machine_may_do_everything() -> None:
    assert AdminTokens().judge(None, Role.OPERATE) == (Caller(LOCAL, Role.OPERATE), None)


def test_of_two_tokens_with_one_secret_the_greater_role_counts() -> None:
    twice = AdminTokens([AdminToken.of("a", Role.OPERATE, "s" * 16), AdminToken.of("b", Role.READ, "s" * 16)])

    assert twice.judge("Bearer " + "s" * 16, Role.OPERATE) == (Caller("a", Role.OPERATE), None)


def test_a_secret_is_nowhere_in_what_is_shown_of_a_token() -> None:
    assert "hunter2" not in repr(AdminToken.of("a", Role.READ, "hunter2" * 5))
