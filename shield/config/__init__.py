"""Settings: every default and limit with its unit and reason, the origin of each value, and all problems at once."""

CONFIG_VARIABLE = "SHIELD_CONFIG"
"""The variable that names the file of the settings, for commands; no setting itself."""
