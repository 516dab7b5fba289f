"""shield schema: the JSON Schema of the settings."""

from __future__ import annotations

import json

from shield.config.settings import Settings


def schema() -> int:
    print(json_schema(), end="")
    return 0


def json_schema() -> str:
    """The schema as text; also kept in `config/shield.schema.json`."""
    made = Settings.model_json_schema()
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "Shield settings"
    return json.dumps(made, indent=2) + "\n"
