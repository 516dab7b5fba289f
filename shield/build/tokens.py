"""The tokens of the admin API, made of settings."""

from __future__ import annotations

from shield.config.admin import AdminSettings
from shield.errors import ConfigError
from shield.rules.tokens import AdminToken, AdminTokens, Role


def admin_tokens(settings: AdminSettings) -> AdminTokens:
    """Raises ConfigError for one without a secret, which can only be one that was in a file."""
    made = []
    for name, token in settings.tokens.items():
        if token.secret is None:
            raise ConfigError([f"admin.tokens.{name}: no secret in its file any more"])
        made.append(AdminToken.of(name, Role.of(token.role), token.secret.get_secret_value()))
    return AdminTokens(made)
