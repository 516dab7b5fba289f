"""The lists that shield top can show."""

from __future__ import annotations

from enum import StrEnum


class TopOf(StrEnum):
    KEYS = "keys"
    ROUTES = "routes"
    CLIENTS = "clients"
    ORIGINS = "origins"


class TopBy(StrEnum):
    REQUESTS = "requests"
    MISSED_BYTES = "missed_bytes"
    MONEY = "money"
