"""Checks of the admin API's settings across several values."""

from __future__ import annotations

from collections.abc import Iterator

from shield.config.admin import AdminSettings
from shield.config.places import KeyPath, Problem, Tree, nameable


def admin_problems(admin: AdminSettings, tree: Tree) -> Iterator[Problem]:
    """The tokens of the admin API: each has a secret of its own, and there are some where others reach it."""
    if admin.listen is not None and not admin.listen.loopback and not admin.tokens:
        said = f"{admin.listen} can be reached from elsewhere; expected admin.tokens, too: who may do what"
        yield tree.problem(("admin", "listen"), said)
    owners: dict[str, str] = {}
    for name, token in admin.tokens.items():
        path: KeyPath = ("admin", "tokens", name, "secret")
        if token.secret is None:
            variable = f"SHIELD_ADMIN__TOKENS__{name.upper().replace('-', '_')}__SECRET"
            said = f"there is none; expected secret or secret_file here, the variable {variable}, or a secret file "
            yield tree.problem(path, f"{said}shield_admin__tokens__{name}__secret")
            continue
        other = owners.setdefault(token.secret.get_secret_value(), name)
        if other != name:
            yield tree.problem(
                path, f"{nameable(other)} has the same; expected one of its own, which tells them apart"
            )
