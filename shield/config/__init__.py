"""Settings: every default and limit with its unit and reason, the origin of each value, and all problems at once."""

import os

# Before any model is made: pydantic reads the metadata of all installed packages to find plugins of its own, which
# delays the start, and which have no business here.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

CONFIG_VARIABLE = "SHIELD_CONFIG"
"""The variable that names the file of the settings, for commands; no setting itself."""
